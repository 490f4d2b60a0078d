"""Wavefront OBJ of meshes and points, with colours behind the places as MeshLab, Blender and Open3D read them, and with a texture.

`scene.obj` of a mesh with a texture comes with `scene.mtl` and `scene_texture.png`. OBJ counts v upwards and has corners of their own
places, normals and uvs: a vertex with several uvs becomes several. A texture that is not there is a warning; vertex colours are kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from recon.errors import reason, shown
from recon.io.content import PointCloud, no_cameras, scene_of_points
from recon.io.files import fault, inside, whole_file
from recon.io.mtl import MATERIAL, material, materials_of, text_of
from recon.io.options import Options
from recon.io.parts import far_offset
from recon.io.ply import blocks
from recon.io.polygons import triangles
from recon.io.textures import Pictures, encode_texture, join_meshes
from recon.scene import Mesh, Scene

MAX_LINE = 1 << 16


def write(content: Mesh | PointCloud, path: Path, options: Options) -> None:
    """Writes places with all their digits, normals, uvs and faces; the texture and the material appear before the file that names them."""
    mesh = content if isinstance(content, Mesh) else None
    with ExitStack() as stack:  # left from its end: all is written before the first file gets its name
        temporary = stack.enter_context(whole_file(path, options.guard))
        library = None
        if mesh is not None and mesh.texture is not None:
            stem = " ".join(path.stem.split())
            library, picture = f"{stem}.mtl", f"{stem}_texture.png"
            if not library.isprintable():
                raise fault(path, "has a name with signs that a material's lines cannot hold")
            png = encode_texture(path, mesh.texture)
            stack.enter_context(whole_file(inside(path, path.parent, library), options.guard)).write_text(material(picture), encoding="utf-8")
            stack.enter_context(whole_file(inside(path, path.parent, picture), options.guard)).write_bytes(png)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(f"# recon axes {options.axes}, {options.unit_scale:g} units per scene unit\n")
            if library is not None:
                file.write(f"mtllib {library}\n")
            _write(file, content, library is not None, options)


def _write(file: TextIO, content: Mesh | PointCloud, textured: bool, options: Options) -> None:
    places = (content.vertices if isinstance(content, Mesh) else content.points).double().numpy() + options.offset
    if content.colors is not None:
        places = np.concatenate([places, content.colors.float().clamp(0, 1).numpy()], 1)
    digits = "%.14g" if any(options.offset) else "%.9g"
    _rows(file, "v", " ".join([digits] * 3 + ["%.9g"] * (places.shape[1] - 3)), places)
    if content.normals is not None:
        _rows(file, "vn", "%.7g %.7g %.7g", content.normals.float().numpy())
    if not isinstance(content, Mesh):
        _rows(file, "p", "%d", np.arange(1, len(places) + 1)[:, None])
        return
    if textured and content.uvs is not None:
        uvs = content.uvs.double().numpy()
        _rows(file, "vt", "%.9g %.17g", np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1))  # 1 - v needs the digits of a double to give v back
        file.write(f"usemtl {MATERIAL}\n")
    corner = {(False, False): "{0}", (False, True): "{0}//{0}", (True, False): "{0}/{0}", (True, True): "{0}/{0}/{0}"}
    form = corner[textured, content.normals is not None]
    line = "f " + " ".join(form.format(f"%({name})d") for name in "abc") + "\n"
    corners = content.faces.numpy() + 1
    for part in blocks(len(corners)):
        file.writelines(line % {"a": a, "b": b, "c": c} for a, b, c in corners[part].tolist())


def _rows(file: TextIO, word: str, form: str, values: np.ndarray) -> None:
    line = f"{word} {form}\n"
    for part in blocks(len(values)):
        file.writelines(line % tuple(row) for row in values[part].tolist())


@dataclass
class _Content:
    """The lines of a file: corners are three numbers each (place, uv, normal; -1 for none), faces have a size and a material."""

    places: list[tuple[float, ...]] = field(default_factory=list)
    normals: list[tuple[float, ...]] = field(default_factory=list)
    uvs: list[tuple[float, ...]] = field(default_factory=list)
    corners: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("q"))
    material_of: array = field(default_factory=lambda: array("q"))
    materials: dict[str, int] = field(default_factory=dict)
    current: int = 0
    libraries: dict[str, None] = field(default_factory=dict)

    def add(self, words: list[bytes]) -> None:
        """Takes one line. Raises ValueError or OverflowError for numbers that are none."""
        word = words[0]
        if word == b"v":
            self.places.append(tuple(map(float, words[1:7])))
        elif word == b"vn":
            self.normals.append(tuple(map(float, words[1:4])))
        elif word == b"vt":
            self.uvs.append(tuple(map(float, [*words[1:3], b"0"][:2])))
        elif word == b"f":
            for corner in words[1:]:
                self._add_corner(corner)
            self.sizes.append(len(words) - 1)
            self.material_of.append(self.current)
        elif word == b"usemtl":
            self.current = self.materials.setdefault(text_of(b" ".join(words[1:])), len(self.materials) + 1)
        elif word == b"mtllib" and len(words) > 1:
            self.libraries[text_of(b" ".join(words[1:]))] = None

    def _add_corner(self, word: bytes) -> None:
        """A corner v, v/vt, v//vn or v/vt/vn, counted from 1; negative numbers count from the end."""
        numbers = [int(part) if part else 0 for part in word.split(b"/")]
        place, uv, normal = numbers if len(numbers) == 3 else [*numbers, 0, 0][:3]
        if place == 0:
            raise ValueError("places are counted from 1")
        if place < 0 or uv < 0 or normal < 0:
            tables = (self.places, self.uvs, self.normals)
            place, uv, normal = (max(len(t) + k + 1, 0) if k < 0 else k for k, t in zip((place, uv, normal), tables, strict=True))
        self.corners.extend((place - 1, uv - 1, normal - 1))


def read(path: Path) -> Scene:
    """The triangles of the file (polygons cut into triangles), or its points where it has no faces. Raises FileError."""
    content = _Content()
    for number, words in _lines(path):
        try:
            content.add(words)
        except (ValueError, OverflowError) as error:
            raise fault(path, f"has a false line {number}: {shown(text_of(b' '.join(words))[:80])}: {reason(error)}") from error
    if not content.places:
        raise fault(path, "is no OBJ file: it has no line that starts with v")
    if min(map(len, content.places)) < 3 or any(len(n) != 3 for n in content.normals) or any(len(t) != 2 for t in content.uvs):
        raise fault(path, "has places or normals of fewer than 3 numbers, or uvs of none")
    colored = all(len(p) == 6 for p in content.places)
    table = np.array([p if colored else p[:3] for p in content.places], np.float64)
    offset = far_offset([table[:, :3]])
    table[:, :3] -= offset
    table, offset = table.astype(np.float32), (float(offset[0]), float(offset[1]), float(offset[2]))
    tensor = lambda values: torch.from_numpy(np.ascontiguousarray(values))
    places, colors = tensor(table[:, :3]), tensor(table[:, 3:]).clamp(0, 1) if colored else None
    if not content.sizes:
        return replace(scene_of_points(PointCloud(points=places, colors=colors)), offset=offset)
    corners = np.array(content.corners, np.int64).reshape(-1, 3)
    if not 0 <= corners[:, 0].min(initial=0) <= corners[:, 0].max(initial=0) < len(places):
        raise fault(path, f"has faces with the vertices {corners[:, 0].min()} to {corners[:, 0].max()}, wanted 0 to {len(places) - 1}")
    faces = _faces(path, np.array(content.sizes, np.int64), table[corners[:, 0], :3])
    mesh = Mesh(vertices=places, faces=tensor(corners[faces, 0]), colors=colors, normals=_normals(content, corners))
    return Scene(cameras=no_cameras(), mesh=_textured(path, content, mesh, corners, faces), offset=offset)


def _lines(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Numbers and words of the lines that are not blank."""
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise fault(path, f"is no OBJ file: line {number} is longer than {MAX_LINE} characters")
            if words := line.split():
                yield number, words


def _faces(path: Path, sizes: np.ndarray, places: np.ndarray) -> np.ndarray:  # [n], [corners, 3] -> [F, 3]
    """Triangles of polygons of these sizes, as numbers of corners."""
    corners = len(places)
    if (sizes == 3).all():
        return np.arange(corners).reshape(-1, 3)
    polygons = np.empty(len(sizes), object)
    polygons[:] = np.split(np.arange(corners), np.cumsum(sizes)[:-1])
    return triangles(path, polygons, places)


def _normals(content: _Content, corners: np.ndarray) -> torch.Tensor | None:  # [P, 3]
    """The first normal of each vertex, where all have one."""
    number = np.full(len(content.places), -1)
    number[corners[::-1, 0]] = corners[::-1, 2]
    if not 0 <= number.min() <= number.max() < len(content.normals):
        return None
    return torch.from_numpy(np.array(content.normals, np.float32)[number])


def _textured(path: Path, content: _Content, mesh: Mesh, corners: np.ndarray, faces: np.ndarray) -> Mesh:
    """The mesh with the texture that its materials name; as it is where there is none. `faces` [F, 3] are numbers of corners."""
    files, colors = materials_of(path, list(content.libraries)) if content.libraries else ({}, {})
    files = files if content.uvs else {}
    pictures, textures = Pictures(path), []
    wanted = np.repeat(np.array(content.material_of, np.int64), np.array(content.sizes, np.int64))[faces[:, 0]]  # [F] material
    kind = np.full(len(faces), -1)  # [F] number of the texture
    for name, number in content.materials.items():
        of_material = wanted == number
        if name in files and of_material.any():
            texture = pictures.get(files[name].relative_to(path.parent).as_posix(), files[name].read_bytes)
            if texture is not None:
                kind[of_material] = next((i for i, known in enumerate(textures) if known is texture), len(textures))
                textures.append(texture)
    kind[(corners[faces, 1] < 0).any(1)] = -1
    kinds = np.unique(kind).tolist()
    if kinds == [-1] and colors and mesh.colors is None:
        return _with_colors(mesh, wanted, {content.materials[name]: color for name, color in colors.items() if name in content.materials})
    if len(kinds) < 2:
        return _with_uvs(path, content, mesh, corners[faces], textures[kinds[0]]) if kinds and kinds[0] >= 0 else mesh
    parts = []
    for number in kinds:
        part = replace(mesh, faces=mesh.faces[torch.from_numpy(kind == number)])
        parts.append(_compact(part if number < 0 else _with_uvs(path, content, part, corners[faces[kind == number]], textures[number])))
    return join_meshes(path, parts)


def _with_uvs(path: Path, content: _Content, mesh: Mesh, corners: np.ndarray, texture: torch.Tensor) -> Mesh:
    """The mesh with a vertex for each pair of place and uv that its corners [F, 3, 3] have; those of other places keep their numbers."""
    count, table = len(mesh.vertices), np.array(content.uvs)
    if corners[..., 1].max() >= len(table):
        raise fault(path, f"has faces with uv number {corners[..., 1].max() + 1} of {len(table)}")
    pairs, of_corner = np.unique(corners[..., 0].ravel() * len(table) + corners[..., 1].ravel(), return_inverse=True)
    place, uv = np.divmod(pairs, len(table))
    more = np.r_[False, place[1:] == place[:-1]]
    number = np.where(more, count - 1 + np.cumsum(more), place)
    source = torch.from_numpy(np.r_[np.arange(count), place[more]])
    uvs = np.zeros((len(source), 2))
    uvs[number] = table[uv] * [1, -1] + [0, 1]
    columns = {name: value[source] for name in ("vertices", "colors", "normals") if (value := getattr(mesh, name)) is not None}
    faces = torch.from_numpy(number[of_corner].reshape(-1, 3))
    return replace(mesh, faces=faces, uvs=torch.from_numpy(uvs.astype(np.float32)), texture=texture, **columns)


def _with_colors(mesh: Mesh, material: np.ndarray, colors: dict[int, tuple[float, ...]]) -> Mesh:  # material [F]
    """The mesh with the colours (Kd) of its faces' materials, white without one, and a vertex for each material that it belongs to."""
    faces, most = mesh.faces.numpy(), int(material.max(initial=0)) + 1
    pairs, index = np.unique(faces * most + material[:, None], return_inverse=True)
    source = torch.from_numpy(pairs // most)
    shown = np.array([colors.get(int(m), (1.0, 1.0, 1.0)) for m in pairs % most], np.float32).reshape(-1, 3)
    normals = None if mesh.normals is None else mesh.normals[source]
    return replace(
        mesh, vertices=mesh.vertices[source], faces=torch.from_numpy(index.reshape(-1, 3)), normals=normals,
        colors=torch.from_numpy(shown).clamp(0, 1),
    )  # fmt: skip


def _compact(mesh: Mesh) -> Mesh:
    """The mesh without the vertices that no face has."""
    used, faces = mesh.faces.unique(return_inverse=True)
    columns = {name: value[used] for name in ("vertices", "colors", "normals", "uvs") if (value := getattr(mesh, name)) is not None}
    return replace(mesh, faces=faces, **columns)
