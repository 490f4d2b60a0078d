"""The .compressed.ply of PlayCanvas: chunks of 256 Gaussians in Morton order, quantised between each chunk's bounds, 16 bytes a Gaussian,
and a byte for each further coefficient of the spherical harmonics.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.io.files import fault, whole_file
from recon.io.options import Options
from recon.io.packing import ROOT_HALF, from_smallest_three, morton_order, smallest_three, warn_of_steps
from recon.io.parts import SH_DC, SH_SIZES, Parts
from recon.io.ply import Header, blocks, read_elements, write_ply
from recon.io.splat_ply import log_scale, unit_quats

if TYPE_CHECKING:
    from recon.scene import Gaussians

CHUNK = 256
BOUNDS = [
    *(f"{end}_{a}" for end in ("min", "max") for a in "xyz"), *(f"{end}_scale_{a}" for end in ("min", "max") for a in "xyz"),
    *(f"{end}_{c}" for end in ("min", "max") for c in "rgb"),
]  # fmt: skip
PACKED = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]
SH_RANGE = 8.0  # a byte covers -4 .. 4
SCALE_LIMIT = 20.0  # of a logarithm


def write(gaussians: Gaussians, path: Path, options: Options) -> None:
    """Writes the Gaussians in Morton order; see the module."""
    g = gaussians
    order = morton_order(g.means.float().numpy())
    means, quats, scales, opacities, sh = (t.float().numpy()[order] for t in (g.means, g.quats, g.scales, g.opacities, g.sh))
    logs = np.clip(log_scale(scales), -SCALE_LIMIT, SCALE_LIMIT)
    colors = sh[:, 0] * np.float32(SH_DC) + np.float32(0.5)
    place, place_bounds = _between(means)
    warn_of_steps(path, np.repeat((place_bounds[:, 3:] - place_bounds[:, :3]).max(1, initial=0) / 2047, CHUNK)[: len(g)], scales)
    size, size_bounds = _between(logs)
    color, color_bounds = _between(colors)
    chunks = np.concatenate([place_bounds, size_bounds, color_bounds], 1).astype("<f4")
    vertex = np.empty(len(g), [(name, "<u4") for name in PACKED])
    vertex["packed_position"] = _pack(place, (11, 10, 11))
    vertex["packed_scale"] = _pack(size, (11, 10, 11))
    vertex["packed_color"] = _pack(np.concatenate([color, np.clip(opacities, 0, 1)[:, None]], 1), (8, 8, 8, 8))
    largest, others = smallest_three(unit_quats(quats))  # counted w, x, y, z
    vertex["packed_rotation"] = largest.astype(np.uint32) << 30 | _pack(others * ROOT_HALF + 0.5, (10, 10, 10))
    chunk_type = np.dtype([(name, "<f4") for name in BOUNDS])
    elements = [("chunk", len(chunks), chunk_type, [chunks.view(chunk_type)[:, 0]]), ("vertex", len(g), vertex.dtype, [vertex])]
    rest = 3 * (sh.shape[1] - 1)
    if rest:
        harmonics = np.clip(np.floor((sh[:, 1:].transpose(0, 2, 1).reshape(len(g), rest) / SH_RANGE + 0.5) * 256), 0, 255).astype(np.uint8)
        sh_type = np.dtype([(f"f_rest_{i}", "u1") for i in range(rest)])
        elements.append(("sh", len(g), sh_type, [harmonics.view(sh_type)[:, 0]]))
    comments = [f"recon axes {options.axes}, {options.unit_scale:g} units per scene unit"]
    with whole_file(path, options.guard) as temporary:
        write_ply(temporary, elements, comments=comments)


def _between(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [N, 3] as shares 0..1 between their chunk's bounds, and the bounds [chunks, 6]."""
    starts = np.arange(0, len(values), CHUNK)
    if not len(values):
        return values, np.zeros((0, 6), np.float32)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    chunk = np.arange(len(values)) // CHUNK
    width = np.where(high > low, high - low, 1)
    return (values - low[chunk]) / width[chunk], np.concatenate([low, high], 1)


def _pack(shares: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Shares 0..1 [N, n] as fields of one word, the first one on top."""
    word = np.zeros(len(shares), np.uint32)
    for column, width in enumerate(bits):
        top = (1 << width) - 1
        word = word << np.uint32(width) | np.clip(np.floor(shares[:, column] * top + 0.5), 0, top).astype(np.uint32)
    return word


def _unpack(word: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """The shares [N, n] of `_pack`."""
    out = np.empty((len(word), len(bits)), np.float32)
    shift = 0
    for column, width in reversed(list(enumerate(bits))):
        out[:, column] = (word >> np.uint32(shift) & np.uint32((1 << width) - 1)).astype(np.float32) / ((1 << width) - 1)
        shift += width
    return out


def read(header: Header) -> Parts:
    """The Gaussians of a compressed PLY file. Raises FileError for elements that do not fit each other."""
    path, vertex = header.path, header.element("vertex")
    chunk, sh = header.element("chunk"), header.element("sh")
    if chunk is None or vertex is None or not set(PACKED) <= vertex.names or not set(BOUNDS[:12]) <= chunk.names:
        raise fault(path, f"is no compressed PLY: it wants chunks with {', '.join(BOUNDS[:12])} and vertices with {', '.join(PACKED)}")
    rest = 0 if sh is None else len(sh.properties)
    bytes_only = sh is None or all(p == (f"f_rest_{i}", "u1", None) for i, p in enumerate(sh.properties))
    if rest % 3 or 1 + rest // 3 not in SH_SIZES or not bytes_only or (sh is not None and sh.count != vertex.count):
        raise fault(path, f"has {sh.count if sh else 0} rows of {rest} harmonics for {vertex.count} Gaussians")
    if chunk.count * CHUNK < vertex.count:
        raise fault(path, f"has {chunk.count} chunks for {vertex.count} Gaussians, wanted {-(-vertex.count // CHUNK)}")
    parts = read_elements(header, ["chunk", "vertex", "sh"])
    rows, harmonics = parts["vertex"], parts["sh"].view(np.uint8).reshape(vertex.count, rest) if rest else None
    bounds = np.stack([parts["chunk"][n].astype(np.float32) for n in BOUNDS if n in chunk.names], 1)
    count = len(rows)
    out = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "sh": (1 + rest // 3, 3)}
    values = {name: np.empty((count, *shape), np.float32) for name, shape in out.items()}
    for part in blocks(count):
        chunk_of = np.arange(part.start, part.stop) // CHUNK
        words = {name: rows[name][part].astype(np.uint32) for name in PACKED}
        _decode(values, part, words, bounds[chunk_of], None if harmonics is None else harmonics[part])
    step = (bounds[:, 3:6] - bounds[:, :3]).max(1) / 2047  # 11, 10 and 11 bits between the bounds
    return Parts(gaussians=values, report={"position_steps": np.repeat(step, CHUNK)[:count]})


def _decode(
    values: dict[str, np.ndarray], part: slice, words: dict[str, np.ndarray], bounds: np.ndarray, harmonics: np.ndarray | None
) -> None:
    """Fills the rows `part` of the values; bounds [n, 12 or 18] are those of each row's chunk."""
    between = lambda shares, at: bounds[:, at : at + 3] + shares * (bounds[:, at + 3 : at + 6] - bounds[:, at : at + 3])
    values["means"][part] = between(_unpack(words["packed_position"], (11, 10, 11)), 0)
    with np.errstate(over="ignore"):
        values["scales"][part] = np.exp(between(_unpack(words["packed_scale"], (11, 10, 11)), 6))
    color = _unpack(words["packed_color"], (8, 8, 8, 8))
    rgb = between(color[:, :3], 12) if bounds.shape[1] == len(BOUNDS) else color[:, :3]
    values["opacities"][part] = color[:, 3]
    values["sh"][part, 0] = (rgb - 0.5) / SH_DC
    if harmonics is not None:
        share = np.where(harmonics == 0, 0, np.where(harmonics == 255, 1, (harmonics + np.float32(0.5)) / 256))
        values["sh"][part, 1:] = ((share - 0.5) * SH_RANGE).reshape(len(color), 3, -1).transpose(0, 2, 1)
    others = (_unpack(words["packed_rotation"] & np.uint32(0x3FFFFFFF), (10, 10, 10)) - 0.5) / ROOT_HALF
    values["quats"][part] = from_smallest_three(words["packed_rotation"] >> 30, others)
