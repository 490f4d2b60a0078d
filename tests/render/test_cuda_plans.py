"""What the CUDA renderer keeps from call to call, without a GPU: its kernels run on the host (conftest.py), and a graph is what it would launch."""

from __future__ import annotations

import contextlib
import importlib.util
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recon.errors import ReconError
from recon.render import cuda, cuda_draw, cuda_plans
from recon.render.cuda import render_cuda
from recon.render.cuda_plans import Plans
from recon.render.cuda_table import Inputs, again_in_row, empty_picture, fill_table, table_words, tensors_of
from recon.render.options import RenderOptions
from recon.render.specification import render_torch
from recon.scene import Cameras, Gaussians

spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).parents[1] / "bench" / "render_scenes.py")
assert spec is not None and spec.loader is not None
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)


class Event:
    def record(self, stream: object = None) -> None: ...

    def synchronize(self) -> None: ...


class Stream(Event):
    cuda_stream = 0

    def wait_event(self, event: Event) -> None: ...


@pytest.fixture
def plans(host_launch: cuda_draw.Launch, monkeypatch: pytest.MonkeyPatch) -> Plans:
    """A cache of two plans on a device that is this host."""
    stream = Stream()
    for module in (cuda, cuda_plans):
        monkeypatch.setattr(module, "device_launch", lambda device: host_launch)
    monkeypatch.setattr(cuda_plans, "captured", lambda work, device: (work(), work)[1])
    monkeypatch.setattr(cuda_plans, "page_locked", lambda *size: torch.zeros(*size, dtype=torch.int64))
    for name, stand_in in {
        "Event": Event, "current_stream": lambda device=None: stream, "device": lambda device: contextlib.nullcontext(),
        "is_current_stream_capturing": lambda: False, "get_device_properties": lambda device: SimpleNamespace(total_memory=2**32),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cuda, "current_stream", lambda device: 0)
    monkeypatch.setattr(cuda, "_values", lambda source, cameras: [*tensors_of(source), cameras.K, cameras.cam_to_world])
    monkeypatch.setattr(cuda_draw, "LEAST_ROOM", 300)  # a host is slow: few blocks
    return Plans(most=2)


def small(seed: int) -> tuple[Gaussians, Cameras]:
    _, gaussians, cameras = scenes.random_scene(seed)
    return gaussians[:90], replace(cameras, width=40 + seed, height=30)


def moved(cameras: Cameras, step: int) -> Cameras:
    T = cameras.cam_to_world.clone()
    T[:, :3, 3] += 0.03 * step
    return replace(cameras, cam_to_world=T)


def test_any_order_of_sizes_cameras_and_values(plans: Plans) -> None:
    order, kinds, made = random.Random(1), [small(seed) for seed in (0, 4, 5, 12)], []
    for call in range(40):
        gaussians, cameras = order.choice(kinds if call > 12 else kinds[:2])
        gaussians = replace(gaussians, opacities=gaussians.opacities * order.uniform(0.5, 1), means=gaussians.means + 0.01 * order.random())
        options = RenderOptions(background=torch.rand(1, 3), near=order.choice([0.01, 1.0]))
        view = moved(cameras, call % 7)
        got, wanted = render_cuda(gaussians, view, options, check=True, plans=plans), render_torch(gaussians, view, options)
        assert scenes.psnr(got.color, wanted.color) > 60, call
        made += [p for p in plans._plans.values() if p not in made]
        assert len(plans) <= 2
    assert len(made) > 3 and sum(p.retired for p in made) == len(made) - len(plans)


def test_a_picture_keeps_its_values(plans: Plans) -> None:
    gaussians, cameras = small(0)
    pictures = [render_cuda(gaussians, moved(cameras, step), RenderOptions(), plans=plans).color for step in range(4)]
    again = [render_cuda(gaussians, moved(cameras, step), RenderOptions(), plans=plans).color for step in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(pictures, again, strict=True)) and not torch.equal(pictures[2], pictures[3])


def test_the_short_way_is_taken_for_the_same_and_only_for_it(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, cameras = small(0)
    options, ways = RenderOptions(), []
    again = cuda_plans.Plan.draw_again
    monkeypatch.setattr(cuda_plans.Plan, "draw_again", lambda self, *a: (ways.append("short"), again(self, *a))[1])

    def way(g: Gaussians, c: Cameras, o: RenderOptions = options, check: bool = True) -> str:
        ways.clear()
        got = render_cuda(g, c, o, check=check, plans=plans)
        assert scenes.psnr(got.color, render_torch(g, c, o).color) > 60
        return ways[0] if ways else "long"

    step = [moved(cameras, k) for k in range(3)]
    assert [way(gaussians, step[0]) for _ in range(4)] == ["long", "long", "short", "short"]
    assert [way(gaussians, step[1]) for _ in range(2)] == ["long", "short"]  # cameras that were not looked at yet
    assert way(gaussians, step[2], check=False) == "short"
    assert way(replace(gaussians, means=gaussians.means + 0.1), step[0]) == "long"
    assert [way(gaussians, step[0]) for _ in range(2)] == ["long", "short"]
    gaussians.means[3] += 0.1
    assert [way(gaussians, step[0]) for _ in range(2)] == ["long", "short"]
    assert way(gaussians, step[0], RenderOptions(background=torch.rand(1, 3))) == "long"
    assert [way(gaussians, step[0]) for _ in range(2)] == ["long", "short"]
    skewed = step[0].cam_to_world.mT.contiguous().mT
    assert not skewed.is_contiguous() and way(gaussians, replace(step[0], cam_to_world=skewed)) == "long"
    assert way(gaussians, step[0]) == "short"
    monkeypatch.setattr(cuda, "current_stream", lambda device: 7)
    assert way(gaussians, step[0]) == "long"


@pytest.mark.parametrize("views", [1, 3])
def test_a_row_again_is_the_row_filled(views: int) -> None:
    """With cameras in main memory, and their values in the row: the Gaussians are elsewhere, on the device without memory."""
    gaussians, cameras = small(0)
    both = [replace(moved(cameras[[0] * views], k), K=cameras.K[[0] * views] * (1 + k)) for k in range(2)]
    pictures = [empty_picture(views, 30, 40, bool(k), torch.device("cpu")) for k in range(2)]
    options = RenderOptions(background=torch.rand(views, 3))
    rows = np.zeros((2, table_words(views)), np.int64)
    for k in range(2):
        fill_table(rows[k], 4096, Inputs.of(gaussians.to("meta"), both[k], options), pictures[k], options)
    assert (rows[0] != rows[1]).sum() > 8 * views
    again_in_row(rows[0].data.cast("B"), rows[0].ctypes.data, pictures[1], both[1], True)
    assert (rows[0] == rows[1]).all()


def test_more_calls_than_slots(plans: Plans) -> None:
    gaussians, cameras = small(0)
    views = [moved(cameras, k) for k in range(5)]
    wanted = [render_cuda(gaussians, v, RenderOptions(), plans=plans).color for v in views]
    options = RenderOptions()
    for k in range(2 * cuda_plans.CALLS_AHEAD):
        assert torch.equal(render_cuda(gaussians, views[k % 5], options, plans=plans).color, wanted[k % 5]), k


def test_a_graph_without_room_draws_right_and_is_made_anew(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_draw, "LEAST_ROOM", 1)
    gaussians, cameras = small(0)
    cameras = replace(cameras, K=cameras.K * torch.tensor([3.0, 3.0, 1.0])[:, None], width=120, height=90)
    far = replace(cameras, K=cameras.K * torch.tensor([0.01, 0.01, 1.0])[:, None])
    for _ in range(2):
        render_cuda(gaussians, far, RenderOptions(), plans=plans)
    (plan,) = plans._plans.values()
    wanted = render_torch(gaussians, cameras, RenderOptions()).color
    assert scenes.psnr(render_cuda(gaussians, cameras, RenderOptions(), plans=plans).color, wanted) > 60
    assert plan.outgrown
    assert scenes.psnr(render_cuda(gaussians, cameras, RenderOptions(), plans=plans).color, wanted) > 60
    (new,) = plans._plans.values()
    assert plan.retired and not new.outgrown and new.room >= new.pairs


@pytest.mark.parametrize("calls_before", [0, 1, 3])
def test_wrong_values_are_told(plans: Plans, calls_before: int) -> None:
    gaussians, cameras = small(0)
    draw = lambda g, c=cameras: render_cuda(g, c, RenderOptions(), check=True, plans=plans)
    for _ in range(calls_before):
        draw(gaussians)
    with pytest.raises(ReconError, match=r"Gaussians\.quats"):
        draw(replace(gaussians, quats=gaussians.quats * 2))
    with pytest.raises(ReconError, match="K of camera 0"):
        draw(gaussians, replace(cameras, K=-cameras.K))
    draw(gaussians)
    gaussians.means[5] = torch.nan  # the same tensor, written to since it was looked at
    with pytest.raises(ReconError, match=r"Gaussians\.means: 1 of .* number 5"):
        draw(gaussians)
    render_cuda(gaussians, cameras, RenderOptions(), plans=plans)  # unchecked: drawn without it


def test_inference_mode_in_and_out(plans: Plans) -> None:
    gaussians, cameras = small(0)
    pictures: list[Any] = []
    for inside in (True, True, False, False, True):
        with torch.inference_mode(inside):
            pictures.append(render_cuda(gaussians, cameras, RenderOptions(), check=True, plans=plans).color.clone())
    assert all(torch.equal(p, pictures[0]) for p in pictures)


def test_too_little_memory_for_a_graph(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=1000))
    gaussians, cameras = small(0)
    pictures = [render_cuda(gaussians, cameras, RenderOptions(), plans=plans).color for _ in range(3)]
    assert len(plans) == 0 and torch.equal(pictures[0], pictures[2])


def test_clear_forgets_everything(plans: Plans) -> None:
    gaussians, cameras = small(0)
    for _ in range(2):
        render_cuda(gaussians, cameras, RenderOptions(), plans=plans)
    (plan,) = plans._plans.values()
    plans.clear()
    assert len(plans) == 0 and plan.retired
    assert plan.draw(cuda.Inputs.of(gaussians, cameras, RenderOptions()), RenderOptions(), wait=True) is None
