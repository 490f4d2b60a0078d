"""Fills the atlas: photos cut face by face, feathered at the seams, colours of unseen faces, and what bleeds into the gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from recon.io.gltf import to_srgb
from recon.meshes.texture.layout import Layout, sizes_at
from recon.meshes.texture.levelling import Seams
from recon.meshes.texture.shots import Shot
from recon.meshes.texture.surveying import LINEAR, Survey

FEATHER = 3.0  # pixels on each side of a seam in which both photos are mixed, half and half on the seam itself


def bake(
    points: NDArray[np.float64], layout: Layout, shots: Sequence[Shot], survey: Survey, seams: Seams, offsets: NDArray[np.float64],
    colors: NDArray[np.float64], *, progress: Callable[[str, float], None] | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """The texture [h, w, 3] 0..1 sRGB; each photo is read once more.

    `offsets` [C, 3] are added to the corners of patches (see `level`), `colors` [P, 3] are those of vertices for faces that no photo shows.
    Raises FileError where a photo's file has changed.
    """
    from recon.meshes.texture.baking_loops import assign, cut, mix

    owner = np.full((layout.height, layout.width), -1, np.int32)
    assign(layout.xy, layout.faces, owner)
    atlas = np.zeros((layout.height, layout.width, 3), np.float32)
    feather = Feather(owner, layout, seams, survey.quality > 0)
    label = np.where(owner >= 0, layout.labels[owner], -2).astype(np.int32)
    order = np.argsort(label, axis=None, kind="stable")  # the pixels of one photo after those of another
    bounds = np.searchsorted(label.reshape(-1)[order], np.arange(-1, len(shots) + 1))
    del label
    for v in range(-1, len(shots)):
        rows, columns = np.divmod(order[bounds[v + 1] : bounds[v + 2]], layout.width)
        out = np.empty((len(rows), 3), np.float32)
        if v < 0:
            mix(rows, columns, owner[rows, columns], layout.xy, layout.faces, colors[layout.vertex], out)
        elif len(rows) or feather.touches(v):
            if progress is not None:
                progress("texture: cutting", v / len(shots))
            picture, xyz = _copy(points, layout, shots[v], survey.gains[v])
            cut(rows, columns, owner[rows, columns], layout.xy, layout.faces, xyz, offsets, picture, out)
            feather.look(v, layout, xyz, offsets, picture)
        atlas[rows, columns] = out
    feather.blend(atlas)
    fill(atlas, owner >= 0)
    return atlas.clip(0, 1, out=atlas)


def _copy(points: NDArray, layout: Layout, shot: Shot, gains: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The photo at the atlas's scale with its exposure made alike [h, w, 3], and the corners' pixels and z in it [C, 3]."""
    import cv2

    from recon.meshes.texture.raster import project_points

    picture = shot.read()
    ((width, height),) = sizes_at([shot], layout.scale)
    if (height, width) != picture.shape[:2]:
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    tables = to_srgb(LINEAR[:, None] * gains.astype(np.float32))  # [256, 3], above 1 where the exposure is raised
    corrected = np.stack([np.take(tables[:, c], picture[..., c]) for c in range(3)], -1)
    return corrected, project_points(points[layout.vertex], shot.K_for(width, height), shot.world_to_cam)


class Feather:
    """The pixels near seams and what the photo of the other side shows there."""

    def __init__(self, owner: NDArray[np.int32], layout: Layout, seams: Seams, seen: NDArray[np.bool_]) -> None:
        """seen [F, V]: which photos show the faces whole: others are not mixed in."""
        from recon.meshes.texture.baking_loops import near_seams

        nearest, distance = np.full(owner.shape, -1, np.int32), np.full(owner.shape, FEATHER, np.float32)
        ends = layout.xy[seams.corners.transpose(1, 0, 2)].reshape(-1, 2, 2)  # both sides' [2 n, 2, 2]
        patch_of_face = layout.patch[layout.faces[:, 0]]
        sides = seams.faces.T.reshape(-1)
        near_seams(ends[:, 0], ends[:, 1], patch_of_face[sides], FEATHER, owner, patch_of_face, nearest, distance)
        self.rows, self.columns = np.nonzero(nearest >= 0)
        self.owner, seam = owner[self.rows, self.columns], nearest[self.rows, self.columns]
        opposite = (seam + len(seams)) % max(2 * len(seams), 1)  # the same seam from the other side
        self.view = np.where(seen[self.owner, layout.labels[sides[opposite]]], layout.labels[sides[opposite]], -1)
        self.ends = seams.corners.transpose(1, 0, 2).reshape(-1, 2)
        self.opposite, self.seam = opposite, seam
        self.weight = 0.5 * (1 - distance[self.rows, self.columns] / FEATHER)
        self.colors = np.zeros((len(self.rows), 3), np.float32)

    def touches(self, v: int) -> bool:
        """Whether photo v is mixed in anywhere."""
        return bool((self.view == v).any())

    def look(self, v: int, layout: Layout, xyz: NDArray[np.float64], offsets: NDArray[np.float64], picture: NDArray[np.float32]) -> None:
        """Takes photo v's colours where it is on the other side, with the corrections of the next place on the seam."""
        from recon.meshes.texture.baking_loops import cut

        mine = np.flatnonzero(self.view == v)
        colors = np.empty((len(mine), 3), np.float32)
        nothing = np.zeros_like(offsets)
        cut(self.rows[mine], self.columns[mine], self.owner[mine], layout.xy, layout.faces, xyz, nothing, picture, colors)
        start, end = layout.xy[self.ends[self.seam[mine]]].transpose(1, 0, 2)
        along = end - start
        here = np.stack([self.columns[mine], self.rows[mine]], 1) + 0.5 - start
        t = ((here * along).sum(1) / np.maximum((along**2).sum(1), 1e-12)).clip(0, 1)[:, None]
        first, second = offsets[self.ends[self.opposite[mine]]].transpose(1, 0, 2)
        self.colors[mine] = colors + first * (1 - t) + second * t

    def blend(self, atlas: NDArray[np.float32]) -> None:
        """Mixes what was taken into the atlas."""
        use = self.view >= 0
        w = self.weight[use, None]
        rows, columns = self.rows[use], self.columns[use]
        atlas[rows, columns] = (1 - w) * atlas[rows, columns] + w * self.colors[use]


def fill(atlas: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
    """Fills the other pixels from the nearest known ones, coarser and coarser away from them, so that no mipmap mixes in a foreign colour.

    Pull and push (Gortler et al. 1996, section 3.4): means of the known pixels on ever smaller copies, carried back to where nothing is known.
    """
    import cv2

    colors, weights = [atlas], [known.astype(np.float32)]
    atlas[~known] = 0
    while min(colors[-1].shape[:2]) > 1:
        h, w = colors[-1].shape[:2]
        target = ((w + 1) // 2, (h + 1) // 2)
        weight = cv2.resize(weights[-1], target, interpolation=cv2.INTER_AREA)
        color = cv2.resize(colors[-1] * weights[-1][..., None], target, interpolation=cv2.INTER_AREA)
        color /= np.maximum(weight, 1e-9)[..., None]
        colors.append(color)
        weights.append((weight > 1e-6).astype(np.float32))
    for fine, coarse, weight in zip(colors[-2::-1], colors[:0:-1], weights[-2::-1], strict=True):
        up = cv2.resize(coarse, fine.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        np.copyto(fine, up, where=(weight == 0)[..., None])
