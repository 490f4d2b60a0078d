"""One photo file: decoded to 8-bit sRGB the right way up, with its alpha and the focal length that its EXIF tells."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.errors import ReconError, reason
from recon.photos.tones import to_8_bits

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".mpo")
PLAIN = {  # Pillow's name -> endings: what all programs of photogrammetry read
    "JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg"), "PNG": (".png",), "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "WEBP": (".webp",),
}  # fmt: skip
WORKING_LONG_SIDE = 1600  # of the copies kept for SIFT and for other grids
LEAST_SIDE, MOST_PIXELS, MOST_ASPECT = 32, 200_000_000, 8.0
FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)  # what "35 mm equivalent" refers to (CIPA DCG-001)


class PhotoError(ReconError):
    """A photo that cannot be read or used."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo; `rgb` is a working copy of a photo of width x height."""

    name: str
    rgb: np.ndarray  # [h, w, 3] uint8
    alpha: np.ndarray | None  # [h, w] bool
    width: int
    height: int
    focal: float  # pixels of the whole photo, NaN where unknown
    plain: bool = False  # as PhotoFile's
    remark: str = ""  # what a person should know of how it was read


def photos_in(source: Path | bytes, name: str, *, all_frames: bool = False) -> tuple[list[int], str]:
    """Numbers of the pictures of a file that are photos (see recon.photos.frames), and a remark or ""; [0] for what cannot be read."""
    from recon.photos.frames import photos_of

    try:
        with opened(source) as image:
            return photos_of(image, source, all_frames=all_frames)
    except Exception:  # what is wrong is told when the picture itself is read
        return [0], ""


@contextlib.contextmanager
def opened(source: Path | bytes) -> Iterator[Any]:
    """The file as Pillow sees it, without Pillow's own limit (ours is checked before any pixel is decoded) and its remarks on odd metadata."""
    from PIL import Image
    from pillow_heif import register_heif_opener

    register_heif_opener()
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def read_photo(source: Path | bytes, name: str, *, picture: int = 0, long_side: int | None = WORKING_LONG_SIDE) -> Photo:
    """The photo of a file, or of a file's bytes; PhotoError when it is no photo or beyond the limits above.

    `picture`: which of several in the file; `long_side`: of the working copy at most; None: the photo at its full size.
    """
    from PIL import ImageOps

    try:
        with opened(source) as image:
            _check_size(image.size, name)
            plain = _plain(image, name) and not _is_deep(image, source)
            if picture:
                image.seek(picture)
            width, height = _check_size(image.size, name)
            tags, deep = _exif(image), _is_deep(image, source)
            if image.mode in ("RGB", "L") and long_side is not None:  # JPEG alone: decode at a half, a quarter or an eighth
                image.draft(image.mode, (long_side, long_side))
            image.load()
            if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
                width, height = height, width
            upright = image.getexif().get(0x0112, 1) == 1
            rgb, alpha, remark = _to_rgb(ImageOps.exif_transpose(image), name)
            if deep and upright and (found := _deep_color(source, picture)) is not None:
                rgb, remark = found
    except PhotoError:
        raise
    except FileNotFoundError as error:
        raise PhotoError(f"no such photo: {name}") from error
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        found = _deep_color(source, picture)
        if found is None:
            raise PhotoError(f"{name} cannot be read as a photo: {_reason(error)}; allowed: {', '.join(EXTENSIONS)}") from error
        (rgb, remark), alpha, tags, plain = found, None, {}, False
        height, width = rgb.shape[:2]
        _check_size((width, height), name)
    if long_side is not None:
        rgb, alpha = _working_copy(rgb, alpha, long_side)
    focal = exif_focal(tags, width, height)
    return Photo(name=name, rgb=rgb, alpha=alpha, width=width, height=height, focal=focal, plain=plain, remark=remark)


def _plain(image: Image, name: str) -> bool:
    """Whether every program sees in the file what is used here: an upright first picture of 8 bits in a format as its name says."""
    fits = Path(name).suffix.lower() in PLAIN.get(image.format or "", ())
    alone = getattr(image, "n_frames", 1) == 1 or image.format in ("MPO", "TIFF")  # others look at the first picture of these
    return fits and alone and image.mode in ("RGB", "RGBA", "L") and image.getexif().get(0x0112, 1) == 1


def exif_focal(tags: dict[int, Any], width: int, height: int) -> float:
    """Focal length in pixels of a photo of width x height from EXIF tags (Exif 2.32, section 4.6.5); NaN where they do not tell.

    A photo whose shape is not that of its EXIF was cropped: then the tags say nothing about it.
    """
    x_size, y_size = _number(tags, 0xA002), _number(tags, 0xA003)
    if x_size > 0 and y_size > 0 and abs(math.log(max(x_size, y_size) / min(x_size, y_size) * min(width, height) / max(width, height))) > 0.02:
        return math.nan
    equivalent, focal, resolution = _number(tags, 0xA405), _number(tags, 0x920A), _number(tags, 0xA20E)
    unit_mm = {2: 25.4, 3: 10.0, 4: 1.0}.get(int(_number(tags, 0xA210) or 2), 25.4)
    if equivalent > 0:
        pixels = equivalent / FULL_FRAME_DIAGONAL_MM * math.hypot(width, height)
    elif focal > 0 and resolution > 0 and x_size > 0:  # sensor pixels, counted along the longer side
        pixels = focal * resolution / unit_mm * max(width, height) / max(x_size, y_size)
    else:
        return math.nan
    return pixels if 0.2 < pixels / max(width, height) < 50 else math.nan


def _number(tags: dict[int, Any], tag: int) -> float:
    try:
        value = float(tags.get(tag, 0))
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def _exif(image: Image) -> dict[int, Any]:
    try:
        return dict(image.getexif().get_ifd(0x8769))
    except Exception:  # broken metadata is no reason to refuse the picture
        return {}


def _check_size(size: tuple[int, int], name: str) -> tuple[int, int]:
    width, height = size
    told = f"{name} is {width} x {height} pixels"
    if min(size) < LEAST_SIDE:
        raise PhotoError(f"{told}, wanted at least {LEAST_SIDE} on each side")
    if width * height > MOST_PIXELS:
        raise PhotoError(f"{told}, wanted at most {MOST_PIXELS // 1_000_000} million in all")
    if max(size) > MOST_ASPECT * min(size):
        raise PhotoError(f"{told}, wanted a long side of at most {MOST_ASPECT:g} times the short one")
    return width, height


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no picture"
    return reason(error)


def _to_rgb(image: Image, name: str) -> tuple[np.ndarray, np.ndarray | None, str]:
    """uint8 [h, w, 3] in sRGB, alpha [h, w] bool or None, and a remark; transparent places become white."""
    if image.mode.startswith("I"):  # 16-bit grey
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise PhotoError(f"{name} holds grey values {grey.min()} to {grey.max()}, wanted 8 or 16 bits")
        values, remark = to_8_bits(grey)
        return np.repeat(values[..., None], 3, 2), None, remark
    if image.mode == "F":
        raise PhotoError(f"{name} holds floating-point values, wanted 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[..., 3] >= 128
        rgb = np.where(alpha[..., None], rgba[..., :3], np.uint8(255))
        return rgb, None if alpha.all() else alpha, ""
    return np.array(_to_srgb(image)), None, ""


def _to_srgb(image: Image) -> Image:
    """The picture as sRGB by its colour profile (phones: Display P3), or taken as sRGB when it has none that fits."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK"):
        from PIL import ImageCms

        try:
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            if "sRGB" not in ImageCms.getProfileDescription(source):
                return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


def _is_deep(image: Any, source: Path | bytes) -> bool:
    """Whether a picture has 16 bits a colour, of which Pillow keeps the upper 8."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,))) > 8
    if image.format != "PNG":
        return False
    if isinstance(source, bytes):
        return source[24] > 8  # the bit depth in IHDR
    with open(source, "rb") as file:
        return file.read(25)[24] > 8


def _deep_color(source: Path | bytes, picture: int) -> tuple[np.ndarray, str] | None:
    """The colours of a TIFF or PNG of 16 bits a colour through OpenCV, and a remark; None for everything else."""
    import cv2

    data = source if isinstance(source, bytes) else source.read_bytes()
    if data[:4] not in (b"II*\0", b"MM\0*", b"\x89PNG"):
        return None
    try:
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # its COLOR_RGB breaks TIFFs of 16 bits
        _, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if picture >= len(pages) or pages[picture].dtype not in (np.uint8, np.uint16):
        return None
    rgb = np.ascontiguousarray(pages[picture][..., ::-1])
    return to_8_bits(rgb) if rgb.dtype == np.uint16 else (rgb, "")


def _working_copy(rgb: np.ndarray, alpha: np.ndarray | None, long_side: int) -> tuple[np.ndarray, np.ndarray | None]:
    import cv2

    height, width = rgb.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(rgb), alpha
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if alpha is not None:
        alpha = cv2.resize(alpha.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), alpha
