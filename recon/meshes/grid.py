"""Contains the mesh of single views: each view's pixels as a grid of triangles, cut where the depth jumps."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.meshes.depth_views import DepthViews
from recon.meshes.faces import with_faces
from recon.scene import Mesh

JUMP = 0.03  # log depth between neighbours, at most; more is an edge


def grid_mesh(views: DepthViews, *, jump: float = JUMP) -> Mesh:
    """Two triangles for every four neighbouring pixels that are used, one for three, where no side spans more than `jump` in log depth and the
    surface does not lie along the ray; facing the cameras. Views stay apart. Raises ReconError where nothing is left."""
    if not jump > 0:
        raise ReconError(f"jump is {jump}, wanted a positive number (of log depth)")
    count, height, width = views.depth.shape
    number = torch.arange(count * height * width).reshape(count, height, width)
    a, b, c, d = (number[:, :-1, :-1], number[:, :-1, 1:], number[:, 1:, :-1], number[:, 1:, 1:])
    logs = torch.where(views.used, views.depth, torch.nan).log().flatten()
    first = near(logs, a, d) <= near(logs, b, c)  # the quad is cut along the diagonal that lies flatter
    # seen from the camera (y down) these run counter-clockwise
    whole = [torch.stack([a, c, d], -1), torch.stack([a, d, b], -1)], [torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)]
    faces = torch.cat([torch.where(first[..., None], one, other).reshape(-1, 3) for one, other in zip(*whole, strict=True)])
    span = logs[faces].amax(1) - logs[faces].amin(1)
    good = span < jump  # NaN where a corner is not used
    if not bool(good.any()):
        raise ReconError("no three neighbouring pixels lie on one surface: there is nothing to make a mesh of")
    return with_faces(Mesh(vertices=views.points().reshape(-1, 3), faces=faces), good)


def near(logs: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """How far two corners are apart in log depth; infinite where one is not there."""
    return (logs[one] - logs[other]).abs().nan_to_num(torch.inf)
