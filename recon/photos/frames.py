"""Contains which pictures of one file are photos: both of a stereo pair and all pages of a scan, but no preview, gain map or depth map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

ANIMATED = ("WEBP", "PNG", "GIF")
MARKS = (b"hdrgm", b"HDRGainMap", b"urn:iso:std:iso:ts:21496", b"GDepth", b"DepthMap", b"depthmap", b"semantic")  # in the head of what is no photo
HEAD = 1 << 16
SUBFILE, OLD_SUBFILE = 254, 255  # TIFF 6.0: NewSubfileType, SubfileType
MOST = 1000


def photos_of(image: Image, source: Path | bytes, *, all_frames: bool) -> tuple[list[int], str]:
    """Numbers of the pictures of an opened file that are photos, the first of them the main one; and a remark, or "".

    MPO: what shows another view (CIPA DC-007) at the first one's size; TIFF: pages that are no previews or masks; animations: the first
    frame, or all with `all_frames`.
    """
    count = min(getattr(image, "n_frames", 1), MOST)
    if count < 2:
        return [0], ""
    if image.format in ANIMATED:
        remark = f"is an animation of {count} pictures, and only the first is used (all_frames=True takes all)"
        return (list(range(count)), "") if all_frames else ([0], remark)
    if image.format == "MPO":
        return [0, *(i for i in range(1, count) if _is_view(image, source, i))], ""
    if image.format == "TIFF":
        return _pages(image, count), ""
    sizes = [_size(image, i) for i in range(count)]
    return [i for i, size in enumerate(sizes) if size == sizes[0]], ""


def _size(image: Image, number: int) -> tuple[int, int]:
    image.seek(number)
    return image.size


def _is_view(image: Any, source: Path | bytes, number: int) -> bool:
    """Whether a further picture of an MPO shows the scene: as large as the first, in colour as it is, and neither gain nor depth map."""
    first, mode = _size(image, 0), image.mode
    entry = image.mpinfo[0xB002][number]
    kind = str(entry.get("Attribute", {}).get("MPType", ""))
    size = _size(image, number)
    start = int(entry.get("DataOffset", 0)) + int(image.info.get("mpoffset", 0))
    head = source[start : start + HEAD] if isinstance(source, bytes) else _read(source, start)
    return "Thumbnail" not in kind and size == first and image.mode == mode and not any(mark in head for mark in MARKS)


def _read(path: Path, start: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(HEAD)


def _pages(image: Any, count: int) -> list[int]:
    """Pages of a TIFF that are no reduced copies, masks or thumbnails."""
    kept, sizes = [], []
    for i in range(count):
        image.seek(i)
        kind = int(image.tag_v2.get(SUBFILE, 0))
        if not kind & 0b101 and int(image.tag_v2.get(OLD_SUBFILE, 1)) != 2 and image.mode != "1":
            kept.append(i)
            sizes.append(max(image.size))
    return [i for i, size in zip(kept, sizes, strict=True) if 2 * size > max(sizes)] or [0]
