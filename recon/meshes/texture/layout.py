"""The atlas's layout: each patch as its photo shows it, unseen faces as they look along an axis, in boxes on shelves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.meshes.texture.choice import patches_of
from recon.meshes.texture.packing import pack
from recon.meshes.texture.shots import Shot

PADDING = 4  # pixels around each patch: neighbours in the atlas are twice that apart, so that the first mipmaps mix nothing
UNSEEN_EDGE = 3.0  # pixels of the middle edge of faces that no photo shows
UNSEEN_SHARE = 0.25  # of the atlas that such faces may take
SHRINK = 0.96  # a step in search of the scale at which all patches find room


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where faces lie in the atlas. A vertex of several patches is several corners: points of the textured mesh."""

    width: int
    height: int
    scale: float  # pixels of the atlas a pixel of the photos, at most 1
    faces: NDArray[np.int64]  # [F, 3] numbers of corners
    vertex: NDArray[np.int64]  # [C] the vertex of each corner
    patch: NDArray[np.int64]  # [C]
    labels: NDArray[np.int64]  # [F] photo of each face, -1 for none
    xy: NDArray[np.float64]  # [C, 2] pixels of the atlas

    @property
    def uvs(self) -> NDArray[np.float64]:  # [C, 2]
        return self.xy / [self.width, self.height]


def sizes_at(shots: Sequence[Shot], scale: float) -> list[tuple[int, int]]:
    """Width and height of the photos' copies that patches are cut from."""
    return [(max(2, round(s.camera.width * scale)), max(2, round(s.camera.height * scale))) for s in shots]


def lay_out(
    points: NDArray[np.float64], faces: NDArray[np.int64], labels: NDArray[np.int64], pairs: NDArray[np.int64], shots: Sequence[Shot], size: int
) -> Layout:
    """An atlas of at most size x size pixels, patches scaled down together until they fit. Raises ReconError where not even specks of them do."""
    axis = _axes(points, faces)
    kind = np.where(labels >= 0, labels, len(shots) + axis)
    count, patch = patches_of(kind, pairs)
    keys, corners = np.unique((patch[:, None] * len(points) + faces).reshape(-1), return_inverse=True)
    patch_of, vertex = np.divmod(keys, len(points))
    kind_of = np.zeros(count, np.int64)
    kind_of[patch] = kind
    across = _unseen_places(points, faces, labels, vertex, kind_of[patch_of] - len(shots), size)
    scale = 1.0
    while True:
        xy = across.copy()
        for v, (width, height) in enumerate(sizes_at(shots, scale)):
            mine = kind_of[patch_of] == v
            xy[mine] = _project(points[vertex[mine]], shots[v], width, height)
        low, high = _bounds(xy, patch_of, count)
        low = np.floor(low).astype(np.int64) - PADDING
        boxes = np.ceil(high).astype(np.int64) + PADDING - low
        page = _page(boxes, size)
        if page is not None:
            break
        if scale < 1e-3:
            raise ReconError(f"a texture of size {size} cannot hold the {count:,} patches of this mesh; make it larger, or the mesh simpler")
        scale *= min(SHRINK, max(0.5, (size**2 / float(boxes.prod(1).sum())) ** 0.5))
    places, width, height = page
    shift = places - low
    faces_out = corners.reshape(-1, 3)
    return Layout(
        width=width, height=height, scale=scale, faces=faces_out, vertex=vertex, patch=patch_of, labels=labels, xy=xy + shift[patch_of]
    )


def _page(boxes: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], int, int] | None:
    """Places of the boxes, width and height of a page that is about square and at most `size`; None where they do not fit."""
    if boxes.max() > size or boxes.prod(1).sum() > size**2:
        return None
    square = int(max(boxes[:, 0].max(), np.ceil((1.1 * boxes.prod(1).sum()) ** 0.5)))
    for width in (-(-square // 4) * 4, size):
        if width <= size:
            places, height = pack(boxes[:, 0], boxes[:, 1], width)
            if height <= size:
                return places, width, min(size, -(-height // 4) * 4)
    return None


def _axes(points: NDArray, faces: NDArray) -> NDArray[np.int64]:
    """The axis 0..5 that each face looks along: 0, 1 for +x, -x and so on."""
    ends = points[faces]
    normals = np.cross(ends[:, 1] - ends[:, 0], ends[:, 2] - ends[:, 0])
    axis = np.abs(normals).argmax(1)
    return 2 * axis + (np.take_along_axis(normals, axis[:, None], 1)[:, 0] < 0)


def _unseen_places(points: NDArray, faces: NDArray, labels: NDArray, vertex: NDArray, axis: NDArray, size: int) -> NDArray[np.float64]:
    """Pixels [C, 2] of the corners of unseen patches, without their axis: the middle edge has UNSEEN_EDGE pixels, less where that is too much."""
    out = np.zeros((len(vertex), 2))
    ends = points[faces[labels < 0]]
    if not len(ends):
        return out
    edges = np.linalg.norm(ends - np.roll(ends, -1, 1), axis=2)
    density = UNSEEN_EDGE / max(float(np.median(edges)), 1e-12)
    area = np.linalg.norm(np.cross(ends[:, 1] - ends[:, 0], ends[:, 2] - ends[:, 0]), axis=1).sum() / 2
    density = min(density, (UNSEEN_SHARE * size**2 / max(area, 1e-24)) ** 0.5)
    for a in range(6):
        mine = axis == a
        out[mine] = points[vertex[mine]][:, [i for i in range(3) if i != a // 2]] * density
    return out


def _project(points: NDArray, shot: Shot, width: int, height: int) -> NDArray[np.float64]:
    from recon.meshes.texture.raster import project_points

    return project_points(points, shot.K_for(width, height), shot.world_to_cam)[:, :2]


def _bounds(xy: NDArray[np.float64], patch: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest places of each patch; the corners come patch by patch."""
    starts = np.searchsorted(patch, np.arange(count))
    return np.minimum.reduceat(xy, starts), np.maximum.reduceat(xy, starts)
