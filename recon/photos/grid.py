"""Photos in: files to Images on one pixel grid, and the same photos on another grid.

A photo is scaled alike in x and y, so that its pixels stay square for the solvers, and padded (mask False) to the grid, whose sides are
multiples of what the networks need: photos of one shape fill all but a few pixels of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon.cores import in_threads
from recon.photos.decode import Photo, PhotoError, photos_in, read_photo
from recon.photos.find import MOST_PHOTOS, content_of, find_photos
from recon.photos.masks import masked
from recon.scene import Images, PhotoFile

MULTIPLE = 16


def load_images(
    paths: Sequence[str | Path] | str | Path, *, long_side: int = 512, multiple: int = MULTIPLE, masks: str | Path | None = None,
    all_frames: bool = False,
) -> Images:  # fmt: skip
    """The photos of files, folders, glob patterns and zip archives, on one grid whose long side is about `long_side`.

    JPEG, MPO, PNG (alpha becomes the mask), WebP, HEIC, TIFF and BMP of 8 to 16 bits; EXIF orientation is applied, EXIF focal lengths go to
    `focal`. `masks`: a folder with a picture for each photo (see recon.photos.masks) whose black pixels are left out;
    `all_frames`: every picture of an animation instead of the first. Stereo files (MPO) and scans of several pages give all their photos.
    Raises PhotoError for what is missing, unreadable, too small, too large or too many.
    """
    files, photos, remarks = _read(find_photos(paths), all_frames)
    if masks is not None:
        photos, more = masked(photos, Path(masks))
        remarks += more
    return images_of(photos, files, long_side=long_side, multiple=multiple, remarks=remarks)


def images_of(
    photos: Sequence[Photo], files: Sequence[PhotoFile], *, long_side: int, multiple: int = MULTIPLE, remarks: Sequence[str] = ()
) -> Images:
    """Decoded photos on one grid; `files` say where they came from, or are empty."""
    width, height = grid_size([(p.width, p.height) for p in photos], long_side, multiple)
    placed = in_threads(lambda p: _place(p.rgb, p.alpha, width, height), photos)
    to_working = torch.tensor([[p.rgb.shape[1] / p.width, p.rgb.shape[0] / p.height] for p in photos], dtype=torch.float64)
    scale = torch.stack([scale for _, _, scale, _ in placed]) * to_working
    return Images(
        rgb=torch.stack([rgb for rgb, _, _, _ in placed]),
        mask=torch.stack([mask for _, mask, _, _ in placed]),
        names=_unique_names(photos),
        focal=torch.tensor([p.focal for p in photos]) * scale[:, 0].float(),
        photo_width=torch.tensor([p.width for p in photos]),
        photo_height=torch.tensor([p.height for p in photos]),
        grid_scale=scale.float(),
        grid_offset=torch.stack([offset for _, _, _, offset in placed]).float(),
        photos=tuple(p.rgb for p in photos),
        files=tuple(files),
        remarks="\n".join(remarks),
    )


def _read(found: Sequence[PhotoFile], all_frames: bool) -> tuple[list[PhotoFile], list[Photo], list[str]]:
    """The photos of all files, where each came from, and what a person should know of how they were read."""
    files, photos, remarks = [], [], []
    for file in found:
        content, name = content_of(file), file.member or file.path
        numbers, remark = photos_in(content, name, all_frames=all_frames)
        remarks += [f"{Path(name).name} {remark}"] if remark else []
        for count, number in enumerate(numbers, 1):
            path = Path(name)
            photo = read_photo(content, name if len(numbers) == 1 else str(path.with_name(f"{path.stem}_{count}{path.suffix}")), picture=number)
            files.append(replace(file, picture=number, plain=photo.plain and numbers == [0]))
            photos.append(photo)
            remarks += [f"{Path(photo.name).name}: {photo.remark}"] if photo.remark else []
    if len(photos) > MOST_PHOTOS:
        raise PhotoError(f"{len(photos)} photos were given, wanted at most {MOST_PHOTOS}")
    return files, photos, remarks


def resize(images: Images, long_side: int, *, multiple: int = MULTIPLE) -> Images:
    """The same photos on a grid of another long side, made from the working copies where there are any, else from `rgb`."""
    views, height, width = images.rgb.shape[:3]
    sizes = list(zip(images.photo_width.tolist(), images.photo_height.tolist(), strict=True))
    new_width, new_height = grid_size(sizes if images.photos else [(width, height)], long_side, multiple)

    def moved(v: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale, offset = images.grid_scale[v].double().cpu(), images.grid_offset[v].double().cpu()
        if images.photos:
            source, alpha = images.photos[v], photo_mask(images, v)
            scale, offset = torch.tensor([source.shape[1] / sizes[v][0], source.shape[0] / sizes[v][1]], dtype=torch.float64), torch.zeros(2)
        else:
            source, alpha = images.rgb[v].cpu().numpy(), images.mask[v].cpu().numpy()
        rgb, mask, new_scale, new_offset = _place(source, alpha, new_width, new_height)
        return rgb, mask, scale * new_scale, offset * new_scale + new_offset

    rgb, mask, scales, offsets = zip(*in_threads(moved, range(views)), strict=True)
    grid_scale = torch.stack(scales).to(images.grid_scale)
    device = images.rgb.device
    return replace(
        images,
        rgb=torch.stack(rgb).to(device),
        mask=torch.stack(mask).to(device),
        focal=images.focal * (grid_scale[:, 0] / images.grid_scale[:, 0]).to(images.focal),
        grid_scale=grid_scale,
        grid_offset=torch.stack(offsets).to(images.grid_offset),
    )


def grid_size(sizes: Sequence[tuple[int, int]], long_side: int, multiple: int = MULTIPLE) -> tuple[int, int]:
    """Width and height of the grid that holds photos of these (width, height), each scaled to the long side."""
    steps = max(1, round(long_side / multiple))
    width, height = (max(max(1, round(steps * size[i] / max(size))) for size in sizes) for i in range(2))
    return width * multiple, height * multiple


def _unique_names(photos: Sequence[Photo]) -> tuple[str, ...]:
    """File names; a name met again gets a number."""
    names: list[str] = []
    for photo in photos:
        path = Path(photo.name)
        name, count = path.name, 2
        while name in names:
            name, count = f"{path.stem}_{count}{path.suffix}", count + 1
        names.append(name)
    return tuple(names)


def _place(source: np.ndarray, mask: np.ndarray | None, width: int, height: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rgb [height, width, 3] float, mask [height, width], and scale [2] and offset [2] with x_grid = x_source * scale + offset.

    The source (uint8, or float 0..1) is padded by whole pixels to the grid's shape and then resized: edges repeat into the padding.
    """
    import cv2

    h, w = source.shape[:2]
    scale = min(width / w, height / h)
    pad_x, pad_y = max(0, round(width / scale) - w), max(0, round(height / scale) - h)
    left, top = pad_x // 2, pad_y // 2
    border = (top, pad_y - top, left, pad_x - left)
    shrink = width * height < (w + pad_x) * (h + pad_y)
    padded = cv2.copyMakeBorder(source, *border, cv2.BORDER_REPLICATE)
    rgb = cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    rgb = torch.from_numpy(rgb).float() / 255 if rgb.dtype == np.uint8 else torch.from_numpy(rgb).float().clamp(0, 1)
    inside = np.ones((h, w), np.float32) if mask is None else mask.astype(np.float32)
    inside = cv2.copyMakeBorder(inside, *border, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    ratio = torch.tensor([width / (w + pad_x), height / (h + pad_y)], dtype=torch.float64)
    return rgb, torch.from_numpy(inside >= 0.5), ratio, torch.tensor([left, top], dtype=torch.float64) * ratio


def photo_mask(images: Images, v: int) -> np.ndarray | None:
    """The mask of view v in pixels of its working copy; None where the mask only says what is padding."""
    import cv2

    mask = images.mask[v].cpu().numpy()
    height, width = mask.shape
    scale, offset = images.grid_scale[v].double().numpy(), images.grid_offset[v].double().numpy()
    x, y = ((np.arange(n) + 0.5 - offset[i]) / scale[i] for i, n in enumerate((width, height)))
    photo_width, photo_height = int(images.photo_width[v]), int(images.photo_height[v])
    padding = ~(((y > 0) & (y < photo_height))[:, None] & ((x > 0) & (x < photo_width)))
    kept = mask | padding
    if kept.all():
        return None
    h, w = images.photos[v].shape[:2]
    step = scale * [photo_width / w, photo_height / h]  # grid pixels a pixel of the working copy
    M = np.array([[step[0], 0, step[0] / 2 + offset[0] - 0.5], [0, step[1], step[1] / 2 + offset[1] - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(kept.astype(np.float32), M, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE) >= 0.5
