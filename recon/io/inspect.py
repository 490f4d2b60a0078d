"""What a file holds and what is wrong with it: counts, bounds, ranges, axes, faults, what was not used, and the programs that open it.

Works on numpy arrays with the file's own digits; torch is needed for the formats alone that are read with it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from recon.io.faults import Report, mesh_facts, point_facts, splat_facts, track_facts, view_facts
from recon.io.parts import Parts
from recon.io.reading import read_unchecked

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
    "colmap": ["COLMAP", "nerfstudio", "gsplat", "INRIA's trainer", "SuperSplat (cameras)"], "camera_path.json": ["nerfstudio"],
    "transforms.json": ["nerfstudio", "instant-ngp", "SuperSplat (cameras)"], "cameras.json": ["SuperSplat", "INRIA's viewers"], "npz": ["recon"],
    "depth_npy": ["recon", "NumPy, OpenCV, Blender (EXR)"],
}  # fmt: skip


def inspect(path: str | Path) -> dict[str, Any]:
    """Facts of a file as plain values: `problems` and `notes` as sentences, and `checked`, what was looked at. Raises FileError."""
    path = Path(path)
    with _warnings() as told:
        entry, found = read_unchecked(path)
    parts = found if isinstance(found, Parts) else _parts_of(found)
    report = Report()
    out: dict[str, Any] = {"file": str(path), "format": entry.name, "bytes": _size(path), "axes": entry.axes}
    if path.suffix.lower() == ".ply":
        from recon.io.ply import read_header

        header = read_header(path)
        out["elements"] = {e.name: e.count for e in header.elements}
        out["comments"] = list(header.comments)
        others = [e.name for e in header.elements if e.name not in ("vertex", "face", "chunk", "sh") and e.count]
        report.notes += [f"not used: the elements {', '.join(others)}"] if others else []
        report.checked.append("elements and properties")
    if parts.unused:
        report.notes.append(f"not used: the properties {', '.join(parts.unused[:12])}{' ...' if len(parts.unused) > 12 else ''}")
    report.problems += [text.removeprefix(f"{path}: ") for text in told]
    if parts.gaussians is not None:
        out["gaussians"] = splat_facts(parts, report)
    if parts.mesh is not None:
        out["mesh"] = mesh_facts(parts.mesh, report)
    if parts.tracks is not None or parts.points is not None:
        out["points"] = track_facts(parts, report) if parts.tracks is not None else point_facts(parts.points or {}, report)
    if parts.views is not None:
        out["views"] = view_facts(parts.views, report) | {"depth": "depth" in parts.report, "images": "images" in parts.report}
    kind = "splats" if parts.gaussians is not None else "mesh" if parts.mesh is not None else "points"
    out["opens_in"] = OPENS.get(entry.name) or OPENS.get(f"{'glb' if entry.axes == 'y-up' else 'ply'} {kind}", [])
    return {**out, "problems": report.problems, "notes": report.notes, "checked": list(dict.fromkeys(report.checked))}


class _warnings(logging.Handler):
    """Collects what the readers warn of: pictures and materials that are lost, fields that are not used."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())

    def __enter__(self) -> list[str]:
        logging.getLogger("recon.io").addHandler(self)
        return self.told

    def __exit__(self, *error: object) -> None:
        logging.getLogger("recon.io").removeHandler(self)


def _parts_of(scene: Any) -> Parts:
    """The arrays of a scene whose format is read with torch."""
    from recon.io.content import parts_of_scene

    return parts_of_scene(scene)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size

