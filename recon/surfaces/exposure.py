"""Contains the levelling of light: the photos of a scene are brought to one color by the surface that they share, as wholes and then locally."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import unproject
from recon.surfaces.consistency import compare, sample

STRIDE = 3  # every third row and column tells enough; odd, so that the middle of each block is a pixel's
LEAST_PIXELS = 100  # that two views share, to be compared
ENDS = 0.02, 0.98  # what is darker or brighter is lost in the photo
LARGEST = 1.5  # difference from the mean of all views, at most
HOLD = 0.1  # weight of "no difference", beside roots of pixels: what views say nothing of stays
REACH = 3  # steps of STRIDE that a local difference is the mean of, twice


def thinned(rgb: Tensor, depth: Tensor, mask: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every STRIDE-th row and column of rgb [V, H, W, 3] (as float, on the processor), depth and mask [V, H, W], and the K of that grid."""
    middle = (slice(None), slice(STRIDE // 2, None, STRIDE), slice(STRIDE // 2, None, STRIDE))
    return rgb[middle].cpu().float(), depth[middle], mask[middle], K / K.new_tensor([[STRIDE], [STRIDE], [1.0]])


def exposure_shifts(rgb: Tensor, depth: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:
    """By how much each view is brighter than all, a channel each [V, 3], in logits of its values; the mean over views that hang together is 0.

    rgb [V, H, W, 3] 0..1, depth and mask [V, H, W] on the grid of K [V, 3, 3]; views are compared with their `partners`, where depth and place agree.
    A shift of logits keeps black and white, as a camera's curve does, and is a factor for what is dark.
    """
    few, z, there, K = thinned(rgb, depth, mask, K)
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


def local_differences(rgb: Tensor, depth: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]], shift: Tensor) -> Tensor:
    """What is to be added to each levelled photo so that a place looks as the mean of the views that show it: [V, 3, h, w], a STRIDE-th of the size.

    Gloss, vignettes and skylight differ from view to view, but slowly over the picture: only the mean over a neighbourhood is taken, so that a photo
    keeps its sharpness where depth is a little wrong (the idea of Burt and Adelson's splines of several resolutions, 1983). Where no other view
    shows a place, its neighbourhood speaks for it; where none does at all, 0. Arguments as of `exposure_shifts`.
    """
    _, z, there, K = thinned(rgb, depth, mask, K)
    h, w = (n // STRIDE for n in mask.shape[1:])
    z, there = z[:, :h, :w], there[:, :h, :w]
    one = lambda v: torch.cat([levelled(rgb[v : v + 1].cpu().float(), shift[v : v + 1]), torch.ones_like(depth[v : v + 1, ..., None])], -1)
    sums = [F.avg_pool2d((one(v) * mask[v, ..., None]).permute(0, 3, 1, 2), STRIDE)[0] for v in range(len(rgb))]  # of the surface, and its share
    color = lambda x: x[:3] / x[3].clamp(min=1e-6)
    near = lambda x: F.avg_pool2d(F.avg_pool2d(x, REACH, 1, REACH // 2), REACH, 1, REACH // 2)
    hidden, out = torch.where(there, z, torch.nan), torch.zeros(len(z), 3, h, w)
    for a, others in enumerate(partners):
        total, sum_ = torch.ones_like(z[a]), color(sums[a])
        points = unproject(z[a], K[a], cam_to_world[a]) if others else z[a]
        for b in others:
            same = compare(z[a], K[a], cam_to_world[a], hidden[b], K[b], cam_to_world[b], points=points)
            agrees = same.agrees & there[a]
            total = total + agrees
            sum_ = sum_ + torch.where(agrees, color(sample(sums[b], same.xy, "bilinear")), 0)
        shared = (total > 1).float()
        out[a] = near((sum_ / total - color(sums[a])) * shared) / near(shared[None]).clamp(min=1e-6)
    return out


def alike(rgb: Tensor, shift: Tensor, differences: Tensor) -> Tensor:  # [V, H, W, 3] 0..1, [V, 3], [V, 3, h, w] -> [V, H, W, 3] 0..1
    """The photos, levelled, with their local differences added."""
    full = F.interpolate(differences, size=rgb.shape[1:3], mode="bilinear", align_corners=False)
    return (levelled(rgb, shift) + full.permute(0, 2, 3, 1)).clamp(0, 1)
