"""The renderer's specification: known answers, gradients against finite differences, and what every wrong input is told."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recon.errors import ReconError
from recon.render import checks, pick_backend, render
from recon.render.options import RenderOptions, with_background
from recon.scene import Cameras, Gaussians

spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).parents[1] / "bench" / "render_scenes.py")
assert spec is not None and spec.loader is not None
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)


def camera(width: int = 33, height: int = 25, focal: float = 40.0) -> Cameras:
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Cameras(K=K[None], cam_to_world=torch.eye(4)[None], width=width, height=height)


def balls(*rows: tuple[float, float, float, float, float, tuple[float, float, float]]) -> Gaussians:
    """Round Gaussians from x, y, z, standard deviation, opacity and colour."""
    table = torch.tensor([r[:5] for r in rows])
    color = torch.tensor([r[5] for r in rows])
    return Gaussians(
        means=table[:, :3], quats=torch.eye(4)[:1].repeat(len(rows), 1), scales=table[:, 3:4].repeat(1, 3), opacities=table[:, 4],
        sh=(color[:, None] - 0.5) / 0.28209479177387814,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_one_ball(backend: Any) -> None:
    out = render(
        balls((0, 0, 4, 0.2, 0.8, (1.0, 0.5, 0.25))), camera(), backend=backend, background=(0.0, 0.0, 1.0), extras=("normals", "median_depth")
    )
    variance = (0.2 * 40 / 4) ** 2 + 0.3  # pixels^2, with the dilation
    for dx, dy in ((0, 0), (3, 0), (-2, 4)):
        alpha = 0.8 * math.exp(-(dx * dx + dy * dy) / 2 / variance)
        assert float(out.alpha[0, 12 + dy, 16 + dx]) == pytest.approx(alpha, abs=1e-5)
        wanted = [alpha, 0.5 * alpha, 0.25 * alpha + 1 - alpha]
        assert out.color[0, 12 + dy, 16 + dx].tolist() == pytest.approx(wanted, abs=1e-5)
        assert float(out.depth[0, 12 + dy, 16 + dx]) == pytest.approx(4, abs=1e-5)
    assert out.color[0, 0, 0].tolist() == [0, 0, 1] and float(out.depth[0, 0, 0]) == 0
    assert out.median_depth is not None and float(out.median_depth[0, 12, 16]) == 4 and float(out.median_depth[0, 12, 22]) == 0
    assert out.normals is not None and float(out.normals[0, 12, 16].norm()) == pytest.approx(1, abs=1e-5)
    assert float(out.normals[0, 12, 16] @ torch.tensor([0.0, 0, 1])) <= 0


@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_nearer_hides_farther(backend: Any) -> None:
    red, green = (0, 0, 6, 2.0, 1.0, (1.0, 0.0, 0.0)), (0, 0, 3, 2.0, 0.6, (0.0, 1.0, 0.0))
    for rows in ((red, green), (green, red)):
        out = render(balls(*rows), camera(), backend=backend)
        assert out.color[0, 12, 16].tolist() == pytest.approx([0.4 * 0.999, 0.6, 0.0], abs=1e-4)
        assert float(out.depth[0, 12, 16]) == pytest.approx((0.6 * 3 + 0.4 * 0.999 * 6) / (0.6 + 0.4 * 0.999), abs=1e-4)


@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_options(backend: Any) -> None:
    tiny = balls((0, 0, 4, 0.003, 0.8, (1.0, 1.0, 1.0)))
    plain, mip = (float(render(tiny, camera(), backend=backend, antialiased=a).alpha.sum()) for a in (False, True))
    pixel = (0.003 * 10) ** 2
    assert mip == 0 and plain > 1 and pixel / (pixel + 0.3) < 0.01  # what is left of the opacity is below 1/255
    assert float(render(tiny, camera(), backend=backend, radius_clip=3.0).alpha.max()) == 0
    assert float(render(tiny, camera(), backend=backend, depth_range=(4.5, 9.0)).alpha.max()) == 0
    assert float(render(tiny, camera(), backend=backend, depth_range=(0.1, 3.5)).alpha.max()) == 0


@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_surfel_is_a_slanted_disc(backend: Any) -> None:
    angle = 0.6
    quat = torch.tensor([[math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0]])  # turned about y
    g = replace(balls((0.1, 0, 3, 0.3, 0.9, (1.0, 1.0, 1.0))), quats=quat)
    out = render(g, camera(65, 49, 80.0), backend=backend, primitive="surfel", extras=("normals",))
    normal, right = torch.tensor([math.sin(angle), 0, math.cos(angle)]), torch.tensor([math.cos(angle), 0, -math.sin(angle)])
    for px, py in ((32, 24), (40, 20), (28, 30)):
        ray = torch.tensor([(px + 0.5 - 32.5) / 80, (py + 0.5 - 24.5) / 80, 1.0])
        offset = ray * float(g.means[0] @ normal) / float(ray @ normal) - g.means[0]
        alpha = 0.9 * math.exp(-0.5 * (float(offset @ right) ** 2 + float(offset[1]) ** 2) / 0.09)
        assert float(out.alpha[0, py, px]) == pytest.approx(alpha, abs=1e-4)
    assert out.normals is not None
    torch.testing.assert_close(out.normals[0, 24, 34], -normal, atol=1e-5, rtol=0)


@pytest.mark.parametrize("primitive", ["gaussian", "surfel"])
@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_by_finite_differences(primitive: Any, antialiased: bool) -> None:
    if primitive == "surfel" and antialiased:
        pytest.skip("surfels have a filter of their own")
    generator = torch.Generator().manual_seed(2)
    uniform = lambda *size: torch.rand(*size, generator=generator, dtype=torch.float64)
    count = 3
    values = {
        "means": torch.cat([uniform(count, 2) * 0.5 - 0.25, 2 + uniform(count, 1)], -1),
        "quats": torch.randn(count, 4, generator=generator, dtype=torch.float64),
        "scales": 0.3 + 0.3 * uniform(count, 3),
        "opacities": 0.3 + 0.4 * uniform(count),
        "sh": 0.1 * torch.randn(count, 4, 3, generator=generator, dtype=torch.float64),
    }
    leaves = [v.requires_grad_() for v in values.values()]
    view = camera(4, 3, 6.0)
    view = replace(view, K=view.K.double(), cam_to_world=view.cam_to_world.double())  # wide splats: no pixel near a threshold
    names = list(values)

    def picture(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        g = Gaussians(**dict(zip(names, tensors, strict=True)))
        out = render(g, view, backend="torch", primitive=primitive, antialiased=antialiased, extras=("normals",), check=False)
        assert out.normals is not None
        return out.color, out.depth, out.alpha, out.normals

    assert torch.autograd.gradcheck(picture, leaves, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_gradient_reaches_the_cameras() -> None:
    _, g, view = scenes.random_scene(0)
    K, T = view.K.clone().requires_grad_(), view.cam_to_world.clone().requires_grad_()
    render(g, replace(view, K=K, cam_to_world=T)).color.sum().backward()  # auto takes torch, since gradients are wanted
    assert K.grad is not None and T.grad is not None and float(K.grad.abs().sum()) > 0 and bool(T.grad.isfinite().all())


WRONG_GAUSSIANS = {
    "means": (lambda g: g.means.index_put((torch.tensor(3), torch.tensor(1)), torch.tensor(math.nan)), r"Gaussians.means: 1 of 40 .* number 3"),
    "sh": (lambda g: g.sh.index_put((torch.tensor(5), torch.tensor(0), torch.tensor(2)), torch.tensor(math.inf)), r"Gaussians.sh: 1 of 40 .*finite"),
    "quats": (lambda g: g.quats * torch.where(torch.arange(40) == 7, 0.0, 1.0)[:, None], r"Gaussians.quats: 1 of 40 .* number 7.*unit"),
    "scales": (lambda g: g.scales - 1, r"Gaussians.scales: 40 of 40.*not logarithms"),
    "opacities": (lambda g: g.opacities + 0.5, r"Gaussians.opacities: .*not logits"),
}


@pytest.mark.parametrize("name", list(WRONG_GAUSSIANS))
@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_wrong_gaussians_are_told(name: str, backend: Any) -> None:
    g = scenes.random_scene(0)[1][:40]
    change, message = WRONG_GAUSSIANS[name]
    with pytest.raises(ReconError, match=message):
        render(replace(g, **{name: change(g)}), camera(), backend=backend)


def test_wrong_cameras_are_told() -> None:
    g, view = balls((0, 0, 4, 0.2, 0.8, (1.0, 1, 1))), camera()
    change = lambda matrix, at, value: matrix.index_put(tuple(torch.tensor(i) for i in at), torch.tensor(value))
    for wrong, message in (
        (replace(view, K=change(view.K, (0, 0, 0), 0.0)), r"K of camera 0 .*above 0"),
        (replace(view, K=change(view.K, (0, 1, 2), math.nan)), r"K of camera 0 .*finite"),
        (replace(view, K=change(view.K, (0, 2, 0), 1.0)), r"K of camera 0 .*skew"),
        (replace(view, cam_to_world=view.cam_to_world * math.nan, placed_by=("unplaced",)), r"camera 0 \(unplaced\) has no place"),
        (replace(view, cam_to_world=view.cam_to_world * 2), "no rigid motion"),
        (replace(view, width=70_000), "70000 x 25 pixels, wanted at most"),
    ):
        with pytest.raises(ReconError, match=message):
            render(g, wrong)
    with pytest.raises(ReconError, match="0 x 25"):
        camera(0)
    with pytest.raises(ReconError, match=r"wanted \[N, 4\] \(N=1\)|wanted \[N, 4\]"):
        replace(g, quats=torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "metal"}, "unknown backend 'metal'; one of: auto, torch, cpu, gsplat, cuda"),
        ({"primitive": "cube"}, "unknown primitive 'cube'; one of"),
        ({"extras": ("albedo",)}, "unknown extras 'albedo'"),
        ({"depth_range": (2.0, 1.0)}, "wanted 0 < near < far"),
        ({"radius_clip": math.nan}, "radius_clip is nan"),
        ({"background": (1.0, 2.0)}, "background is"),
        ({"background": (1.0, math.nan, 0.0)}, "background is"),
        ({"backend": "cuda"}, "takes Gaussians on cuda, these are on cpu"),
        ({"backend": "gsplat"}, "takes Gaussians on cuda, these are on cpu"),
        ({"primitive": "surfel", "antialiased": True}, "surfels have a filter of their own"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ReconError, match=message):
        render(balls((0, 0, 4, 0.2, 0.8, (1.0, 1, 1))), camera(), **options)


def test_memory_is_told_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "memory_free", lambda device: 2_000_000_000)
    many = balls((0, 0, 4, 0.2, 0.8, (1.0, 1, 1)))
    huge = Gaussians(**{n: getattr(many, n).expand(20_000_000, *getattr(many, n).shape[1:]) for n in ("means", "quats", "scales", "opacities", "sh")})
    with pytest.raises(ReconError, match=r"20,000,000 Gaussians .* needs about \d+\.\d GB and 2.0 GB are free"):
        checks.check_memory("cpu", huge, camera())
    with pytest.raises(ReconError, match=r"30 image\(s\) of 7680 x 4320 .* 2.0 GB are free"):
        eight_k = replace(camera(), width=7680, height=4320)
        checks.check_memory("torch", many, eight_k[[0] * 30])
    checks.check_memory("cpu", many, camera())
    monkeypatch.undo()
    free = checks.memory_free(torch.device("cpu"))
    assert free is None or free > 10_000_000


def test_auto_and_kinds_of_numbers() -> None:
    g, view = balls((0, 0, 4, 0.2, 0.8, (1.0, 0.5, 0.2))), camera()
    assert pick_backend(g, view, RenderOptions()) == "cpu"
    grad = replace(g, means=g.means.clone().requires_grad_())
    assert pick_backend(grad, view, RenderOptions()) == "torch"
    with pytest.raises(ReconError, match="has no gradients"):
        render(grad, view, backend="cpu")
    half = replace(g, **{n: getattr(g, n).half() for n in ("means", "quats", "scales", "opacities", "sh")})
    torch.testing.assert_close(render(half, view).color, render(g, view).color, atol=2e-3, rtol=0)
    empty = render(g[torch.zeros(1, dtype=torch.bool)], view, background=(0.1, 0.2, 0.3))
    torch.testing.assert_close(empty.color[0, 3, 3], torch.tensor([0.1, 0.2, 0.3]))
    none = Cameras(K=torch.zeros(0, 3, 3), cam_to_world=torch.zeros(0, 4, 4), width=4, height=3)
    for backend in ("torch", "cpu"):
        assert render(g, none, backend=backend).color.shape == (0, 3, 4, 3)


def test_a_background_in_numbers_is_looked_at_once() -> None:
    like = torch.zeros(0, dtype=torch.float64)
    with torch.inference_mode():
        first = with_background(RenderOptions(), (0.25, 0.5, 1), 2, like)
    assert with_background(RenderOptions(), [0.25, 0.5, 1], 2, like) is first and first.background is not None
    assert first.background.dtype == torch.float64 and first.background.tolist() == [[0.25, 0.5, 1]] * 2 and not first.background.is_inference()
    assert with_background(RenderOptions(near=1.0), (0.25, 0.5, 1), 2, like) is not first
    rows = torch.rand(2, 3)
    assert torch.equal(with_background(RenderOptions(), rows, 2, like).background.float(), rows)  # pyright: ignore[reportOptionalMemberAccess]
