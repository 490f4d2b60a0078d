"""PlayCanvas' SOG, versions 1 and 2: Gaussians as lossless WebP pictures with a meta.json, in a .sog archive or loose in a folder.

Layout: developer.playcanvas.com, "The SOG Format". Gaussians stand in Morton order; positions have 16 bits on a logarithmic scale, scales
and colours a table of 256 values each, the further harmonics a palette. Pictures are sized by the count before they are decoded.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.errors import reason, shown
from recon.io.files import fault, inside, read_json, whole_file, whole_folder
from recon.io.options import Options
from recon.io.packing import ROOT_HALF, codebook, from_smallest_three, morton_order, smallest_three
from recon.io.parts import Parts
from recon.io.splat_ply import log_scale, sigmoid, unit_quats

if TYPE_CHECKING:
    from recon.scene import Gaussians

MAX_MEMBER = 1 << 31
DENSEST = 1024  # Gaussians for each byte of a picture that are believed
BANDS = {1: 3, 2: 8, 3: 15}
PALETTE_COLUMNS = 64
Fetch = Callable[[str], bytes]


def write(gaussians: Gaussians, path: Path, options: Options) -> None:
    """Writes version 2: an archive, or a folder's pictures where `path` is its meta.json."""
    meta, pictures = _encode(gaussians)
    files = {name: _webp(picture) for name, picture in pictures.items()}
    files["meta.json"] = json.dumps(meta, allow_nan=False).encode()
    if path.name.lower().endswith("meta.json"):
        with whole_folder(path.parent, options.guard) as folder:
            for name, content in files.items():
                (folder / (path.name if name == "meta.json" else name)).write_bytes(content)
        return
    with whole_file(path, options.guard) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # a fixed date: equal scenes give equal files


def _webp(picture: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", lossless=True, quality=60, method=2, exact=True)
    return stream.getvalue()


def _picture(values: np.ndarray, width: int, height: int) -> np.ndarray:  # [N, 3 or 4] uint8 -> [H, W, 4]
    out = np.zeros((height * width, 4), np.uint8)
    out[:, 3] = 255
    out[: len(values), : values.shape[1]] = values
    return out.reshape(height, width, 4)


def _encode(g: Gaussians) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """meta.json's content and the pictures by name."""
    order = morton_order(g.means.float().numpy())
    means, quats, scales, opacities, sh = (t.float().numpy()[order] for t in (g.means, g.quats, g.scales, g.opacities, g.sh))
    width = max(4, math.ceil(math.sqrt(len(g)) / 4) * 4)
    height = max(4, math.ceil(len(g) / width / 4) * 4)
    picture = lambda values: _picture(values, width, height)
    logs = np.sign(means) * np.log1p(np.abs(means))
    low, high = (logs.min(0), logs.max(0)) if len(g) else (np.zeros(3), np.zeros(3))
    fixed = np.rint((logs - low) / np.where(high > low, high - low, 1) * 65535).astype(np.uint16)
    scale_table, scale_index = codebook(log_scale(scales))
    color_table, color_index = codebook(sh[:, 0])
    largest, others = smallest_three(unit_quats(quats))
    rotation = np.clip(np.rint((others / ROOT_HALF * 0.5 + 0.5) * 255), 0, 255)
    alpha = np.rint(np.clip(opacities, 0, 1) * 255)
    meta: dict[str, Any] = {
        "version": 2, "asset": {"generator": "recon"}, "count": len(g),
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_table.tolist(), "files": ["scales.webp"]}, "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": color_table.tolist(), "files": ["sh0.webp"]},
    }  # fmt: skip
    pictures = {
        "means_l.webp": picture((fixed & 255).astype(np.uint8)), "means_u.webp": picture((fixed >> 8).astype(np.uint8)),
        "scales.webp": picture(scale_index), "quats.webp": picture(np.c_[rotation, 252 + largest].astype(np.uint8)),
        "sh0.webp": picture(np.c_[color_index, alpha].astype(np.uint8)),
    }  # fmt: skip
    bands = {size: band for band, size in BANDS.items()}.get(sh.shape[1] - 1)
    if bands and len(g):
        from recon.io.palette import palette

        centres, labels = palette(sh[:, 1:].reshape(len(g), -1))
        table, index = codebook(centres)
        rows = -(-len(centres) // PALETTE_COLUMNS)
        grid = np.zeros((rows * PALETTE_COLUMNS, sh.shape[1] - 1, 3), np.uint8)
        grid[: len(centres)] = index.reshape(len(centres), -1, 3)
        pictures["shN_centroids.webp"] = _picture(grid.reshape(-1, 3), PALETTE_COLUMNS * (sh.shape[1] - 1), rows)
        pictures["shN_labels.webp"] = picture(np.c_[labels & 255, labels >> 8, np.zeros_like(labels)].astype(np.uint8))
        files = ["shN_centroids.webp", "shN_labels.webp"]
        meta["shN"] = {"count": len(centres), "bands": bands, "codebook": table.tolist(), "files": files}
    return meta, pictures


def read(path: Path) -> Parts:
    """The Gaussians of an archive, of a meta.json or of the folder around one. Raises FileError."""
    if path.is_dir():
        path = path / "meta.json"
    if not zipfile.is_zipfile(path):
        meta = read_json(path)
        return _decode(path, meta, lambda name: inside(path, path.parent, name).read_bytes())
    with zipfile.ZipFile(path) as archive:
        names = {info.filename: info for info in archive.infolist()}
        at = next((name for name in names if name.rpartition("/")[2] == "meta.json"), None)
        if at is None:
            raise fault(path, f"is an archive without meta.json: it has {', '.join(list(names)[:8])}")
        base = at.removesuffix("meta.json")

        def fetch(name: str) -> bytes:
            info = names.get(base + str(name))
            if info is None:
                raise fault(path, f"lacks the file {shown(name)}")
            if info.file_size > MAX_MEMBER or info.file_size > 200 * max(info.compress_size, 100):
                raise fault(path, f"has the file {shown(name)} that unpacks from {info.compress_size} to {info.file_size} bytes")
            return archive.read(info)

        try:
            return _decode(path, read_json(path, fetch("meta.json")), fetch)
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in a way that is not known
            raise fault(path, f"cannot be unpacked: {reason(error)}") from error


def _decode(path: Path, meta: Any, fetch: Fetch) -> Parts:
    if not isinstance(meta, dict) or not all(isinstance(meta.get(k), dict) for k in ("means", "scales", "quats", "sh0")):
        raise fault(path, "is no SOG: its meta.json lacks means, scales, quats or sh0")
    version = meta.get("version", 1)
    shape = meta["means"].get("shape")
    count = meta.get("count") if version == 2 else shape[0] if isinstance(shape, list) and shape else None
    if version not in (1, 2) or not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < 1 << 31:
        raise fault(path, f"is SOG of version {shown(version)} with {shown(count)} Gaussians; wanted version 1 or 2")

    def picture(part: str, number: int, pixels: int = count) -> np.ndarray:
        names = meta[part].get("files")
        if not isinstance(names, list) or len(names) <= number:
            raise fault(path, f"names no file {number} of {part}")
        return _pixels(path, names[number], fetch(names[number]), pixels)

    low, high = (_numbers(path, meta["means"].get(k), 3) for k in ("mins", "maxs"))
    fixed = picture("means", 0)[:count, :3].astype(np.uint16) | picture("means", 1)[:count, :3].astype(np.uint16) << np.uint16(8)
    logs = low + fixed.astype(np.float32) / 65535 * (high - low)
    rotation = picture("quats", 0)[:count]
    if count and int(rotation[:, 3].min()) < 252:
        raise fault(path, f"has a rotation of mode {int(rotation[:, 3].min())}, wanted 252 to 255")
    quats = from_smallest_three(rotation[:, 3].astype(np.int64) - 252, (rotation[:, :3].astype(np.float32) / 255 - 0.5) * (2 * ROOT_HALF))
    colors = picture("sh0", 0)[:count]
    if version == 2:
        dc, opacities = _numbers(path, meta["sh0"].get("codebook"), 256)[colors[:, :3]], colors[:, 3].astype(np.float32) / 255
        scales = _numbers(path, meta["scales"].get("codebook"), 256)[picture("scales", 0)[:count, :3]]
    else:
        both = _ranged(path, meta["sh0"], colors)
        dc, opacities = both[:, :3], sigmoid(both[:, 3])
        scales = _ranged(path, meta["scales"], picture("scales", 0)[:count, :3])
    sh = dc[:, None]
    if isinstance(meta.get("shN"), dict):
        sh = np.concatenate([sh, _harmonics(path, meta, picture, count)], 1)
    with np.errstate(over="ignore"):
        parts = {
            "means": np.sign(logs) * np.expm1(np.abs(logs)), "quats": quats, "scales": np.exp(scales), "opacities": opacities, "sh": sh
        }
    return Parts(gaussians={k: np.ascontiguousarray(v, np.float32) for k, v in parts.items()})


def _harmonics(path: Path, meta: dict[str, Any], picture: Callable[..., np.ndarray], count: int) -> np.ndarray:  # [N, K - 1, 3]
    """The palette's entries of all Gaussians."""
    part = meta["shN"]
    flat = picture("shN", 0, 1)
    if "bands" in part:
        size = BANDS.get(part["bands"])
    else:  # version 1 says it by the picture's width
        shape = part.get("shape")
        size = shape[1] // 3 if isinstance(shape, list) and len(shape) == 2 and isinstance(shape[1], int) else None
    if size is None or size not in BANDS.values() or len(flat) % (size * PALETTE_COLUMNS):
        raise fault(path, f"has harmonics of {shown(part.get('bands', part.get('shape')))} in {len(flat)} pixels")
    flat = flat[:, :3].reshape(-1, size, 3)
    if "codebook" in part:
        table = _numbers(path, part["codebook"], 256)[flat]
    else:
        table = _ranged(path, part, flat)
    labels = picture("shN", 1)[:count, :2].astype(np.int64)
    labels = labels[:, 0] + 256 * labels[:, 1]
    if count and labels.max() >= len(table):
        raise fault(path, f"uses entry {labels.max()} of a palette of {len(table)}")
    return table[labels]


def _ranged(path: Path, part: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Bytes spread between the bounds that version 1 gives."""
    width = 1 if isinstance(part.get("mins"), int | float) else values.shape[-1]
    low, high = (_numbers(path, part[k] if isinstance(part.get(k), list) else [part.get(k)], width) for k in ("mins", "maxs"))
    return low + values.astype(np.float32) / 255 * (high - low)


def _numbers(path: Path, values: Any, count: int) -> np.ndarray:
    if not isinstance(values, list) or len(values) != count or not all(isinstance(v, int | float) for v in values):
        raise fault(path, f"has {str(values)[:60]} where {count} numbers are wanted")
    return np.array(values, np.float32)


def _pixels(path: Path, name: str, content: bytes, pixels: int) -> np.ndarray:  # [n, 4] uint8
    """All pixels of a WebP picture, at least `pixels` of them. Raises FileError before decoding one of a false size."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=["WEBP", "PNG"]) as image:
            size = image.width * image.height
            if size < pixels or size > DENSEST * len(content) + 65536 or (pixels > 1 and size > 4 * pixels + 65536):
                raise fault(path, f"has the picture {name} of {image.width} x {image.height} in {len(content)} bytes for {pixels} Gaussians")
            return np.asarray(image.convert("RGBA")).reshape(-1, 4)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise fault(path, f"has a broken picture {name}: {reason(error)}") from error
