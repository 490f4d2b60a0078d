"""Contains the decimation to a budget of faces (quadric errors, by fast-simplification)."""

from __future__ import annotations

import numpy as np
import torch

from recon.errors import ReconError
from recon.meshes.faces import drop_degenerate
from recon.scene import Mesh

LEAST_FACES = 4
AGGRESSION = 7.0  # how fast the threshold of the error grows


def check_budget(faces: int) -> None:
    """Raises ReconError for a budget that no mesh fits."""
    if faces < LEAST_FACES:
        raise ReconError(f"the face budget is {faces}, wanted at least {LEAST_FACES}")


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """At most `faces` faces, where they are needed; only before colours, normals and uvs. A few may come out folded: see `folds.unfold`. Raises
    ReconError for a budget below 4."""
    check_budget(faces)
    if len(mesh.faces) <= faces:
        return mesh
    try:
        import fast_simplification
    except ImportError as error:
        raise ReconError("decimation needs fast-simplification: pip install fast-simplification") from error
    vertices, low = mesh.vertices.double(), mesh.vertices.double().mean(0)
    size = float((vertices - low).abs().max())
    near = ((vertices - low) / size).float().numpy()  # its threshold is absolute
    out, kept = fast_simplification.simplify(near, mesh.faces.int().numpy(), target_count=faces, agg=AGGRESSION)[:2]
    places = torch.from_numpy(np.asarray(out, np.float64)) * size + low
    return drop_degenerate(Mesh(vertices=places.float(), faces=torch.from_numpy(np.asarray(kept, np.int64))))
