"""What a file holds and what is wrong with it: counts, bounds, ranges, axes, faults, and the programs that open it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.io.content import SH_DC, holds, valid_rows
from recon.io.reading import read_unchecked
from recon.scene import Gaussians, Mesh, Scene

MANY = 5_000_000  # Gaussians that browsers still show
SPLAT_PLY = ["SuperSplat", "PlayCanvas", "Spark (three.js)", "antimatter15", "UnityGaussianSplatting", "Unreal (plug-ins)", "nerfstudio"]
OPENS: dict[str, list[str]] = {
    "ply splats": SPLAT_PLY, "ply points": ["MeshLab", "CloudCompare", "Blender", "Open3D"], "ply mesh": ["MeshLab", "Blender", "Open3D", "trimesh"],
    "compressed.ply": ["SuperSplat", "PlayCanvas", "Spark (three.js)"], "splat": ["antimatter15", "gsplat.js", "Spark (three.js)", "SuperSplat"],
    "spz": ["Spark (three.js)", "SuperSplat", "PlayCanvas", "Niantic Studio", "Babylon.js"], "sog": ["SuperSplat", "PlayCanvas", "Spark (three.js)"],
    "meta.json": ["SuperSplat", "PlayCanvas"], "ksplat": ["GaussianSplats3D (three.js)", "Spark (three.js)", "SuperSplat"],
    "glb mesh": ["Blender", "Unity (glTFast)", "Unreal", "three.js", "Babylon.js", "Windows 3D Viewer"],
    "glb points": ["Blender", "three.js", "Babylon.js", "trimesh"],
    "glb splats": ["Babylon.js", "CesiumJS", "PlayCanvas", "as coloured points in every glTF viewer"],
    "obj": ["Blender", "MeshLab", "Unity", "Unreal", "Open3D"],
    "colmap": ["COLMAP", "nerfstudio", "gsplat", "INRIA's trainer", "SuperSplat (cameras)"],
    "camera_path.json": ["nerfstudio"],
    "transforms.json": ["nerfstudio", "instant-ngp", "SuperSplat (cameras)"], "cameras.json": ["SuperSplat", "INRIA's viewers"], "npz": ["recon"],
    "depth_npy": ["recon", "NumPy, OpenCV, Blender (EXR)"],
}  # fmt: skip


def inspect(path: str | Path) -> dict[str, Any]:
    """Facts of a file as plain values, with `problems` as sentences. Raises FileError for a file that cannot be read at all."""
    path = Path(path)
    entry, scene = read_unchecked(path)
    out: dict[str, Any] = {"file": str(path), "format": entry.name, "bytes": _size(path), "axes": entry.axes}
    problems: list[str] = []
    if path.suffix.lower() == ".ply":
        from recon.io.ply import read_header

        header = read_header(path)
        out["elements"] = {e.name: e.count for e in header.elements}
        out["comments"] = list(header.comments)
    kinds = holds(scene)
    if scene.gaussians is not None:
        out["gaussians"] = _gaussians(scene.gaussians, problems)
    if scene.mesh is not None:
        out["mesh"] = _mesh(scene.mesh, problems)
    if scene.tracks is not None:
        fine = scene.tracks.points.isfinite().all(1)
        _told(problems, fine, "points")
        out["points"] = {"count": len(scene.tracks), "observations": len(scene.tracks.view), **_bounds(scene.tracks.points[fine])}
    if len(scene):
        out["views"] = _views(scene, problems)
    kind = "splats" if "splats" in kinds else "mesh" if "mesh" in kinds else "points"
    out["opens_in"] = OPENS.get(entry.name) or OPENS.get(f"{'glb' if entry.axes == 'y-up' else 'ply'} {kind}", [])
    out["problems"] = problems
    return out


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _bounds(points: Tensor) -> dict[str, Any]:
    return {"min": points.amin(0).tolist(), "max": points.amax(0).tolist()} if len(points) else {"min": None, "max": None}


def _range(values: Tensor) -> list[float] | None:
    """Smallest, middle and largest."""
    return [float(values.min()), float(values.median()), float(values.max())] if values.numel() else None


def _told(problems: list[str], fine: Tensor, what: str) -> None:
    if not fine.all():
        first = int((~fine).nonzero()[0])
        problems.append(f"{int((~fine).sum())} of {len(fine)} {what} are not finite or cannot be drawn, the first is number {first}")


def _gaussians(g: Gaussians, problems: list[str]) -> dict[str, Any]:
    """Counts and ranges of what can be drawn, and what viewers stumble over."""
    fine = valid_rows(g)
    _told(problems, fine, "Gaussians")
    degree = math.isqrt(g.sh.shape[1]) - 1
    out: dict[str, Any] = {"count": len(g), "sh_degree": degree}
    g = g if fine.all() else g[fine]
    colors = 0.5 + SH_DC * g.sh[:, 0]
    out |= {**_bounds(g.means), "scales": _range(g.scales), "opacities": _range(g.opacities), "colors": _range(colors)}
    if not len(g):
        problems.append("no Gaussian can be drawn")
        return out
    if degree > 3:
        problems.append("spherical harmonics of degree 4 are read by few programs (sh_degree=3 cuts them)")
    if len(g) > MANY:
        problems.append(f"{len(g)} Gaussians are more than browsers show ({MANY})")
    low, high = float(g.opacities.min()), float(g.opacities.max())
    if len(g) > 10 and low >= 0.4999 and high <= 0.7311:
        problems.append("all opacities lie in 0.5 .. 0.731: they were stored without their logit, so everything looks foggy")
    extent = float((g.means.quantile(0.95, 0) - g.means.quantile(0.05, 0)).norm()) if len(g) <= 1 << 20 else float(g.means.std(0).norm() * 3)
    huge = int((g.scales.amax(1) > max(extent, 1e-6)).sum())
    if len(g) > 10 and huge > 0.01 * len(g):
        problems.append(f"{huge} Gaussians are larger than the scene ({extent:.3g} units): scales may lack their logarithm, and viewers become slow")
    return out


def _mesh(mesh: Mesh, problems: list[str]) -> dict[str, Any]:
    fine = mesh.vertices.isfinite().all(1)
    _told(problems, fine, "vertices")
    if not len(mesh.faces):
        problems.append("the mesh has no faces")
    elif fine.all():
        a, b, c = mesh.vertices[mesh.faces].unbind(1)
        flat = int((torch.linalg.cross(b - a, c - a).norm(dim=1) == 0).sum())
        if flat:
            problems.append(f"{flat} of {len(mesh.faces)} faces have no area")
    colors = "vertex colours" if mesh.colors is not None else "none"
    if mesh.texture is not None:
        colors = f"texture of {mesh.texture.shape[1]} x {mesh.texture.shape[0]} pixels" + (" and vertex colours" if mesh.colors is not None else "")
    counts = {"vertices": len(mesh.vertices), "faces": len(mesh.faces)}
    return {**counts, "colors": colors, "normals": mesh.normals is not None, **_bounds(mesh.vertices[fine])}


def _views(scene: Scene, problems: list[str]) -> dict[str, Any]:
    cameras = scene.cameras
    placed = cameras.cam_to_world.isfinite().flatten(1).all(1)
    if not placed.all():
        problems.append(f"{int((~placed).sum())} of {len(cameras)} views have no place")
    focal = cameras.K[:, 0, 0]
    out = {"count": len(cameras), "width": cameras.width, "height": cameras.height, "focal_px": _range(focal[focal.isfinite()])}
    return {**out, "centres": _bounds(cameras.cam_to_world[placed, :3, 3]), "depth": scene.depth is not None, "images": scene.images is not None}
