"""Contains the PLY of 3D Gaussians as INRIA's trainer writes it (logits, logarithms, f_rest channel by channel), which every program knows.

Properties are found by name: files with or without normals and with more elements or properties are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from recon.io.content import no_cameras
from recon.io.files import fault, whole_file
from recon.io.options import Options
from recon.io.ply import Header, blocks, read_elements, write_ply
from recon.scene import SH_SIZES, Gaussians, Scene

OPACITY_EDGE = 1e-6  # opacities 0 and 1 have no finite logit
SMALLEST_SCALE = 1e-30
CORE = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))


def logit(opacities: np.ndarray) -> np.ndarray:
    """The stored opacity, finite also for 0 and 1."""
    alpha = np.clip(opacities.astype(np.float64), OPACITY_EDGE, 1 - OPACITY_EDGE)
    return np.log(alpha / (1 - alpha)).astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The opacity of a stored one; infinite logits give 0 and 1."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits.astype(np.float32)))).astype(np.float32)


def log_scale(scales: np.ndarray) -> np.ndarray:
    """The stored scale, finite also for 0."""
    return np.log(np.maximum(scales, SMALLEST_SCALE)).astype(np.float32)


def unit_quats(quats: np.ndarray, *, positive: bool = True) -> np.ndarray:  # [N, 4] wxyz
    """Quaternions of length 1, with w >= 0 if `positive`; zeros stay zeros."""
    length = np.sqrt(np.einsum("nk,nk->n", quats, quats))[:, None]
    out = quats / np.maximum(length, 1e-30)
    return np.where(out[:, :1] < 0, -out, out) if positive else out


def is_splats(header: Header) -> bool:
    """Whether a PLY file holds Gaussians with full numbers."""
    vertex = header.element("vertex")
    return vertex is not None and {"x", "opacity", "scale_0", "rot_0"} <= vertex.names


def write(gaussians: Gaussians, path: Path, options: Options) -> None:
    """Writes Gaussians; see the module. Opacities are held to 1e-6 .. 1 - 1e-6."""
    g = gaussians
    means, quats, scales, opacities, sh = (t.detach().float().numpy() for t in (g.means, g.quats, g.scales, g.opacities, g.sh))
    rest = 3 * (sh.shape[1] - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest)), "opacity"]
    names += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    dtype = np.dtype([(name, "<f4") for name in names])

    def rows() -> Iterator[np.ndarray]:
        for part in blocks(len(g)):
            out = np.zeros((part.stop - part.start, len(names)), "<f4")
            out[:, 0:3] = means[part]
            out[:, 6:9] = sh[part, 0]
            out[:, 9 : 9 + rest] = sh[part, 1:].transpose(0, 2, 1).reshape(len(out), rest)
            out[:, -8] = logit(opacities[part])
            out[:, -7:-4] = log_scale(scales[part])
            out[:, -4:] = unit_quats(quats[part])
            yield out.view(dtype)[:, 0]

    comments = [f"recon axes {options.axes}, {options.unit_scale:g} units per scene unit"]
    with whole_file(path, options.guard) as temporary:
        write_ply(temporary, [("vertex", len(g), dtype, rows())], comments=comments)


def read(header: Header) -> Scene:
    """The Gaussians of a PLY file. Raises FileError for missing properties and degrees that are none."""
    path, vertex = header.path, header.element("vertex")
    missing = [name for name in CORE if vertex is None or name not in vertex.names]
    if vertex is None or missing:
        raise fault(path, f"lacks the properties {', '.join(missing)} of a vertex")
    rest = sum(name.startswith("f_rest_") for name in vertex.names)
    if rest % 3 or 1 + rest // 3 not in SH_SIZES or any(f"f_rest_{i}" not in vertex.names for i in range(rest)):
        raise fault(path, f"has {rest} properties f_rest_*, wanted 0, 9, 24, 45 or 72 numbered from 0")
    if vertex.lists:
        raise fault(path, "has lists among the properties of its Gaussians")
    if any(kind != "f4" for _, kind, _ in vertex.properties) or header.encoding != "binary":
        values = read_elements(header, ["vertex"])["vertex"]
        table = np.empty((len(values), len(vertex.properties)), np.float32)
        for column, (name, _, _) in enumerate(vertex.properties):
            table[:, column] = values[name]
    else:
        values = read_elements(header, ["vertex"])["vertex"]
        table = values.view(np.float32).reshape(len(values), len(vertex.properties))
    return Scene(cameras=no_cameras(), gaussians=gaussians_of(table, [name for name, _, _ in vertex.properties], rest))


def gaussians_of(table: np.ndarray, names: list[str], rest: int) -> Gaussians:  # [N, C]
    """Gaussians of a table whose columns have these names; `rest` of them are f_rest_*."""
    index = {name: i for i, name in enumerate(names)}

    def columns(*wanted: str) -> np.ndarray:
        at = [index[name] for name in wanted]
        if at == list(range(at[0], at[0] + len(at))):
            return table[:, at[0] : at[0] + len(at)]
        return table[:, at]

    bases = 1 + rest // 3
    sh = np.empty((len(table), bases, 3), np.float32)
    sh[:, 0] = columns("f_dc_0", "f_dc_1", "f_dc_2")
    if rest:
        sh[:, 1:] = columns(*(f"f_rest_{i}" for i in range(rest))).reshape(len(table), 3, bases - 1).transpose(0, 2, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        scales = np.exp(columns("scale_0", "scale_1", "scale_2"))
        quats = unit_quats(columns("rot_0", "rot_1", "rot_2", "rot_3"), positive=False)
        opacities = sigmoid(table[:, index["opacity"]])
    means = np.ascontiguousarray(columns("x", "y", "z"))
    return Gaussians(**{k: torch.from_numpy(v) for k, v in dict(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh).items()})
