"""Many pictures of one scene: `Renderer` against `render` and the specification, and what it refuses."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import recon
from recon.errors import ReconError
from recon.render import Renderer, render

spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).parents[1] / "bench" / "render_scenes.py")
assert spec is not None and spec.loader is not None
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)


def nudged(cameras: Any, step: int) -> Any:
    moved = cameras.cam_to_world.clone()
    moved[:, :3, 3] += 0.05 * step
    return replace(cameras, cam_to_world=moved)


@pytest.mark.parametrize("primitive", ["gaussian", "surfel"])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_pictures_equal_the_specification(primitive: Any, backend: Any) -> None:
    for seed in range(24):
        kind, gaussians, cameras = scenes.random_scene(seed)
        extras = ("normals", "median_depth") if seed % 3 == 0 else ()
        options: dict[str, Any] = {"background": (0.1, 0.4, 0.7), "primitive": primitive, "extras": extras}
        renderer = Renderer(gaussians, width=cameras.width, height=cameras.height, backend=backend, **options)
        assert renderer.backend == ("cpu" if backend == "auto" else backend)
        for step in range(3 if seed < 12 and backend == "auto" else 1):
            view = nudged(cameras, step)
            got, wanted = renderer.render(view), render(gaussians, view, backend="torch", **options)
            assert scenes.psnr(got.color, wanted.color) >= 60, (seed, kind, step)
            assert scenes.off_depths(got.depth, wanted.depth, wanted.alpha) <= 2e-3, (seed, kind)
            assert (got.normals is None) == (wanted.normals is None) and (got.median_depth is None) == (wanted.median_depth is None)


def test_earlier_pictures_stay() -> None:
    _, gaussians, cameras = scenes.random_scene(0)
    renderer = recon.Renderer(gaussians, width=cameras.width, height=cameras.height)
    first = renderer.render(cameras)
    before = first.color.clone(), first.depth.clone(), first.alpha.clone()
    renderer.render(nudged(cameras, 3))
    assert all(torch.equal(a, b) for a, b in zip(before, (first.color, first.depth, first.alpha), strict=True))
    three = renderer.render(cameras[[0, 0, 0]])
    assert torch.equal(three.color[2], first.color[0])


def test_cpu_pictures_are_those_of_render() -> None:
    for seed in (*range(24), 8):
        kind, gaussians, cameras = scenes.random_scene(seed)
        if seed % 2:  # equal depths: the order of the Gaussians decides, which packing changes
            cameras = replace(cameras, cam_to_world=torch.eye(4)[None])
            xy = gaussians.means[:, :2] - gaussians.means[:, :2].mean(0) if len(gaussians) else gaussians.means[:, :2]
            gaussians = replace(gaussians, means=torch.cat([xy, torch.full_like(xy[:, :1], 3.0)], -1))
        options: dict[str, Any] = {"backend": "cpu", "extras": ("normals", "median_depth") if seed % 3 == 0 else (), "antialiased": seed % 4 == 0}
        renderer = Renderer(gaussians, width=cameras.width, height=cameras.height, **options)
        wanted = render(gaussians, cameras, **options)
        gaussians.sh.add_(1.0)  # after packing
        got = renderer.render(cameras)
        for name in ("color", "depth", "alpha", "normals", "median_depth"):
            a, b = getattr(got, name), getattr(wanted, name)
            assert (a is None) == (b is None) and (a is None or torch.equal(a, b)), (seed, kind, name)


def test_wrong_calls_are_told() -> None:
    _, gaussians, cameras = scenes.random_scene(0)
    place: dict[str, Any] = {"width": cameras.width, "height": cameras.height}
    with pytest.raises(ReconError, match=r"Gaussians\.scales"):
        Renderer(replace(gaussians, scales=gaussians.scales - 1), **place)
    with pytest.raises(ReconError, match="unknown backend 'metal'"):
        Renderer(gaussians, backend="metal", **place)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ReconError, match="background is"):
        Renderer(gaussians, background=(1.0, 2.0), **place)
    with pytest.raises(ReconError, match="draws 10 x 10 pixels, the cameras have"):
        Renderer(gaussians, width=10, height=10).render(cameras)
    renderer = Renderer(gaussians, **place)
    with pytest.raises(ReconError, match=r"camera 0 .*has no place"):
        renderer.render(replace(cameras, cam_to_world=cameras.cam_to_world * torch.nan, placed_by=()))
    with pytest.raises(ReconError, match="K of camera 0"):
        renderer.render(replace(cameras, K=-cameras.K))


def test_clear_without_a_gpu() -> None:
    recon.render.clear()  # pyright: ignore[reportFunctionMemberAccess]
