"""The CPU renderer against the PyTorch specification on 200 seeded scenes with everything that goes wrong in them, and its cache on disk."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recon.render import render

spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).parents[1] / "bench" / "render_scenes.py")
assert spec is not None and spec.loader is not None
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Many small tensors: torch's threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def equal(seed: int, **options: Any) -> None:
    kind, gaussians, cameras = scenes.random_scene(seed)
    extras = ("normals", "median_depth") if seed % 5 == 0 else ()
    options |= {"background": (0.1, 0.4, 0.7), "extras": extras}
    wanted, got = (render(gaussians, cameras, backend=b, **options) for b in ("torch", "cpu"))
    assert scenes.psnr(got.color, wanted.color) >= 60, (seed, kind)
    assert scenes.off_depths(got.depth, wanted.depth, wanted.alpha) <= 2e-3, (seed, kind)
    if got.normals is not None and wanted.normals is not None and got.median_depth is not None and wanted.median_depth is not None:
        seen = wanted.alpha[0] > 0.05
        assert ((got.normals - wanted.normals)[0].norm(dim=-1)[seen] > 1e-2).float().mean().nan_to_num() < 5e-3, (seed, kind)
        assert ((got.median_depth - wanted.median_depth).abs() > 1e-3 * wanted.median_depth.clamp(min=1)).float().mean() < 5e-3, (seed, kind)


@pytest.mark.parametrize("first", range(0, 200, 40))
def test_equals_torch(first: int) -> None:
    for seed in range(first, first + 40):
        equal(seed, antialiased=seed % 3 == 0)


def test_surfels_equal_torch() -> None:
    for seed in range(24):
        equal(seed, primitive="surfel")


def test_several_cameras() -> None:
    _, gaussians, cameras = scenes.random_scene(8)
    three = cameras[[0, 0, 0]]
    three.cam_to_world[1, :3, 3] += 0.2
    got = render(gaussians, three, backend="cpu", background=torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, 0, 0]]))
    wanted = render(gaussians, three, backend="torch", background=torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, 0, 0]]))
    assert scenes.psnr(got.color, wanted.color) > 60
    assert not torch.equal(got.alpha[0], got.alpha[1]) and torch.equal(got.alpha[0], got.alpha[2])


def test_compiled_once_for_all_processes(tmp_path: Path) -> None:
    code = (
        "import torch; from recon.scene import Gaussians, Cameras; from recon.render import render; from recon.render import cpu_blend as b\n"
        "g = Gaussians(means=torch.tensor([[0., 0, 3]]), quats=torch.tensor([[1., 0, 0, 0]]), scales=torch.ones(1, 3), opacities=torch.ones(1),"
        " sh=torch.zeros(1, 1, 3))\n"
        "render(g, Cameras(K=torch.eye(3)[None] * 9, cam_to_world=torch.eye(4)[None], width=9, height=9), backend='cpu', check=False)\n"
        "print(sum(b.blend_gaussians.stats.cache_hits.values()), sum(b.blend_gaussians.stats.cache_misses.values()))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)
    ]
    assert said == [["0", "1"], ["1", "0"]]
