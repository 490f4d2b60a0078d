"""What a user can give that cannot work: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.cli import main

FAST = ["--weights", "random", "--matches", "none", "--resolution", "64", "--quiet"]  # no weights needed: what is tested is what goes wrong


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG of any claimed size."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def picture(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((160, 128), Image.Resampling.BICUBIC).save(path)
    return path


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str | Path], code: int, *wanted: str) -> None:
    """The command ends with this exit code and one line on stderr that says this."""
    assert main([str(a) for a in arguments]) == code
    out, err = capsys.readouterr()
    assert err.startswith("recon: ") and err.count("\n") == 1, err
    for text in wanted:
        assert text in err, err
    assert out == ""


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({"a.jpg": b"this is text"}, "it is no picture; allowed: .jpg"),
        ({"a.jpg": "truncated"}, "cannot be read as a photo"),
        ({"a.png": png(1, 1, b"\0\0\0\0")}, "1 x 1 pixels, wanted at least 32"),
        ({"a.png": png(60_000, 10)}, "60000 x 10 pixels, wanted at least 32"),
        ({"a.png": png(60_000, 60_000)}, "60000 x 60000 pixels, wanted at most 200 million"),
        ({"a.jpg": b""}, "cannot be read as a photo"),
        ({"notes.txt": b"x"}, "holds no photos"),
    ],
)
def test_photos_that_cannot_be_read(tmp_path, capsys, sample_photos, content, wanted):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(sample_photos[0].read_bytes()[:60_000] if data == "truncated" else data)
    fails(capsys, ["run", folder, "-o", tmp_path / "out", *FAST], 1, wanted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["run", "absent.jpg"], "no such photo: absent.jpg"),
        (["run"], "the following arguments are required: photos"),
        (["run", "{photo}", "--formats", "ply,doc"], "unknown format doc; any of: "),
        (["run", "{photo}", "--formats", ""], "unknown format ''"),
        (["run", "{photo}", "--matches", "magic"], "invalid choice: 'magic'"),
        (["run", "{photo}", "--resolution", "many"], "invalid int value: 'many'"),
        (["fly"], "unknown command 'fly'; one of: run, demo"),
        (["eval", "absent"], "no such folder: absent"),
        (["eval", "{folder}"], "no cameras.json below"),
        (["train", "--minutes", "0"], "--minutes is 0.0; wanted above 0"),
    ],
)
def test_calls_that_are_wrong(tmp_path, capsys, monkeypatch, arguments, wanted):
    monkeypatch.chdir(tmp_path)
    names = {"photo": picture(tmp_path / "a.png"), "folder": tmp_path}
    fails(capsys, [a.format(**names) for a in arguments], 2, wanted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--model", "vgt"], "unknown model 'vgt'; one of: recon-small"),
        (["--device", "quantum"], "device 'quantum' cannot be used here"),
        (["--resolution", "10"], "resolution is 10, wanted 64 to 4096"),
        (["--max-gaussians", "0"], "max_gaussians is 0, wanted 1 or more"),
        (["--weights", "absent.safetensors"], "no weights file absent.safetensors"),
    ],
)
def test_options_that_turn_out_wrong(tmp_path, capsys, options, wanted):
    fails(capsys, ["run", picture(tmp_path / "a.png"), "-o", tmp_path / "out", "--quiet", *options], 1, wanted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "wanted"), [("key", "unknown stem.new"), ("shape", "log_scales is [4], wanted [2]"), ("cut", "cannot be read as weights")]
)
def test_weights_of_another_network(tmp_path, capsys, change, wanted):
    import torch

    from recon.models import load_model
    from recon.weights import pack

    state = dict(load_model(weights="random", device="cpu").state_dict())
    if change == "key":
        state["stem.new"] = torch.zeros(3)
    if change == "shape":
        state["log_scales"] = torch.zeros(4)
    path = tmp_path / "w.safetensors"
    pack(state, path)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    fails(capsys, ["run", picture(tmp_path / "a.png"), "-o", tmp_path / "out", "--weights", path, "--quiet"], 1, wanted)
    assert not (tmp_path / "out").exists()


def test_the_same_photo_twice(tmp_path, capsys, sample_photos):
    copy = tmp_path / "copy.png"
    Image.open(sample_photos[0]).save(copy)
    wanted = ("all 2 photos are the same picture", "give photos from different places")
    fails(capsys, ["run", sample_photos[0], copy, "-o", tmp_path / "out", *FAST], 1, *wanted)
    assert not (tmp_path / "out").exists()


def test_photos_of_different_scenes(tmp_path, capsys, sample_photos, root):
    photos = [sample_photos[0], root / "assets" / "photos" / "graf_1.jpg"]
    options = ["--weights", "random", "--matches", "sift", "--resolution", "64", "--quiet"]
    wanted = ("no two of the 2 photos share reliable matches", f"{photos[0].name}: ", "matches with its best partner graf_1.jpg agree")
    fails(capsys, ["run", *photos, "-o", tmp_path / "out", *options], 1, *wanted)
    assert not (tmp_path / "out").exists()


def test_one_view_for_a_command_that_needs_two(tmp_path, capsys):
    picture(tmp_path / "a.png")
    record = {"image": "a.png", "K": np.eye(3).tolist(), "T_world_from_cam": np.eye(4).tolist()}
    (tmp_path / "cameras.json").write_text(json.dumps([record]))
    fails(capsys, ["eval", tmp_path, "--quiet"], 2, "has 1 photo; a pair needs 2")


@pytest.mark.parametrize("inside", ["file", "file/out", "/dev/full/out"])
def test_a_folder_that_cannot_be_written(tmp_path, capsys, inside):
    (tmp_path / "file").write_text("mine")
    fails(capsys, ["run", picture(tmp_path / "a.png"), "-o", tmp_path / inside, *FAST], 1, inside.split("/")[-1])
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk(tmp_path):
    """Files may not grow beyond 100 kB, as on a full disk: the old files stay and nothing half-written is left."""
    photo, out = picture(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    (out / "scene.ply").write_text("old")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    arguments = [sys.executable, "-m", "recon.cli", "run", str(photo), "-o", str(out), "--weights", "random", "--matches", "none", "--quiet"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(arguments, preexec_fn=limit, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2])
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("recon: ") and done.stderr.count("\n") == 1 and "scene.ply" in done.stderr, done.stderr
    assert [p.name for p in out.iterdir()] == ["scene.ply"] and (out / "scene.ply").read_text() == "old"


def test_errors_for_programs(capsys):
    assert main(["run", "absent.jpg", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": "no such photo: absent.jpg"} and err == "recon: no such photo: absent.jpg\n"
