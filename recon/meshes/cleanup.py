"""Contains what is tidied on a fused mesh: faces without area, loose pieces, small holes; and normals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.meshes.topology import boundary_loops, compact, components
from recon.scene import Mesh


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """What is left out and what is filled."""

    least_piece: float = 0.01  # share of the largest piece's area below which a piece goes; 0 keeps all
    largest_hole: float = 0.03  # length around it over the mesh's diagonal up to which a hole is filled; 0 fills none

    def __post_init__(self) -> None:
        if not 0 <= self.least_piece <= 1:
            raise ReconError(f"least_piece is {self.least_piece}, wanted 0 to 1 (a share of the largest piece's area)")
        if not 0 <= self.largest_hole <= 10:
            raise ReconError(f"largest_hole is {self.largest_hole}, wanted 0 to 10 (length around it over the mesh's diagonal)")


def clean(mesh: Mesh, options: CleanUp = CleanUp()) -> Mesh:
    """The mesh without faces that have no area or are folded over, without small pieces, with small holes filled. Raises ReconError where no face
    is left."""
    return fill_holes(drop_pieces(drop_folds(drop_degenerate(mesh)), options.least_piece), options.largest_hole)


def face_areas(mesh: Mesh) -> Tensor:  # [F]
    """Half the cross product's length."""
    return face_crosses(mesh).norm(dim=1) / 2


def face_crosses(mesh: Mesh) -> Tensor:  # [F, 3]
    """Normals of the faces, as long as twice their area."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return torch.linalg.cross(b - a, c - a)


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


def drop_folds(mesh: Mesh, rounds: int = 4) -> Mesh:
    """Without the faces that look away from the normals of two of their vertices: flaps at rims, and what decimation turned over."""
    for _ in range(rounds):
        normals = with_normals(mesh).normals
        assert normals is not None
        against = (normals[mesh.faces] * face_crosses(mesh)[:, None]).sum(-1) <= 0  # [F, 3]
        folded = against.sum(1) >= 2
        if not bool(folded.any()):
            break
        mesh = with_faces(mesh, ~folded)
    return mesh


def drop_pieces(mesh: Mesh, least: float) -> Mesh:
    """Without the pieces that have less than this share of the largest one's area."""
    if least <= 0:
        return mesh
    piece = components(mesh.faces.numpy(), len(mesh.vertices))
    area = np.bincount(piece, face_areas(mesh).double().numpy())
    return with_faces(mesh, torch.from_numpy(area[piece] >= least * area.max()))


def fill_holes(mesh: Mesh, largest: float) -> Mesh:
    """Holes whose rim is no longer than `largest` diagonals of the mesh closed by triangles around their middle. Only before colours and uvs."""
    if largest <= 0:
        return mesh
    vertices = mesh.vertices.numpy()
    limit = largest * float(np.linalg.norm(vertices.max(0) - vertices.min(0)))
    rim = lambda loop: float(np.linalg.norm(vertices[loop] - vertices[np.roll(loop, -1)], axis=1).sum())
    loops = [loop for loop in boundary_loops(mesh.faces.numpy()) if rim(loop) <= limit]
    return close_loops(mesh, loops)


def close_loops(mesh: Mesh, loops: list[np.ndarray]) -> Mesh:
    """The mesh with these rims closed: three vertices by one face, more by a fan around their middle."""
    if not loops:
        return mesh
    middles, faces = [], []
    vertices = mesh.vertices.numpy()
    for loop in loops:
        if len(loop) == 3:
            faces.append(loop[None])
            continue
        apex = np.full(len(loop), len(vertices) + len(middles))
        middles.append(vertices[loop].mean(0))
        faces.append(np.stack([loop, np.roll(loop, -1), apex], 1))
    added = np.array(middles, np.float32).reshape(-1, 3)
    grown = torch.cat([mesh.vertices, torch.from_numpy(added)])
    return Mesh(vertices=grown, faces=torch.cat([mesh.faces, torch.from_numpy(np.concatenate(faces))]))


def with_normals(mesh: Mesh) -> Mesh:
    """The mesh with normals at its vertices, the mean of their faces' by area."""
    cross = face_crosses(mesh)
    total = torch.zeros_like(mesh.vertices)
    for i in range(3):
        total.index_add_(0, mesh.faces[:, i], cross)
    length = total.norm(dim=1, keepdim=True)
    fallback = torch.tensor([0.0, 0.0, -1.0])
    return replace(mesh, normals=torch.where(length > 1e-20, total / length.clamp(min=1e-20), fallback))
