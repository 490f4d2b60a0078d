"""Contains triangles out of what files hold instead: polygons of any shape, strips and fans."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from recon.io.files import fault

MOST_TRIES = 200_000  # corners of a file that are looked at as ears, some seconds; what is left is cut as fans, which a warning tells
FLAT = 1e-9
log = logging.getLogger(__name__)


def triangles(path: Path, polygons: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Triangles [F, 3] of polygons [n, k] or of an object array of polygons, as numbers into `places` [P, 3].

    Convex ones become fans, others are clipped ear by ear (Meisters 1975). Raises FileError for numbers out of range.
    """
    if polygons.dtype == object:
        sizes = np.array([len(p) for p in polygons])
        groups = [np.stack(list(polygons[sizes == n])) for n in np.unique(sizes) if n >= 3]
    else:
        groups = [polygons] if polygons.shape[1] >= 3 else []
    for group in groups:
        if not 0 <= group.min(initial=0) <= group.max(initial=0) < max(len(places), 1) or (len(group) and not len(places)):
            raise fault(path, f"has faces with the vertices {group.min()} to {group.max()}, wanted 0 to {len(places) - 1}")
    tries = Tries()
    parts = [_of_group(group.astype(np.int64), places, tries) for group in groups]
    if tries.left <= 0:
        log.warning("%s: has so many polygons with dents that some are cut as fans", path)
    return np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)


class Tries:
    """How many corners may still be looked at."""

    left = MOST_TRIES


def _of_group(group: np.ndarray, places: np.ndarray, tries: Tries) -> np.ndarray:
    """Triangles of polygons [n, k] of one size, in their order."""
    k = group.shape[1]
    fans = np.stack([group[:, [0, i, i + 1]] for i in range(1, k - 1)], 1)
    if k > 3:
        corners = places[group].astype(np.float64)
        for number in np.flatnonzero(~_convex(corners)):
            if tries.left > 0 and np.isfinite(corners[number]).all():
                fans[number] = group[number][_ears(corners[number], tries)]
    return fans.reshape(-1, 3)


def _convex(corners: np.ndarray) -> np.ndarray:  # [n, k, 3] -> [n] bool
    """Whether each polygon turns one way at all its corners."""
    with np.errstate(all="ignore"):
        before, after = corners - np.roll(corners, 1, 1), np.roll(corners, -1, 1) - corners
        turns = np.einsum("nkc,nc->nk", np.cross(before, after), _normals(corners))
        return (turns >= -FLAT * np.abs(turns).max(1, keepdims=True)).all(1)


def _normals(corners: np.ndarray) -> np.ndarray:  # [n, k, 3] -> [n, 3]
    """Area vectors (Newell)."""
    shifted = corners - corners[:, :1]
    return np.cross(shifted, np.roll(shifted, -1, 1)).sum(1)


def _ears(corners: np.ndarray, tries: Tries) -> np.ndarray:  # [k, 3] -> [k - 2, 3]
    """Corner numbers of the triangles of one simple polygon; what cannot be clipped (crossing edges) is cut as a fan."""
    normal = _normals(corners[None])[0]
    drop = int(np.abs(normal).argmax())
    xy = np.delete(corners, drop, 1)
    sign = np.sign(normal[drop]) * (-1 if drop == 1 else 1)
    left, out = list(range(len(corners))), []
    cross = lambda a, b, c: sign * ((b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0]))
    while len(left) > 3:
        for i in range(len(left) if tries.left > 0 else 0):
            tries.left -= 1
            a, b, c = left[i - 1], left[i], left[(i + 1) % len(left)]
            if cross(xy[a], xy[b], xy[c]) <= 0:
                continue
            others = xy[[p for p in left if p not in (a, b, c)]]
            inside = (cross(xy[a], xy[b], others) >= 0) & (cross(xy[b], xy[c], others) >= 0) & (cross(xy[c], xy[a], others) >= 0)
            if not inside.any():
                break
        else:
            i = 1
            a, b, c = left[0], left[1], left[2]
        out.append((a, b, c))
        del left[i]
    return np.array([*out, tuple(left)])


def of_strip(index: np.ndarray) -> np.ndarray:  # [n] -> [F, 3]
    """Triangles of a strip, every second one turned back; those without area, which join strips, are left out."""
    faces = np.stack([index[:-2], index[1:-1], index[2:]], 1) if len(index) > 2 else np.zeros((0, 3), index.dtype)
    faces[1::2] = faces[1::2][:, [1, 0, 2]]
    return faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]


def of_fan(index: np.ndarray) -> np.ndarray:  # [n] -> [F, 3]
    """Triangles around the first corner."""
    return np.stack([np.full(len(index) - 2, index[0]), index[1:-1], index[2:]], 1) if len(index) > 2 else np.zeros((0, 3), index.dtype)
