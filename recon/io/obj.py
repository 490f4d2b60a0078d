"""Wavefront OBJ of meshes and points, with colours behind the places as MeshLab, Blender and Open3D read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from recon.io.content import PointCloud, no_cameras, scene_of_points
from recon.io.files import fault, whole_file
from recon.io.options import Options
from recon.io.ply import blocks
from recon.io.point_ply import triangles
from recon.scene import Mesh, Scene

MAX_LINE = 1 << 16


def write(content: Mesh | PointCloud, path: Path, options: Options) -> None:
    """Writes places with all their digits, normals and faces."""
    places = content.vertices if isinstance(content, Mesh) else content.points
    columns = [places.float().numpy()]
    if content.colors is not None:
        columns.append(content.colors.float().clamp(0, 1).numpy())
    with whole_file(path) as temporary, open(temporary, "w", encoding="ascii") as file:
        file.write(f"# recon axes {options.axes}, {options.unit_scale:g} units per scene unit\n")
        _rows(file, "v", "%.9g", np.concatenate(columns, 1))
        if content.normals is not None:
            _rows(file, "vn", "%.7g", content.normals.float().numpy())
        if isinstance(content, Mesh):
            corners = content.faces.numpy() + 1
            if content.normals is not None:
                for part in blocks(len(corners)):
                    file.writelines(f"f {a}//{a} {b}//{b} {c}//{c}\n" for a, b, c in corners[part].tolist())
            else:
                _rows(file, "f", "%d", corners)
        else:
            for part in blocks(len(places)):
                file.writelines(f"p {i}\n" for i in range(part.start + 1, part.stop + 1))


def _rows(file: TextIO, word: str, form: str, values: np.ndarray) -> None:
    line = f"{word} {' '.join([form] * values.shape[1])}\n"
    for part in blocks(len(values)):
        file.writelines(line % tuple(row) for row in values[part].tolist())


def read(path: Path) -> Scene:
    """The triangles of the file (polygons as fans), or its points where it has no faces. Raises FileError."""
    places: list[tuple[float, ...]] = []
    normals: list[tuple[float, ...]] = []
    faces: list[list[int]] = []
    normal_of: dict[int, int] = {}
    for number, words in _lines(path):
        try:
            if words[0] == "v":
                places.append(tuple(map(float, words[1:7])))
            elif words[0] == "vn":
                normals.append(tuple(map(float, words[1:4])))
            elif words[0] == "f":
                faces.append([_corner(word, len(places), len(normals), normal_of) for word in words[1:]])
        except ValueError as error:
            raise fault(path, f"has a false line {number}: {' '.join(words)[:80]!r}: {error}") from error
    if not places:
        raise fault(path, "is no OBJ file: it has no line that starts with v")
    if min(map(len, places)) < 3 or any(len(n) != 3 for n in normals):
        raise fault(path, "has places or normals of fewer than 3 numbers")
    colored = all(len(p) == 6 for p in places)
    table = np.array([p if colored else p[:3] for p in places], np.float32)
    tensor = lambda values: torch.from_numpy(np.ascontiguousarray(values))
    colors = tensor(table[:, 3:]).clamp(0, 1) if colored else None
    if not faces:
        return scene_of_points(PointCloud(points=tensor(table[:, :3]), colors=colors))
    polygons = np.empty(len(faces), object)
    polygons[:] = [np.array(face, np.int64) for face in faces]
    corners = triangles(path, polygons, len(places))
    normal = None
    if normals and len(normal_of) == len(places) and 0 <= min(normal_of.values()) <= max(normal_of.values()) < len(normals):
        normal = tensor(np.array(normals, np.float32)[[normal_of[i] for i in range(len(places))]])
    return Scene(cameras=no_cameras(), mesh=Mesh(vertices=tensor(table[:, :3]), faces=tensor(corners), colors=colors, normals=normal))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers and words of the lines that are not blank."""
    with open(path, encoding="latin-1") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise fault(path, f"is no OBJ file: line {number} is longer than {MAX_LINE} characters")
            if words := line.split():
                yield number, words


def _corner(word: str, places: int, normals: int, normal_of: dict[int, int]) -> int:
    """The vertex of a corner v, v/vt, v//vn or v/vt/vn, counted from 0; negative numbers count from the end."""
    parts = word.split("/")
    vertex = int(parts[0])
    vertex = vertex - 1 if vertex > 0 else places + vertex
    if len(parts) > 2 and parts[2]:
        normal = int(parts[2])
        normal_of.setdefault(vertex, normal - 1 if normal > 0 else normals + normal)
    return vertex
