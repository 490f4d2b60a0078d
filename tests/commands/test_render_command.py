"""`recon render` from end to end: real files in, pictures that show the scene out, wrong calls as one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon import io
from recon.cli import main
from recon.render import camera_paths
from recon.scene import Cameras, Gaussians, Scene


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator), dim=-1) + torch.tensor([0.5, 0.2, 4.0])
    color = torch.where(means[:, 1:2] < 0.2, torch.tensor([1.0, 0.1, 0.1]), torch.tensor([0.1, 0.1, 1.0]))  # red above, blue below
    gaussians = Gaussians(
        means=means, quats=torch.eye(4)[:1].repeat(3000, 1), scales=torch.full((3000, 3), 0.04), opacities=torch.full((3000,), 0.95),
        sh=((color - 0.5) / 0.28209479)[:, None],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("scene") / "ball.ply"
    io.save(Scene(cameras=Cameras(K=torch.zeros(0, 3, 3), cam_to_world=torch.zeros(0, 4, 4), width=1, height=1), gaussians=gaussians), path)
    return path


def test_orbit_shows_the_ball_upright(scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "frames"
    call = ["render", str(scene_file), "--orbit", "--frames", "3", "--size", "96x64", "-o", str(target), "--background", "1,1,1", "--json"]
    assert main(call) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["frames"] == 3 and len(result["files"]) == 3
    for name in result["files"]:
        picture = np.asarray(Image.open(name)).astype(int)
        assert picture.shape == (64, 96, 3) and picture[0, 0].tolist() == [255, 255, 255]
        upper, lower = picture[16:22, 48], picture[49:52, 48]
        assert (upper[:, 0] > upper[:, 2] + 80).all() and (lower[:, 2] > lower[:, 0] + 80).all()


def test_path_of_a_file(scene_file: Path, tmp_path: Path) -> None:
    place = camera_paths.surroundings(io.load(scene_file))
    path = tmp_path / "cameras.json"
    io.save(Scene(cameras=camera_paths.orbit(place, width=64, height=48, frames=2)), path)
    assert main(["render", str(scene_file), "--path", str(path), "--size", "64x48", "-o", str(tmp_path / "out.gif"), "--quiet"]) == 0
    with Image.open(tmp_path / "out.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 2


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--size", "96"], 2, "wanted WIDTHxHEIGHT"),
        (["--background", "red"], 2, "wanted red,green,blue"),
        (["--frames", "0"], 2, "wanted at least 1"),
        (["--orbit", "--spiral"], 2, "not allowed with"),
        (["-o", "out.avi"], 1, "pictures go to"),
        (["-o", "one.png", "--frames", "3"], 1, "holds one picture and 3 were asked for"),
        (["--input-cameras"], 1, "no placed cameras"),
        (["--wobble"], 1, "use orbit"),
        (["--quiet", "--backend", "cuda"], 1, "on cuda"),
    ],
)
def test_wrong_calls(scene_file: Path, options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert main(["render", str(scene_file), *options]) == code
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_scene_without_gaussians(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(tmp_path / "nothing.ply")]) == 1
    assert "no such file" in capsys.readouterr().err
