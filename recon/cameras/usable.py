"""Contains what of a photo may match: holes of its mask filled so smoothly that they are no structure, and how near their edges it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recon.photos.moves import grid_of

if TYPE_CHECKING:
    from recon.scene import Images


def holes(images: Images, view: int) -> np.ndarray:  # -> [H, W] bool
    """The pixels of the photo that its mask leaves out, without the grid's padding round it."""
    mask = images.mask[view].cpu().numpy()
    scale, offset = (x[view] for x in grid_of(images))
    x, y = ((np.arange(n) + 0.5 - offset[k]) / scale[k] for k, n in enumerate(mask.shape[::-1]))
    inside = ((y > 0) & (y < int(images.photo_height[view])))[:, None] & ((x > 0) & (x < int(images.photo_width[view])))
    return inside & ~mask


def filled(picture: np.ndarray, keep: np.ndarray) -> np.ndarray:  # [h, w, 3] any type, [h, w] bool -> [h, w, 3]
    """The picture with what is not kept filled from its surroundings, the smoother the farther away (push-pull; Gortler et al. 1996)."""
    import cv2

    weight = keep.astype(np.float32)
    levels = [(picture.astype(np.float32) * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 1 and not (levels[-1][1] > 0).all():
        size = tuple(max(1, n // 2) for n in levels[-1][1].shape[::-1])
        levels.append(tuple(cv2.resize(x, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], *x.shape[2:]) for x in levels[-1]))  # type: ignore[arg-type]
    colour = levels[-1][0] / np.maximum(levels[-1][1], 1e-6)[..., None]
    for sums, weight in reversed(levels[:-1]):
        wide = cv2.resize(colour, weight.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(sums.shape)
        share = np.minimum(weight, 1)[..., None]
        colour = np.where(share > 0, sums / np.maximum(weight, 1e-6)[..., None] * share + wide * (1 - share), wide)
    out = np.where(keep[..., None], picture, np.rint(colour) if picture.dtype == np.uint8 else colour)
    return out.astype(picture.dtype)
