"""The survey: what each photo shows of each face, how well, and in which colours; and the exposures that make the photos agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.io.gltf import to_linear, to_srgb
from recon.meshes.texture.shots import Shot

LONG_SIDE = 1024  # of the copies that are looked at
BEFORE = 0.05  # of z, at least: how much nearer the scene's own depth is where something stands before the mesh
DARK, WHITE = 0.01, 0.9  # linear values between which the photos' exposures are compared
SPREAD = 0.1  # of the logarithms, beyond which a face counts little
MOST_COMPARED = 30_000
LINEAR = to_linear(np.arange(256, dtype=np.float32) / 255)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What V photos show of F faces; 0 where nothing."""

    quality: NDArray[np.float32]  # [F, V] projected pixels x cosine x sharpness squared; 0 where the face is not seen whole
    colors: NDArray[np.float32]  # [F, V, 3] sRGB, exposures made alike
    seen: NDArray[np.uint8]  # [F, V] how many of seven places
    gains: NDArray[np.float64]  # [V, 3] factors on the linear values of the photos
    pictures: tuple[NDArray[np.uint8], ...]  # small copies [h, w, 3], as photographed


def survey(
    points: NDArray[np.float64], faces: NDArray[np.int64], shots: Sequence[Shot], *, progress: Callable[[str, float], None] | None = None
) -> Survey:
    """Looks at every face in every photo; each photo is read once. Raises FileError where a photo's file has changed."""
    shape = (len(faces), len(shots))
    quality, details, seen = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    colors = np.zeros((*shape, 3), np.float32)
    pictures = []
    for v, shot in enumerate(shots):
        if progress is not None:
            progress("texture: views", v / len(shots))
        picture, detail = _small(shot.read())
        pictures.append(picture)
        quality[:, v], colors[:, v], details[:, v], seen[:, v] = _look(points, faces, shot, picture, detail)
    gains = exposures(colors, quality > 0)
    quality *= sharpness(details, quality > 0) ** 2
    return Survey(quality=quality, colors=to_srgb(colors * gains.astype(np.float32)), seen=seen, gains=gains, pictures=tuple(pictures))


def _small(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A copy of at most LONG_SIDE, and how much the photo's own pixels differ from their neighbours, at the copy's size [h, w, 1]."""
    import cv2

    height, width = picture.shape[:2]
    detail = np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_16S)).astype(np.float32)
    scale = min(1.0, LONG_SIDE / max(height, width))
    target = (max(2, round(width * scale)), max(2, round(height * scale)))
    return (cv2.resize(image, target, interpolation=cv2.INTER_AREA) for image in (picture, detail[..., None]))  # type: ignore[return-value]


def _look(points: NDArray, faces: NDArray, shot: Shot, picture: NDArray, detail: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """quality [F], linear colors [F, 3], details [F], seen [F] of one photo."""
    import cv2

    from recon.meshes.texture.raster import draw_faces, project_points
    from recon.meshes.texture.surveying_loops import look

    height, width = picture.shape[:2]
    K, world_to_cam = shot.K_for(width, height), shot.world_to_cam
    depth, shown = np.full((height, width), np.inf), np.full((height, width), -1, np.int64)
    draw_faces(project_points(points, K, world_to_cam), faces, depth, shown)
    near = cv2.erode(depth, np.ones((5, 5), np.uint8))
    mask = np.full((height, width), 2, np.uint8)  # 0 left out, 1 beside that, where colours of both sides may be mixed, 2 well inside
    if shot.mask is not None:
        whole = cv2.resize(shot.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        mask = sum(cv2.erode(whole, np.ones((n, n), np.uint8), borderType=cv2.BORDER_REPLICATE) for n in (3, 5))
    out = (np.zeros(len(faces), np.float32), np.zeros((len(faces), 3), np.float32), np.zeros(len(faces), np.float32), np.zeros(len(faces), np.uint8))
    scale = shot.camera.width / width  # quality counts the photo's own pixels
    detail = detail.reshape(height, width, 1)
    look(points, faces, K, world_to_cam, depth, shown, near, _front(shot.depth, depth), mask, LINEAR[picture], detail, *out)
    return out[0] * scale**2, *out[1:]


def _front(known: NDArray | None, depth: NDArray[np.float64]) -> NDArray[np.float64]:  # [h, w], [H, W] -> [H, W]
    """z beyond which a photo's own depth says that something hides the mesh; infinite where it does not.

    Its share that is in front by more than BEFORE, and by more than it errs by, is taken for such things.
    """
    import cv2

    out = np.full(depth.shape, np.inf)
    if known is None:
        return out
    own = cv2.resize(known.astype(np.float32), depth.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float64)
    both = np.isfinite(own) & np.isfinite(depth)
    if not both.any():
        return out
    ratio = own[both] / depth[both] - 1
    error = 1.4826 * float(np.median(np.abs(ratio - np.median(ratio))))
    out[both] = own[both] / (1 - min(max(BEFORE, 4 * error), 0.5))
    return out


def exposures(colors: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float64]:  # [F, V, 3], [F, V] -> [V, 3]
    """Factors on the photos' linear values that make them agree on the faces that several see; their mean logarithm is about 0.

    Least squares of log c_fv = x_f + e_v over faces f and views v, the x eliminated, re-weighted by 1 / (1 + (r / SPREAD)^2) against what moves
    or shines; a weak pull towards 0 decides where views share nothing.
    """
    faces = np.flatnonzero(seen.sum(1) > 1)
    faces = faces[:: max(1, len(faces) // MOST_COMPARED)]
    gains = np.ones((seen.shape[1], 3))
    if not len(faces):
        return gains
    for channel in range(3):
        c = colors[faces, :, channel].astype(np.float64)
        fine = seen[faces] & (c > DARK) & (c < WHITE)
        y, e = np.log(np.where(fine, c, 1)), np.zeros(seen.shape[1])
        weight = fine.astype(np.float64)
        for _ in range(10):
            total = np.maximum(weight.sum(1, keepdims=True), 1e-9)
            share = weight / total
            pull = 1e-3 * weight.sum() / len(e) + 1e-9
            A = np.diag(weight.sum(0) + pull) - share.T @ weight
            e = np.linalg.solve(A, (weight * (y - (share * y).sum(1, keepdims=True))).sum(0))
            r = y - e - (share * (y - e)).sum(1, keepdims=True)
            weight = fine / (1 + (r / SPREAD) ** 2)
        gains[:, channel] = np.exp(-e)
    return gains


def sharpness(details: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:  # [F, V], [F, V] -> [V]
    """How sharp each photo is, 0..1 of the sharpest: the middle ratio of its detail on a face to the mean of the photos that see the face."""
    logs = np.log(details + 1.0)  # one grey level is nothing
    count = np.maximum(seen.sum(1, keepdims=True), 1)
    relative = logs - np.where(seen, logs, 0).sum(1, keepdims=True) / count
    several = seen & (count > 1)
    ratio = np.array([np.exp(np.median(relative[several[:, v], v])) if several[:, v].any() else 1.0 for v in range(seen.shape[1])])
    return np.clip(ratio / ratio.max(), 0.05, 1.0).astype(np.float32)
