"""GLB and glTF files of points, meshes and Gaussians (KHR_gaussian_splatting with a COLOR_0 for programs that do not know it).

The caller has turned the content into glTF's axes. Vertex colours are linear in glTF, sRGB in a scene. glTF multiplies a texture with COLOR_0,
so the colours of a mesh with a texture are in the attribute _COLOR, which programs keep and do not show.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.errors import ReconError, shown
from recon.io.axes import move
from recon.io.content import PointCloud, dc_colors, no_cameras, scene_of_points
from recon.io.files import fault
from recon.io.glb_texture import add_texture, base_color, read_texture
from recon.io.gltf import Builder, Document, to_linear, to_srgb
from recon.io.options import Options
from recon.io.polygons import of_fan, of_strip
from recon.io.splat_ply import unit_quats
from recon.io.textures import Pictures, encode_texture, join_meshes
from recon.scene import Gaussians, Mesh, Scene

SPLATS = "KHR_gaussian_splatting"
SPZ = ("KHR_gaussian_splatting_compression_spz", "KHR_spz_gaussian_splats_compression")
log = logging.getLogger(__name__)
UNLIT = "KHR_materials_unlit"
MAX_DEPTH = 64


def write(content: PointCloud | Mesh | Gaussians, path: Path, options: Options) -> None:
    """Writes one node with one primitive. An empty content gives a valid file without geometry."""
    builder = Builder()
    document = builder.json
    primitive: dict[str, Any] = {"attributes": {}, "material": 0}
    if isinstance(content, Gaussians):
        _add_gaussians(builder, primitive, content)
        count = len(content)
        document["extensionsUsed"] = [SPLATS, UNLIT]
    else:
        places = content.vertices if isinstance(content, Mesh) else content.points
        count = len(places)
        if count:
            _add_vertices(builder, primitive, places.float().numpy(), content)
        document["extensionsUsed"] = [UNLIT]
    if count and not (isinstance(content, Mesh) and not len(content.faces)):
        document["materials"] = [
            {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}, "doubleSided": True, "extensions": {UNLIT: {}}}
        ]
        if isinstance(content, Mesh) and content.texture is not None:
            add_texture(builder, encode_texture(path, content.texture))
        document["meshes"] = [{"primitives": [primitive]}]
        document["nodes"] = [{"mesh": 0, "name": "scene"}]
    else:
        document |= {"nodes": [{"name": "scene"}], "accessors": [], "bufferViews": []}
        document.pop("extensionsUsed")
        builder.parts, builder.size = [], 0
    document["scenes"], document["scene"] = [{"nodes": [0]}], 0
    builder.save(path, options.guard)


def _add_vertices(builder: Builder, primitive: dict[str, Any], places: np.ndarray, content: PointCloud | Mesh) -> None:
    attributes = primitive["attributes"]
    attributes["POSITION"] = builder.add(places.astype("<f4"), bounds=True)
    if content.normals is not None:
        normals = content.normals.float().numpy()
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        fine = np.isfinite(length) & (length > 1e-12)
        attributes["NORMAL"] = builder.add(np.where(fine, normals / np.where(fine, length, 1), [0, 0, 1]).astype("<f4"))
    uvs = content.uvs if isinstance(content, Mesh) else None
    if uvs is not None:
        attributes["TEXCOORD_0"] = builder.add(uvs.float().numpy().astype("<f4"))
    if content.colors is not None:
        attributes["COLOR_0" if uvs is None else "_COLOR"] = builder.add(to_linear(content.colors.float().clamp(0, 1).numpy()).astype("<f4"))
    if isinstance(content, Mesh):
        primitive["indices"] = builder.add(content.faces.numpy().astype("<u4").reshape(-1), indices=True)
    else:
        primitive["mode"] = 0
        if content.confidence is not None:
            attributes["_CONFIDENCE"] = builder.add(content.confidence.float().numpy().astype("<f4"))


def _add_gaussians(builder: Builder, primitive: dict[str, Any], g: Gaussians) -> None:
    """The attributes of KHR_gaussian_splatting: activated values, xyzw rotations, one accessor a coefficient."""
    primitive["mode"] = 0
    primitive["extensions"] = {
        SPLATS: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective", "sortingMethod": "cameraDistance"}
    }
    if not len(g):
        return
    attributes, sh = primitive["attributes"], g.sh.float().numpy()
    opacities = g.opacities.float().clamp(0, 1).numpy()
    attributes["POSITION"] = builder.add(g.means.float().numpy().astype("<f4"), bounds=True)
    color = np.c_[to_linear(dc_colors(g).float().numpy()), opacities]
    attributes["COLOR_0"] = builder.add(np.rint(color * 65535).astype("<u2"), normalized=True)
    attributes[f"{SPLATS}:ROTATION"] = builder.add(unit_quats(g.quats.float().numpy())[:, [1, 2, 3, 0]].astype("<f4"))
    attributes[f"{SPLATS}:SCALE"] = builder.add(g.scales.float().numpy().astype("<f4"))
    attributes[f"{SPLATS}:OPACITY"] = builder.add(opacities.astype("<f4"))
    for degree in range(int(sh.shape[1] ** 0.5)):
        for n in range(2 * degree + 1):
            attributes[f"{SPLATS}:SH_DEGREE_{degree}_COEF_{n}"] = builder.add(sh[:, degree**2 + n].astype("<f4"))


def read(path: Path) -> Scene:
    """The Gaussians, the triangles and the points of the file's scene, each joined into one. Raises FileError."""
    document = Document(path)
    parts: list[Gaussians | Mesh | PointCloud] = []
    pictures = Pictures(path)
    for mesh, matrix in _placed_meshes(document):
        primitives = mesh.get("primitives")
        for primitive in primitives if isinstance(primitives, list) else []:
            content = _primitive(document, primitive, pictures)
            parts += [] if content is None else [_placed(document, content, matrix)]
    if not parts:
        raise fault(path, "has no points, triangles or Gaussians in its scene")
    splats = [p for p in parts if isinstance(p, Gaussians)]
    meshes = [p for p in parts if isinstance(p, Mesh)]
    clouds = [p for p in parts if isinstance(p, PointCloud)]
    scene = scene_of_points(_join_points(clouds)) if clouds else Scene(cameras=no_cameras())
    return Scene(
        cameras=scene.cameras, tracks=scene.tracks,
        gaussians=_join_gaussians(path, splats) if splats else None, mesh=join_meshes(path, meshes) if meshes else None,
    )  # fmt: skip


def _placed_meshes(document: Document) -> list[tuple[dict[str, Any], np.ndarray]]:
    """The meshes of the default scene with their matrices [4, 4]. Raises FileError for nodes in a circle."""
    tables = [document.json.get(name, []) for name in ("scenes", "nodes", "meshes")]
    if not all(isinstance(t, list) for t in tables):
        raise fault(document.path, "has scenes, nodes or meshes that are not lists")
    roots = document.entry("scenes", document.json.get("scene", 0)).get("nodes", []) if tables[0] else list(range(len(tables[1])))
    out = []
    todo = [(node, np.eye(4), 0) for node in roots] if isinstance(roots, list) else []
    seen: set[int] = set()
    while todo:
        index, parent, depth = todo.pop()
        node = document.entry("nodes", index)
        if index in seen or depth > MAX_DEPTH:
            raise fault(document.path, f"has node {index} twice in its tree")
        seen.add(index)
        matrix = parent @ _local_matrix(document, node)
        if "mesh" in node:
            out.append((document.entry("meshes", node["mesh"]), matrix))
        children = node.get("children", [])
        todo += [(child, matrix, depth + 1) for child in children] if isinstance(children, list) else []
    return out


def _local_matrix(document: Document, node: dict[str, Any]) -> np.ndarray:
    from recon.geometry import quats_to_matrices

    def numbers(key: str, default: list[float]) -> np.ndarray:
        try:
            value = np.array(node.get(key, default), float)
        except (TypeError, ValueError) as error:
            raise fault(document.path, f"has a node whose {key} is not numbers") from error
        if value.shape != (len(default),) or not np.isfinite(value).all():
            raise fault(document.path, f"has a node whose {key} is {shown(node.get(key))}, wanted {len(default)} numbers")
        return value

    if "matrix" in node:
        return numbers("matrix", [0.0] * 16).reshape(4, 4).T
    x, y, z, w = numbers("rotation", [0.0, 0.0, 0.0, 1.0])
    out = np.eye(4)
    out[:3, :3] = quats_to_matrices(torch.tensor([w, x, y, z], dtype=torch.float64)).numpy() * numbers("scale", [1.0, 1.0, 1.0])
    out[:3, 3] = numbers("translation", [0.0, 0.0, 0.0])
    return out


def _primitive(document: Document, primitive: Any, pictures: Pictures) -> Gaussians | Mesh | PointCloud | None:
    """What a primitive holds; None, with a warning, for lines."""
    path = document.path
    attributes = primitive.get("attributes") if isinstance(primitive, dict) else None
    if not isinstance(attributes, dict) or "POSITION" not in attributes:
        raise fault(path, "has a primitive without POSITION")
    extensions = primitive.get("extensions", {})
    if not isinstance(extensions, dict):
        raise fault(path, "has a primitive whose extensions are no object")
    if "KHR_draco_mesh_compression" in extensions:
        raise fault(path, "is compressed with KHR_draco_mesh_compression, which is not read; save it without compression")
    packed = _packed(document, extensions)
    if packed is not None:
        return packed

    def values(name: str, width: int) -> torch.Tensor | None:
        if name not in attributes:
            return None
        array, count = document.accessor(attributes[name]), document.entry("accessors", attributes["POSITION"]).get("count")
        if array.shape[1] < width or len(array) != count:
            raise fault(path, f"has {name} with {array.shape[1]} numbers for {len(array)} vertices, wanted {width} for {count}")
        return torch.from_numpy(np.array(array[:, :width], np.float32))

    places = values("POSITION", 3)
    assert places is not None
    if SPLATS in extensions:
        return _gaussians(document, places, values, attributes)
    color = values("_COLOR" if "_COLOR" in attributes else "COLOR_0", 3)
    factor = base_color(document, primitive)
    if factor is not None and "_COLOR" not in attributes:
        color = factor.expand(len(places), 3) if color is None else color * factor
    colors = None if color is None else torch.from_numpy(to_srgb(color.numpy())).clamp(0, 1)
    mode = primitive.get("mode", 4)
    if mode == 0:
        confidence = values("_CONFIDENCE", 1)
        return PointCloud(
            points=places, colors=colors, normals=values("NORMAL", 3), confidence=None if confidence is None else confidence[:, 0]
        )
    if mode not in (4, 5, 6):
        log.warning("%s: its lines (mode %s) are left out", path, mode)
        return None
    index = document.accessor(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(len(places))
    if index.dtype.kind not in "iu" or (mode == 4 and len(index) % 3):
        raise fault(path, f"has {len(index)} numbers of vertices, wanted whole triangles")
    if mode != 4:
        index = (of_strip if mode == 5 else of_fan)(index.astype(np.int64))
    faces = torch.from_numpy(index.astype(np.int64).reshape(-1, 3))
    return Mesh(vertices=places, faces=faces, colors=colors, normals=values("NORMAL", 3), **read_texture(document, primitive, values, pictures))


def _packed(document: Document, extensions: dict[str, Any]) -> Gaussians | None:
    """Gaussians as SPZ in a bufferView (KHR_gaussian_splatting_compression_spz and its forerunner); None where there are none."""
    from recon.io import spz

    inner = extensions.get(SPLATS, {})
    inside = inner.get("extensions", {}) if isinstance(inner, dict) else {}
    tables = {**(inside if isinstance(inside, dict) else {}), **extensions}
    found = next((value for name, value in tables.items() if name.startswith(SPZ)), None)
    if not isinstance(found, dict):
        return None
    content, start, length, _ = document.view(found.get("bufferView"))
    arrays = spz.parse(document.path, content[start : start + length]).gaussians
    assert arrays is not None
    return Gaussians(**{name: torch.from_numpy(values) for name, values in arrays.items()})


def _gaussians(document: Document, places: torch.Tensor, values: Any, attributes: dict[str, Any]) -> Gaussians:
    parts = [values(f"{SPLATS}:{name}", width) for name, width in (("ROTATION", 4), ("SCALE", 3), ("OPACITY", 1))]
    degree = -1
    while f"{SPLATS}:SH_DEGREE_{degree + 1}_COEF_0" in attributes and degree < 4:
        degree += 1
    coefficients = [values(f"{SPLATS}:SH_DEGREE_{d}_COEF_{n}", 3) for d in range(degree + 1) for n in range(2 * d + 1)]
    if any(p is None for p in parts) or not coefficients or any(c is None for c in coefficients):
        raise fault(document.path, f"has Gaussians without all of ROTATION, SCALE, OPACITY and SH_DEGREE_* (found {', '.join(attributes)})")
    rotation, scales, opacity = parts
    return Gaussians(means=places, quats=rotation[:, [3, 0, 1, 2]], scales=scales, opacities=opacity[:, 0], sh=torch.stack(coefficients, 1))


def _placed(document: Document, content: Any, matrix: np.ndarray) -> Any:
    """The content moved by a node's matrix; Gaussians only by similarities."""
    if np.array_equal(matrix, np.eye(4)):
        return content
    A, t = matrix[:3, :3], torch.from_numpy(matrix[:3, 3]).float()
    scale = abs(np.linalg.det(A)) ** (1 / 3)
    if scale < 1e-12:
        raise fault(document.path, "has a node that flattens its content")
    if np.allclose(A @ A.T, scale**2 * np.eye(3), atol=1e-5 * scale**2):
        content = move(content, torch.from_numpy(A / scale), float(scale))
        field = {Gaussians: "means", Mesh: "vertices"}.get(type(content), "points")
    elif isinstance(content, Gaussians):
        raise ReconError(f"{document.path}: has Gaussians under a node that shears or stretches them")
    else:
        field = "vertices" if isinstance(content, Mesh) else "points"
        flipped = isinstance(content, Mesh) and np.linalg.det(A) < 0
        faces = {"faces": content.faces.flip(1)} if flipped else {}
        content = replace(content, **{field: getattr(content, field) @ torch.from_numpy(A.T).float()}, normals=None, **faces)
    return replace(content, **{field: getattr(content, field) + t})


def _all_or_none(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
    return None if any(p is None for p in parts) else torch.cat([p for p in parts if p is not None])


def _join_points(clouds: list[PointCloud]) -> PointCloud:
    names = ("colors", "normals", "confidence")
    return PointCloud(points=torch.cat([c.points for c in clouds]), **{n: _all_or_none([getattr(c, n) for c in clouds]) for n in names})


def _join_gaussians(path: Path, parts: list[Gaussians]) -> Gaussians:
    if len({g.sh.shape[1] for g in parts}) > 1:
        raise fault(path, "has Gaussians of different degrees")
    return Gaussians(**{n: torch.cat([getattr(g, n) for g in parts]) for n in ("means", "quats", "scales", "opacities", "sh")})
