"""Contains the PLY of 3D Gaussians as INRIA's trainer writes it (logits, logarithms, f_rest channel by channel), which every program knows.

Properties are found by name: files with or without normals and with more elements or properties are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.io.files import fault, whole_file
from recon.io.options import Options
from recon.io.parts import SH_SIZES, Arrays, Parts
from recon.io.ply import Header, blocks, read_elements, write_ply

if TYPE_CHECKING:
    from recon.scene import Gaussians

OPACITY_EDGE = 1e-6  # opacities 0 and 1 have no finite logit
SMALLEST_SCALE = 1e-30
THIN = 1e-3  # third scale of flat Gaussians by their smaller other one
NORMALS, FILTER = ("nx", "ny", "nz"), "filter_3D"
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
    exact = g.means.double().numpy() + options.offset if any(options.offset) else None
    dtype = np.dtype([(name, "<f8" if exact is not None and name in "xyz" else "<f4") for name in names])

    def rows() -> Iterator[np.ndarray]:
        for part in blocks(len(g)):
            out = np.zeros((part.stop - part.start, len(names)), "<f4")
            out[:, 0:3] = means[part]
            out[:, 6:9] = sh[part, 0]
            out[:, 9 : 9 + rest] = sh[part, 1:].transpose(0, 2, 1).reshape(len(out), rest)
            out[:, -8] = logit(opacities[part])
            out[:, -7:-4] = log_scale(scales[part])
            out[:, -4:] = unit_quats(quats[part])
            if exact is None:
                yield out.view(dtype)[:, 0]
                continue
            wide = np.empty(len(out), dtype)
            for i, name in enumerate(names):
                wide[name] = exact[part, i] if i < 3 else out[:, i]
            yield wide

    comments = [f"recon axes {options.axes}, {options.unit_scale:g} units per scene unit"]
    with whole_file(path, options.guard) as temporary:
        write_ply(temporary, [("vertex", len(g), dtype, rows())], comments=comments, encoding=options.encoding)


def read(header: Header) -> Parts:
    """The Gaussians of a PLY file: full numbers, flat ones of two scales, and Mip-Splatting's with their filter_3D. Raises FileError."""
    path, vertex = header.path, header.element("vertex")
    missing = [name for name in CORE if vertex is None or (name not in vertex.names and name != "scale_2")]
    if vertex is None or missing:
        raise fault(path, f"lacks the properties {', '.join(missing)} of a vertex")
    rest = sum(name.startswith("f_rest_") for name in vertex.names)
    if rest % 3 or 1 + rest // 3 not in SH_SIZES or any(f"f_rest_{i}" not in vertex.names for i in range(rest)):
        raise fault(path, f"has {rest} properties f_rest_*, wanted 0, 9, 24, 45 or 72 numbered from 0")
    if vertex.lists:
        raise fault(path, "has lists among the properties of its Gaussians")
    values = read_elements(header, ["vertex"])["vertex"]
    names = [name for name, _, _ in vertex.properties]
    if any(kind != "f4" for _, kind, _ in vertex.properties) or header.encoding != "binary":
        table = np.empty((len(values), len(names)), np.float32)
        with np.errstate(over="ignore"):
            for column, name in enumerate(names):
                table[:, column] = values[name]
    else:
        table = values.view(np.float32).reshape(len(values), len(names))
    parts = gaussians_of(table, names, rest)
    if any(values.dtype[name].itemsize > 4 for name in "xyz"):
        parts["means"] = np.stack([values[name].astype(np.float64) for name in "xyz"], 1)
    report = {"surfels": True} if "scale_2" not in vertex.names else {}
    unused = [name for name in names if name not in (*CORE, *NORMALS, FILTER) and not name.startswith("f_rest_")]
    return Parts(gaussians=parts, report=report, unused=unused)


def gaussians_of(table: np.ndarray, names: list[str], rest: int) -> Arrays:  # [N, C]
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
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scales = np.exp(columns("scale_0", "scale_1", *(["scale_2"] if "scale_2" in index else [])))
        quats = unit_quats(columns("rot_0", "rot_1", "rot_2", "rot_3"), positive=False)
        opacities = sigmoid(table[:, index["opacity"]])
        if FILTER in index:
            scales, opacities = filtered(scales, opacities, table[:, index[FILTER]])
    if scales.shape[1] == 2:
        scales = np.concatenate([scales, THIN * scales.min(1, keepdims=True)], 1)
    means = np.ascontiguousarray(columns("x", "y", "z"))
    return {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "sh": sh}


def filtered(scales: np.ndarray, opacities: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, k], [N], [N]
    """Gaussians blurred by an isotropic one of this width, as dense in all as before (Yu et al. 2024, Mip-Splatting, equation 9)."""
    wide = np.sqrt(scales.astype(np.float64) ** 2 + width[:, None].astype(np.float64) ** 2)
    return wide.astype(np.float32), (opacities * (scales / wide).prod(1)).astype(np.float32)
