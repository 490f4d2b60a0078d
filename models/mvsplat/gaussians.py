"""Contains the last step of MVSplat: a network's channels at each pixel to a Gaussian in the world (Charatan et al., pixelSplat, CVPR 2024)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from recon.geometry import invert_K, pixel_grid, quats_to_matrices
from recon.models.layers.acceleration import constant
from recon.spherical_harmonics import basis

SCALE_RANGE = (0.5, 15.0)  # pixels, before `PIXEL`
PIXEL = 0.1  # what the published scales call a pixel
FADE = 0.25  # of the harmonics' start, a band

class SplatOutput(NamedTuple):
    """What the network gives for V views of B scenes; the Gaussians of a scene are its pixels, view by view."""

    means: Tensor  # [B, N, 3] world
    quats: Tensor  # [B, N, 4] wxyz, from the Gaussian's axes to its camera's
    scales: Tensor  # [B, N, 3]
    opacities: Tensor  # [B, N]
    sh: Tensor  # [B, N, 3, K] in the world
    rotation: Tensor  # [B, N, 3, 3] from the camera's axes to the world's
    depth: Tensor  # [B, V, H, W]

    @property
    def covariances(self) -> Tensor:  # [B, N, 3, 3]
        """Of the Gaussians in the world."""
        axes = self.rotation @ quats_to_matrices(self.quats) * self.scales[..., None, :]
        return axes @ axes.transpose(-1, -2)

def harmonics_mask(degree: int, like: Tensor) -> Tensor:  # [K]
    """What the raw coefficients are multiplied by: 1 for the constant, less and less for higher bands."""
    values = tuple(1.0 if band == 0 else 0.1 * FADE**band for band in range(degree + 1) for _ in range(2 * band + 1))
    return constant(values, like.device).to(like)

@lru_cache(maxsize=8)
def _solver(degree: int, device: torch.device) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Spread directions [100, 3] and the pseudo-inverses of each band's functions there; the pole is y."""
    index = torch.arange(100, dtype=torch.float64) + 0.5
    z, angle = 1 - index / 50, index * (torch.pi * (1 + 5**0.5))
    ring = (1 - z * z).sqrt()
    directions = torch.stack([ring * angle.cos(), ring * angle.sin(), z], 1)  # a Fibonacci sphere
    functions = basis(directions[:, [2, 0, 1]], degree)
    return directions.to(device), tuple(torch.linalg.pinv(functions[:, band**2 : (band + 1) ** 2]).to(device) for band in range(degree + 1))


def turned_harmonics(R: Tensor, degree: int) -> Tensor:  # [..., 3, 3] -> [..., K, K]
    """The matrices that the published weights turn coefficients by: those of a basis whose pole is y, with positive signs (e3nn's).

    It is not the basis that the coefficients are shown in, and the weights were trained with it. Y(R d) = D Y(d), solved on spread directions.
    """
    directions, solvers = _solver(degree, R.device)
    turned = basis((directions @ R.double().transpose(-1, -2)).roll(1, -1), degree)  # z, x, y; a list of columns would be a copy from the CPU
    D = torch.zeros(*R.shape[:-2], (degree + 1) ** 2, (degree + 1) ** 2, dtype=torch.float64, device=R.device)
    for band, solver in enumerate(solvers):
        part = slice(band**2, (band + 1) ** 2)
        sign = (-1.0) ** torch.arange(-band, band + 1, device=R.device).abs()  # without the Condon-Shortley phase
        D[..., part, part] = (solver @ turned[..., part]).transpose(-1, -2) * sign * sign[:, None]
    return D.to(R)


def to_gaussians(raw: Tensor, opacity: Tensor, depth: Tensor, K_normalized: Tensor, cam_to_world: Tensor, degree: int) -> SplatOutput:
    """raw [B, V, H, W, 9 + 3 K]: offset, scales, quaternion xyzw, harmonics; opacity and depth [B, V, H, W]; cameras [B, V, 3, 3], [B, V, 4, 4]."""
    height, width = depth.shape[2:]
    offset, scales, quats, harmonics = raw.split((2, 3, 4, 3 * (degree + 1) ** 2), -1)
    inverse = invert_K(K_normalized.double()).to(raw)
    pixel = constant((1 / width, 1 / height), raw.device).to(raw)
    xy = (pixel_grid(height, width, device=raw.device) + offset.sigmoid() - 0.5) * pixel
    rays = torch.cat([xy, torch.ones_like(xy[..., :1])], -1) @ inverse.transpose(-1, -2)[:, :, None]
    rays = torch.nn.functional.normalize(rays, dim=-1)  # the published weights take the depth of a Gaussian for its distance
    R, t = cam_to_world[..., :3, :3], cam_to_world[..., :3, 3]
    means = (rays * depth[..., None]) @ R.transpose(-1, -2)[:, :, None] + t[:, :, None, None]
    size = PIXEL * (inverse[..., :2, :2] @ pixel).sum(-1)  # [B, V]
    low, high = SCALE_RANGE
    scales = (low + (high - low) * scales.sigmoid()) * (depth * size[:, :, None, None])[..., None]
    quats = quats / (quats.norm(dim=-1, keepdim=True) + 1e-8)
    sh = harmonics.unflatten(-1, (3, -1)) * harmonics_mask(degree, raw)
    sh = torch.einsum("bvij,bvhwcj->bvhwci", turned_harmonics(R, degree), sh)
    flat = lambda x: x.flatten(1, 3)
    rotation = R[:, :, None, None].expand(*depth.shape, 3, 3)
    return SplatOutput(flat(means), flat(quats.roll(1, -1)), flat(scales), flat(opacity), flat(sh), flat(rotation), depth)
