"""Contains the colours of vertices from the photos that see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from recon.geometry import invert_rigid, project
from recon.meshes.depth_views import placed_rows
from recon.meshes.faces import edge_ends, with_normals
from recon.scene import Mesh, Scene
from recon.surfaces.consistency import sample, sample_depth

HIDDEN = 0.02  # relative: a vertex this far behind the depth of a view is hidden from it
UNSEEN = 0.5  # grey of vertices where no colour reaches


def with_colors(mesh: Mesh, scene: Scene, *, progress: Callable[[str, float], None] | None = None) -> Mesh:
    """The mesh with a colour at each vertex: the mean of the photos that see it, by how straight and how near they look.

    Hidden is what lies behind a view's depth, where the scene has it. Vertices that no photo sees take the colour of their neighbours.
    As it is where the scene has no photos of placed views.
    """
    rows = placed_rows(scene)
    if scene.images is None or not rows:
        return mesh
    tell = progress or (lambda text, share: None)
    shaded = with_normals(mesh)
    assert shaded.normals is not None
    total, weight = torch.zeros_like(mesh.vertices), torch.zeros(len(mesh.vertices), 1)
    for done, v in enumerate(rows):
        tell("colours", done / len(rows))
        worth, color = seen_by(scene, v, mesh.vertices, shaded.normals)
        total += worth * color
        weight += worth
    colors = torch.where(weight > 0, total / weight.clamp(min=1e-12), torch.nan)
    return replace(mesh, colors=spread(colors, mesh.faces))


def seen_by(scene: Scene, view: int, points: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:  # [P, 1], [P, 3]
    """How well a view sees points [P, 3] with normals [P, 3], 0 for not at all, and the colour it sees there."""
    assert scene.images is not None
    T, K = scene.cameras.cam_to_world[view].float().cpu(), scene.cameras.K[view].float().cpu()
    xy, z = project(points, K, invert_rigid(T))
    towards = torch.nn.functional.normalize(T[:3, 3] - points, dim=1)
    cosine = (towards * normals).sum(1)
    picture = torch.cat([scene.images.rgb[view].float().cpu(), scene.images.mask[view].float().cpu()[..., None]], -1).permute(2, 0, 1)
    found = sample(picture, xy[:, None].clamp(-1e6, 1e6), "bilinear")[..., 0].T  # [P, 4]
    clear = (z > 0) & (found[:, 3] > 0.99)
    if scene.depth is not None:
        depth = scene.depth[view].float().cpu()
        there = sample_depth(torch.where(depth > 0, depth, torch.inf).nan_to_num(torch.inf), xy[:, None])[:, 0]
        clear &= z < (1 + HIDDEN) * torch.where(there > 0, there, torch.inf)
    worth = torch.where(clear, cosine.clamp(min=0) ** 2 / z.clamp(min=1e-9) ** 2, 0)
    return worth[:, None], found[:, :3]


def spread(colors: Tensor, faces: Tensor, rounds: int = 200) -> Tensor:  # [P, 3] NaN where there is none, [F, 3] -> [P, 3]
    """Colours carried along the edges to vertices that have none; grey where none reaches."""
    colors = colors.clone()
    ends = edge_ends(faces)
    for _ in range(rounds):
        empty = colors[:, 0].isnan()
        use = ends[empty[ends[:, 0]] & ~empty[ends[:, 1]]]
        if not len(use):
            break
        total = torch.zeros_like(colors).index_add_(0, use[:, 0], colors[use[:, 1]])
        count = torch.zeros(len(colors)).index_add_(0, use[:, 0], torch.ones(len(use)))
        got = count > 0
        colors[got] = total[got] / count[got, None]
    return colors.nan_to_num(UNSEEN)
