"""PLY files of points and of meshes: float places, uchar colours, normals, confidences, faces; all three encodings.

PLY has no texture that programs agree on: where a mesh has one and no colours, its vertices get the texture's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.io.files import fault, whole_file
from recon.io.options import Options
from recon.io.parts import Parts
from recon.io.ply import Header, blocks, read_elements, write_ply
from recon.io.polygons import of_strip, triangles

if TYPE_CHECKING:
    from recon.io.content import PointCloud
    from recon.scene import Mesh

COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))


def write(content: PointCloud | Mesh, path: Path, options: Options) -> None:
    """Writes points or a mesh; colours are rounded to 8 bits, all else is exact."""
    with whole_file(path, options.guard) as temporary:
        write_content(content, temporary, options)


def write_content(content: PointCloud | Mesh, file: Path, options: Options) -> None:
    """Writes into `file` itself, which nobody sees yet."""
    from recon.io.textures import vertex_colors
    from recon.scene import Mesh

    faces = content.faces.numpy() if isinstance(content, Mesh) else None
    places = content.vertices if isinstance(content, Mesh) else content.points
    confidence = None if isinstance(content, Mesh) else content.confidence
    kind, places = ("<f8", places.double().numpy() + options.offset) if any(options.offset) else ("<f4", places.float().numpy())
    columns: list[tuple[str, str, np.ndarray]] = _named("xyz", kind, places)
    if content.normals is not None:
        columns += _named(("nx", "ny", "nz"), "<f4", content.normals.float().numpy())
    colors = vertex_colors(content) if isinstance(content, Mesh) else content.colors
    if colors is not None:
        columns += _named(COLORS[0], "u1", (colors.float().clamp(0, 1) * 255).round().byte().numpy())
    if confidence is not None:
        columns.append(("confidence", "<f4", confidence.float().numpy()))
    dtype = np.dtype([(name, kind) for name, kind, _ in columns])

    def rows() -> Iterator[np.ndarray]:
        for part in blocks(len(places)):
            out = np.empty(part.stop - part.start, dtype)
            for name, _, values in columns:
                out[name] = values[part]
            yield out

    elements = [("vertex", len(places), dtype, rows())]
    if faces is not None:
        face = np.dtype([("vertex_indices", "<i4", (3,))])
        elements.append(("face", len(faces), face, (faces[part].astype("<i4").view(face)[:, 0] for part in blocks(len(faces)))))
    comments = [f"recon axes {options.axes}, {options.unit_scale:g} units per scene unit"]
    write_ply(file, elements, comments=comments, encoding=options.encoding)


def _named(names: tuple[str, ...] | str, kind: str, values: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    return [(name, kind, values[:, i]) for i, name in enumerate(names)]


def read(header: Header) -> Parts:
    """A mesh where the file has faces, otherwise points; places keep their digits. Raises FileError."""
    path, vertex = header.path, header.element("vertex")
    if vertex is None or not {"x", "y", "z"} <= vertex.names:
        raise fault(path, "has no vertex element with x, y and z")
    if vertex.lists:
        raise fault(path, "has lists among the properties of its vertices")
    parts = read_elements(header, ["vertex", "face", "tristrips"])
    values, used = parts["vertex"], {"x", "y", "z"}

    def columns(names: Sequence[str], kind: type = np.float32) -> np.ndarray:
        used.update(names)
        return np.stack([values[n].astype(kind) for n in names], 1)

    out = {"points": columns("xyz", np.float64 if any(values.dtype[n].itemsize > 4 for n in "xyz") else np.float32)}
    for names in COLORS:
        if set(names) <= vertex.names:
            kind = values.dtype[names[0]]
            out["colors"] = columns(names) / np.float32(np.iinfo(kind).max if kind.kind in "iu" else 1)
            break
    if {"nx", "ny", "nz"} <= vertex.names:
        out["normals"] = columns(("nx", "ny", "nz"))
    unused = lambda: [name for name, _, _ in vertex.properties if name not in used]
    face = parts.get("face")
    if face is None or not len(face):
        if "tristrips" in parts:
            return Parts(mesh={"vertices": out.pop("points"), "faces": _strips(path, parts["tristrips"], len(values)), **out}, unused=unused())
        if "confidence" in vertex.names:
            out["confidence"] = columns(["confidence"])[:, 0]
        return Parts(points=out, unused=unused())
    name = next((n for n in ("vertex_indices", "vertex_index") if n in (face.dtype.names or ())), None)
    if name is None:
        raise fault(path, "has faces without vertex_indices")
    faces = triangles(path, face[name], out["points"])
    mesh = {"vertices": out.pop("points"), "faces": faces, **out}
    return Parts(mesh=mesh, unused=unused())


def _strips(path: Path, strips: np.ndarray, vertices: int) -> np.ndarray:  # -> [F, 3]
    """Triangles of the strips in the lists of an element, -1 between them (Stanford's scans). Raises FileError for numbers out of range."""
    name = next((n for n in ("vertex_indices", "vertex_index") if n in (strips.dtype.names or ())), None)
    if name is None:
        raise fault(path, "has triangle strips without vertex_indices")
    faces = []
    for row in strips[name]:
        index = np.asarray(row, np.int64)
        faces += [of_strip(part[part >= 0]) for part in np.split(index, np.flatnonzero(index < 0))]
    out = np.concatenate(faces) if faces else np.zeros((0, 3), np.int64)
    if out.max(initial=-1) >= vertices:
        raise fault(path, f"has strips with the vertex {out.max()}, wanted 0 to {vertices - 1}")
    return out
