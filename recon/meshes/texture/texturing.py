"""Contains texture_mesh: a mesh with a texture cut from the photos of a scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.meshes.texture.baking import bake
from recon.meshes.texture.choice import adjacency, choose_views, without_strangers
from recon.meshes.texture.layout import Layout, lay_out
from recon.meshes.texture.levelling import level, seams_of, steps_at
from recon.meshes.texture.shots import Shot, shots_of
from recon.meshes.texture.subdivision import halve, split_large
from recon.meshes.texture.surveying import Survey, survey
from recon.meshes.texture.unseen import vertex_colors
from recon.scene import Mesh, Scene

SIZES = (64, 8192)
MOST_PARTS = 16  # of a photo's long side that an edge may span


def texture_mesh(mesh: Mesh, scene: Scene, *, size: int = 4096, progress: Callable[[str, float], None] | None = None) -> Mesh:
    """The mesh with `uvs` and a `texture` of at most size x size pixels, cut from the scene's photos at full resolution.

    Each face is cut from the photo that shows it best (area, angle, sharpness, nothing before it, few seams); exposures are made alike and
    levelled at seams; masked pixels and what only one photo shows of at least three stay out. Faces that no photo shows get colours from their
    neighbours, from the mesh's own vertex colours where it has them, else from the scene's points.
    Faces that are large in the photos are split, vertices on borders of patches are doubled, and vertex colours are dropped: the texture has them.
    `progress` is called with a stage and 0..1. Raises ReconError for a mesh without faces, numbers that are not finite, a size that is not within
    64 to 8192 or too small, a scene without photos or placed views, and where no photo shows any face.
    """
    points, faces = _checked(mesh, size)
    told = progress or (lambda stage, done: None)
    shots = shots_of(scene)
    told("texture: faces", 0.0)
    points, faces, parents = split_large(points, faces, _eyes(shots), most=_widest_edge(shots))
    pairs = adjacency(faces)
    seen = survey(points, faces, shots, progress=progress)
    told("texture: choice", 0.0)
    labels = choose_views(without_strangers(seen, pairs), pairs)
    if (labels < 0).all():
        raise ReconError(f"none of the {len(shots)} placed photos shows any of the mesh's {len(mesh.faces):,} faces from outside")
    told("texture: layout", 0.0)
    layout = lay_out(points, faces, labels, pairs, shots, size)
    told("texture: seams", 0.0)
    seams = seams_of(layout, pairs)
    offsets = level(seams, steps_at(seams, layout, points, seen, shots), layout)
    own = None if mesh.colors is None else halve(mesh.colors.double().cpu().numpy(), parents)
    colors = vertex_colors(faces, _levelled_colors(layout, seen, offsets, len(points)), own, points, scene)
    texture = bake(points, layout, shots, seen, seams, offsets, colors, progress=progress)
    normals = None if mesh.normals is None else halve(mesh.normals.double().cpu().numpy(), parents)
    told("texture: done", 1.0)
    return replace(
        mesh, vertices=torch.from_numpy(points[layout.vertex]).float(), faces=torch.from_numpy(layout.faces), colors=None,
        normals=None if normals is None else torch.nn.functional.normalize(torch.from_numpy(normals[layout.vertex]).float(), dim=1),
        uvs=torch.from_numpy(layout.uvs).float(), texture=torch.from_numpy(texture),
    )  # fmt: skip


def _checked(mesh: Mesh, size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if not SIZES[0] <= size <= SIZES[1]:
        raise ReconError(f"a texture of size {size} is asked for, wanted {SIZES[0]} to {SIZES[1]} pixels")
    if not len(mesh.faces):
        raise ReconError(f"a mesh without faces ({len(mesh.vertices):,} vertices) has nothing to put a texture on")
    points, faces = mesh.vertices.double().cpu().numpy(), mesh.faces.long().cpu().numpy()
    if not np.isfinite(points).all():
        raise ReconError(f"{int((~np.isfinite(points)).any(1).sum()):,} of the mesh's {len(points):,} vertices are not finite")
    return points, faces


def _eyes(shots: list[Shot]) -> NDArray[np.float64]:
    return np.stack([shot.camera.cam_to_world[0, :3, 3].double().numpy() for shot in shots])


def _widest_edge(shots: list[Shot]) -> float:
    """The angle of an edge that spans 1 / MOST_PARTS of the long side, in the middle photo."""
    return float(np.median([max(s.camera.width, s.camera.height) / MOST_PARTS / s.K[0, 0] for s in shots]))


def _levelled_colors(layout: Layout, seen: Survey, offsets: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Mean colours [P, 3] of the faces around each vertex in their own photos, with the seams' corrections; NaN where none is cut from a photo."""
    cut = np.flatnonzero(layout.labels >= 0)
    corners = layout.faces[cut]
    vertex = layout.vertex[corners].reshape(-1)
    colors = (seen.colors[cut, layout.labels[cut]][:, None] + offsets[corners]).reshape(-1, 3)
    count = np.bincount(vertex, minlength=points)
    sums = np.stack([np.bincount(vertex, colors[:, c], minlength=points) for c in range(3)], 1)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], np.nan)
