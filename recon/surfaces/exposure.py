"""Contains the levelling of exposures: the photos of a scene brought to one brightness and colour by the surface that they share."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.surfaces.consistency import compare, sample

STRIDE = 3  # every third row and column tells enough; odd, so that the middle of each block is a pixel's
LEAST_PIXELS = 100  # that two views share, to be compared
ENDS = 0.02, 0.98  # what is darker or brighter is lost in the photo
LARGEST = 1.5  # difference from the mean of all views, at most
HOLD = 0.1  # weight of "no difference", beside roots of pixels: what views say nothing of stays


def exposure_shifts(rgb: Tensor, depth: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:
    """By how much each view is brighter than all, a channel each [V, 3], in logits of its values; the mean over views that hang together is 0.

    rgb [V, H, W, 3] 0..1, depth and mask [V, H, W] on the grid of K [V, 3, 3]; views are compared with their `partners`, where depth and place agree.
    A shift of logits keeps black and white, as a camera's curve does, and is a factor for what is dark.
    """
    middle = (slice(None), slice(STRIDE // 2, None, STRIDE), slice(STRIDE // 2, None, STRIDE))
    few, z, there, K = rgb[middle].cpu().float(), depth[middle], mask[middle], K / K.new_tensor([[STRIDE], [STRIDE], [1.0]])
    values = torch.logit(few.clamp(*ENDS))
    known = ((few > ENDS[0]) & (few < ENDS[1])).all(-1) & there
    hidden = torch.where(there, z, torch.nan)
    rows, differences = [], []
    for a, others in enumerate(partners):
        for b in others:
            same = compare(z[a], K[a], cam_to_world[a], hidden[b], K[b], cam_to_world[b])
            both = torch.cat([values[b], known[b, ..., None].to(values)], -1).permute(2, 0, 1)
            other = sample(both, same.xy, "bilinear").permute(1, 2, 0)
            shared = same.agrees & known[a] & (other[..., 3] > 0.99)
            if (count := int(shared.sum())) >= LEAST_PIXELS:
                row = torch.zeros(len(depth))
                row[a], row[b] = count**0.5, -(count**0.5)
                rows.append(row)
                differences.append(count**0.5 * (values[a] - other[..., :3])[shared].median(0).values)
    if not rows:
        return torch.zeros(len(depth), 3)
    A = torch.cat([torch.stack(rows), HOLD * torch.eye(len(depth))])
    y = torch.cat([torch.stack(differences), torch.zeros(len(depth), 3)])
    return torch.linalg.lstsq(A.double(), y.double()).solution.float().clamp(-LARGEST, LARGEST)


def levelled(rgb: Tensor, shift: Tensor) -> Tensor:  # [V, H, W, 3] 0..1, [V, 3] -> [V, H, W, 3]
    """The photos without their shifts: x a / (1 + (a - 1) x) with a = exp(-shift), which is x + shift in logits."""
    a = (-shift).exp()[:, None, None]
    return rgb * a / (1 + (a - 1) * rgb)
