"""Contains the second stage of a reconstruction: the depth of views whose cameras are known, by recon-mvs over the matching stage's descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.recon_mvs.network import COARSE_STRIDE, GAUSSIAN_CHANNELS, PosedViews, ReconMVS, SweptDepth
from recon.surfaces.depth_maps import POINTMAP_ERROR, DepthMaps
from recon.surfaces.sources import choose_sources, shared_tracks
from recon.weights import load_into, packaged

if TYPE_CHECKING:
    from recon.cameras.bundle import Bundle
    from recon.cameras.solve import Placed
    from recon.models.recon_small.matches import Described
    from recon.scene import Images

WEIGHTS = "recon-mvs.safetensors"
NEARER, FARTHER = 0.65, 1.6  # the sweep reaches beyond the nearest and farthest that tracks and pointmap know
TAIL = 0.005  # of the pixels at both ends that do not count for that
SKY_SHARE = 0.02  # of a view without anything there, from which on the sweep begins at infinity
CHUNK = {"cpu": 1, "cuda": 8}  # views swept at once


@lru_cache(maxsize=2)
def load_sweeper(device: str) -> ReconMVS:
    """recon-mvs with its packaged weights, kept for the process. Raises WeightsError where they are absent."""
    net = ReconMVS()
    load_into(net, packaged(WEIGHTS))
    return net.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def sweep(
    net: ReconMVS, images: Images, descriptors: Sequence[Described], scales: Tensor, placed: Placed, bundle: Bundle | None, prior: DepthMaps, *,
    step: Callable[[float], None],
) -> tuple[DepthMaps, Tensor]:  # fmt: skip
    """Depth maps on the grid of `images`, which cameras, descriptors and `prior` are on too, and the sources of each view [V, 4] (-1: none).

    Views that only the pointmap placed, and views that share nothing with another place, keep the prior. `scales` [2] are the descriptors' inverse
    temperatures; `step` is told the share done.
    """
    device = next(net.parameters()).device
    usable = np.isin(placed.placed_by, ("given", "matches"))
    K, T = (torch.as_tensor(x, dtype=torch.float64) for x in (placed.K, placed.cam_to_world))
    tracks = None if bundle is None else shared_tracks(torch.as_tensor(bundle.view), torch.as_tensor(bundle.point), len(K))
    sources = choose_sources(prior.depth, K, T, usable, sharpness=sharpness(images.rgb), tracks=tracks)
    swept = (sources[:, 0] >= 0).nonzero()[:, 0]
    if not len(swept):
        return prior, sources
    views = posed_views(images, descriptors, scales, K, T, inverse_ranges(prior, bundle, T), prior, device)
    detail = describe(net, views.images)
    depth, error, valid = prior.depth.clone(), prior.relative_error.clone(), prior.valid.clone()
    corrections = prior.corrections.clone() if prior.corrections is not None else torch.zeros(*depth.shape, GAUSSIAN_CHANNELS)
    chunk = CHUNK[device.type]
    for done in range(0, len(swept), chunk):
        rows = swept[done : done + chunk]
        used = sources[rows]
        used = used[:, : int((used >= 0).sum(1).max())]
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            out: SweptDepth = net(views, detail, rows.to(device), used.to(device), gaussians=True)
        depth[rows], error[rows] = (1 / out.inverse_depth).cpu(), out.log_b.exp().cpu()
        assert out.gaussians is not None
        corrections[rows] = out.gaussians.cpu()
        valid[rows] = torch.maximum(valid[rows], out.validity.sigmoid().cpu())  # either network's word is enough: dark plain backdrops are no sky
        step((done + len(rows)) / len(swept))
    return DepthMaps(depth=depth, relative_error=error, valid=valid, seen=prior.seen, corrections=corrections), sources


def describe(net: ReconMVS, images: Tensor) -> tuple[Tensor, Tensor]:
    """The detail features of all views, one at a time: their full-size activations are the largest of all."""
    with torch.autocast("cuda", torch.bfloat16, enabled=images.is_cuda):
        parts = [net.describe(image[None]) for image in images]
    return torch.cat([features for features, _ in parts]), torch.cat([descriptors for _, descriptors in parts])


def posed_views(
    images: Images, descriptors: Sequence[Described], scales: Tensor, K: Tensor, cam_to_world: Tensor, inverse_range: Tensor, prior: DepthMaps,
    device: torch.device,
) -> PosedViews:  # fmt: skip
    """What the network reads, on its device."""
    pooled = F.avg_pool2d(torch.stack([1 / prior.depth, (POINTMAP_ERROR / prior.relative_error).log()], 1), COARSE_STRIDE)
    return PosedViews(
        images=images.rgb.to(device).float().permute(0, 3, 1, 2),
        coarse=torch.stack([d.coarse for d in descriptors]).to(device),
        fine=torch.stack([d.fine for d in descriptors]).to(device),
        scales=scales.to(device), K=K.to(device), cam_to_world=cam_to_world.to(device), inverse_range=inverse_range.float().to(device),
        prior=pooled[:, 0].to(device), prior_confidence=pooled[:, 1].to(device) + 0.05,
    )  # fmt: skip


def sharpness(rgb: Tensor) -> Tensor:  # [V, H, W, 3] -> [V]
    """Mean steps of brightness between neighbours: relative among photos of one scene."""
    grey = rgb.cpu().float().mean(-1)
    return grey.diff(dim=1).abs().mean((1, 2)) + grey.diff(dim=2).abs().mean((1, 2)) + 1e-6


def inverse_ranges(prior: DepthMaps, bundle: Bundle | None, cam_to_world: Tensor) -> Tensor:  # -> [V, 2]
    """Least and largest inverse depth that each view is swept at: beyond what its pointmap and its tracks hold, from infinity where there is sky."""
    out = []
    world_to_cam = torch.linalg.inv(cam_to_world)
    for v, depth in enumerate(prior.depth):
        there = prior.valid[v] > 0.5
        z = depth[there] if there.sum() > 100 else depth.flatten()
        ends = torch.quantile(z[:: max(1, len(z) // 20000)].double(), torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64))
        if bundle is not None:
            points = torch.as_tensor(bundle.points[bundle.point[bundle.view == v]])
            track_z = points @ world_to_cam[v, 2, :3] + world_to_cam[v, 2, 3]
            track_z = track_z[track_z > 0]
            if len(track_z) > 20:
                low, high = torch.quantile(track_z, torch.tensor([2 * TAIL, 1 - 2 * TAIL], dtype=torch.float64))
                ends = torch.stack([torch.minimum(ends[0], low), torch.maximum(ends[1], high)])
        farthest = 0.0 if (~there).float().mean() > SKY_SHARE else 1 / (FARTHER * float(ends[1]))
        out.append([farthest, 1 / (NEARER * float(ends[0]))])
    return torch.tensor(out)
