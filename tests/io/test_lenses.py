"""Lenses of every kind through every file that can hold them, against pycolmap; frames and rigs; photos without their distortion."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import recon
import recon.io as io
from recon.cameras.known import cameras_of_photos
from recon.cameras.undistort import undistorted
from recon.cli import main
from recon.errors import FileError, ReconError
from recon.lenses import FOCALS, distort, undistort
from recon.photos.grid import load_images
from recon.photos.undistort import pinhole_for, undistort_picture, undistort_points
from recon.scene import Lens, Scene

LENSES = {
    "SIMPLE_RADIAL": (-0.1,), "RADIAL": (-0.1, 0.02), "OPENCV": (-0.1, 0.02, 0.001, -0.002), "OPENCV_FISHEYE": (0.03, -0.01, 0.004, -0.001),
    "FULL_OPENCV": (-0.1, 0.02, 0.001, -0.002, 0.01, 0.02, -0.01, 0.003), "FOV": (0.8,), "SIMPLE_RADIAL_FISHEYE": (0.03,),
    "RADIAL_FISHEYE": (0.03, -0.01), "THIN_PRISM_FISHEYE": (0.03, -0.01, 0.001, -0.002, 0.004, -0.001, 0.002, 0.001),
    "RAD_TAN_THIN_PRISM_FISHEYE": (0.03, -0.01, 0.004, -0.001, 0.0005, -0.0001, 0.001, -0.002, 0.002, 0.001, -0.001, 0.0005),
    "SIMPLE_DIVISION": (-0.2,), "DIVISION": (-0.2,), "SIMPLE_FISHEYE": (), "FISHEYE": (), "EUCM": (0.6, 1.1),
}  # fmt: skip
WIDTH, HEIGHT, FX, FY, CX, CY = 640, 480, 300.0, 310.0, 324.0, 236.0


def params_of(model: str) -> list[float]:
    focals = FOCALS[model][0]
    return [*([FX] if focals == 1 else [FX, FY]), CX, CY, *LENSES[model]]


def fy_of(model: str) -> float:
    return FX if FOCALS[model][0] == 1 else FY


def camera_of(model: str) -> recon.Cameras:
    K = [[FX, 0, CX], [0, fy_of(model), CY], [0, 0, 1]]
    return cameras_of_photos(K, WIDTH, HEIGHT, np.eye(4), lenses=[Lens(model=model, params=LENSES[model])])


def rays(count: int = 500, widest: float = 0.75, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    angle, turn = random.uniform(0, widest, count), random.uniform(0, 2 * np.pi, count)
    return np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], 1)


@pytest.mark.parametrize("model", LENSES)
def test_every_lens_is_colmaps(model):
    import pycolmap

    theirs = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=params_of(model), camera_id=1)
    wide = rays(widest=1.2 if "FISHEYE" in model else 0.75)
    scale, centre = [FX, fy_of(model)], [CX, CY]
    ours = distort(model, LENSES[model], wide)
    assert np.allclose(ours * scale + centre, [theirs.img_from_cam(ray) for ray in wide], atol=1e-7)
    assert np.allclose(undistort(model, LENSES[model], ours), wide, atol=1e-8)


def test_pixels_that_no_ray_reaches():
    assert np.isnan(undistort("SIMPLE_RADIAL", (-0.3,), np.array([[5.0, 5.0]]))).all()
    assert np.isnan(distort("OPENCV", (0.0, 0, 0, 0), np.array([[0.1, 0, -1.0]]))).all()


def pixels(scene: Scene, point: np.ndarray) -> list[np.ndarray]:
    """Where a world point falls in each view's photo, through its lens."""
    out = []
    for camera in scene.cameras.for_photos():
        T, K = np.linalg.inv(camera.cam_to_world[0].double().numpy()), camera.K[0].double().numpy()
        lens = camera.lenses[0] if camera.lenses else Lens(model="PINHOLE")
        out.append(distort(lens.model, lens.params, T[:3, :3] @ point + T[:3, 3]) * K[[0, 1], [0, 1]] + K[:2, 2])
    return out


def pose(x: float) -> np.ndarray:
    angle = 0.2 * x
    T = np.eye(4)
    T[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    T[0, 3] = x
    return T


def scene_of(*models: str) -> Scene:
    K = [[[FX, 0, CX], [0, fy_of(m) if m else FY, CY], [0, 0, 1]] for m in models]
    lenses = [Lens(model=m, params=LENSES[m]) if m else None for m in models]
    poses = [pose(0.05 * v) for v in range(len(models))]
    cameras = cameras_of_photos(K, WIDTH, HEIGHT, poses, lenses=lenses)
    return Scene(cameras=cameras, report={"names": [f"{v}.png" for v in range(len(models))]})


@pytest.mark.parametrize("name", ["colmap", "colmap_binary", "scene.npz"])
def test_lenses_stay_as_they_are(tmp_path, name):
    """Through our own reader and through COLMAP's."""
    import pycolmap

    scene = scene_of(*LENSES, "")
    io.save(scene, tmp_path / name)
    back = io.load(tmp_path / name)
    point = np.array([0.1, -0.2, 2.0])
    assert [lens and lens.model for lens in back.cameras.lenses] == [*LENSES, None]
    assert np.allclose(pixels(back, point), pixels(scene, point), atol=1e-3)
    if name != "scene.npz":
        theirs = pycolmap.Reconstruction(tmp_path / name / "sparse" / "0")
        seen = [theirs.images[i].project_point(point) for i in sorted(theirs.images)]
        assert np.allclose(seen, pixels(scene, point), atol=1e-3)


NERFSTUDIO = ["SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "FISHEYE"]


@pytest.mark.parametrize("model", NERFSTUDIO)
def test_lenses_in_transforms_json(tmp_path, model):
    scene = scene_of(model, model)
    io.save(scene, tmp_path / "transforms.json")
    back = io.load(tmp_path / "transforms.json")
    point = np.array([0.1, -0.2, 2.0])
    assert np.allclose(pixels(back, point), pixels(scene, point), atol=1e-3)
    content = json.loads((tmp_path / "transforms.json").read_text())
    assert content["camera_model"] == ("OPENCV_FISHEYE" if "FISHEYE" in model else "OPENCV") and "k1" not in content["frames"][0]


def test_lenses_that_nerfstudio_has_no_name_for(tmp_path):
    with pytest.raises(FileError, match="cannot hold a FOV lens"):
        io.save(scene_of("FOV"), tmp_path / "transforms.json")
    assert not (tmp_path / "transforms.json").exists()


def transforms(path: Path, **fields) -> Path:
    lens = {"fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY, "w": WIDTH, "h": HEIGHT}
    frames = [{"file_path": f"images/{v}.png", "transform_matrix": pose(0.3 * v).tolist()} for v in range(2)]
    path.write_text(json.dumps({**lens, "frames": frames, **fields}))
    return path


@pytest.mark.parametrize(
    ("fields", "model", "numbers"),
    [
        ({"k1": -0.1, "k2": 0.02, "p1": 0.001, "p2": -0.002}, "OPENCV", (-0.1, 0.02, 0.001, -0.002)),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2}, "OPENCV_FISHEYE", (0.1, 0, 0, 0.2)),
        ({"is_fisheye": True, "k1": 0.1}, "OPENCV_FISHEYE", (0.1, 0, 0, 0)),
        ({"k1": 0.1, "k3": 0.3}, "FULL_OPENCV", (0.1, 0, 0, 0, 0.3, 0, 0, 0)),
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR", ()), ({"latlong": True}, "EQUIRECTANGULAR", ()),
        ({"k1": 0, "k2": 0.0}, None, None), ({"camera_model": "SIMPLE_PINHOLE"}, None, None),
    ],
)  # fmt: skip
def test_fields_of_transforms_json(tmp_path, fields, model, numbers):
    cameras = io.load(transforms(tmp_path / "transforms_test.json", **fields)).cameras
    assert cameras.lenses == (() if model is None else (Lens(model=model, params=numbers),) * 2)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"ftheta_p0": 0.1}, "f-theta"), ({"camera_model": "MAGIC"}, "known are OPENCV"),
        ({"camera_model": "PINHOLE", "k1": 0.1}, "a pinhole with the distortion k1 0.1"),
    ],
)  # fmt: skip
def test_fields_of_transforms_json_that_are_refused(tmp_path, fields, wanted):
    with pytest.raises(FileError, match=wanted):
        io.load(transforms(tmp_path / "transforms.json", **fields))


def test_fields_that_are_not_used_are_named(tmp_path, caplog):
    io.load(transforms(tmp_path / "transforms.json", aabb_scale=4, rolling_shutter=[0, 0, 0.1, 0], depth_unit_scale_factor=0.001))
    assert "not used: depth_unit_scale_factor, rolling_shutter" in caplog.text and "aabb_scale" not in caplog.text


@pytest.mark.parametrize("name", ["transforms_test.json", "anything.json", "cameras.json"])
def test_json_is_known_by_its_content(tmp_path, name):
    assert len(io.load(transforms(tmp_path / name)).cameras) == 2
    inria = [{"id": 0, "width": 640, "height": 480, "position": [0, 0, 0], "rotation": np.eye(3).tolist(), "fx": 300, "fy": 300}]
    (tmp_path / name).write_text(json.dumps(inria))
    assert io.load(tmp_path / name).cameras.K[0, 0, 2] == 320


def camera_path(path: Path) -> Path:
    eye = np.eye(4)
    eye[2, 3] = 3.0  # behind the origin, looking at it, as OpenGL cameras look along -z
    entry = {"camera_to_world": eye.flatten().tolist(), "fov": 60, "aspect": 2}
    path.write_text(json.dumps({"camera_type": "perspective", "render_width": 96, "render_height": 48, "fps": 12, "camera_path": [entry] * 2}))
    return path


def ball(path: Path, comment: bool) -> Path:
    """A trainer's PLY: a red ball at the origin, a blue one at x = 1, a green one at y = 1, in the numbers' world."""
    means = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    colors = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    gaussians = recon.Gaussians(
        means=means, quats=torch.eye(4)[:1].repeat(3, 1), scales=torch.full((3, 3), 0.1), opacities=torch.ones(3),
        sh=((colors - 0.5) / 0.28209479)[:, None],
    )  # fmt: skip
    io.save(Scene(cameras=io.load(camera_path(path.with_suffix(".json"))).cameras[:0], gaussians=gaussians), path)
    if not comment:
        path.write_bytes(path.read_bytes().replace(b"comment recon axes opencv, 1 units per scene unit\n", b""))
    return path


@pytest.mark.parametrize("kind", ["camera_path", "transforms"])
def test_a_trainers_splats_with_its_cameras(tmp_path, capsys, kind):
    """Same world, no turn: red in the middle, blue to the right, green above; the picture has the camera file's size."""
    splats = ball(tmp_path / "splats.ply", comment=False)
    file = camera_path(tmp_path / "path.json")
    if kind == "transforms":
        eye = json.loads(file.read_text())["camera_path"][0]["camera_to_world"]
        frame = {"file_path": "a.png", "transform_matrix": np.array(eye).reshape(4, 4).tolist(), "fl_x": 41.57, "w": 96, "h": 48}
        file = tmp_path / "transforms_test.json"
        file.write_text(json.dumps({"frames": [frame] * 2, "applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]}))
    call = ["render", str(splats), "--path", str(file), "-o", str(tmp_path / "out"), "--backend", "torch", "--json"]
    assert main(call) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["width"], result["height"], result["frames"]) == (96, 48, 2)
    assert "world of its numbers" in result["warnings"][0] and "--path-axes z-up" in result["warnings"][0]
    picture = cv2.imread(result["files"][0])[..., ::-1].astype(int)
    assert picture[24, 48, 0] > 150 and picture[24, 48, 2] < 80  # red
    assert picture[24, 48 + 14, 2] > 150 and picture[24 - 14, 48, 1] > 150  # blue to the right, green above


def test_recons_own_splats_with_its_own_cameras(tmp_path, capsys):
    """Both lead to the scene's world, without a word."""
    splats = ball(tmp_path / "splats.ply", comment=True)
    T = np.eye(4)
    T[2, 3] = -3.0
    cameras = cameras_of_photos([[41.57, 0, 48], [0, 41.57, 24], [0, 0, 1]], 96, 48, T)
    io.save(Scene(cameras=cameras), tmp_path / "transforms.json")
    call = ["render", str(splats), "--path", str(tmp_path / "transforms.json"), "-o", str(tmp_path / "out"), "--backend", "torch", "--json"]
    assert main(call) == 0
    result = json.loads(capsys.readouterr().out)
    picture = cv2.imread(result["files"][0])[..., ::-1].astype(int)
    assert result["warnings"] == [] and picture[24, 62, 2] > 150 and picture[38, 48, 1] > 150  # y is down


def rig_model(folder: Path) -> Path:
    """Two cameras held together, three moments; images.txt has stale poses for the second one."""
    import pycolmap

    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig, options.num_points3D = 1, 2, 3, 30
    truth = pycolmap.synthesize_dataset(options)
    folder.mkdir()
    truth.write_text(str(folder))
    return folder


@pytest.mark.parametrize("binary", [False, True])
def test_frames_and_rigs_are_used(tmp_path, caplog, binary):
    import pycolmap

    folder = rig_model(tmp_path / "model")
    truth = pycolmap.Reconstruction(str(folder))
    wanted = np.stack([np.linalg.inv(np.vstack([truth.images[i].cam_from_world().matrix(), [0, 0, 0, 1]])) for i in sorted(truth.images)])
    if binary:
        (tmp_path / "bin").mkdir()
        truth.write_binary(str(tmp_path / "bin"))
        folder = tmp_path / "bin"
    else:
        lines = (folder / "images.txt").read_text().splitlines()
        stale = [" ".join([*line.split()[:5], "9", "9", "9", *line.split()[8:]]) if line.endswith(".png") else line for line in lines]
        (folder / "images.txt").write_text("\n".join(stale) + "\n")
    assert np.allclose(io.load(folder).cameras.cam_to_world.numpy(), wanted, atol=1e-5)
    assert ("have other poses than their frames" in caplog.text) == (not binary)


@pytest.mark.parametrize("line", ["1 2 CAMERA 1 CAMERA 2 1 0.9 0.1", "1 2 CAMERA", "x", "1 2 CAMERA 1 CAMERA 2 1 0 0 0 0 0 0 0"])
def test_false_rigs(tmp_path, line):
    folder = rig_model(tmp_path / "model")
    (folder / "rigs.txt").write_text(line + "\n")
    with pytest.raises(FileError):
        io.load(folder)


def texture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A smooth picture whose every place is different."""
    coarse = np.random.default_rng(0).integers(0, 255, (height // 10, width // 10, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("model", [m for m in LENSES if m not in ("SIMPLE_FISHEYE", "FISHEYE")])
def test_undistorted_photos_are_pycolmaps(model):
    """The same picture to a tenth of a pixel: seen through both pinholes, and points through both cameras."""
    import pycolmap

    camera = camera_of(model)
    theirs = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=params_of(model), camera_id=1)
    picture = texture()
    bitmap, pinhole = pycolmap.undistort_image(pycolmap.UndistortCameraOptions(), pycolmap.Bitmap.from_array(picture), theirs)
    ours_camera, _ = pinhole_for(camera)
    ours = undistort_picture(picture, camera, ours_camera)
    K, L = ours_camera.K[0].numpy(), np.array(pinhole.calibration_matrix())
    x, y = np.meshgrid(np.arange(ours.shape[1]) + 0.5, np.arange(ours.shape[0]) + 0.5)
    u, v = (x - K[0, 2]) / K[0, 0] * L[0, 0] + L[0, 2], (y - K[1, 2]) / K[1, 1] * L[1, 1] + L[1, 2]
    seen = cv2.remap(bitmap.to_array(), (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32), cv2.INTER_LINEAR).astype(float)
    inside = (u > 3) & (u < pinhole.width - 3) & (v > 3) & (v < pinhole.height - 3)
    inside[:3], inside[-3:], inside[:, :3], inside[:, -3:] = (False,) * 4
    assert inside.mean() > 0.5
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(ours[..., 1].astype(float), None, 1))
    error = cv2.GaussianBlur(ours[..., 1].astype(float) - seen[..., 1], None, 1)
    for part in np.array_split(np.flatnonzero(inside), 8):  # bands of rows: the shift that explains the difference
        A = np.stack([slope_x.ravel()[part], slope_y.ravel()[part]], 1)
        assert np.abs(np.linalg.lstsq(A, error.ravel()[part], rcond=None)[0]).max() < 0.05
    points = np.random.default_rng(1).uniform([20, 20], [WIDTH - 20, HEIGHT - 20], (200, 2))
    rays_theirs = np.array([theirs.cam_from_img(p) if theirs.cam_from_img(p) is not None else (np.nan, np.nan) for p in points])
    wanted = rays_theirs * K[[0, 1], [0, 1]] + K[:2, 2]
    got = undistort_points(points, camera, ours_camera)
    both = np.isfinite(wanted).all(1) & np.isfinite(got).all(1)
    assert both.mean() > 0.9 and np.abs(wanted - got)[both].max() < 0.1


@pytest.mark.parametrize(("degrees", "told"), [(90, False), (120, False), (150, True)])
def test_wide_fisheyes_are_cropped_and_said(degrees, told):
    """An ideal fisheye that spans so much from left to right."""
    focal = WIDTH / np.radians(degrees)
    camera = cameras_of_photos([[focal, 0, 320], [0, focal, 240], [0, 0, 1]], WIDTH, HEIGHT, lenses=[Lens(model="FISHEYE")])
    pinhole, remark = pinhole_for(camera)
    picture = undistort_picture(np.full((HEIGHT, WIDTH, 3), 200, np.uint8), camera, pinhole)
    assert picture.shape[:2] == (pinhole.height, pinhole.width) and picture.min() == 200
    assert bool(remark) == told and (not told or f"of {degrees} x " in remark)
    assert pinhole.width <= 2 * WIDTH


def photos_of(folder: Path, model: str, count: int = 2) -> list[Path]:
    folder.mkdir(parents=True)
    out = []
    for v in range(count):
        cv2.imwrite(str(folder / f"{v}.png"), np.roll(texture(), 40 * v, 1))
        out.append(folder / f"{v}.png")
    return out


@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE"])
def test_convert_undistorts_photos_and_cameras(tmp_path, capsys, model):
    """A track's pixel in the undistorted photo is where the new pinhole sees its point."""
    photos_of(tmp_path / "project" / "images", model)
    scene = scene_of(model, model)
    points = rays(40, 0.5) * 3
    xy = np.stack([[pixels(scene, p)[v] for p in points] for v in range(2)])
    view, point = np.divmod(np.arange(80), 40)
    tracks = recon.Tracks(points=points, view=view, point=point, xy=xy.reshape(-1, 2), error=np.zeros(40))
    io.save(recon.Scene(cameras=scene.cameras, tracks=tracks, report=scene.report), tmp_path / "project" / "colmap")
    source = tmp_path / "project" / "colmap"
    assert main(["convert", str(source), str(tmp_path / "flat" / "colmap"), "--undistort", "--json"]) == 0
    capsys.readouterr()
    flat = io.load(tmp_path / "flat" / "colmap")
    assert flat.cameras.lenses == () and flat.tracks is not None and len(flat.tracks.view) >= 70
    for v, p, where in zip(flat.tracks.view.tolist(), flat.tracks.point.tolist(), flat.tracks.xy.numpy(), strict=True):
        assert np.abs(pixels(flat, flat.tracks.points[p].double().numpy())[v] - where).max() < 0.1
    written = cv2.imread(str(tmp_path / "flat" / "colmap" / "images" / "0.jpg"))
    assert written.shape[:2] == (int(flat.cameras.photo_height[0]), int(flat.cameras.photo_width[0]))
    assert main(["convert", str(source), str(tmp_path / "flat" / "transforms.json"), "--undistort", "--quiet"]) == 0
    for photo in (tmp_path / "project" / "images").iterdir():
        photo.unlink()
    assert main(["convert", str(source), str(tmp_path / "x" / "colmap"), "--undistort"]) == 1
    assert "its photos are not beside it" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_reconstruct_with_lenses_undistorts_the_photos(tmp_path):
    paths = photos_of(tmp_path / "images", "OPENCV")
    scene = scene_of("OPENCV", "OPENCV")
    out = recon.reconstruct(paths, weights="random", matches="none", resolution=64, cameras=scene.cameras)
    flat, _ = pinhole_for(camera_of("OPENCV"))
    assert out.images.photo_width.tolist() == [flat.width] * 2
    assert np.allclose([c.K[0].numpy() for c in out.cameras.for_photos()], flat.K.repeat(2, 1, 1), atol=0.05)
    assert np.allclose(out.cameras.cam_to_world.numpy(), scene.cameras.cam_to_world.numpy(), atol=1e-6)


def test_masks_go_through_the_lens_too(tmp_path):
    paths = photos_of(tmp_path / "images", "OPENCV", 1)
    (tmp_path / "masks").mkdir()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 320:] = 255
    cv2.imwrite(str(tmp_path / "masks" / "0.png"), mask)
    images = load_images(paths, long_side=128, masks=tmp_path / "masks")
    flat, _ = undistorted(images, camera_of("OPENCV"))
    assert 0.4 < flat.mask.float().mean() < 0.6 and not flat.mask[0, :, :40].any()


def test_a_picture_of_all_directions_is_no_pinholes():
    camera = cameras_of_photos([[100, 0, 320], [0, 100, 160], [0, 0, 1]], 640, 320, lenses=[Lens(model="EQUIRECTANGULAR")])
    with pytest.raises(ReconError, match="cut it into faces first"):
        pinhole_for(camera)
