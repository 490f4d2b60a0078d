"""Levels the colours of patches at their seams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.io.gltf import to_srgb
from recon.meshes.texture.layout import Layout
from recon.meshes.texture.linear import solve_symmetric
from recon.meshes.texture.shots import Shot
from recon.meshes.texture.subdivision import edge_table
from recon.meshes.texture.surveying import LINEAR, Survey

STIFF = 1.0  # 1 / lambda: what an uneven correction inside a patch costs against a step at its border; stiffer closes less of slanted light
HOLD = 1e-3  # pull of each correction towards none
LIKELY = 0.15  # sRGB: steps beyond it count little, for there the photos show different things
ALONG = np.array([0.1, 0.3, 0.5, 0.7, 0.9])  # where on an edge the photos are compared


@dataclass(frozen=True, kw_only=True)
class Seams:
    """Edges between two patches that are both cut from photos; n of them."""

    corners: NDArray[np.int64]  # [n, 2, 2] first and second end on the one side, then on the other
    faces: NDArray[np.int64]  # [n, 2] the face of each side

    def __len__(self) -> int:
        return len(self.faces)


def seams_of(layout: Layout, pairs: NDArray[np.int64]) -> Seams:
    """The seams among pairs of faces that share an edge."""
    patch = layout.patch[layout.faces[:, 0]]
    sides = pairs[(patch[pairs[:, 0]] != patch[pairs[:, 1]]) & (layout.labels[pairs] >= 0).all(1)]
    first, second = layout.faces[sides[:, 0]], layout.faces[sides[:, 1]]
    same = layout.vertex[first][:, :, None] == layout.vertex[second][:, None]  # [n, 3, 3]
    shared = same.any(2)
    rank = np.argsort(~shared, axis=1, kind="stable")[:, :2]
    ends = np.take_along_axis(first, rank, 1)
    others = np.take_along_axis(second, np.take_along_axis(same.argmax(2), rank, 1), 1)
    whole = shared.sum(1) == 2  # two faces of the same three vertices have no edge between them
    return Seams(corners=np.stack([ends, others], 1)[whole], faces=sides[whole])


def steps_at(seams: Seams, layout: Layout, points: NDArray[np.float64], survey: Survey, shots: Sequence[Shot]) -> NDArray[np.float64]:
    """Colour of the one side less that of the other [n, 2, 3] near both ends of each seam, exposures made alike; means along the seam."""
    from recon.meshes.texture.raster import project_points, sample

    ends = points[layout.vertex[seams.corners[:, 0]]]
    places = ends[:, :1] * (1 - ALONG[:, None]) + ends[:, 1:] * ALONG[:, None]  # [n, 5, 3]
    colors = np.zeros((2, *places.shape))
    for v, shot in enumerate(shots):
        height, width = survey.pictures[v].shape[:2]
        picture = to_srgb(LINEAR[survey.pictures[v]] * survey.gains[v].astype(np.float32))
        for side in range(2):
            mine = layout.labels[seams.faces[:, side]] == v
            xy = project_points(places[mine].reshape(-1, 3), shot.K_for(width, height), shot.world_to_cam)[:, :2]
            colors[side, mine] = sample(picture, xy).reshape(-1, len(ALONG), 3)
    weights = np.stack([1 - ALONG, ALONG]) / ALONG.sum()
    return np.einsum("nsc,es->nec", colors[0] - colors[1], weights)


def level(seams: Seams, steps: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """What to add to the colours of each corner [C, 3] so that patches meet at their seams.

    The seam levelling of Lempitsky and Ivanov 2007 in the form of Waechter et al. 2014 ("global color adjustment"): the g that minimise
        sum over corners l, r of a vertex on a seam (f_l + g_l - f_r - g_r)^2  +  1/lambda * sum over edges i, j in a patch (g_i - g_j)^2,
    f the photos' colours along the seam. Steps of which LIKELY would be little count less (they are photos of different things), and HOLD * g^2
    decides what the seams leave open.
    """
    from scipy.sparse import coo_array, diags_array

    count = len(layout.vertex)
    if not len(seams):
        return np.zeros((count, 3))
    left, right = seams.corners[:, 0].reshape(-1), seams.corners[:, 1].reshape(-1)
    step = steps.reshape(-1, 3)
    trust = 1 / (1 + (np.abs(step).max(1) / LIKELY) ** 2)
    inner = edge_table(layout.faces[layout.labels >= 0])[0]
    rows, columns = np.concatenate([left, inner[:, 0]]), np.concatenate([right, inner[:, 1]])
    weights = np.concatenate([trust, np.full(len(inner), STIFF)])
    links = coo_array((weights, (rows, columns)), shape=(count, count)).tocsr()
    links = links + links.T
    pull = trust[:, None] * step
    b = np.stack([np.bincount(right, p, minlength=count) - np.bincount(left, p, minlength=count) for p in pull.T], 1).astype(float)
    return solve_symmetric(diags_array(np.asarray(links.sum(1)).ravel() + HOLD) - links, b)
