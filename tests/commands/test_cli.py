"""The command line from the call to the files; errors are in test_bad_input.py."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from recon.cli import COMMANDS, main
from recon.commands.output import finite


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_follows_the_contract(command, capsys):
    module = importlib.import_module(f"recon.commands.{command}")
    assert module.__doc__
    assert [*inspect.signature(module.add_arguments).parameters, *inspect.signature(module.run).parameters] == ["parser", "args"]
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"recon {command}" in out and "--json" in out and "--quiet" in out


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for command, text in COMMANDS.items():
        assert command in out and text in out


@pytest.mark.weights
def test_two_photos_to_files(tmp_path, capsys, sample_photos):
    """The whole way with the default weights: files, report and picture are there and agree with each other."""
    options = ["--formats", "ply,points.ply,glb,colmap,npz", "--json", "--resolution", "256"]
    assert main(["run", *map(str, sample_photos), "-o", str(tmp_path / "out"), *options]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    out = tmp_path / "out"
    assert json.loads((out / "report.json").read_text()) == record and captured.err == ""
    names = {"scene.ply", "scene.points.ply", "scene.glb", "colmap", "scene.npz", "contact_sheet.png"}
    assert {p.name for p in out.iterdir()} == names | {"report.json", ".recon"}
    written = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p.name != ".recon"}
    assert written == {os.path.relpath(p, out) for p in record["files"]}
    assert [v["placed_by"] for v in record["views"]] == ["matches", "matches"]
    assert min(v["confidence"] for v in record["views"]) > 0.3  # a cropped stereo pair leaves its lens open, and that is said
    (warning,) = record["warnings"]
    assert "leave the focal length open" in warning
    assert record["tracks"] > 200 and 0 < record["median_track_error_px"] < 1
    assert set(record["seconds"]) >= {"imports", "photos", "weights", "matches", "cameras", "files", "total"}
    weights = (importlib.import_module("recon.weights").assets_folder() / "weights" / "recon-small.safetensors").read_bytes()
    assert record["weights"] == {"file": "recon-small.safetensors", "sha256": hashlib.sha256(weights).hexdigest()}
    assert record["sweep_weights"]["file"] == "recon-mvs.safetensors"
    motion = np.array(record["views"][1]["cam_to_world"])
    assert abs(np.degrees(np.arccos((np.trace(motion[:3, :3]) - 1) / 2))) < 2  # the pair is rectified: a step to the right
    assert motion[0, 3] > 0.99 * np.linalg.norm(motion[:3, 3])
    sheet = np.asarray(Image.open(out / "contact_sheet.png"))
    assert sheet.shape[1] > 1000 and sheet.std() > 40
    import recon

    scene = recon.load(out / "scene.npz")
    assert scene.gaussians is not None and len(scene.gaussians) == record["gaussians"]
    assert np.allclose(scene.cameras.cam_to_world[1].numpy(), motion, atol=1e-5)


@pytest.mark.weights
def test_the_demo_takes_the_cameras_of_its_photos(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "out"), "--formats", "ply", "--json", "--resolution", "256"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [v["placed_by"] for v in record["views"]] == ["given", "given"] and record["warnings"] == []
    assert np.allclose(np.array(record["views"][1]["cam_to_world"])[:3, 3], [0.16, 0, 0]) and not record["metric"]


@pytest.mark.weights
def test_equal_seeds_give_equal_scenes(tmp_path, sample_photos):
    import torch

    import recon

    first, second = (recon.reconstruct(sample_photos, resolution=128, matches="sift", seed=3) for _ in range(2))
    assert torch.equal(first.cameras.cam_to_world, second.cameras.cam_to_world)
    assert first.gaussians is not None and second.gaussians is not None and torch.equal(first.gaussians.means, second.gaussians.means)


def test_one_photo_with_random_weights(tmp_path, capsys, sample_photos):
    arguments = ["run", str(sample_photos[0]), "-o", str(tmp_path), "--weights", "random", "--resolution", "64", "--formats", "points.ply"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "warning: one photo has no parallax" in captured.out and "% depth" in captured.err
    assert json.loads((tmp_path / "report.json").read_text())["weights"] == "random"


def test_models_and_doctor(capsys):
    assert main(["models", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["models"]
    assert {"name", "licence", "commercial", "needs_cameras", "gives_gaussians", "metric"} <= set(table[0])
    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["torch"] and found["numpy"] and "problems" in found


def test_a_reader_that_stops_listening():
    """`recon models | true` ends quietly."""
    done = subprocess.run(f"{sys.executable} -m recon.cli models | true", shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_numbers_that_json_cannot_hold():
    assert finite({"a": [float("nan"), 1.5, (float("inf"), 2)], 3: "x"}) == {"a": [None, 1.5, [None, 2]], "3": "x"}


@pytest.mark.parametrize(("code", "limit"), [("import recon", 1.5), ("from recon.cli import main; main(['--help'])", 1.0)])
def test_starting_is_quick(code, limit):
    """Seconds beyond Python's own start, the best of three."""

    def seconds(program: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds(code) for _ in range(3)) - min(seconds("pass") for _ in range(3)) < limit
