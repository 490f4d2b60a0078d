"""The CUDA renderer on a GPU, through the graphs that it keeps: equal to the specification whatever changes from call to call."""

from __future__ import annotations

import importlib.util
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.render import Renderer, clear, render
from recon.scene import Cameras, Gaussians, Rendering

spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).parents[1] / "bench" / "render_scenes.py")
assert spec is not None and spec.loader is not None
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)
pytestmark = pytest.mark.gpu
BOTH = ("normals", "median_depth")


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    clear()
    yield
    clear()


def plans() -> Any:
    from recon.render.cuda_plans import PLANS

    return PLANS


def moved(cameras: Cameras, step: int) -> Cameras:
    """The same camera a little further along, sometimes with another lens."""
    generator = torch.Generator().manual_seed(step)
    T, K = cameras.cam_to_world.cpu().clone(), cameras.K.cpu().clone()
    T[:, :3, 3] += 0.2 * (torch.rand(3, generator=generator) - 0.5) * step
    K[:, [0, 1], [0, 1]] *= 1 + 0.1 * (step % 3)
    return replace(cameras, K=K, cam_to_world=T)


def assert_equal(got: Rendering, wanted: Rendering, case: Any, least: float = 50.0) -> None:
    assert scenes.psnr(got.color, wanted.color) >= least, (case, scenes.psnr(got.color, wanted.color))
    assert scenes.off_depths(got.depth, wanted.depth, wanted.alpha) <= 5e-3, case
    seen = wanted.alpha > 0.05
    if got.normals is not None and wanted.normals is not None:
        assert ((got.normals - wanted.normals).norm(dim=-1)[seen] > 0.02).double().mean().nan_to_num() <= 2e-2, case
    if got.median_depth is not None and wanted.median_depth is not None:
        assert ((got.median_depth - wanted.median_depth).abs() > 1e-3 * wanted.median_depth.clamp(min=1)).double().mean() <= 1e-2, case


@pytest.mark.parametrize("antialiased", [False, True])
def test_200_scenes_in_random_order(antialiased: bool) -> None:
    """Six scenes at a time; each is drawn four times with other cameras and values, in random order: once, for its graph, and twice by it."""
    order, waiting, active, kept = random.Random(3), list(range(200)), {}, 0
    while waiting or active:
        while waiting and len(active) < 6:
            active[waiting.pop(0)] = 0
        seed = order.choice(list(active))
        step = active[seed] = active[seed] + 1
        kind, gaussians, cameras = scenes.random_scene(seed)
        gaussians, view = replace(gaussians, opacities=gaussians.opacities * (1 - 0.05 * step)).to("cuda"), moved(cameras, step - 1)
        view = view.to("cuda") if step % 2 else view
        options: dict[str, Any] = {"background": (0.1, 0.4, 0.7), "antialiased": antialiased, "extras": BOTH if seed % 4 == 0 else ()}
        with torch.inference_mode() if step == 3 else torch.no_grad():
            got = render(gaussians, view, **options)
        kept += len(plans())
        if step >= 3:
            with torch.no_grad():
                assert_equal(got, render(gaussians, view.to("cuda"), backend="torch", **options), (seed, kind, step))
        if step == 4:
            del active[seed]
    assert kept > 400 and len(plans()) <= plans().most


@pytest.mark.parametrize("primitive", ["gaussian", "surfel"])
def test_renderer_draws_what_the_specification_does(primitive: Any) -> None:
    for seed in range(0, 120 if primitive == "gaussian" else 36):
        kind, gaussians, cameras = scenes.random_scene(seed)
        gaussians = gaussians.to("cuda")
        options: dict[str, Any] = {"background": (0.1, 0.4, 0.7), "primitive": primitive, "extras": BOTH if seed % 3 == 0 else ()}
        renderer = Renderer(gaussians, width=cameras.width, height=cameras.height, **options)
        assert renderer.backend == "cuda"
        for step in range(3 if seed % 5 == 0 else 1):
            view = moved(cameras, step)
            assert_equal(renderer.render(view), render(gaussians, view.to("cuda"), backend="torch", **options), (seed, kind, step))


def test_many_cameras_at_once() -> None:
    gaussians, camera = scenes.filled_view(20_000, 200, 150)
    many = camera[[0] * 7]
    many.cam_to_world[:, 0, 3] += torch.linspace(-1, 1, 7)
    background = torch.rand(7, 3)
    gaussians = gaussians.to("cuda")
    renderer = Renderer(gaussians, width=200, height=150, background=background)
    for _ in range(3):
        together = render(gaussians, many, background=background)
        packed = renderer.render(many)
        for c in range(7):
            alone = render(gaussians, many[c], background=background[c])
            torch.testing.assert_close(together.color[c], alone.color[0], atol=2e-5, rtol=0)
            assert scenes.psnr(packed.color[c], alone.color[0]) > 50
    with torch.no_grad():
        assert_equal(together, render(gaussians, many.to("cuda"), backend="torch", background=background), "7 cameras")


def test_more_pairs_than_room() -> None:
    """A camera that comes close needs many times the room that its graph has: the picture is right at once, and the graph is made anew."""
    gaussians, camera = scenes.filled_view(60_000, 256, 192, sigma=5.0)
    gaussians = gaussians.to("cuda")
    far = replace(camera, K=camera.K * torch.tensor([0.05, 0.05, 1.0])[:, None] + torch.tensor([[0, 0, 121.6], [0, 0, 91.2], [0, 0, 0]]))
    for _ in range(3):
        render(gaussians, far)
    (plan,) = plans()._plans.values()
    with torch.no_grad():
        wanted = render(gaussians, camera.to("cuda"), backend="torch")
    assert_equal(render(gaussians, camera), wanted, "drawn without room")
    torch.cuda.synchronize()
    assert plan.pairs > plan.room and plan.outgrown
    assert_equal(render(gaussians, camera), wanted, "drawn with a new graph")
    (new,) = plans()._plans.values()
    assert new is not plan and new.room > plan.room and plan.retired


@pytest.mark.parametrize("primitive", ["gaussian", "surfel"])
@pytest.mark.parametrize("faint", [False, True])
def test_long_lists(primitive: Any, faint: bool) -> None:
    """Lists that are taken first, with pixels that end early or not at all: right, and bit for bit the same each time."""
    gaussians, camera = scenes.filled_view(60_000, 400, 400, sigma=2.0)
    gaussians.means[:, :2] *= 0.2  # all of them on few of the tiles
    gaussians = replace(gaussians, opacities=gaussians.opacities * (0.02 if faint else 0.3)).to("cuda")
    gaussians.opacities[::50] = 0.05 if faint else 1.0
    options: dict[str, Any] = {"primitive": primitive, "extras": BOTH if faint else (), "background": (0.1, 0.4, 0.7)}
    pictures = [render(gaussians, camera, **options) for _ in range(20)]
    (plan,) = plans()._plans.values()
    assert int(plan._buffers.long_tiles[0]) > 5
    with torch.no_grad():
        assert_equal(pictures[0], render(gaussians, camera.to("cuda"), backend="torch", **options), "long lists")
    assert all(torch.equal(p.color, pictures[0].color) and torch.equal(p.depth, pictures[0].depth) for p in pictures)
    if primitive == "gaussian":
        renderer = Renderer(gaussians, width=camera.width, height=camera.height, **options)
        assert_equal(renderer.render(camera), pictures[0], "packed")


def test_threads_and_streams() -> None:
    gaussians, camera = scenes.filled_view(30_000, 160, 120)
    gaussians = gaussians.to("cuda")
    views = [moved(camera, step) for step in range(12)]
    wanted = [render(gaussians, v).color.clone() for v in views]
    torch.cuda.synchronize()
    wrong: list[Any] = []

    def work(number: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for k in range(60):
                    v = (k * 7 + number) % len(views)
                    got = render(gaussians, views[v]).color
                    if k % 3 == 0:
                        torch.cuda.current_stream().synchronize()
                    if not torch.equal(got, wanted[v]):
                        wrong.append((number, k, v))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]


def test_many_calls_ahead_of_the_gpu() -> None:
    gaussians, camera = scenes.filled_view(200_000, 640, 480)
    gaussians = gaussians.to("cuda")
    views = [moved(camera, step % 30) for step in range(150)]
    ahead = [render(gaussians, v).color for v in views]
    for v, got in zip(views, ahead, strict=True):
        again = render(gaussians, v).color
        torch.cuda.synchronize()
        assert torch.equal(got, again)


def test_cameras_here_and_there() -> None:
    """The short way of a call like the last one, with cameras in main memory and on the GPU, old and new, overwritten, and Gaussians written to."""
    _, gaussians, camera = scenes.random_scene(0)
    gaussians, order = gaussians.to("cuda"), random.Random(0)
    renderer = Renderer(gaussians, width=camera.width, height=camera.height, background=(0.1, 0.2, 0.3))
    views = [moved(camera, step).to(device) for step in range(4) for device in ("cpu", "cuda")]
    for call in range(60):
        if call % 10 == 9:
            views[call % 8].cam_to_world[:, 0, 3] += 0.05
        view = views[order.randrange(8)]
        with torch.no_grad():
            wanted = render(gaussians, view.to("cuda"), backend="torch")
            behind = render(gaussians, view.to("cuda"), backend="torch", background=(0.1, 0.2, 0.3))
        for _ in range(order.randrange(1, 4)):
            assert_equal(render(gaussians, view), wanted, call)
            assert_equal(renderer.render(view), behind, call)
        if call == 30:
            gaussians = replace(gaussians, opacities=gaussians.opacities * 0.5)
            renderer = Renderer(gaussians, width=camera.width, height=camera.height, background=(0.1, 0.2, 0.3))
        if call == 40:
            gaussians.means.mul_(1.02)
            renderer = Renderer(gaussians, width=camera.width, height=camera.height, background=(0.1, 0.2, 0.3))


def test_inference_mode_in_and_out() -> None:
    _, gaussians, camera = scenes.random_scene(0)
    gaussians = gaussians.to("cuda")
    pictures = []
    for inside in (True, True, False, False, True, False):
        with torch.inference_mode(inside):
            pictures.append(render(gaussians, camera).color.clone())
    assert all(torch.equal(p, pictures[0]) for p in pictures)
    leaf = replace(gaussians, means=gaussians.means.clone().requires_grad_())
    with torch.no_grad():
        assert torch.equal(render(leaf, camera, backend="cuda").color, pictures[0])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_second_gpu() -> None:
    _, gaussians, camera = scenes.random_scene(12)
    first, second = gaussians.to("cuda:0"), gaussians.to("cuda:1")
    for step in range(4):
        view = moved(camera, step)
        a, b = render(first, view), render(second, view)
        assert b.color.device == torch.device("cuda:1") and torch.equal(a.color.cpu(), b.color.cpu())
    assert len(plans()) == 2
    assert torch.equal(Renderer(second, width=camera.width, height=camera.height).render(view).color.cpu(),
                       Renderer(first, width=camera.width, height=camera.height).render(view).color.cpu())  # fmt: skip


def wrong_values(gaussians: Gaussians) -> dict[str, Tensor]:
    first = torch.zeros(len(gaussians), device="cuda")
    first[7] = torch.nan
    return {
        "means": gaussians.means + first[:, None], "scales": gaussians.scales - 10, "opacities": gaussians.opacities + 1.5,
        "quats": gaussians.quats * 3, "sh": gaussians.sh + torch.inf,
    }  # fmt: skip


@pytest.mark.parametrize("calls_before", [0, 2])
def test_wrong_values_are_told(calls_before: int) -> None:
    _, gaussians, camera = scenes.random_scene(0)
    gaussians = gaussians.to("cuda")
    for _ in range(calls_before):
        render(gaussians, camera)
    for name, values in wrong_values(gaussians).items():
        with pytest.raises(ReconError, match=f"Gaussians.{name}"):
            render(replace(gaussians, **{name: values}), camera)
        render(replace(gaussians, **{name: values}), camera, check=False)
    for wrong in (camera.K * -1, camera.K * torch.nan):
        for device in ("cpu", "cuda"):
            with pytest.raises(ReconError, match="K of camera 0"):
                render(gaussians, replace(camera, K=wrong).to(device))
    with pytest.raises(ReconError, match="background is"):
        render(gaussians, camera, background=torch.tensor([0.0, torch.nan, 0.0], device="cuda"))


def test_values_written_to_are_looked_at_again() -> None:
    _, gaussians, camera = scenes.random_scene(0)
    gaussians = gaussians.to("cuda")
    for _ in range(3):
        render(gaussians, camera)
    gaussians.means[3, 1] = torch.nan
    with pytest.raises(ReconError, match=r"Gaussians.means: 1 of .* number 3"):
        render(gaussians, camera)


def test_memory_is_given_back() -> None:
    gaussians, camera = scenes.filled_view(300_000, 640, 480, device="cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        render(gaussians, camera)
    torch.cuda.synchronize()
    assert len(plans()) == 1 and torch.cuda.memory_allocated() > before + 300_000 * 32
    clear()
    assert len(plans()) == 0 and torch.cuda.memory_allocated() <= before + 2**20
    renderer = Renderer(gaussians, width=640, height=480)
    for _ in range(3):
        renderer.render(camera)
    del renderer
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 2**20


def test_a_graph_of_the_caller_is_refused() -> None:
    _, gaussians, camera = scenes.random_scene(0)
    gaussians = gaussians.to("cuda")
    render(gaussians, camera)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin()
        with pytest.raises(ReconError, match="outside of the capture"):
            render(gaussians, camera)
        torch.empty(1, device="cuda").zero_()
        graph.capture_end()
