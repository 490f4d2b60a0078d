"""The CUDA renderer's kernels, compiled for the host and run thread by thread (host_cuda.h), against the PyTorch specification: no GPU needed."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recon import kernels
from recon.render import cuda
from recon.render.options import RenderOptions
from recon.render.specification import render_torch
from recon.scene import Cameras, Gaussians

spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).parents[1] / "bench" / "render_scenes.py")
assert spec is not None and spec.loader is not None
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not here")


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> cuda.Launch:
    folder = tmp_path_factory.mktemp("host")
    wrappers = "".join(
        f'extern "C" void host_{n}(unsigned blocks, unsigned threads, void** values) {{ host::launch({n}, blocks, threads, values); }}\n'
        for n in cuda.NAMES
    )
    (folder / "render.cpp").write_text(f'#include "{Path(__file__).parents[1] / "host_cuda.h"}"\n{kernels.read_source("render.cu")}\n{wrappers}')
    library = folder / "render.so"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-ffp-contract=off", str(folder / "render.cpp"), "-o", str(library)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))

    def start(name: str, grid: int, args: Sequence[Any]) -> None:
        values = [
            ctypes.c_void_p(a.data_ptr() if a is not None else 0) if a is None or isinstance(a, torch.Tensor)
            else (ctypes.c_int32 if isinstance(a, int) else ctypes.c_float)(a)
            for a in args
        ]  # fmt: skip
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        getattr(loaded, f"host_{name}")(grid, cuda.BLOCK, pointers)

    return start


@pytest.mark.parametrize("count", [1, 300, 1024, 5000])
@pytest.mark.parametrize("items", [4, 16])
def test_sort(launch: cuda.Launch, count: int, items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "SMALL_SORT", 10**9 if items == 4 else 0)
    keys = torch.randint(0, 2**31 - 1, (count,), generator=torch.Generator().manual_seed(count), dtype=torch.int32)
    keys[::3] = keys[0]  # equal keys keep their order
    keys[::7] = -1  # the culled ones, all bits set, come last
    buffers = cuda._Buffers(count, 64, 1, False, torch.device("cpu"))
    buffers.zero.zero_()
    buffers.keys[0][:count] = keys
    cuda._sort(launch, buffers, 0, count, None, 8, 4, buffers.depth_counts, buffers.depth_status)
    assert torch.equal(buffers.values[0][:count].long(), torch.argsort(keys.long() & 0xFFFFFFFF, stable=True))


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


def compare(launch: cuda.Launch, gaussians: Gaussians, cameras: Cameras, options: RenderOptions, room: int = 60_000) -> None:
    got, pairs = cuda.draw(launch, gaussians, cameras, options, room)
    assert int(pairs.max()) <= room
    wanted = render_torch(gaussians, cameras, options)
    error = (got.color - wanted.color).square().mean().sqrt()
    assert -20 * torch.log10(error) > 55, error
    seen = wanted.alpha > 0.05
    ratio = ((got.depth - wanted.depth).abs() / wanted.depth.clamp(min=1e-3))[seen]
    assert (ratio > 1e-3).float().mean() < 2e-3
    assert (got.alpha - wanted.alpha).abs().mean() < 2e-4
    if got.normals is not None and wanted.normals is not None:
        assert ((got.normals - wanted.normals).norm(dim=-1)[seen] > 0.02).float().mean() < 5e-3
    if got.median_depth is not None and wanted.median_depth is not None:
        assert ((got.median_depth - wanted.median_depth).abs() > 1e-3).float().mean() < 1e-2


@pytest.mark.parametrize("degree", range(5))
def test_equals_torch(launch: cuda.Launch, degree: int) -> None:
    options = RenderOptions(background=torch.tensor([[0.2, 0.5, 0.9]]), antialiased=degree % 2 == 1)
    compare(launch, scene(degree, 600, bases=(degree + 1) ** 2), camera(75, 61), options)


def test_large_needles_and_extras(launch: cuda.Launch) -> None:
    gaussians = scene(7, 200, bases=4, size=2.0)
    gaussians.scales[:50, 0] = 8.0  # needles and sheets over the whole image: the warp's shared work
    compare(launch, gaussians, camera(200, 150, 200.0), RenderOptions(extras=frozenset({"normals", "median_depth"})))


def test_many_tiles_two_passes(launch: cuda.Launch) -> None:
    compare(launch, scene(9, 3000, bases=1, size=0.02), camera(400, 300, 350.0), RenderOptions(radius_clip=2.0))


def test_nothing_to_see(launch: cuda.Launch) -> None:
    options = RenderOptions(background=torch.tensor([[0.2, 0.5, 0.9]]))
    for gaussians in (scene(0, 5)[torch.zeros(5, dtype=torch.bool)], scene(0, 1), scene(0, 300)):
        behind = replace(gaussians, means=gaussians.means * torch.tensor([1.0, 1, -1]))
        got, pairs = cuda.draw(launch, behind, camera(40, 20), options, 1000)
        assert int(pairs[0]) == 0 and bool((got.alpha == 0).all()) and torch.equal(got.color[0, 3, 4], torch.tensor([0.2, 0.5, 0.9]))


@pytest.mark.parametrize("seed", range(48, 60))  # every kind, at degree 4
def test_random_scenes(launch: cuda.Launch, seed: int) -> None:
    _, gaussians, cameras = scenes.random_scene(seed)
    options = RenderOptions(antialiased=seed % 2 == 0)
    got, _ = cuda.draw(launch, gaussians, cameras, options, 200_000)
    wanted = render_torch(gaussians, cameras, options)
    assert scenes.psnr(got.color, wanted.color) > 70
    assert scenes.off_depths(got.depth, wanted.depth, wanted.alpha) < 5e-3


def test_too_little_room_is_counted(launch: cuda.Launch) -> None:
    gaussians, cameras, options = scene(3, 700), camera(80, 64), RenderOptions()
    _, enough = cuda.draw(launch, gaussians, cameras, options, 60_000)
    room = int(enough[0]) // 3
    _, pairs = cuda.draw(launch, gaussians, cameras, options, room)
    assert torch.equal(pairs, enough)
    compare(launch, gaussians, cameras, options, room=int(enough[0]))  # and exactly enough is enough
