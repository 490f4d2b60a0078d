"""Coordinates as large as the Earth: kept to a millimetre by every format that has the digits, said by the others, drawn without staircases."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

import recon
import recon.io as io
from recon.cameras.known import cameras_of_photos
from recon.cli import main
from recon.io.inspect import inspect
from recon.io.parts import far_offset
from recon.scene import Scene

UTM = np.array([370123.4567891, 5806417.7654321, 46.123456789])


def pose(x: float) -> np.ndarray:
    T = np.diag([1.0, -1.0, -1.0, 1.0])  # looks down
    T[:3, 3] = UTM + [x, 0, 0]
    return T


def colmap(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A model in UTM metres written with all digits, its points and its poses."""
    points = UTM + np.random.default_rng(0).uniform(-3, 3, (40, 3)) * [1, 1, 0.2] - [0, 0, 12]
    folder.mkdir(parents=True)
    poses = [pose(0.0), pose(4.25)]
    (folder / "cameras.txt").write_text("1 PINHOLE 800 600 700 700 400 300\n")
    images, seen = [], []
    for number, T in enumerate(poses, 1):
        inverse = np.linalg.inv(T)
        local = points @ inverse[:3, :3].T + inverse[:3, 3]
        xy = local[:, :2] / local[:, 2:] * 700 + [400, 300]
        seen.append(xy)
        images.append(f"{number} 0 1 0 0 {' '.join(f'{t:.17g}' for t in inverse[:3, 3])} 1 img{number}.jpg")
        images.append(" ".join(f"{x:.17g} {y:.17g} {p + 1}" for p, (x, y) in enumerate(xy)))
    (folder / "images.txt").write_text("\n".join(images) + "\n")
    rows = [f"{p + 1} {x:.17g} {y:.17g} {z:.17g} 1 2 3 0.1 1 {p} 2 {p}" for p, (x, y, z) in enumerate(points)]
    (folder / "points3D.txt").write_text("\n".join(rows) + "\n")
    return folder, points, np.array(poses)


@pytest.mark.parametrize("name", ["colmap", "colmap_binary"])
def test_colmap_to_colmap(tmp_path, name):
    import pycolmap

    source, points, poses = colmap(tmp_path / "in")
    assert main(["convert", str(source), str(tmp_path / name)]) == 0
    theirs = pycolmap.Reconstruction(tmp_path / name / "sparse" / "0")
    centres = np.array([theirs.images[i].projection_center() for i in sorted(theirs.images)])
    assert np.abs(centres - poses[:, :3, 3]).max() < 1e-6
    # the points of COLMAP are float32 around the offset, of a few metres
    assert np.abs(np.array([theirs.points3D[i].xyz for i in sorted(theirs.points3D)]) - points).max() < 1e-6
    assert inspect(tmp_path / name)["points"]["reprojection_error_px"][2] < 1e-3


@pytest.mark.parametrize("name", ["a.points.ply", "a.obj"])
@pytest.mark.parametrize("axes", [None, "z-up"])
def test_points(tmp_path, name, axes):
    source, points, _ = colmap(tmp_path / "in")
    scene = io.load(source)
    io.save(scene, tmp_path / name, axes=axes)
    back = io.load(tmp_path / name, axes=axes)
    assert back.tracks is not None and max(map(abs, back.offset)) > 1e6
    assert np.abs(back.tracks.points.double().numpy() + back.offset - points).max() < 1e-3
    if name.endswith("ply"):
        vertex = PlyData.read(tmp_path / name)["vertex"]
        assert vertex["x"].dtype == np.float64
        if axes is None:
            assert np.abs(np.stack([vertex[a] for a in "xyz"], 1) - points).max() < 1e-3


def test_transforms_json_and_others(tmp_path):
    source, points, poses = colmap(tmp_path / "in")
    scene = io.load(source)
    for name in ("transforms.json", "cameras.json", "scene.npz"):
        io.save(scene, tmp_path / name)
        back = io.load(tmp_path / name)
        assert np.abs(back.cameras.cam_to_world[:, :3, 3].numpy() + back.offset - poses[:, :3, 3]).max() < 1e-6, name
    back = io.load(tmp_path / "transforms.json")
    assert back.tracks is not None and np.abs(back.tracks.points.double().numpy() + back.offset - points).max() < 1e-3


def far_splats(path: Path, splats, kind: str = "<f8") -> np.ndarray:
    """A trainer's PLY with doubles; returns its places."""
    scene = splats(300, degree=0)
    assert scene.gaussians is not None
    io.save(scene, path)
    ply = PlyData.read(path, mmap=False)
    old = ply["vertex"].data
    new = np.zeros(len(old), [(n, kind if n in "xyz" else "<f4") for n in old.dtype.names])
    for name in old.dtype.names:
        new[name] = old[name] + (UTM["xyz".index(name)] if name in "xyz" else 0)
    from plyfile import PlyElement

    path.unlink()
    PlyData([PlyElement.describe(new, "vertex")]).write(path)
    return scene.gaussians.means.double().numpy() + UTM


def test_splats(splats, tmp_path, caplog):
    places = far_splats(tmp_path / "in.ply", splats)
    scene = io.load(tmp_path / "in.ply")
    assert scene.gaussians is not None and float(scene.gaussians.means.abs().max()) < 10
    assert np.abs(scene.gaussians.means.double().numpy() + scene.offset - places).max() < 1e-3
    io.save(scene, tmp_path / "out.ply")
    vertex = PlyData.read(tmp_path / "out.ply")["vertex"]
    assert np.abs(np.stack([vertex[a] for a in "xyz"], 1) - places).max() < 1e-3 and not caplog.text
    for name in ("a.splat", "a.spz", "a.splats.glb", "a.sog", "a.compressed.ply"):
        caplog.clear()
        io.save(scene, tmp_path / name)
        assert f"{name}: is around (" in caplog.text and "the offset is left out" in caplog.text
        assert io.load(tmp_path / name).offset == (0, 0, 0)


def test_pictures_have_no_staircases(splats, tmp_path):
    """The same splats at the origin and in UTM, seen by cameras that go with them, make the same picture."""
    import cv2

    scene = splats(300, degree=0)
    T = np.eye(4)
    T[2, 3] = -2.0
    pictures = []
    for far in (False, True):
        folder = tmp_path / str(far)
        folder.mkdir()
        if far:
            far_splats(folder / "s.ply", splats)
        else:
            io.save(scene, folder / "s.ply")
        moved = T.copy()
        moved[:3, 3] += UTM if far else 0
        camera = {"id": 0, "img_name": "a", "width": 96, "height": 64, "position": moved[:3, 3].tolist(), "rotation": T[:3, :3].tolist()}
        (folder / "cameras.json").write_text(json.dumps([{**camera, "fx": 60, "fy": 60}]))
        call = ["render", str(folder / "s.ply"), "--path", str(folder / "cameras.json"), "-o", str(folder / "out"), "--backend", "torch", "--quiet"]
        assert main(call) == 0
        pictures.append(cv2.imread(str(folder / "out" / "frame_0000.png")).astype(int))
    assert pictures[0].std() > 10 and np.abs(pictures[0] - pictures[1]).max() <= 1


def test_known_cameras_in_utm(tmp_path):
    """The scene of photos whose cameras are in UTM is around the offset, and files put it back."""
    from PIL import Image

    for name, seed in (("a.png", 0), ("b.png", 1)):
        pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC).save(tmp_path / name)
    poses = np.array([pose(0.0), pose(4.25)])
    cameras = cameras_of_photos([[100, 0, 60], [0, 100, 45], [0, 0, 1]], 120, 90, poses)
    io.save(Scene(cameras=cameras, report={"names": ["a.png", "b.png"]}), tmp_path / "known.npz")
    images = recon.load_images([tmp_path / "a.png", tmp_path / "b.png"], long_side=64)
    scene = recon.reconstruct(images, weights="random", matches="none", cameras=recon.read_cameras(tmp_path / "known.npz", images))
    assert np.abs(scene.cameras.cam_to_world[:, :3, 3].double().numpy() + scene.offset - poses[:, :3, 3]).max() < 1e-3
    io.save(scene, tmp_path / "colmap")
    back = io.load(tmp_path / "colmap")
    assert np.abs(back.cameras.cam_to_world[:, :3, 3].numpy() + back.offset - poses[:, :3, 3]).max() < 1e-3


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        (UTM + np.random.default_rng(0).normal(size=(50, 3)), True), (np.random.default_rng(0).normal(size=(50, 3)) * 1e6, False),
        (np.zeros((0, 3)), False), (np.full((3, 3), np.nan), False), (np.random.default_rng(0).normal(size=(50, 3)) + 100, False),
    ],
)  # fmt: skip
def test_offsets_are_for_what_is_far(places, moved):
    offset = far_offset([places])
    assert bool(offset.any()) == moved and np.array_equal(offset, np.round(offset))


def test_scenes_without_an_offset_stay_as_they_are(splats, tmp_path):
    scene = splats(20)
    io.save(scene, tmp_path / "a.ply")
    back = io.load(tmp_path / "a.ply")
    assert back.offset == (0, 0, 0) and back.gaussians is not None and scene.gaussians is not None
    assert torch.equal(back.gaussians.means, scene.gaussians.means)
