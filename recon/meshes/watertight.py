"""Contains closed meshes: a solid with an inside, for printing and physics, checked and simplified by manifold3d."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recon.errors import ReconError
from recon.meshes.cleanup import close_loops, drop_pieces
from recon.meshes.faces import drop_degenerate, face_areas, with_normals
from recon.meshes.poisson import poisson_surface
from recon.meshes.topology import boundary_loops
from recon.scene import Mesh

SMALLEST_TOLERANCE, LARGEST_TOLERANCE, TOLERANCE_GROWTH = 3e-5, 0.05, 1.4  # of the box's diagonal


def watertight(mesh: Mesh, faces: int, *, voxel_size: float | None = None, progress: Callable[[str, float], None] | None = None) -> Mesh:
    """The mesh as one closed solid of at most about `faces` faces: unless it is closed already, Poisson over its vertices closes what no view saw.

    Raises ReconError where no solid comes out.
    """
    solid = as_solid(mesh)
    if solid is None:
        shaded = with_normals(mesh)
        assert shaded.normals is not None
        fine = voxel_size or float(2 * face_areas(mesh).mean()) ** 0.5
        closed = poisson_surface(shaded.vertices, shaded.normals, voxel_size=fine, support=None, progress=progress)
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
    """The solid with at most `faces` faces: simplified with a tolerance that grows until that is enough. Raises ReconError where it never is."""
    box = np.array(solid.bounding_box())
    size = float(np.linalg.norm(box[3:] - box[:3]))
    tolerance = SMALLEST_TOLERANCE * size
    while solid.num_tri() > faces and tolerance < LARGEST_TOLERANCE * size:
        simple = solid.simplify(tolerance)
        if 0 < simple.num_tri() < solid.num_tri():
            solid = simple
        tolerance *= TOLERANCE_GROWTH
    if solid.num_tri() > faces:
        raise ReconError(f"a closed solid of {faces} faces is too coarse for this surface; wanted more faces")
    return solid


def from_solid(solid) -> Mesh:  # type: ignore[no-untyped-def]
    """The mesh of a solid of manifold3d."""
    raw = solid.to_mesh()
    vertices = np.array(raw.vert_properties[:, :3], np.float32)
    return Mesh(vertices=torch.from_numpy(vertices), faces=torch.from_numpy(np.array(raw.tri_verts, np.int64)))
