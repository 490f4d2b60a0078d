"""Colours for the faces that no photo shows: from their neighbours, from the mesh's own colours, from the scene's points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.meshes.texture.linear import solve_symmetric
from recon.meshes.texture.subdivision import edge_table
from recon.scene import Scene

MOST_POINTS = 200_000
GREY = 0.5


def vertex_colors(
    faces: NDArray[np.int64], known: NDArray[np.float64], own: NDArray[np.float64] | None, points: NDArray[np.float64], scene: Scene
) -> NDArray[np.float64]:
    """Colours [P, 3] of all vertices, from those that photos show: known [P, 3], NaN elsewhere.

    The others get a harmonic extension (each the mean of its neighbours) of the known colours; where the mesh has colours of its `own` [P, 3], of
    what the known differ from those. A part of the mesh without any known vertex has its own colours, else those of the scene's nearest points.
    """
    from scipy.sparse import coo_array, csr_array, diags_array
    from scipy.sparse.csgraph import connected_components

    seen = ~np.isnan(known[:, 0])
    if seen.all():
        return known
    base = np.zeros_like(known) if own is None else own
    edges = edge_table(faces)[0]
    ones = np.ones(2 * len(edges))
    links = csr_array(coo_array((ones, (edges.T.reshape(-1), edges[:, ::-1].T.reshape(-1))), shape=(len(points), len(points))))
    _, part = connected_components(links, directed=False)
    reached = np.isin(part, part[seen])
    free = np.flatnonzero(~seen & reached)
    out = np.where(seen[:, None], known, base)
    if len(free):
        A = diags_array(np.asarray(links[free].sum(1)).ravel()) - links[free][:, free]
        out[free] += solve_symmetric(A, links[free][:, seen] @ (known - base)[seen])
    lonely = ~seen & ~reached
    if own is None and lonely.any():
        out[lonely] = _of_points(points[lonely], scene, known[seen])
    return out.clip(0, 1)


def _of_points(points: NDArray[np.float64], scene: Scene, known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours of the scene's points that are nearest; without points the mean of the known colours, without those grey."""
    from scipy.spatial import KDTree

    places, colors = np.empty((0, 3)), np.empty((0, 3))
    if scene.pointmaps is not None and scene.images is not None:
        use = scene.pointmaps.mask.cpu()
        places, colors = scene.pointmaps.points.cpu()[use].double().numpy(), scene.images.rgb.cpu()[use].double().numpy()
    fine = np.flatnonzero(np.isfinite(places).all(1))
    if len(fine):
        fine = fine[:: max(1, len(fine) // MOST_POINTS)]
        return colors[fine][KDTree(places[fine]).query(points)[1]]
    return np.broadcast_to(known.mean(0) if len(known) else np.full(3, GREY), points.shape)
