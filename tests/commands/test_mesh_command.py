"""`recon mesh`: from a file's scene to a mesh in a file, upright and of a known size; wrong calls leave nothing behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import recon
from recon.cli import main

sys.path.insert(0, str(Path(__file__).parent.parent / "meshes"))
from known_shapes import sphere_scene  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def ball(tmp_path_factory) -> Path:
    """A ball as a folder of depth maps with cameras."""
    from recon.meshes.with_open3d import open3d_problem

    if problem := open3d_problem():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("ball") / "depth_npy"
    recon.save(sphere_scene(), folder)
    return folder


FEW = ["--faces", "2000", "--voxel-size", "0.06"]


def told(capsys, *arguments: str) -> dict:
    assert main(["mesh", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_depth_maps_to_a_glb(ball, tmp_path, capsys):
    target = tmp_path / "out" / "ball.glb"
    result = told(capsys, str(ball), "-o", str(target), *FEW)
    assert result["files"] == [str(target)] and result["faces"] <= 2000 and not result["metric"]
    mesh = recon.load(target).mesh
    assert mesh is not None and len(mesh.faces) == result["faces"]
    assert float((mesh.vertices.norm(dim=1) - 1).abs().mean()) < 0.03


@pytest.mark.parametrize("place", [("0,0,-1", "0,0,1"), ("0:80,60", "13:80,60")])
def test_a_known_length(ball, tmp_path, capsys, place):
    """The first and the last camera of the ball stand on opposite sides: their middles are its poles."""
    result = told(capsys, str(ball), "-o", str(tmp_path / "ball.obj"), *FEW, "--scale-ref", "0.5", "--between", *place, "--voxel-size", "0.02")
    apart = 2.0 if place[0] == "0,0,-1" else np.linalg.norm(poles(0) - poles(13))
    assert result["metric"] and result["size"] == pytest.approx([2 * 0.5 / apart] * 3, rel=0.05)


def poles(view: int) -> np.ndarray:
    eye = sphere_scene().cameras.cam_to_world[view, :3, 3].numpy()
    return eye / np.linalg.norm(eye)


def test_up(ball, tmp_path, capsys):
    """A ball looks the same; its file says which of its vertices stands highest."""
    paths = {up: tmp_path / f"{up.strip('-')}{len(up)}.ply" for up in ("keep", "z", "-z")}
    top = {}
    for up, path in paths.items():
        told(capsys, str(ball), "-o", str(path), *FEW, "--up", up)
        mesh = recon.load(path).mesh
        assert mesh is not None and mesh.colors is None
        top[up] = mesh.vertices
    assert np.allclose(top["keep"][:, 2], -top["z"][:, 1], atol=1e-5) and np.allclose(top["keep"][:, 2], top["-z"][:, 1], atol=1e-5)


@pytest.mark.parametrize("program", ["blender", "unity", "unreal", "threejs"])
def test_for_a_program(ball, tmp_path, capsys, program):
    """Importers of glTF turn its y-up metres into their own world: what was up (here +z) is +y in the file."""
    result = told(capsys, str(ball), "--for", program, "-o", str(tmp_path / "b"), *FEW, "--up", "z")
    assert result["files"] == [str(tmp_path / "b" / "mesh.glb")]
    as_written = recon.load(tmp_path / "b" / "mesh.glb", axes="opencv").mesh
    kept = told(capsys, str(ball), "-o", str(tmp_path / "kept.ply"), *FEW, "--up", "keep") and recon.load(tmp_path / "kept.ply").mesh
    assert as_written is not None and np.allclose(as_written.vertices[:, 1], kept.vertices[:, 2], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--faces", "0"], 2, "--faces is 0, wanted at least 4"), (["--method", "magic"], 2, "invalid choice"),
        (["--scale-ref", "2"], 2, "--scale-ref METRES and --between P Q belong together"), (["--up", "sideways"], 2, "--up is 'sideways'"),
        (["--scale-ref", "2", "--between", "a", "b"], 2, "--between has 'a'"), (["-o", "x.spz"], 2, "this format holds no mesh"),
        (["-o", "x.docx"], 2, "no known format"), (["--voxel-size", "0"], 1, "voxel_size is 0.0, wanted a positive number"),
        (["--voxel-size", "1e-8"], 1, "voxel_size is 1e-08, wanted"), (["--voxel-size", "9"], 1, "voxel_size is 9, wanted"),
        (["--scale-ref", "-1", "--between", "0,0,1", "0,0,-1"], 1, "known length is -1.0"),
        (["--scale-ref", "1", "--between", "0,0,1", "0,0,1"], 1, "one place"), (["--largest-hole", "-1"], 1, "largest_hole is -1.0"),
        (["--scale-ref", "1", "--between", "nobody:1,1", "0,0,1"], 1, "no photo 'nobody'"),
        (["--scale-ref", "1", "--between", "0:1,1", "0,0,1"], 1, "shows no surface"),
    ],
)  # fmt: skip
def test_wrong_calls_leave_nothing(ball, tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert main(["mesh", str(ball), *arguments, "--quiet"]) == code
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_user_stays(ball, tmp_path, capsys):
    target = tmp_path / "mine.glb"
    target.write_bytes(b"mine")
    assert main(["mesh", str(ball), "-o", str(target), *FEW, "--quiet"]) == 1
    assert "was not written by recon" in capsys.readouterr().err and target.read_bytes() == b"mine"


def test_nothing_there(tmp_path, capsys):
    assert main(["mesh", str(tmp_path / "none.ply"), "--quiet"]) == 2
    assert "no such photo or scene" in capsys.readouterr().err


@pytest.mark.weights
def test_photos_to_a_mesh(sample_photos, tmp_path, capsys):
    target = tmp_path / "plant.glb"
    cameras = sample_photos[0].parent / "aloe_cameras.json"
    photos = [str(p) for p in sample_photos]
    result = told(capsys, *photos, "--cameras", str(cameras), "--resolution", "256", "--faces", "5000", "--no-texture", "-o", str(target))
    assert 1000 < result["faces"] <= 5000 and result["texture"] is None
    mesh = recon.load(target).mesh
    assert mesh is not None and mesh.colors is not None and mesh.normals is not None
