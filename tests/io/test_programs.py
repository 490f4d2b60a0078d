"""What `--for` writes for each program, what `recon inspect` tells, and the two commands as a user calls them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from plyfile import PlyData

import recon.io as io
from recon.cli import main
from recon.io.inspect import inspect


def places(path) -> np.ndarray:
    vertex = PlyData.read(path)["vertex"]
    return np.stack([vertex[a] for a in "xyz"], 1)


def test_axes_and_units_of_the_programs(splats, tmp_path):
    scene = splats(50, degree=0)
    x, y, z = scene.gaussians.means.numpy().T
    for program, wanted in {"blender": (x, z, -y), "unity": (x, -y, z), "unreal": (x, y, z), "supersplat": None}.items():
        (path,) = io.save_for(scene, tmp_path, program)
        if wanted is not None:
            assert np.array_equal(places(path), np.stack(wanted, 1)), program
            rest = sum(name.startswith("f_rest_") for name in PlyData.read(path)["vertex"].data.dtype.names)
            assert rest == (0 if program == "blender" else 45)
    io.save(scene, tmp_path / "a.ply", axes="unreal", unit_scale=100.0)
    assert np.allclose(places(tmp_path / "a.ply"), 100 * np.stack([z, x, -y], 1))
    back = io.load(tmp_path / "a.ply", axes="unreal").gaussians
    torch.testing.assert_close(back.scales, scene.gaussians.scales * 100)


@pytest.mark.parametrize("program", ["blender", "unity", "unreal", "threejs", "supersplat", "nerfstudio", "colmap"])
def test_every_program_gets_what_it_takes(views, splats, sphere, tmp_path, program):
    scene = replace(views(with_tracks=True), gaussians=splats(50).gaussians, mesh=sphere.mesh)
    written = io.save_for(scene, tmp_path, program)
    assert written and all(path.exists() for path in written)
    for path in written:
        assert inspect(path)["problems"] == []


def test_transforms_json_has_the_convention_of_nerfstudio(views, tmp_path):
    """A point through the file's own numbers (z-up world, OpenGL camera) falls on its pixel in the written photo."""
    scene = views(with_tracks=True)
    (path,) = io.save_for(scene, tmp_path, "nerfstudio")
    content = json.loads(path.read_text())
    applied = np.array(content["applied_transform"])
    tracks = scene.tracks
    for v, frame in enumerate(content["frames"]):
        rows = tracks.view == v
        world = tracks.points[tracks.point[rows]].numpy() @ applied[:, :3].T + applied[:, 3]
        local = np.c_[world, np.ones(len(world))] @ np.linalg.inv(frame["transform_matrix"]).T
        u = frame["fl_x"] * local[:, 0] / -local[:, 2] + frame["cx"]
        w = -frame["fl_y"] * local[:, 1] / -local[:, 2] + frame["cy"]
        assert np.allclose(np.stack([u, w], 1), 2 * tracks.xy[rows].numpy(), atol=1e-2)  # the photo is twice the grid
    points = places(path.with_name("points.ply"))
    assert np.allclose(points, scene.pointmaps.points.reshape(-1, 3).numpy() @ applied[:, :3].T, atol=1e-5)


def test_a_view_without_a_place_is_left_out(views, tmp_path, caplog):
    scene = views(with_tracks=True)
    poses = scene.cameras.cam_to_world.clone()
    poses[1] = float("nan")
    broken = replace(scene, cameras=replace(scene.cameras, cam_to_world=poses, placed_by=("given", "unplaced", "given")))
    io.save(broken, tmp_path / "colmap")
    assert io.load(tmp_path / "colmap").report["names"] == ["photo_0.jpg", "photo_2.jpg"] and "photo_1.jpg" in caplog.text
    io.save(broken, tmp_path / "transforms.json")
    assert len(io.load(tmp_path / "transforms.json").cameras) == 2


@pytest.mark.parametrize(("name", "tolerance"), [("depth_png", 1e-3), ("depth_exr", 0), ("depth_npy", 0)])
def test_depth_folders(views, tmp_path, name, tolerance):
    scene = replace(views(), metric=True)
    io.save(scene, tmp_path / name)
    back = io.load(tmp_path / name)
    torch.testing.assert_close(back.depth, scene.depth, atol=tolerance, rtol=0)
    torch.testing.assert_close(back.pointmaps.confidence, scene.pointmaps.confidence, atol=tolerance, rtol=0)
    torch.testing.assert_close(back.pointmaps.points, scene.pointmaps.points, atol=2 * tolerance + 1e-5, rtol=0)
    assert back.metric and torch.equal(back.cameras.K, scene.cameras.K)


def test_inspect_tells_what_is_wrong(splats, tmp_path):
    scene = splats(200)
    g = scene.gaussians
    foggy = replace(scene, gaussians=replace(g, opacities=torch.sigmoid(g.opacities)))  # as if stored without the logit
    io.save(foggy, tmp_path / "foggy.ply")
    assert "foggy" in inspect(tmp_path / "foggy.ply")["problems"][0]
    io.save(replace(scene, gaussians=replace(g, scales=g.scales.exp() * 10)), tmp_path / "big.ply")  # as if stored without the logarithm
    assert "larger than the scene" in inspect(tmp_path / "big.ply")["problems"][0]
    io.save(scene, tmp_path / "good.ply")
    facts = inspect(tmp_path / "good.ply")
    assert facts["problems"] == [] and "SuperSplat" in facts["opens_in"]
    assert facts["gaussians"]["count"] == 200 and facts["gaussians"]["sh_degree"] == 3
    json.dumps(facts, allow_nan=False)


def test_commands(splats, tmp_path, capsys):
    io.save(splats(50), tmp_path / "a.ply")
    assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / "b.spz")]) == 0
    assert len(io.load(tmp_path / "b.spz").gaussians) == 50
    assert main(["convert", str(tmp_path / "a.ply"), "--for", "unity", "--json"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "b.spz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gaussians"]["count"] == 50
    assert main(["inspect", str(tmp_path / "a.ply")]) == 0 and "nothing was found wrong among: " in capsys.readouterr().out
    for call, code in (
        (["convert", str(tmp_path / "a.ply")], 2), (["convert", str(tmp_path / "a.ply"), "x.foo"], 2),
        (["convert", str(tmp_path / "none.ply"), "x.spz"], 1), (["inspect", str(tmp_path / "none.ply")], 1),
        (["convert", str(tmp_path / "a.ply"), str(tmp_path / "b.spz" / "c.ply")], 1),
    ):  # fmt: skip
        assert main(call) == code
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_importing_the_table_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, recon.io; recon.io.formats(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]
