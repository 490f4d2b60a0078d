"""Tracks out of pointmaps: points that other views see at the same depth, for scenes whose cameras came without tracks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import project
from recon.scene import Pointmaps, Scene, Tracks

AGREEMENT = 0.02  # relative difference of depths that still is one surface


def dense_tracks(scene: Scene, *, limit: int = 20000) -> Tracks | None:
    """About `limit` points at most with at least two observations each; None without pointmaps or where no views agree.

    A point of one view is looked up in all others: it counts as seen where its pixel there is valid and as deep as it is within 2 %.
    The point is the mean of what the views say; an observation in another view is where the first view's point falls. Points that an
    earlier view has already are not made again.
    """
    maps, cameras = scene.pointmaps, scene.cameras
    if maps is None or len(scene) < 2:
        return None
    views = cameras.posed.nonzero()[:, 0].tolist()
    usable = int(maps.mask[views].sum())
    step = max(1, int((usable / max(limit, 1)) ** 0.5 + 0.999))
    points, colors, rows = [], [], []
    count = 0
    for v in views:
        y, x = torch.meshgrid(torch.arange(step // 2, cameras.height, step), torch.arange(step // 2, cameras.width, step), indexing="ij")
        fine = maps.mask[v, y, x] & maps.points[v, y, x].isfinite().all(-1)
        y, x = y[fine], x[fine]
        p = maps.points[v, y, x]
        total, number = p.clone(), torch.ones(len(p))
        fresh = torch.ones(len(p), dtype=torch.bool)
        seen: list[tuple[int, Tensor, Tensor]] = [(v, torch.stack([x + 0.5, y + 0.5], 1).float(), fresh.clone())]
        for u in views:
            if u == v:
                continue
            xy, agree, there = _look_up(maps, scene, p, u)
            total += torch.where(agree[:, None], there, 0)
            number += agree
            if u < v:
                fresh &= ~agree
            seen.append((u, xy, agree))
        kept = fresh & (number >= 2)
        new = torch.cumsum(kept, 0) - 1 + count
        rows += [(torch.full_like(new[use], u), new[use], xy[use]) for u, xy, agree in seen for use in [agree & kept]]
        points.append((total / number[:, None])[kept])
        colors.append(scene.images.rgb[v, y[kept], x[kept]] if scene.images is not None else None)
        count += int(kept.sum())
    if not count:
        return None
    view, point, xy = (torch.cat(parts) for parts in zip(*rows, strict=True))
    joined = None if any(c is None for c in colors) else torch.cat([c for c in colors if c is not None])
    places = torch.cat(points)
    return Tracks(points=places, view=view, point=point, xy=xy, error=_errors(scene, places, view, point, xy), colors=joined)


def _look_up(maps: Pointmaps, scene: Scene, p: Tensor, u: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [n, 2] of points in view u, whether the view agrees [n], and its own points there [n, 3]."""
    cameras = scene.cameras
    xy, z = project(p, cameras.K[u], cameras.world_to_cam[u])
    grid = xy / torch.tensor([cameras.width, cameras.height]) * 2 - 1
    sample = lambda image: F.grid_sample(image[None], grid[None, None], align_corners=False, padding_mode="border")[0, :, 0].T  # [n, C]
    usable = maps.mask[u] & maps.points[u].isfinite().all(-1)
    there = sample(torch.where(usable[..., None], maps.points[u], 0).permute(2, 0, 1))
    depth = project(there, cameras.K[u], cameras.world_to_cam[u])[1]
    inside = (xy > 0).all(1) & (xy[:, 0] < cameras.width) & (xy[:, 1] < cameras.height) & (z > 0)
    valid = sample(usable[None].float())[:, 0] > 0.999
    return xy, inside & valid & ((depth - z).abs() < AGREEMENT * z), there


def _errors(scene: Scene, points: Tensor, view: Tensor, point: Tensor, xy: Tensor) -> Tensor:
    """Mean distance in pixels between where points fall and where they were seen [P]."""
    error = torch.zeros(len(xy))
    for v in view.unique().tolist():
        rows = view == v
        error[rows] = (project(points[point[rows]], scene.cameras.K[v], scene.cameras.world_to_cam[v])[0] - xy[rows]).norm(dim=1)
    sums = torch.zeros(len(points)).index_add_(0, point, error)
    return sums / torch.bincount(point, minlength=len(points)).clamp(min=1)
