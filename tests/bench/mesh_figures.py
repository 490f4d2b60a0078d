"""How far a mesh is from the true one, and whether it is turned the right way."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from recon.meshes.faces import face_areas, face_crosses
from recon.scene import Mesh

sys.path.append(str(Path(__file__).parent.parent / "meshes"))

from known_shapes import distances  # pyright: ignore[reportMissingImports]

Row = dict[str, float]
SAMPLES = 100_000


def surface_samples(mesh: Mesh, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # [n, 3], [n, 3]
    """Points spread over the area of a mesh, and the unit normals of their faces."""
    rng = np.random.default_rng(seed)
    area = face_areas(mesh).double().numpy()
    face = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = (mesh.vertices.double().numpy()[mesh.faces[:, i].numpy()[face]] for i in range(3))
    normals = torch.nn.functional.normalize(face_crosses(mesh).double(), dim=1).numpy()[face]
    return a + u * (b - a) + v * (c - a), normals


def compare(mesh: Mesh, truth: Mesh) -> Row:
    """Chamfer distance (mean of both directions) and its parts over the diagonal of the true mesh; share of the mesh that faces the wrong way."""
    size = float((truth.vertices.amax(0) - truth.vertices.amin(0)).norm())
    points, normals = surface_samples(mesh, SAMPLES)
    to_truth, facing = distances(points, truth)
    to_mesh, _ = distances(surface_samples(truth, SAMPLES, 1)[0], mesh)
    return {
        "chamfer": float(to_truth.mean() + to_mesh.mean()) / 2 / size, "accuracy": float(to_truth.mean()) / size,
        "completeness": float(to_mesh.mean()) / size, "accuracy_95": float(np.quantile(to_truth, 0.95)) / size,
        "flipped": float(((facing * normals).sum(1) < 0).mean()),
    }  # fmt: skip
