"""Niantic's .spz: versions 1 to 3 in one gzip stream, version 4 in zstd streams (specification: github.com/nianticlabs/spz).

Axes: right, up, back as the specification says and as SuperSplat and splat-transform 2 write them, so the caller turns the content. Some
programs (gaussforge 0.6, Niantic's ply_to_spz) leave a PLY's axes as they are; `load(path, axes="opencv")` reads their files upright.
Vendors' extensions are skipped. Sizes follow from the header's count and are checked before anything is unpacked.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.errors import ReconError, reason, shown
from recon.io.files import fault, whole_file
from recon.io.options import Options
from recon.io.packing import ROOT_HALF, from_smallest_three, smallest_three, warn_of_steps
from recon.io.parts import Arrays, Parts
from recon.io.ply import blocks
from recon.io.splat_ply import log_scale, unit_quats

if TYPE_CHECKING:
    from recon.scene import Gaussians

MAGIC = 0x5053474E
COLOR_SCALE = 0.15
MOST_BITS = 20  # of the fraction of a position
DENSEST = 512  # unpacked bytes for each packed one that are believed


def write(gaussians: Gaussians, path: Path, options: Options) -> None:
    """Writes version `options.spz_version`; positions get 24 bits in all, with as many for the fraction as their range leaves."""
    version = options.spz_version
    if version not in (2, 3, 4):
        raise ReconError(f"spz_version is {version}, wanted 2, 3 or 4")
    g = gaussians
    streams = [s for s in _encode(g, version) if version != 4 or s.size]
    bits = fraction_bits(g.means.float().numpy())
    degree = math.isqrt(g.sh.shape[1]) - 1
    warn_of_steps(path, 2.0**-bits, g.scales.float().numpy())
    if version < 4:
        header = struct.pack("<3I4B", MAGIC, version, len(g), degree, bits, 0, 0)
        with whole_file(path, options.guard) as temporary, open(temporary, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            file.write(header)
            for stream in streams:
                file.write(stream.data)
        return
    zstd = _zstandard()
    packed = [zstd.ZstdCompressor(level=12).compress(stream.tobytes()) for stream in streams]
    with whole_file(path, options.guard) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<3I4BI12x", MAGIC, 4, len(g), degree, bits, 0, len(streams), 32))
        for stream, content in zip(streams, packed, strict=True):
            file.write(struct.pack("<QQ", len(content), stream.size))
        file.writelines(packed)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ReconError("version 4 of spz needs zstandard: pip install zstandard") from error
    return zstandard


def fraction_bits(means: np.ndarray) -> int:
    """How many of the 24 bits of a position stand behind the point. Raises ReconError for a scene of more than 8 million units."""
    far = float(np.abs(means).max(initial=0))
    if far >= 2**23 - 1:
        raise ReconError(f"a Gaussian lies at {far:g} units, and spz holds at most {2**23 - 2}; unit_scale can shrink the scene")
    return min(MOST_BITS, math.floor(math.log2((2**23 - 1) / max(far, 1e-6))))


def _encode(g: Gaussians, version: int) -> list[np.ndarray]:
    """The six streams as bytes: positions, alphas, colours, scales, rotations, harmonics."""
    means, sh = g.means.double().numpy(), g.sh.float().numpy()
    byte = lambda x: np.clip(np.rint(x), 0, 255).astype(np.uint8)
    fixed = np.rint(means * 2 ** fraction_bits(means)).astype("<i4")
    quats = unit_quats(g.quats.float().numpy())
    if version == 2:
        rotations = byte(quats[:, 1:] * 127.5 + 127.5)
    else:
        largest, others = smallest_three(quats[:, [1, 2, 3, 0]])  # counted x, y, z, w
        size = np.minimum(np.floor(np.abs(others) / ROOT_HALF * 511 + 0.5), 511).astype(np.uint32)
        fields = (others < 0).astype(np.uint32) << 9 | size
        word = largest.astype(np.uint32) << 30 | fields[:, 0] << 20 | fields[:, 1] << 10 | fields[:, 2]
        rotations = word.astype("<u4").view(np.uint8)
    steps = np.full((sh.shape[1] - 1, 1), 16, np.float32)
    steps[:3] = 8  # 5 bits for degree 1, 4 for the others, as Niantic's writer has it
    harmonics = np.empty((len(sh), sh.shape[1] - 1, 3), np.uint8)
    for part in blocks(len(sh)):
        harmonics[part] = np.clip(np.floor((np.rint(sh[part, 1:] * 128) + 128 + steps / 2) / steps) * steps, 0, 255)
    return [
        np.ascontiguousarray(fixed.view(np.uint8).reshape(-1, 3, 4)[:, :, :3]).reshape(-1),
        byte(g.opacities.float().numpy() * 255),
        byte(sh[:, 0] * (COLOR_SCALE * 255) + 127.5).reshape(-1),
        byte((log_scale(g.scales.float().numpy()) + 10) * 16).reshape(-1),
        rotations.reshape(-1),
        harmonics.reshape(-1),
    ]


def read(path: Path) -> Parts:
    """The Gaussians of an .spz file of version 1 to 4. Raises FileError."""
    return parse(path, path.read_bytes())


def parse(path: Path, content: bytes) -> Parts:
    """The Gaussians of the bytes of an .spz file, which are in the file `path`. Raises FileError."""
    if content[:2] == b"\x1f\x8b":
        header = _unpack(path, content, 16)
    else:
        header = content[:32]
    if len(header) < 16 or header[:4] != b"NGSP":
        raise fault(path, f"is no spz file: it starts with {shown(header[:4])}, wanted 'NGSP'")
    version, count, degree, bits = struct.unpack_from("<IIBB", header, 4)
    if version not in (1, 2, 3, 4) or degree > 4 or bits > 23:
        raise fault(path, f"is spz of version {version}, degree {degree}, {bits} fractional bits; wanted 1 to 4, 0 to 4 and 0 to 23")
    sizes = [count * w for w in (6 if version == 1 else 9, 1, 3, 3, 4 if version > 2 else 3, 3 * ((degree + 1) ** 2 - 1))]
    if sum(sizes) > DENSEST * len(content):
        raise fault(path, f"says it has {count} Gaussians, {sum(sizes)} bytes, in a file of {len(content)}")
    if version == 4:
        streams = _streams(path, content, sizes)
    else:
        raw = _unpack(path, content, 16 + sum(sizes)) if content[:2] == b"\x1f\x8b" else content
        if len(raw) < 16 + sum(sizes):
            raise fault(path, f"is cut off or false: {count} Gaussians need {16 + sum(sizes)} bytes, it has {len(raw)}")
        ends = np.cumsum([16, *sizes])
        streams = [np.frombuffer(raw, np.uint8, size, start) for size, start in zip(sizes, ends, strict=False)]
    return Parts(gaussians=_decode(streams, version, count, degree, bits), report={"position_step": 2.0**-bits})


def _unpack(path: Path, content: bytes, size: int) -> bytes:
    """The first `size` bytes of a gzip stream, never more. Raises FileError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            out = file.read(size)
            if len(out) == size > 16:
                file.read(1)  # at the end this checks the sum behind the data
            return out
    except (OSError, EOFError, zlib.error) as error:
        raise fault(path, f"is cut off or no gzip stream: {reason(error)}") from error


def _streams(path: Path, content: bytes, sizes: list[int]) -> list[np.ndarray]:
    """The streams of version 4, each checked against the size that follows from the count."""
    zstd = _zstandard()
    if len(content) < 32:
        raise fault(path, f"is {len(content)} bytes long, too short for spz of version 4")
    number, table = content[15], struct.unpack_from("<I", content, 16)[0]
    wanted = [size for size in sizes if size]
    if number != len(wanted) or table < 32 or table + 16 * number > len(content):
        raise fault(path, f"has {number} streams and their table at {table}, wanted {len(wanted)} streams")
    at = table + 16 * number
    out = []
    for i, size in enumerate(wanted):
        packed, unpacked = struct.unpack_from("<QQ", content, table + 16 * i)
        if unpacked != size or at + packed > len(content):
            raise fault(path, f"is cut off or false: stream {i} of {packed} bytes at {at}, unpacked {unpacked}, wanted {size}")
        try:
            with zstd.ZstdDecompressor().stream_reader(content[at : at + packed]) as reader:
                raw = reader.read(size)
        except zstd.ZstdError as error:
            raise fault(path, f"has a broken stream {i}: {reason(error)}") from error
        if len(raw) != size:
            raise fault(path, f"is cut off: stream {i} gives {len(raw)} bytes, wanted {size}")
        out.append(np.frombuffer(raw, np.uint8))
        at += packed
    filled = iter(out)
    return [next(filled) if size else np.zeros(0, np.uint8) for size in sizes]


def _decode(streams: list[np.ndarray], version: int, count: int, degree: int, bits: int) -> Arrays:
    positions, alphas, colors, scales, rotations, harmonics = streams
    if version == 1:
        means = positions.view("<f2").reshape(count, 3).astype(np.float32)
    else:
        wide = np.zeros((count, 3, 4), np.uint8)
        wide[:, :, 1:] = positions.reshape(count, 3, 3)  # the top byte carries the sign
        means = (wide.view("<i4")[:, :, 0] >> 8).astype(np.float32) / 2**bits
    if version > 2:
        word = rotations.view("<u4").astype(np.uint32)
        fields = np.stack([word >> 20, word >> 10, word], 1) & 0x3FF
        size = (fields & 0x1FF).astype(np.float32) / 511 * ROOT_HALF
        quats = from_smallest_three(word >> 30, np.where(fields & 0x200, -size, size))[:, [3, 0, 1, 2]]
    else:
        xyz = rotations.reshape(count, 3).astype(np.float32) / 127.5 - 1
        w = np.sqrt(np.maximum(1 - np.einsum("nk,nk->n", xyz, xyz), 0))
        quats = unit_quats(np.concatenate([w[:, None], xyz], 1))
    sh = np.empty((count, (degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (colors.reshape(count, 3) / np.float32(255) - np.float32(0.5)) / np.float32(COLOR_SCALE)
    sh[:, 1:] = (harmonics.reshape(count, -1, 3).astype(np.float32) - 128) / 128
    parts = {
        "means": means, "quats": np.ascontiguousarray(quats), "sh": sh, "opacities": alphas.astype(np.float32) / 255,
        "scales": np.exp(scales.reshape(count, 3).astype(np.float32) / 16 - 10),
    }  # fmt: skip
    return parts
