"""Random plane sweeps, those of a depth network at its three stages, and how far two ways to do one differ; for the tests and the figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from recon.models.layers.plane_sweep import Sweep

CHANNELS = ((24, 1), (24, 8), (32, 4), (64, 1), (64, 8), (7, 1), (128, 1), (128, 2), (1, 1))  # and groups
VIEWS, EACH, WIDTH, HEIGHT = 8, 3, 512, 384
# channels, stride, hypotheses, range of inverse depth about the middle
STAGES = {"stage 1": (128, 8, 64, 1.4), "stage 2": (64, 4, 24, 0.13), "stage 3": (24, 2, 12, 0.023)}


def random_sweep(seed: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> dict[str, Any]:
    """Arguments of `plane_sweep`: sizes of all kinds, sources of another size than the references, places outside and behind."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *size: torch.randn(*size, generator=generator)
    whole = lambda low, high: int(torch.randint(low, high + 1, (), generator=generator))
    references, each, count = whole(1, 3), whole(1, 4), whole(1, 5)
    channels, groups = CHANNELS[seed % len(CHANNELS)]
    height, width, planes = whole(1, 9), whole(1, 13), whole(1, 20)
    matrix, offset = torch.eye(3) + 0.15 * normal(references, each, 3, 3), 0.3 * normal(references, each, 3)
    if seed % 5 == 0:
        matrix[0, 0, 2] *= -1  # all of it behind
    weights = torch.rand(references, each, height, width, generator=generator)
    if seed % 4 == 3:
        weights[:, 0] = 0
    pooled, weighted = seed % 3 != 0, seed % 3 == 1 and each > 1  # the weight of a single source changes nothing
    drawn: dict[str, Any] = {
        "reference": normal(references, channels, height, width).to(dtype), "sources": normal(count, channels, whole(1, 11), whole(1, 14)).to(dtype),
        "source_index": torch.randint(0, count, (references, each), generator=generator), "matrix": matrix, "offset": offset,
        "first": 0.3 * normal(references, height, width) if seed % 2 else 0.3 * normal(references, 1, 1),
        "step": torch.full((references, 1, 1), 2.0 / planes), "weights": weights if weighted else None,
    }  # fmt: skip
    drawn = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in drawn.items()}
    return drawn | {"planes": planes, "groups": groups, "reduce": "mean" if pooled else "none"}


def stage(channels: int, stride: int, planes: int, reach: float, dtype: torch.dtype = torch.float32, device: str = "cpu") -> dict[str, Any]:
    """Views of 512 x 384 pixels, 10 degrees apart on an arc around smooth depths, each to be swept against the three next to it."""
    generator = torch.Generator().manual_seed(channels)
    height, width = HEIGHT // stride, WIDTH // stride
    features = normalize(torch.randn(VIEWS, channels, height, width, generator=generator), dim=1).to(dtype)
    angles = torch.linspace(-0.6, 0.6, VIEWS)
    turn = torch.eye(3).repeat(VIEWS, 1, 1)
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 2, 0], turn[:, 2, 2] = angles.cos(), angles.sin(), -angles.sin(), angles.cos()
    centre = torch.stack([-angles.sin(), 0 * angles, 1 - angles.cos()], -1)  # cam_to_world is (turn, centre); all look at (0, 0, 1)
    K_normalized = torch.tensor([[1.1, 0, 0.5], [0, 1.1 * WIDTH / HEIGHT, 0.5], [0, 0, 1]])
    index = (angles[:, None] - angles).abs().argsort(1)[:, 1 : EACH + 1]
    back = turn[index].transpose(-1, -2)
    matrix = K_normalized @ back @ turn[:, None] @ torch.linalg.inv(K_normalized)
    offset = (K_normalized @ back @ (centre[:, None] - centre[index])[..., None])[..., 0]
    middle = interpolate(1 + 0.15 * torch.randn(VIEWS, 1, 6, 8, generator=generator), size=(height, width), mode="bicubic")[:, 0]
    first = (middle if planes < 64 else torch.ones(VIEWS, 1, 1)) - reach / 2
    step = torch.full((VIEWS, 1, 1), reach / (planes - 1))
    drawn = {"reference": features, "sources": features.clone(), "source_index": index, "matrix": matrix, "offset": offset}
    drawn |= {"first": first, "step": step}
    return {name: x.to(device) for name, x in drawn.items()} | {"planes": planes, "groups": 1, "weights": None, "reduce": "mean"}


def differences(ours: Callable[..., Sweep], wanted: Callable[..., Sweep], drawn: dict[str, Any], gradients: bool = True) -> dict[str, float]:
    """Greatest difference of each result and gradient over its greatest value, and the share of hypotheses that only one of the two sees.

    Those lie on an edge within rounding; they are left out of the rest.
    """
    leaves = [drawn[name] for name in ("reference", "sources", "weights") if drawn[name] is not None]
    for leaf in leaves:
        leaf.requires_grad_(gradients)
    a, b = ours(**drawn), wanted(**drawn)
    agree = (a.seen == b.seen).all(1, keepdim=True)  # [M, 1, D, h, w]
    agree = agree if drawn["reduce"] == "mean" else agree[:, None]
    found = {"seen": float((a.seen != b.seen).float().mean()), "similarity": _apart(a.similarity * agree, b.similarity * agree)}
    if a.best is not None and b.best is not None:
        found["best"] = _apart(a.best * agree, b.best * agree)
    if gradients:
        slopes = [_slopes(sweep, agree, leaves) for sweep in (a, b)]
        names = ("reference_gradient", "sources_gradient", "weights_gradient")
        found |= {name: _apart(x, y) for name, x, y in zip(names, *slopes, strict=False)}
    return found


def allowed(name: str, dtype: torch.dtype) -> float:
    """What `differences` may say: gradients of half features are rounded to halves once more, on both sides."""
    if name == "seen":
        return 1e-4
    return 1e-3 + (2 * torch.finfo(dtype).eps if "gradient" in name and dtype in (torch.float16, torch.bfloat16) else 0)


def _slopes(sweep: Sweep, agree: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    parts = [x for x in (sweep.similarity, sweep.best) if x is not None]
    loss = sum((x * (torch.randn(x.shape, generator=generator).to(x) * agree)).sum() for x in parts)
    assert isinstance(loss, Tensor)
    return torch.autograd.grad(loss, leaves)


def _apart(ours: Tensor, wanted: Tensor) -> float:
    ours, wanted = ours.detach().float(), wanted.detach().float()
    return float((ours - wanted).abs().max()) / max(float(wanted.abs().max()), 1e-6)
