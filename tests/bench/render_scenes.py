"""Scenes to compare and time renderers on: seeded random ones with everything that goes wrong in them, and large ones of a known density."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.scene import Cameras, Gaussians

KINDS = ("plain", "needles", "huge", "subpixel", "behind", "edge", "opacity_ends", "flat", "dense", "one", "none", "far_and_near")


def random_scene(seed: int) -> tuple[str, Gaussians, Cameras]:
    """Kind, Gaussians and camera number `seed` of the endless list of small test scenes (all kinds, all degrees, odd image sizes, off-centre K)."""
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *size: torch.rand(*size, generator=generator)
    kind, degree = KINDS[seed % len(KINDS)], (seed // len(KINDS)) % 5
    count = {"one": 1, "none": 0, "dense": 3000}.get(kind, int(20 + 600 * float(uniform(1))))
    width, height = (int(40 + 120 * v) for v in uniform(2).tolist())
    focal = float(0.6 + uniform(1)) * max(width, height)
    z = 1.5 + 4 * uniform(count)
    spread = 2.6 if kind == "edge" else 1.2  # on and beyond the frustum's sides
    x, y = ((uniform(count) - 0.5) * spread * side / focal * z for side in (width, height))
    scales = 0.01 + 0.15 * uniform(count, 3) ** 2
    opacities = uniform(count)
    if kind == "needles":
        scales = torch.stack([0.3 + uniform(count), 1e-4 * torch.ones(count), 3e-3 * uniform(count)], -1)
    elif kind == "huge":
        scales, opacities = scales * 30, opacities * 0.3
    elif kind == "subpixel":
        scales = scales * 1e-2
    elif kind == "behind":
        z[::2] = -z[::2]
        z[1::5] = 0.005 + 0.01 * uniform(len(z[1::5]))  # and around the near plane
    elif kind == "opacity_ends":
        opacities[::3], opacities[1::3] = 0.0, 1.0
    elif kind == "flat":
        scales[:, 1] = 0.0
    elif kind == "far_and_near":
        z = 0.05 * 10 ** (4 * uniform(count))
        x, y, scales = x * z, y * z, scales * z[:, None]
    local = torch.stack([x, y, z], -1)
    T = _pose(generator)
    K = torch.tensor([[focal, 0, width * float(0.3 + 0.4 * uniform(1))], [0, focal * 1.07, height * float(0.3 + 0.4 * uniform(1))], [0, 0, 1]])
    gaussians = Gaussians(
        means=local @ T[:3, :3].T + T[:3, 3],
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1),
        scales=scales,
        opacities=opacities,
        sh=0.4 * torch.randn(count, (degree + 1) ** 2, 3, generator=generator),
    )
    return f"{kind}, degree {degree}", gaussians, Cameras(K=K[None], cam_to_world=T[None], width=width, height=height)


def _pose(generator: torch.Generator) -> Tensor:
    from recon.geometry import quats_to_matrices

    T = torch.eye(4)
    T[:3, :3] = quats_to_matrices(torch.randn(4, generator=generator))
    T[:3, 3] = torch.randn(3, generator=generator)
    return T


def filled_view(count: int, width: int, height: int, *, sigma: float = 1.0, seed: int = 0, device: str = "cpu") -> tuple[Gaussians, Cameras]:
    """Gaussians of SH degree 3 that fill one camera's view, z 2 to 10: `sigma` is their size in units of the mean distance on the screen."""
    generator = torch.Generator(device=device).manual_seed(seed)
    uniform = lambda *size: torch.rand(*size, generator=generator, device=device)
    focal = float(max(width, height))
    z = 2 + 8 * uniform(count)
    x, y = ((uniform(count) - 0.5) * 1.05 * side / focal * z for side in (width, height))
    pixels = sigma * (width * height / count) ** 0.5 * torch.exp(0.5 * torch.randn(count, 3, generator=generator, device=device))
    gaussians = Gaussians(
        means=torch.stack([x, y, z], -1),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator, device=device), dim=-1),
        scales=pixels * z[:, None] / focal,
        opacities=0.05 + 0.95 * uniform(count),
        sh=0.2 * torch.randn(count, 16, 3, generator=generator, device=device),
    )
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], device=device)
    return gaussians, Cameras(K=K[None], cam_to_world=torch.eye(4, device=device)[None], width=width, height=height)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal to noise in decibels for colours whose peak is 1; infinite for equal pictures, NaN where one holds NaN."""
    error = (a.double() - b.double()).square().mean()
    return float("inf") if float(error) == 0 else float(-10 * torch.log10(error))


def off_depths(got: Tensor, wanted: Tensor, alpha: Tensor) -> float:
    """Share of the covered pixels whose depth is off by more than 1e-3 of itself."""
    seen = alpha > 0.05
    if not bool(seen.any()):
        return 0.0
    return float((((got - wanted).abs() / wanted.clamp(min=1e-6))[seen] > 1e-3).double().mean())
