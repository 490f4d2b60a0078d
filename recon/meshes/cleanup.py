"""Contains what is tidied on a fused mesh: faces without area, folds, loose pieces, small holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from recon.errors import ReconError
from recon.meshes.faces import drop_degenerate, face_areas, with_faces
from recon.meshes.folds import drop_folds
from recon.meshes.topology import boundary_loops, components
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
