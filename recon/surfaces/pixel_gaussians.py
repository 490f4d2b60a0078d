"""Contains pixel-aligned Gaussians: one flat disc for each valid pixel on the surface of the depth map, and a network's corrections to it."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.geometry import matrices_to_quats

SH_DC = 0.28209479177387814
FOOTPRINT = 0.7  # standard deviation in pixels: neighbours overlap without blurring
FLATNESS = 0.15  # thickness over footprint
STEEPEST = 4.0  # a disc is stretched along the slope by at most this
DENSER = 2  # times that each Gaussian counts: the head leaves rims thin, since it has learnt that fog before nothing is dear
FARTHEST, LARGEST = 2.0, 1.5  # corrections reach at most so many footprints, and so much in log scale


def surface_normals(points: Tensor) -> Tensor:  # [V, H, W, 3] in camera axes -> [V, H, W, 3]
    """Unit normals towards the camera from differences of neighbours, the smaller of both sides (edges do not bleed)."""

    def slope(dim: int) -> Tensor:
        step = points.diff(dim=dim)
        first = torch.cat([step.narrow(dim, 0, 1), step], dim)
        second = torch.cat([step, step.narrow(dim, step.shape[dim] - 1, 1)], dim)
        smaller = first[..., 2:].abs() < second[..., 2:].abs()
        return torch.where(smaller, first, second)

    normal = torch.linalg.cross(slope(2), slope(1))
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    away = (normal * points).sum(-1, keepdim=True) > 0
    return torch.where(away, -normal, normal)


def rotations(turn: Tensor) -> Tensor:  # [N, 3] -> [N, 3, 3]
    """Rotations of rotation vectors by Rodrigues' formula; torch's matrix exponential is far slower on a million of them, its gradient above all."""
    x, y, z = turn.unbind(-1)
    o = torch.zeros_like(x)
    skew = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    square = turn[:, :, None] * turn[:, None] - (turn * turn).sum(-1)[:, None, None] * torch.eye(3, device=turn.device)
    angle = ((turn * turn).sum(-1) + 1e-12).sqrt()[:, None, None]  # never 0, where the gradient would be undefined
    return torch.eye(3, device=turn.device) + angle.sin() / angle * skew + 2 * ((angle / 2).sin() / angle).square() * square


def pixel_gaussians(
    camera_points: Tensor, rgb: Tensor, confidence: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, corrections: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """means [N, 3], quats [N, 4] wxyz, scales [N, 3], opacities [N], sh [N, 1, 3] of the pixels in mask, in world axes.

    camera_points [V, H, W, 3] in each camera's axes, rgb [V, H, W, 3] 0..1, confidence [V, H, W] >= 1, K [V, 3, 3], cam_to_world [V, 4, 4];
    corrections [V, H, W, 13] (of a network's Gaussian head): position in footprints along the disc's axes, log scales, rotation vector, opacity
    logit, colour.
    """
    normal = surface_normals(camera_points)[mask]
    points = camera_points[mask]
    view = mask.nonzero()[:, 0]
    R, t = cam_to_world[view, :3, :3], cam_to_world[view, :3, 3]
    ray = points / points.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosine = -(normal * ray).sum(1).clamp(max=-1 / STEEPEST)
    along = ray + normal * -(ray * normal).sum(1, keepdim=True)  # direction of the slope, in the surface
    spare = torch.linalg.cross(normal, torch.tensor([0.0, 1.0, 0.0], device=normal.device).expand_as(normal))
    spare = torch.where(spare.norm(dim=1, keepdim=True) > 1e-3, spare, torch.tensor([1.0, 0.0, 0.0], device=normal.device))
    along = torch.where(along.norm(dim=1, keepdim=True) > 1e-3, along, spare)
    along = along - normal * (along * normal).sum(1, keepdim=True)
    along = along / along.norm(dim=1, keepdim=True).clamp(min=1e-12)
    axes = torch.stack([along, torch.linalg.cross(normal, along), normal], -1)  # columns: slope, across, normal
    focal = K[view][:, [0, 1], [0, 1]].mean(1)
    size = FOOTPRINT * points[:, 2] / focal
    scales = torch.stack([size / cosine, size, FLATNESS * size], 1)
    trust = confidence[mask] - 1
    opacities = 0.35 + 0.6 * trust / (trust + 1)
    color = rgb[mask]
    if corrections is not None:
        position, log_scale, turn, logit, tint = corrections[mask].split((3, 3, 3, 1, 3), -1)
        points = points + size[:, None] * (axes * (FARTHEST * torch.tanh(position / FARTHEST))[:, None]).sum(-1)
        scales = scales * (LARGEST * torch.tanh(log_scale / LARGEST)).exp()
        axes = axes @ rotations(turn)
        opacities = torch.sigmoid(torch.logit(opacities) + logit[:, 0])
        color = color + tint
    means = torch.einsum("nij,nj->ni", R, points) + t
    return means, matrices_to_quats(R @ axes), scales, 1 - (1 - opacities) ** DENSER, ((color - 0.5) / SH_DC)[:, None]
