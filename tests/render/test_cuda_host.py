"""The CUDA renderer's kernels, compiled for the host and run thread by thread (host_cuda.h), against the PyTorch specification: no GPU needed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recon.render import cuda_draw
from recon.render.cuda import task_of
from recon.render.cuda_draw import Buffers, Launch
from recon.render.cuda_plans import read_status
from recon.render.cuda_table import Inputs, Packed, empty_picture, fill_table, only_asked, table_words
from recon.render.options import RenderOptions
from recon.render.packed import pack
from recon.render.specification import render_torch
from recon.scene import Cameras, Gaussians, Rendering

spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).parents[1] / "bench" / "render_scenes.py")
assert spec is not None and spec.loader is not None
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)


def draw(host_launch: Launch, source: Gaussians | Packed, cameras: Cameras, options: RenderOptions, room: int = 60_000) -> tuple[Rendering, int, int]:
    """Pictures, pairs and flags by the kernels, through a table as on a GPU."""
    task, device = task_of(source, cameras, options), torch.device("cpu")
    inputs, picture = Inputs.of(source, cameras, options), empty_picture(len(cameras), cameras.height, cameras.width, task.extras, device)
    table = torch.zeros(table_words(len(cameras)), dtype=torch.int64)
    fill_table(table.numpy(), table.data_ptr(), inputs, picture, options)
    buffers = Buffers(task, room, device)
    cuda_draw.draw(host_launch, task, buffers, table)
    return only_asked(picture, options), *read_status(buffers.status.numpy())


@pytest.mark.parametrize("count", [1, 300, 4096, 9000])
def test_sort(host_launch: Launch, count: int) -> None:
    keys = torch.randint(1, 2**24, (count,), generator=torch.Generator().manual_seed(count), dtype=torch.int32)
    keys[::3] = keys[0]  # equal keys keep their order
    keys[-1] = 2**30  # so that the range needs its last bits cut off
    keys[3::7] = -1  # the culled ones, all bits set, come last
    seen = keys >= 0
    task = cuda_draw.Task(count=count, bases=1, views=1, width=16, height=16)
    buffers = Buffers(task, 64, torch.device("cpu"))
    buffers.all_zero.zero_()
    buffers.keys[0][:count] = keys
    low, high = int(keys[seen].min()), int(keys[seen].max())
    buffers.status[0, 2] = int(seen.sum())
    buffers.status[0, 3] = (0xFFFFFFFF - low) | (high << 32)
    cuda_draw._sort(host_launch, buffers, count, buffers.status[0], of_depths=True)
    shift = max(0, (high - low).bit_length() - 24)
    coarse = torch.where(seen, (keys.long() - low) >> shift, 2**40)
    assert torch.equal(buffers.order[:count].long(), torch.argsort(coarse, stable=True))


def scene(seed: int, count: int, bases: int = 16, size: float = 0.1) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)
    return Gaussians(
        means=normal(count, 3) * torch.tensor([1.5, 1.2, 1.0]) + torch.tensor([0.0, 0.0, 4.0]),
        quats=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        scales=uniform(count, 3) ** 3 * size + 0.002, opacities=uniform(count), sh=normal(count, bases, 3) * 0.3,
    )  # fmt: skip


def camera(width: int, height: int, focal: float = 80.0) -> Cameras:
    K = torch.tensor([[focal, 1.5, width / 2 + 3], [0, focal * 1.1, height / 2 - 2], [0, 0, 1]])
    T = torch.eye(4)
    T[:3, :3] = torch.linalg.qr(torch.eye(3) + 0.1 * torch.tensor([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]]))[0]
    T[:3, :3] *= T[:3, :3].diagonal().sign()
    T[:3, 3] = torch.tensor([0.3, -0.2, 0.1])
    return Cameras(K=K[None], cam_to_world=T[None], width=width, height=height)


def compare(host_launch: Launch, gaussians: Gaussians, cameras: Cameras, options: RenderOptions, room: int = 60_000, packed: bool = False) -> None:
    source = pack(gaussians) if packed else gaussians
    assert source is not None
    got, _, flags = draw(host_launch, source, cameras, options, room)
    assert flags == 0
    wanted = render_torch(gaussians, cameras, options)
    error = (got.color - wanted.color).square().mean().sqrt()
    assert -20 * torch.log10(error) > 55, error
    seen = wanted.alpha > 0.05
    ratio = ((got.depth - wanted.depth).abs() / wanted.depth.clamp(min=1e-3))[seen]
    assert (ratio > 1e-3).float().mean() < (1e-2 if packed else 2e-3)
    assert (got.alpha - wanted.alpha).abs().mean() < 2e-4
    if got.normals is not None and wanted.normals is not None:
        assert ((got.normals - wanted.normals).norm(dim=-1)[seen] > 0.02).float().mean() < 5e-3
    if got.median_depth is not None and wanted.median_depth is not None:
        assert ((got.median_depth - wanted.median_depth).abs() > 1e-3).float().mean() < 1e-2


@pytest.mark.parametrize("degree", range(5))
def test_equals_torch(host_launch: Launch, degree: int) -> None:
    options = RenderOptions(background=torch.tensor([[0.2, 0.5, 0.9]]), antialiased=degree % 2 == 1)
    compare(host_launch, scene(degree, 600, bases=(degree + 1) ** 2), camera(75, 61), options)


def test_large_needles_and_extras(host_launch: Launch) -> None:
    gaussians = scene(7, 200, bases=4, size=2.0)
    gaussians.scales[:50, 0] = 8.0  # needles and sheets over the whole image: the warp's shared work
    compare(host_launch, gaussians, camera(200, 150, 200.0), RenderOptions(extras=frozenset({"normals", "median_depth"})))


def test_many_tiles_two_passes(host_launch: Launch) -> None:
    compare(host_launch, scene(9, 3000, bases=1, size=0.02), camera(400, 300, 350.0), RenderOptions(radius_clip=2.0))


def test_nothing_to_see(host_launch: Launch) -> None:
    options = RenderOptions(background=torch.tensor([[0.2, 0.5, 0.9]]))
    for gaussians in (scene(0, 5)[torch.zeros(5, dtype=torch.bool)], scene(0, 1), scene(0, 300)):
        behind = replace(gaussians, means=gaussians.means * torch.tensor([1.0, 1, -1]))
        got, pairs, _ = draw(host_launch, behind, camera(40, 20), options, 1000)
        assert pairs == 0 and bool((got.alpha == 0).all()) and torch.equal(got.color[0, 3, 4], torch.tensor([0.2, 0.5, 0.9]))


@pytest.mark.parametrize("seed", range(48, 60))  # every kind, at degree 4
def test_random_scenes(host_launch: Launch, seed: int) -> None:
    _, gaussians, cameras = scenes.random_scene(seed)
    options = RenderOptions(antialiased=seed % 2 == 0)
    got, _, flags = draw(host_launch, gaussians, cameras, options, 200_000)
    wanted = render_torch(gaussians, cameras, options)
    assert scenes.psnr(got.color, wanted.color) > 70 and flags == 0
    assert scenes.off_depths(got.depth, wanted.depth, wanted.alpha) < 5e-3


@pytest.mark.parametrize("seed", range(36, 48))
def test_random_scenes_packed(host_launch: Launch, seed: int) -> None:
    _, gaussians, cameras = scenes.random_scene(seed)
    packed = pack(gaussians)
    assert packed is not None
    got, _, flags = draw(host_launch, packed, cameras, RenderOptions(), 200_000)
    wanted = render_torch(gaussians, cameras, RenderOptions())
    assert scenes.psnr(got.color, wanted.color) > 70 and flags == 0
    assert scenes.off_depths(got.depth, wanted.depth, wanted.alpha) < 5e-3


@pytest.mark.parametrize("seed", range(24, 36))
def test_random_surfels(host_launch: Launch, seed: int) -> None:
    _, gaussians, cameras = scenes.random_scene(seed)
    options = RenderOptions(primitive="surfel", extras=frozenset({"normals", "median_depth"}))
    got, _, _ = draw(host_launch, gaussians, cameras, options, 200_000)
    wanted = render_torch(gaussians, cameras, options)
    assert scenes.psnr(got.color, wanted.color) > 55
    assert scenes.off_depths(got.depth, wanted.depth, wanted.alpha) < 5e-3
    assert got.normals is not None and wanted.normals is not None and got.median_depth is not None and wanted.median_depth is not None
    assert ((got.normals - wanted.normals).norm(dim=-1)[wanted.alpha > 0.05] > 0.02).float().mean().nan_to_num() < 5e-3
    assert ((got.median_depth - wanted.median_depth).abs() > 1e-3 * wanted.median_depth.clamp(min=1)).float().mean() < 5e-3


@pytest.mark.parametrize("primitive", ["gaussian", "surfel"])
def test_too_little_room_is_counted_and_drawn_nevertheless(host_launch: Launch, primitive: Any) -> None:
    gaussians, cameras = scene(3, 700), camera(80, 64)
    three = cameras[[0] * 3]
    three.cam_to_world[1, 0, 3] += 0.3
    options = RenderOptions(primitive=primitive)
    wanted, enough, _ = draw(host_launch, gaussians, three, options)
    for room in (1, enough // 3, enough - 1, enough):
        got, pairs, _ = draw(host_launch, gaussians, three, options, room)
        assert pairs == enough
        torch.testing.assert_close(got.color, wanted.color, atol=1e-6, rtol=0)


def heap(count: int, opacity: float, seed: int = 0) -> tuple[Gaussians, Cameras]:
    """Splats that lie on few of many tiles; every twentieth is opaque, where `opacity` is not small: pixels end in front of such ones."""
    generator = torch.Generator().manual_seed(seed)
    gaussians = scene(seed, count, bases=4)
    gaussians.means[:, :2] = 0.45 * torch.randn(count, 2, generator=generator) * gaussians.means[:, 2:].clamp(min=0.5) / 4
    gaussians.opacities[:] = opacity * (0.4 + 0.6 * torch.rand(count, generator=generator))
    if opacity > 0.1:
        gaussians.opacities[::20] = 1.0
    return replace(gaussians, scales=gaussians.scales + 0.08), replace(camera(300, 180), cam_to_world=torch.eye(4)[None])


@pytest.mark.parametrize("opacity", [0.01, 0.3])
def test_long_lists_come_first(host_launch: Launch, opacity: float) -> None:
    gaussians, cameras = heap(7000, opacity)
    three = cameras[[0] * 3]
    three.cam_to_world[1, 0, 3] += 0.4
    three.cam_to_world[2, 0, 3] += 50  # sees nothing
    options = RenderOptions(background=torch.tensor([[0.2, 0.5, 0.9]] * 3))
    task, room = task_of(gaussians, three, options), 120_000
    inputs, picture = Inputs.of(gaussians, three, options), empty_picture(3, 180, 300, task.extras, torch.device("cpu"))
    table = torch.zeros(table_words(3), dtype=torch.int64)
    fill_table(table.numpy(), table.data_ptr(), inputs, picture, options)
    buffers = Buffers(task, room, torch.device("cpu"))
    cuda_draw.draw(host_launch, task, buffers, table)
    lengths = buffers.ranges.reshape(-1, 2).diff().flatten()
    count, *tiles = buffers.long_tiles.tolist()
    assert sorted(tiles[:count]) == (lengths > 1024).nonzero().flatten().tolist() and 0 < count < (lengths > 0).sum()
    wanted = render_torch(gaussians, three, options)
    assert scenes.psnr(picture.color, wanted.color) > 65
    crowded, _, _ = draw(host_launch, gaussians, three, options, int(lengths.sum()) - 1)  # not first, where not all pairs had room
    torch.testing.assert_close(crowded.color, picture.color, atol=1e-5, rtol=0)


def test_cameras_in_groups(host_launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, cameras = scene(4, 300), camera(50, 40)
    five = cameras[[0] * 5]
    five.cam_to_world[:, 0, 3] += torch.arange(5) * 0.2
    background = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    options = RenderOptions(background=background)
    wanted = render_torch(gaussians, five, options)
    for splats in (2**23, 600, 1):  # all at once; two, two and one; one by one
        monkeypatch.setattr(cuda_draw, "SPLATS_AT_ONCE", splats)
        assert cuda_draw.Task(count=300, bases=16, views=5, width=50, height=40).group == {2**23: 5, 600: 2, 1: 1}[splats]
        got, _, _ = draw(host_launch, gaussians, five, options)
        assert scenes.psnr(got.color, wanted.color) > 70


def test_wrong_values_are_flagged(host_launch: Launch) -> None:
    good, cameras = scene(1, 300), camera(40, 30)
    nan = torch.where(torch.arange(300) == 123, torch.nan, 1.0)
    wrong = {
        "means": good.means * nan[:, None], "quats": good.quats * 1.02, "scales": -good.scales, "opacities": good.opacities + 1,
        "sh": good.sh * nan[:, None, None],
    }  # fmt: skip
    assert draw(host_launch, good, cameras, RenderOptions())[2] == 0
    for name, values in wrong.items():
        assert draw(host_launch, replace(good, **{name: values}), cameras, RenderOptions())[2] == 1, name
    bent, flat = replace(cameras, cam_to_world=cameras.cam_to_world * 1.1), replace(cameras, K=cameras.K * torch.tensor([-1.0, 1, 1])[:, None])
    for camera_ in (bent, flat):
        assert draw(host_launch, good, camera_, RenderOptions())[2] & 2
