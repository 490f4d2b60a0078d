"""Known cameras reach the grid where they belong: a point's pixel is the same through K of the photo and through K of the grid."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import recon
from recon.cameras.known import CamerasError, cameras_of_focal, cameras_of_photos, on_grid, read_cameras
from recon.photos.grid import load_images
from recon.scene import Cameras


def photo(path: Path, width: int = 120, height: int = 90, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def images(tmp_path):
    return load_images([photo(tmp_path / "in" / "a.png"), photo(tmp_path / "in" / "b.png", 90, 120, seed=1)], long_side=64)


def pose(angle: float, x: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    T[0, 3] = x
    return T


K_A = np.array([[100.0, 0, 61], [0, 101, 44], [0, 0, 1]])
K_B = np.array([[102.0, 0, 44], [0, 103, 61], [0, 0, 1]])


def photo_pixels(cameras: Cameras, images) -> np.ndarray:
    """Where (0.1, 0.2, 1) of each camera falls in its photo, through the grid."""
    xy = (cameras.K.double() @ torch.tensor([0.1, 0.2, 1.0], dtype=torch.float64))[:, :2]
    return ((xy - images.grid_offset) / images.grid_scale).numpy()


def test_photo_pixels_come_through_the_grid(images):
    cameras = cameras_of_photos([K_A, K_B], [120, 90], [90, 120], [pose(0, 0), pose(0.1, 1)])
    moved = on_grid(cameras, images)
    assert (moved.width, moved.height) == (images.rgb.shape[2], images.rgb.shape[1])
    wanted = np.stack([(K @ [0.1, 0.2, 1])[:2] for K in (K_A, K_B)])
    assert np.allclose(photo_pixels(moved, images), wanted, atol=1e-4)
    assert np.allclose(moved.cam_to_world, [pose(0, 0), pose(0.1, 1)]) and moved.cam_to_world.dtype == torch.float64


def test_photos_at_another_size_of_the_same_shape(images):
    cameras = cameras_of_photos([2 * K_A * [[1], [1], [0.5]], 3 * K_B * [[1], [1], [1 / 3]]], [240, 270], [180, 360])
    wanted = np.stack([(K @ [0.1, 0.2, 1])[:2] for K in (K_A, K_B)])
    assert np.allclose(photo_pixels(on_grid(cameras, images), images), wanted, atol=1e-4)


def test_one_lens_for_all_and_nothing_of_the_places(tmp_path):
    images = load_images([photo(tmp_path / f"{i}.png", seed=i) for i in range(3)], long_side=64)
    cameras = cameras_of_photos(np.stack([K_A] * 3), 120, 90)
    assert len(on_grid(cameras, images)) == 3 and bool(cameras.cam_to_world.isnan().all()) and cameras.placed_by == ("unplaced",) * 3


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: cameras_of_photos(np.eye(3)[:2], 9, 9), r"K is \[1, 2, 3\], wanted \[V, 3, 3\]"),
        (lambda: cameras_of_photos([K_A] * 2, [120] * 3, 90), "2 K, 2 cam_to_world, 3 widths"),
        (lambda: cameras_of_photos(np.diag([-5.0, 5, 1]), 9, 9), "wanted [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"),
        (lambda: cameras_of_photos(np.diag([1.2, 1.2, 1]), 1200, 900), "focal length of 1.2 pixels in photos 1200 wide"),
        (lambda: cameras_of_photos(K_A, 120, 90, np.diag([1.0, 1, -1, 1])), "no rotation with a place"),
        (lambda: cameras_of_photos(K_A, 120, 90, 2 * np.eye(4)), "no rotation with a place"),
        (lambda: cameras_of_photos(K_A, 0, 90), "0 x 90 pixels"),
    ],
)
def test_what_is_no_camera(make, wanted):
    with pytest.raises(CamerasError) as caught:
        make()
    assert wanted.replace("\\", "") in str(caught.value)


def test_cameras_that_do_not_fit_the_photos(images):
    with pytest.raises(CamerasError, match="1 cameras were given for 2 photos"):
        on_grid(cameras_of_photos(K_A, 120, 90), images)
    with pytest.raises(CamerasError, match=r"b.png is 90 x 120 pixels, its camera is for 120 x 90"):
        on_grid(cameras_of_photos([K_A, K_A], 120, 90), images)
    with pytest.raises(CamerasError, match="cameras_of_photos"):
        on_grid(Cameras(K=torch.eye(3).repeat(2, 1, 1), cam_to_world=torch.eye(4).repeat(2, 1, 1), width=120, height=90), images)


@pytest.mark.parametrize(("text", "wanted"), [("28mm", 28 / math.hypot(36, 24) * 150), (" 130.5 px ", 130.5)])
def test_a_focal_length(images, text, wanted):
    cameras = cameras_of_focal(text, images)
    assert cameras.K[:, 0, 0].tolist() == pytest.approx([wanted] * 2) and cameras.K[1, :2, 2].tolist() == [45, 60]


@pytest.mark.parametrize("text", ["28", "mm", "-3px", "0mm", "1e9px", "28 cm", "", "nan px"])
def test_no_focal_length(images, text):
    with pytest.raises(CamerasError, match="the focal length is"):
        cameras_of_focal(text, images)


def same(cameras: Cameras, poses: bool = True) -> None:
    assert np.allclose(cameras.K, [K_A, K_B], atol=1e-4)
    assert np.allclose(cameras.cam_to_world, [pose(0, 0), pose(0.1, 1)], atol=1e-6) if poses else bool(cameras.cam_to_world.isnan().all())


def scene_with(names: list[str]) -> recon.Scene:
    return recon.Scene(cameras=cameras_of_photos([K_B, K_A], [90, 120], [120, 90], [pose(0.1, 1), pose(0, 0)]), report={"names": names})


@pytest.mark.parametrize("name", ["colmap", "colmap_binary", "transforms.json", "scene.npz"])
def test_every_file_of_cameras_by_name(images, tmp_path, name):
    """Given in another order than the photos."""
    recon.save(scene_with(["b.png", "a.png"]), tmp_path / name)
    same(read_cameras(tmp_path / name, images))


def test_plain_arrays(images, tmp_path):
    lenses = {"K": [K_B, K_A], "width": [90, 120], "height": [120, 90]}
    np.savez(tmp_path / "k.npz", **lenses, names=["x/b.jpg", "x/a.jpg"], cam_to_world=[pose(0.1, 1), pose(0, 0)])
    same(read_cameras(tmp_path / "k.npz", images))
    np.savez(tmp_path / "k.npz", **lenses, names=["b", "a"])
    same(read_cameras(tmp_path / "k.npz", images), poses=False)
    np.savez(tmp_path / "k.npz", K=K_A)
    with pytest.raises(recon.ReconError, match="without width, height"):
        read_cameras(tmp_path / "k.npz", images)


def test_lenses_alone(images, tmp_path):
    """A file without places: the lens of a photo's shape."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "cameras.txt").write_text("1 PINHOLE 120 90 100 101 61 44\n7 PINHOLE 90 120 102 103 44 61\n")
    same(read_cameras(model, images), poses=False)
    lens = {"fl_x": 100, "fl_y": 101, "cx": 61, "cy": 44, "w": 120, "h": 90}
    (tmp_path / "transforms.json").write_text(json.dumps(lens))
    cameras = read_cameras(tmp_path / "transforms.json", images)
    assert np.allclose(cameras.K[0], K_A) and bool(cameras.K[1].isnan().all())
    (tmp_path / "cameras.json").write_text(json.dumps([{"img_name": "a", "width": 120, "height": 90, "fx": 100, "fy": 101}]))
    assert read_cameras(tmp_path / "cameras.json", images).K[0, 0, 0] == 100


def test_folders_tell_photos_of_one_name_apart(tmp_path):
    photos = [photo(tmp_path / side / "0.png", 120, 90, seed) for seed, side in enumerate(("left", "right"))]
    images = load_images(photos, long_side=64)
    np.savez(tmp_path / "k.npz", K=[K_B, K_A], width=120, height=90, names=["right/0.png", "left/0.png"])
    assert read_cameras(tmp_path / "k.npz", images).K[:, 0, 0].tolist() == [100, 102]
    np.savez(tmp_path / "k.npz", K=[K_B, K_A], width=120, height=90, names=["c/0.png", "d/0.png"])
    with pytest.raises(CamerasError, match="alike"):
        read_cameras(tmp_path / "k.npz", images)


def test_a_file_of_other_photos(images, tmp_path):
    recon.save(scene_with(["x.png", "y.png"]), tmp_path / "colmap")
    with pytest.raises(CamerasError, match=r"has no camera for any of the photos \(a.png ...\): it has 'x.png', 'y.png'"):
        read_cameras(tmp_path / "colmap", images)
