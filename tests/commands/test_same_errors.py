"""What is refused on the command line is refused in Python with the same words, and the other way round; so are the warnings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import recon
from recon.cli import main
from recon.errors import spelled_for_command_line

FAST = ["--weights", "random", "--matches", "none", "--resolution", "64", "--quiet"]


def picture(path: Path, seed: int = 0, width: int = 160, height: int = 128) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def flat(path: Path, value: int) -> Path:
    Image.new("RGB", (100, 80), (value, value, value)).save(path)
    return path


def two(folder: Path) -> list[Path]:
    return [picture(folder / "a.png"), picture(folder / "b.png", 1)]


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def mask_folder(folder: Path, name: str, *size: int, value: int = 255) -> Path:
    (folder / "masks").mkdir()
    Image.new("L", size, value).save(folder / "masks" / name)
    return folder / "masks"


def model(folder: Path, lines: str) -> Path:
    (folder / "model").mkdir()
    text(folder / "model" / "cameras.txt", lines)
    return folder / "model"


Make = Callable[[Path], tuple[Any, list[Any]]]
BAD: dict[str, tuple[Make, str]] = {  # -> photos and options of the command line, the words of the error
    "black": (lambda f: ([flat(f / "a.png", 0)], []), "nothing can be seen in a.png"),
    "white": (lambda f: ([flat(f / "a.png", 255), picture(f / "b.png")], []), "nothing can be seen in a.png"),
    "grey": (lambda f: ([flat(f / f"{i}.png", 99) for i in range(5)], []), "0.png, 1.png, 2.png and 2 more"),
    "copies": (lambda f: ([picture(f / "a.png"), picture(f / "b.png")], []), "all 2 photos are the same picture"),
    "no picture": (lambda f: ([text(f / "a.png", "hello")], []), "it is no picture"),
    "too small": (lambda f: ([picture(f / "a.png", width=20, height=20)], []), "20 x 20 pixels, wanted at least 32"),
    "empty folder": (lambda f: ([f], []), "holds no photos"),
    "broken archive": (lambda f: ([text(f / "a.zip", "hello")], []), "cannot be read as a zip archive"),
    "resolution": (lambda f: (two(f), ["--resolution", "10"]), "resolution is 10, wanted 64 to 4096"),
    "device": (lambda f: (two(f), ["--device", "quantum"]), "device 'quantum' cannot be used here"),
    "model": (lambda f: (two(f), ["--model", "vgt"]), "unknown model 'vgt'"),
    "weights": (lambda f: (two(f), ["--weights", "absent.safetensors"]), "no weights file"),
    "strangers": (lambda f: (two(f), ["--matches", "sift"]), "--matches none places them roughly"),
    "focal": (lambda f: (two(f), ["--focal", "28"]), "the focal length is '28'"),
    "focal too long": (lambda f: (two(f), ["--focal", "99999999px"]), "in a photo 160 wide"),
    "no cameras": (lambda f: (two(f), ["--cameras", f / "none.json"]), "there is no such file"),
    "cameras of others": (lambda f: (two(f), ["--cameras", text(f / "cameras.json", json.dumps([
        {"img_name": "x", "width": 160, "height": 128, "fx": 100, "fy": 100}
    ]))]), "has no camera for any of the photos"),
    "cameras of another shape": (lambda f: (two(f), ["--cameras", text(f / "cameras.json", json.dumps([
        {"img_name": "a", "width": 128, "height": 160, "fx": 100, "fy": 100}
    ]))]), "a.png is 160 x 128 pixels, its camera is for 128 x 160"),
    "lenses of another shape": (lambda f: (two(f), ["--cameras", model(f, "1 PINHOLE 100 100 90 90 50 50\n")]), "for photos of other shapes"),
    "no json": (lambda f: (two(f), ["--cameras", text(f / "cameras.json", "{")]), "is not JSON"),
    "masks": (lambda f: (two(f), ["--masks", f / "none"]), "there is no folder of masks"),
    "no mask": (lambda f: (two(f), ["--masks", mask_folder(f, "x.png", 160, 128)]), "holds no mask of any photo"),
    "mask of another shape": (lambda f: (two(f), ["--masks", mask_folder(f, "a.png", 128, 160)]), "wanted the same shape"),
    "black mask": (lambda f: (two(f), ["--masks", mask_folder(f, "a.png", 160, 128, value=0)]), "is all black"),
    "metric without places": (lambda f: (two(f), ["--metric"]), "--metric says that given places are in metres, and 0 are given"),
}  # fmt: skip


def in_python(photos: list[Path], options: dict[str, Any]) -> recon.Scene:
    """The same call through the library."""
    value = lambda name: options.get(f"--{name}")
    images = recon.load_images(photos, long_side=int(value("resolution")), masks=value("masks"))
    cameras = None
    if value("focal"):
        cameras = recon.cameras_of_focal(value("focal"), images)
    elif value("cameras"):
        cameras = recon.read_cameras(value("cameras"), images)
    return recon.reconstruct(
        images, model=value("model") or "recon-small", weights=value("weights"), cameras=cameras, metric="--metric" in options,
        device=value("device"), matches=value("matches"), resolution=int(value("resolution")),
    )  # fmt: skip


def parsed(arguments: list[Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        if str(name).startswith("--"):
            out[name] = None if str(following).startswith("--") else following
    return out


@pytest.mark.parametrize("name", BAD)
def test_the_same_error_on_both_ways(tmp_path, capsys, name):
    make, wanted = BAD[name]
    photos, options = make(tmp_path)
    call = ["run", *map(str, photos), "-o", str(tmp_path / "out"), *FAST, *map(str, options)]
    assert main(call) == 1
    said = capsys.readouterr().err
    assert said.startswith("recon: ") and said.count("\n") == 1 and wanted in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(recon.ReconError) as caught:
        in_python(photos, parsed([*FAST, *options]))
    assert f"recon: {' '.join(spelled_for_command_line(str(caught.value)).split())}\n" == said
    assert "--" not in str(caught.value)


def test_the_same_warnings_on_both_ways(tmp_path, capsys):
    """Cropped photos, a copy among them, and a blurred one."""
    photos = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png", 1, 128, 128), picture(tmp_path / "c.png", 1, 128, 128)]
    assert main(["run", *map(str, photos), "-o", str(tmp_path / "out"), *FAST, "--formats", "npz", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    scene = in_python(photos, parsed(FAST))
    assert record["warnings"] == [spelled_for_command_line(line) for line in scene.report["warnings"]]
    assert any("have several shapes" in line and "--cameras" in line for line in record["warnings"])
    assert any("are the same photo" in line for line in record["warnings"])
    assert float(scene.cameras.confidence.max()) <= 0.3
    assert main(["run", *map(str, photos), "-o", str(tmp_path / "out"), *FAST, "--formats", "npz", "--json", "--focal", "150px"]) == 0
    assert not any("several shapes" in line for line in json.loads(capsys.readouterr().out)["warnings"])


def test_known_cameras_are_kept(tmp_path, capsys):
    """K and places given by name come out as they went in, and in metres only where matches say so."""
    photos = two(tmp_path)
    K = np.array([[150.0, 0, 82], [0, 151, 61], [0, 0, 1]])
    poses = np.stack([np.eye(4)] * 2)
    poses[1, 0, 3] = 0.5
    np.savez(tmp_path / "k.npz", K=K, width=160, height=128, cam_to_world=poses, names=["a.png", "b.png"])
    call = ["run", *map(str, photos), "-o", str(tmp_path / "out"), *FAST, "--formats", "colmap", "--json", "--cameras", str(tmp_path / "k.npz")]
    assert main([*call, "--metric"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [v["placed_by"] for v in record["views"]] == ["given"] * 2 and not record["metric"]
    assert any("not in metres" in line for line in record["warnings"])
    for view, T in zip(record["views"], poses, strict=True):
        assert np.allclose(view["K"], K, atol=1e-3) and np.allclose(view["cam_to_world"], T)
    back = recon.load(tmp_path / "out" / "colmap")
    assert np.allclose(back.cameras.K, K, atol=1e-3)


def test_masked_pixels_are_left_out(tmp_path):
    photos = two(tmp_path)
    (tmp_path / "masks").mkdir()
    mask = np.full((64, 80), 255, np.uint8)
    mask[:, :40] = 0
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png.png")
    images = recon.load_images(photos, long_side=64, masks=tmp_path / "masks")
    assert 0.45 < images.mask[0].float().mean() < 0.52 and not images.mask[0, :, :20].any() and images.mask[1].float().mean() > 0.9
    assert "b.png without a mask" in images.remarks
