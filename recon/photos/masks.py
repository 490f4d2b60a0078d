"""Contains the masks that come as pictures beside the photos: black is left out, anything else is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon.errors import listed
from recon.photos.decode import Photo, PhotoError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
BLACK = 127  # JPEG makes black grey
SAME_SHAPE = 0.02


def masked(photos: Sequence[Photo], folder: Path) -> tuple[list[Photo], list[str]]:
    """The photos with their masks in `alpha`, and a remark on those that have none.

    The mask of trip/a.jpg is a.png, a.jpg.png (COLMAP's way) or mask_a.png in the folder. Raises PhotoError where the folder holds no
    photo's mask, and for masks of another shape or without a pixel that is used.
    """
    if not folder.is_dir():
        raise PhotoError(f"there is no folder of masks {folder}")
    there = {p.name.lower(): p for p in folder.iterdir() if p.suffix.lower() in ENDINGS}
    found = [_mask_of(Path(photo.name), there) for photo in photos]
    missing = [Path(photo.name).name for photo, mask in zip(photos, found, strict=True) if mask is None]
    if len(missing) == len(photos):
        name = missing[0]
        raise PhotoError(f"the folder {folder} holds no mask of any photo; the mask of {name} is {Path(name).stem}.png or {name}.png")
    out = [photo if mask is None else _with_mask(photo, mask) for photo, mask in zip(photos, found, strict=True)]
    return out, [f"{listed(missing)} without a mask in {folder}: used whole"] if missing else []


def _mask_of(photo: Path, there: dict[str, Path]) -> Path | None:
    stems = (photo.stem.lower(), photo.name.lower(), f"mask_{photo.stem.lower()}")
    return next((there[stem + ending] for stem in stems for ending in ENDINGS if stem + ending in there), None)


def _with_mask(photo: Photo, path: Path) -> Photo:
    import cv2

    grey = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE) if path.stat().st_size else None
    if grey is None:
        raise PhotoError(f"{path} cannot be read as a mask; allowed: {', '.join(ENDINGS)}")
    height, width = grey.shape
    if abs(width / height * photo.height / photo.width - 1) > SAME_SHAPE:
        raise PhotoError(f"the mask {path} is {width} x {height} pixels, its photo {photo.width} x {photo.height}: wanted the same shape")
    top = max(int(grey.max()), 1)
    keep = grey > (BLACK if top > 1 else 0)  # masks of 0 and 1 are met too
    if not keep.any():
        raise PhotoError(f"the mask {path} is all black: black pixels are left out, and nothing of {Path(photo.name).name} would be used")
    size = photo.rgb.shape[1], photo.rgb.shape[0]
    keep = cv2.resize(keep.astype(np.float32), size, interpolation=cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR) >= 0.5
    return replace(photo, alpha=keep if photo.alpha is None else keep & photo.alpha)
