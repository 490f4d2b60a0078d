"""Contains what undoes folds: faces that lie the wrong way round on an otherwise smooth surface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon.meshes.faces import drop_degenerate, edge_ends, face_crosses, with_faces, with_normals
from recon.meshes.topology import boundary_edges, neighbours
from recon.scene import Mesh

FOLD = -0.3  # cosine of the normals of two faces with a common edge below which they are folded over (beyond 107 degrees)
ROUNDS, CYCLES = 15, 3


def against_vertices(mesh: Mesh) -> Tensor:  # [F]
    """The normals of how many of its vertices each face looks away from: none, but where the surface is folded over."""
    normals = with_normals(mesh).normals
    assert normals is not None
    return ((normals[mesh.faces] * face_crosses(mesh)[:, None]).sum(-1) <= 0).sum(1)


def drop_folds(mesh: Mesh, rounds: int = 4) -> Mesh:
    """Without the faces that look away from the normals of two of their vertices: flaps at the rims of surfaces."""
    for _ in range(rounds):
        folded = against_vertices(mesh) >= 2
        if not bool(folded.any()):
            break
        mesh = with_faces(mesh, ~folded)
    return mesh


def unfold(mesh: Mesh) -> Mesh:
    """The mesh with folds smoothed away, without a hole: where moving the vertices does not help, the folded faces' shortest edges vanish."""
    for _ in range(CYCLES):
        mesh, folded = relaxed(mesh)
        if not bool(folded.any()):
            break
        mesh = collapsed(mesh, folded)
    return mesh


def relaxed(mesh: Mesh) -> tuple[Mesh, Tensor]:  # -> the mesh, [F] bool
    """The vertices of folded faces moved to the middle of their neighbours until no face looks away from its vertices' normals or from the face
    beside it, or for ROUNDS; and which faces still do. The surface's rim stays."""
    pairs = torch.from_numpy(neighbours(mesh.faces.numpy()))
    ends = edge_ends(mesh.faces)
    rim = torch.from_numpy(boundary_edges(mesh.faces.numpy()).reshape(-1))  # it would draw back
    for done in range(ROUNDS + 1):
        folded = folded_faces(mesh, pairs)
        if done == ROUNDS or not bool(folded.any()):
            break
        moving = torch.zeros(len(mesh.vertices), dtype=torch.bool)
        moving[mesh.faces[folded]] = True
        if done >= ROUNDS // 2:  # a stubborn one is smoothed with what is around it
            moving[ends[moving[ends[:, 0]], 1]] = True
        moving[rim] = False
        use = ends[moving[ends[:, 0]]]
        total = torch.zeros_like(mesh.vertices).index_add_(0, use[:, 0], mesh.vertices[use[:, 1]])
        count = torch.zeros(len(mesh.vertices), 1).index_add_(0, use[:, 0], torch.ones(len(use), 1))
        mesh = replace(mesh, vertices=torch.where(moving[:, None], total / count.clamp(min=1), mesh.vertices))
    return mesh, folded


def folded_faces(mesh: Mesh, pairs: Tensor) -> Tensor:  # pairs [n, 2] of `neighbours` -> [F] bool
    """The faces that look away from a vertex's normal or from a neighbour."""
    folded = against_vertices(mesh) > 0
    facing = torch.nn.functional.normalize(face_crosses(mesh), dim=1, eps=1e-30)
    sharp = (facing[pairs[:, 0]] * facing[pairs[:, 1]]).sum(1) < FOLD
    folded[pairs[sharp].flatten()] = True
    return folded


def collapsed(mesh: Mesh, rows: Tensor) -> Mesh:  # rows [F] bool
    """The mesh without the shortest edge of each of these faces, its two ends made one; edges that touch an earlier one stay."""
    faces, vertices = mesh.faces[rows].numpy(), mesh.vertices.numpy()
    lengths = np.linalg.norm(vertices[faces] - vertices[np.roll(faces, -1, 1)], axis=2)
    side = lengths.argmin(1)
    number, touched = np.arange(len(vertices)), set()
    for face, k in zip(faces.tolist(), side.tolist(), strict=True):
        a, b = face[k], face[(k + 1) % 3]
        if not {a, b} & touched:
            number[b] = a
            touched |= {a, b}
    return drop_degenerate(replace(mesh, faces=torch.from_numpy(number[mesh.faces.numpy()])))
