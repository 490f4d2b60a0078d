"""Reads the .ksplat of mkkellogg's GaussianSplats3D: sections of Gaussians in full, half or byte precision around bucket centres."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from recon.io.files import fault
from recon.io.parts import SH_DC, Parts
from recon.io.splat_ply import unit_quats

HEADER, SECTION = 4096, 1024
SH_COUNT = {0: 0, 1: 9, 2: 24, 3: 45}


def read(path: Path) -> Parts:
    """The Gaussians of all sections. Raises FileError."""
    content = path.read_bytes()
    if len(content) < HEADER:
        raise fault(path, f"is {len(content)} bytes long, too short for a ksplat header of {HEADER}")
    major, minor = content[0], content[1]
    sections = struct.unpack_from("<I", content, 4)[0]  # the room for them; the count behind it is often left at zero
    level = struct.unpack_from("<H", content, 20)[0]
    low, high = struct.unpack_from("<2f", content, 36)
    low, high = (low, high) if low or high else (-1.5, 1.5)  # what older files mean
    if major != 0 or level not in (0, 1, 2):
        raise fault(path, f"is ksplat of version {major}.{minor} with compression {level}; wanted 0.* and 0 to 2")
    if HEADER + sections * SECTION > len(content):
        raise fault(path, f"is cut off or false: {sections} sections in {len(content)} bytes")
    at = HEADER + sections * SECTION
    parts = []
    for number in range(sections):
        part, at = _section(path, content, HEADER + number * SECTION, at, level, (low, high))
        parts.append(part)
    bases = max([p["sh"].shape[1] for p in parts], default=1)
    for part in parts:
        part["sh"] = np.pad(part["sh"], ((0, 0), (0, bases - part["sh"].shape[1]), (0, 0)))
    empty = {"means": (0, 3), "quats": (0, 4), "scales": (0, 3), "opacities": (0,), "sh": (0, 1, 3)}
    joined = {k: np.concatenate([p[k] for p in parts]) if parts else np.zeros(shape) for k, shape in empty.items()}
    return Parts(gaussians={k: np.ascontiguousarray(v, np.float32) for k, v in joined.items()})


def _record(level: int, harmonics: int) -> np.dtype:
    """The layout of one Gaussian."""
    place, number = ("<f4", "<f4") if level == 0 else ("<u2", "<f2")
    fields: list[tuple] = [("means", place, 3), ("scales", number, 3), ("quat", number, 4), ("color", "u1", 4)]
    return np.dtype(fields + ([("sh", ("<f4", "<f2", "u1")[level], harmonics)] if harmonics else []))


def _section(path: Path, content: bytes, head: int, at: int, level: int, sh_range: tuple[float, float]) -> tuple[dict[str, np.ndarray], int]:
    """The Gaussians of the section whose header is at `head` and whose data starts at `at`, and where its data ends."""
    count, most, bucket_size, buckets = struct.unpack_from("<4I", content, head)
    block = struct.unpack_from("<f", content, head + 16)[0]
    bucket_bytes = struct.unpack_from("<H", content, head + 20)[0]
    steps = struct.unpack_from("<I", content, head + 24)[0] or 32767
    full, partial = struct.unpack_from("<2I", content, head + 32)
    degree = struct.unpack_from("<H", content, head + 40)[0]
    if degree not in SH_COUNT or count > most or (level and (bucket_bytes < 12 or buckets != full + partial)):
        raise fault(path, f"has a section of degree {degree} with {count} of {most} Gaussians in {buckets} buckets of {bucket_bytes} bytes")
    dtype = _record(level, SH_COUNT[degree])
    end = at + 4 * partial + bucket_bytes * buckets + most * dtype.itemsize
    if end > len(content):
        raise fault(path, f"is cut off or false: a section of {most} Gaussians ends at {end}, the file at {len(content)}")
    lengths = np.frombuffer(content, "<u4", partial, at)
    rows = np.frombuffer(content, dtype, count, end - most * dtype.itemsize)
    means = rows["means"].astype(np.float32)
    if level:
        raw = np.frombuffer(content, np.uint8, bucket_bytes * buckets, at + 4 * partial).reshape(buckets, bucket_bytes)
        centres = np.ascontiguousarray(raw[:, :12]).view("<f4")
        number = np.arange(count)
        borders = np.cumsum(lengths.astype(np.int64)) + full * bucket_size
        bucket = np.where(number < full * bucket_size, number // max(bucket_size, 1), full + np.searchsorted(borders, number, "right"))
        if count and (not buckets or bucket.max() >= buckets):
            raise fault(path, f"has {count} Gaussians in {buckets} buckets that hold fewer")
        means = (means - steps) * (block / 2 / steps) + centres[bucket]
    color = rows["color"].astype(np.float32) / 255
    sh = np.empty((count, 1 + SH_COUNT[degree] // 3, 3), np.float32)
    sh[:, 0] = (color[:, :3] - 0.5) / SH_DC
    if degree:
        rest = rows["sh"].astype(np.float32)
        rest = sh_range[0] + rest / 255 * (sh_range[1] - sh_range[0]) if level == 2 else rest
        for band in range(1, degree + 1):  # each band channel by channel
            part = rest[:, 3 * (band**2 - 1) : 3 * ((band + 1) ** 2 - 1)]
            sh[:, band**2 : (band + 1) ** 2] = part.reshape(count, 3, -1).transpose(0, 2, 1)
    quats = unit_quats(rows["quat"].astype(np.float32), positive=False)
    out = {"means": means, "scales": rows["scales"].astype(np.float32), "quats": quats, "opacities": color[:, 3], "sh": sh}
    return out, end
