"""Faces of a mesh: their areas and normals, some of them, without those that are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.meshes.topology import compact
from recon.scene import Mesh


def face_areas(mesh: Mesh) -> Tensor:  # [F]
    """Half the cross product's length."""
    return face_crosses(mesh).norm(dim=1) / 2


def face_crosses(mesh: Mesh) -> Tensor:  # [F, 3]
    """Normals of the faces, as long as twice their area."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return torch.linalg.cross(b - a, c - a)


def edge_ends(faces: Tensor) -> Tensor:  # [F, 3] -> [6 F, 2]
    """Both ends of each side of each face, and the same the other way round: who is beside whom."""
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return torch.cat([ends, ends.flip(1)])


def with_faces(mesh: Mesh, keep: Tensor) -> Mesh:  # keep [F] bool
    """Some of the faces, and the vertices that they have. Raises ReconError for none."""
    if not bool(keep.any()):
        raise ReconError("no face of the mesh is left")
    faces, rows = compact(mesh.faces[keep].numpy(), len(mesh.vertices))
    parts = {name: getattr(mesh, name) for name in ("vertices", "colors", "normals", "uvs")}
    return replace(mesh, faces=torch.from_numpy(faces), **{name: value[rows] for name, value in parts.items() if value is not None})


def drop_degenerate(mesh: Mesh) -> Mesh:
    """Without the faces that name a vertex twice, are not finite, or lie on a point. Vertices at one place become one."""
    vertices, where = np.unique(mesh.vertices.numpy(), axis=0, return_inverse=True)
    if len(vertices) < len(mesh.vertices) and mesh.colors is mesh.normals is mesh.uvs is None:
        mesh = replace(mesh, vertices=torch.from_numpy(vertices), faces=torch.from_numpy(where.reshape(-1)[mesh.faces.numpy()]))
    f = mesh.faces
    good = (f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0]) & mesh.vertices.isfinite().all(1)[f].all(1)
    return with_faces(mesh, good)


def with_normals(mesh: Mesh) -> Mesh:
    """The mesh with normals at its vertices, the mean of their faces' by area."""
    cross = face_crosses(mesh)
    total = torch.zeros_like(mesh.vertices)
    for i in range(3):
        total.index_add_(0, mesh.faces[:, i], cross)
    length = total.norm(dim=1, keepdim=True)
    fallback = torch.tensor([0.0, 0.0, -1.0])
    return replace(mesh, normals=torch.where(length > 1e-20, total / length.clamp(min=1e-20), fallback))
