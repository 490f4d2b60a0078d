"""Contains closed meshes: a solid with an inside, for printing and physics, checked and simplified by manifold3d."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recon.errors import ReconError
from recon.meshes.cleanup import close_loops, drop_degenerate, drop_pieces, face_areas, with_normals
from recon.meshes.poisson import poisson_surface
from recon.meshes.topology import boundary_loops
from recon.scene import Mesh

SIMPLIFY_ROUNDS = 12


def watertight(mesh: Mesh, faces: int, *, voxel_size: float | None = None, progress: Callable[[str, float], None] | None = None) -> Mesh:
    """The mesh as one closed solid of at most about `faces` faces: unless it is closed already, Poisson over its vertices closes what no view saw.

    Raises ReconError where no solid comes out.
    """
    solid = as_solid(mesh)
    if solid is None:
        shaded = with_normals(mesh)
        assert shaded.normals is not None
        fine = voxel_size or float(2 * face_areas(mesh).mean()) ** 0.5
        closed = poisson_surface(shaded.vertices, shaded.normals, voxel_size=fine, trim=0.0, progress=progress)
        closed = drop_pieces(drop_degenerate(closed), 1.0)  # the largest piece alone
        closed = close_loops(closed, boundary_loops(closed.faces.numpy()))  # where the box cut it off
        solid = as_solid(closed)
    if solid is None:
        raise ReconError("no closed solid comes out of this surface; wanted views from more sides, or watertight=False")
    return from_solid(simplified(solid, faces))


def as_solid(mesh: Mesh):  # type: ignore[no-untyped-def]  # -> manifold3d.Manifold | None
    """The mesh as a solid of manifold3d; None where it is not closed or has no volume. Raises ReconError without manifold3d."""
    try:
        import manifold3d
    except ImportError as error:
        raise ReconError("watertight meshes need manifold3d: pip install manifold3d") from error
    raw = manifold3d.Mesh(vert_properties=mesh.vertices.float().numpy(), tri_verts=np.ascontiguousarray(mesh.faces.numpy(), np.uint32))
    solid = manifold3d.Manifold(raw)
    fine = solid.status() == manifold3d.Error.NoError and not solid.is_empty() and solid.volume() > 0
    return solid if fine else None


def simplified(solid, faces: int):  # type: ignore[no-untyped-def]
    """The solid with about `faces` faces at most: the smallest tolerance that is enough, by bisection."""
    if solid.num_tri() <= faces:
        return solid
    box = np.array(solid.bounding_box())
    size = float(np.linalg.norm(box[3:] - box[:3]))
    low, high, best = 1e-6 * size, 0.2 * size, None
    for _ in range(SIMPLIFY_ROUNDS):
        middle = (low * high) ** 0.5
        simple = solid.simplify(middle)
        if simple.num_tri() <= faces and not simple.is_empty():
            best, high = simple, middle
        else:
            low = middle
    if best is None:
        raise ReconError(f"a closed solid of {faces} faces is too coarse for this surface; wanted more faces")
    return best


def from_solid(solid) -> Mesh:  # type: ignore[no-untyped-def]
    """The mesh of a solid of manifold3d."""
    raw = solid.to_mesh()
    vertices = np.array(raw.vert_properties[:, :3], np.float32)
    return Mesh(vertices=torch.from_numpy(vertices), faces=torch.from_numpy(np.array(raw.tri_verts, np.int64)))
