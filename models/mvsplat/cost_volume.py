"""Contains MVSplat's cost volume: each view's features against every other view's at inverse depths from far to near (Chen et al. 2024, 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import invert_K, invert_rigid
from recon.models.layers.acceleration import constant
from recon.models.layers.plane_sweep import Backend, plane_sweep


def inverse_depths(near: Tensor, far: Tensor, planes: int) -> tuple[Tensor, Tensor]:  # [B, V] -> twice [V B, 1, 1]
    """First inverse depth and step of planes that are uniform in inverse depth, from far to near."""
    first, last = ((1 / x).transpose(0, 1).reshape(-1, 1, 1) for x in (far, near))
    return first, (last - first) / (planes - 1)


def correlation(
    features: Tensor, K_normalized: Tensor, cam_to_world: Tensor, first: Tensor, step: Tensor, planes: int, backend: Backend = "auto"
) -> Tensor:
    """Mean over the other views of the features' products over sqrt(C), [V B, planes, h, w]; 0 where a view does not see.

    features [V, B, C, h, w], K_normalized [B, V, 3, 3] of pictures 1 wide and 1 high, cam_to_world [B, V, 4, 4], first and step [V B, 1, 1].
    The published weights were trained with the centre of cell (0, 0) at 0, not at one half, and with features that fade out beyond the border.
    """
    views, batch, channels, height, width = features.shape
    K = K_normalized.transpose(0, 1).double()  # [V, B, 3, 3]
    T = cam_to_world.transpose(0, 1).double()
    other = constant(tuple(tuple(j for j in range(views) if j != i) for i in range(views)), features.device)  # [V, S]
    T_other_own = invert_rigid(T[other]) @ T[:, None]  # [V, S, B, 4, 4]
    to_cell, from_place = _placed(K, width, height), _placed_inverse(K, width, height)
    matrix = to_cell[other] @ T_other_own[..., :3, :3] @ from_place[:, None]
    offset = (to_cell[other] @ T_other_own[..., :3, 3:])[..., 0]
    rows = other[:, :, None] * batch + torch.arange(batch, device=features.device)  # [V, S, B]
    flat = features.flatten(0, 1)
    merge = lambda x: x.transpose(1, 2).flatten(0, 1)  # [V, S, B, ...] -> [V B, S, ...]
    geometry = (merge(matrix).float(), merge(offset).float(), first.float(), step.float())
    swept = plane_sweep(flat, F.pad(flat, (1, 1, 1, 1)), merge(rows), *geometry, planes, backend=backend)
    return swept.similarity[:, :, 0].mean(1) / channels**0.5


def _placed(K: Tensor, width: int, height: int) -> Tensor:  # [..., 3, 3] -> [..., 3, 3]
    """From camera axes to 0..1 across the features with their border of one cell, for cells whose centres are at whole numbers."""
    w, h = width + 2, height + 2
    return constant(((width / w, 0.0, 1.5 / w), (0.0, height / h, 1.5 / h), (0.0, 0.0, 1.0)), K.device).to(K) @ K


def _placed_inverse(K: Tensor, width: int, height: int) -> Tensor:  # [..., 3, 3] -> [..., 3, 3]
    """From 0..1 across the features to directions in camera axes, for cells whose centres are at whole numbers."""
    return invert_K(K) @ constant(((1.0, 0.0, -0.5 / width), (0.0, 1.0, -0.5 / height), (0.0, 0.0, 1.0)), K.device).to(K)
