"""`recon inspect` finds what users stumble over, says what it looked at, and starts at once."""

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

import recon.io as io
from recon.cli import main
from recon.io.inspect import inspect
from recon.scene import Scene


def problems(path: Path) -> str:
    return " | ".join(inspect(path)["problems"])


@pytest.mark.parametrize("name", ["colmap", "colmap_binary"])
def test_tracks_that_do_not_fall_where_they_were_seen(views, tmp_path, name):
    scene = views(with_tracks=True)
    io.save(scene, tmp_path / name)
    facts = inspect(tmp_path / name)
    assert facts["problems"] == [] and facts["points"]["reprojection_error_px"][2] < 0.01 and "reprojection of tracks" in facts["checked"]
    moved = scene.cameras.cam_to_world.clone()
    moved[1:, 0, 3] += 0.5
    io.save(replace(scene, cameras=replace(scene.cameras, cam_to_world=moved)), tmp_path / name)
    assert "poses and tracks do not fit" in problems(tmp_path / name)


def test_points_behind_their_cameras(views, tmp_path):
    scene = views(with_tracks=True)
    turned = scene.cameras.cam_to_world @ torch.diag(torch.tensor([-1.0, 1, -1, 1]))
    io.save(replace(scene, cameras=replace(scene.cameras, cam_to_world=turned)), tmp_path / "colmap")
    assert "that their camera cannot see" in problems(tmp_path / "colmap")


def points(path: Path, places: np.ndarray, kind: str) -> Path:
    rows = np.zeros(len(places), [(axis, kind) for axis in "xyz"])
    for i, axis in enumerate("xyz"):
        rows[axis] = places[:, i]
    PlyData([PlyElement.describe(rows, "vertex")]).write(path)
    return path


def test_places_too_far_for_their_digits(tmp_path):
    places = np.random.default_rng(0).uniform(0, 100, (500, 3)) + [370000, 5806000, 0]
    facts = inspect(points(tmp_path / "a.ply", places, "f8"))
    assert facts["problems"] == [] and "float32 has no digits for" in facts["notes"][0]
    assert "rounded them to steps of 0.5 units" in problems(points(tmp_path / "b.ply", places, "f4"))
    assert problems(points(tmp_path / "c.ply", places - [370000, 5806000, 0], "f4")) == ""


@pytest.mark.parametrize("name", ["a.ply", "a.splat", "a.npz"])
def test_outliers(splats, tmp_path, name):
    scene = splats(500, degree=0)
    assert scene.gaussians is not None
    means = scene.gaussians.means.clone()
    means[:3] = 1e8
    io.save(replace(scene, gaussians=replace(scene.gaussians, means=means)), tmp_path / name)
    assert "3 of 500 Gaussians are outliers: 95 % span" in problems(tmp_path / name)


@pytest.mark.parametrize(("name", "far"), [("a.compressed.ply", 1e6), ("a.spz", 2000.0)])
def test_positions_coarser_than_the_gaussians(splats, tmp_path, name, far, caplog):
    """Told when it is written, and by inspect afterwards."""
    scene = splats(600, degree=0)
    assert scene.gaussians is not None
    io.save(scene, tmp_path / name)
    assert "finer than the steps" not in problems(tmp_path / name) and "finer than the steps" not in caplog.text
    means, scales = scene.gaussians.means.clone(), scene.gaussians.scales * 0.001
    means[:3] = far
    io.save(replace(scene, gaussians=replace(scene.gaussians, means=means, scales=scales)), tmp_path / name)
    assert "finer than the steps of their positions" in problems(tmp_path / name) and "finer than the steps" in caplog.text


def test_rows_of_zeros(splats, tmp_path):
    io.save(splats(50, degree=0), tmp_path / "a.ply")
    ply = PlyData.read(tmp_path / "a.ply", mmap=False)
    for name in ply["vertex"].data.dtype.names:
        ply["vertex"][name][20:] = 0
    ply.write(tmp_path / "a.ply")
    assert "30 of 50 Gaussians are not finite or cannot be drawn, the first is number 20" in problems(tmp_path / "a.ply")


def test_properties_and_elements_that_are_not_used(tmp_path):
    rows = np.zeros(4, [(n, "f4") for n in ("x", "y", "z", "scan_angle", "gps_time")])
    other = np.zeros(2, [("a", "i4")])
    PlyData([PlyElement.describe(rows, "vertex"), PlyElement.describe(other, "camera")]).write(tmp_path / "a.ply")
    notes = " | ".join(inspect(tmp_path / "a.ply")["notes"])
    assert "elements camera" in notes and "properties scan_angle, gps_time" in notes


def test_materials_and_pictures_that_are_lost(textured, tmp_path):
    io.save(textured, tmp_path / "a.obj")
    assert problems(tmp_path / "a.obj") == ""
    (tmp_path / "a_texture.png").unlink()
    assert "a_texture.png of material textured is not there" in problems(tmp_path / "a.obj")
    (tmp_path / "a.mtl").unlink()
    assert "a.mtl are not there" in problems(tmp_path / "a.obj")


def test_what_was_looked_at_is_said(splats, tmp_path, capsys):
    io.save(splats(20), tmp_path / "a.ply")
    assert main(["inspect", str(tmp_path / "a.ply")]) == 0
    out = capsys.readouterr().out
    assert "nothing was found wrong among: elements and properties, values that are not finite" in out and "nothing is wrong" not in out


def test_lenses_are_told(tmp_path):
    from recon.cameras.known import cameras_of_photos
    from recon.scene import Lens

    cameras = cameras_of_photos([[50, 0, 32], [0, 50, 24], [0, 0, 1]], 64, 48, np.eye(4), lenses=[Lens(model="FOV", params=(0.8,))])
    io.save(Scene(cameras=cameras), tmp_path / "colmap")
    assert inspect(tmp_path / "colmap")["views"]["lenses"] == "FOV"


FAST = ["a.ply", "a.points.ply", "a.mesh.ply", "a.compressed.ply", "a.splat", "a.spz", "a.sog"]
FAST += ["colmap", "colmap_binary", "transforms.json", "cameras.json"]


def test_small_files_are_inspected_without_torch(splats, views, sphere, tmp_path):
    """Every format that needs no torch, in one process; and the command starts in half a second beyond Python's own start (best of three)."""
    for name in FAST:
        scene = sphere if "mesh" in name else views(with_tracks=True) if name in FAST[7:] or "points" in name else splats(20)
        (tmp_path / name.replace(".", "_")).mkdir()
        io.save(scene, tmp_path / name.replace(".", "_") / name)
    files = [str(tmp_path / name.replace(".", "_") / name) for name in FAST]
    code = "import sys\nfrom recon.io.inspect import inspect\nfor f in sys.argv[1:]: inspect(f)\nassert not {'torch', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, *files], check=True)

    def seconds(*arguments: str) -> float:
        """Of processor time, which other work on the machine does not change."""
        spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        start = spent()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return spent() - start

    assert min(seconds("-m", "recon.cli", "inspect", files[0]) for _ in range(3)) - min(seconds("-c", "pass") for _ in range(3)) < 0.5
