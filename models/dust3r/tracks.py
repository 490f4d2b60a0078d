"""Contains MASt3R's reciprocal matches as tracks of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.geometry import project
from recon.models.dust3r.matches import reciprocal_matches
from recon.models.dust3r.pairs import PairPoints
from recon.photos.moves import move_points
from recon.scene import Tracks

if TYPE_CHECKING:
    from recon.scene import Images, Scene

AGREE_PX = 8.0  # a match whose point lies farther from its place in the other photo is none of this scene


def match_tracks(scene: Scene, grid: Images, pairs: PairPoints) -> Tracks | None:
    """One track for each reciprocal match of each pair of photos that fits the scene's depth and cameras; None where there is none."""
    images, cameras, depth = scene.images, scene.cameras, scene.depth
    assert images is not None and depth is not None and scene.pointmaps is not None
    inside = grid.mask.cpu()
    points, views, places, errors = [], [], [], []
    for (i, j), (a, b) in zip(pairs.index.tolist(), pairs.descriptors, strict=True):
        if i >= j:
            continue  # both orders say much the same
        xa, xb = reciprocal_matches(a, b, inside[i], inside[j])
        xa, xb = (torch.as_tensor(move_points(x.double().numpy(), v, grid, images), dtype=torch.float32) for x, v in ((xa, i), (xb, j)))
        height, width = depth.shape[1:]
        column, row = xa.long().unbind(1)
        there = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        xa, xb, column, row = xa[there], xb[there], column[there], row[there]
        point = scene.pointmaps.points[i, row, column]
        seen, z = project(point, cameras.K[j], cameras.world_to_cam[j])
        error = (seen - xb).norm(dim=1)
        good = (z > 0) & (error < AGREE_PX)
        points.append(point[good])
        views += [(i, j)] * int(good.sum())
        places.append(torch.stack([xa[good], xb[good]], 1))
        errors.append(error[good] / 2)  # in the first view it is nothing
    if not views:
        return None
    count = len(views)
    return Tracks(
        points=torch.cat(points), view=torch.as_tensor(np.array(views).reshape(-1)), point=torch.arange(count).repeat_interleave(2),
        xy=torch.cat(places).reshape(-1, 2), error=torch.cat(errors),
    )  # fmt: skip
