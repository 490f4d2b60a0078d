"""Contains `write_view`: a scene as the folder that the viewer in app/static reads. view.json names all other files.

view.bin (see view_splats), photos/NN.jpg, depth/NN.png, confidence/NN.png, normals/NN.png and mesh.glb are there where the scene has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.app.view_pictures import view_pictures
from recon.app.view_splats import pack, splats_of
from recon.app.words import view_words
from recon.io.files import whole_folder
from recon.io.guard import LIST, Guard
from recon.scene import Scene

VERSION = 1
BINARY, HEAD, MESH = "view.bin", "view.json", "mesh.glb"


def write_view(
    scene: Scene, folder: Path, *, report: dict[str, Any] | None = None, confidence: np.ndarray | None = None, guard: Guard | None = None,
    mesh_later: bool = False,
) -> None:
    """Writes the viewer's folder, whole or not at all; its parent is there. Raises ReconError.

    `report`: the content of report.json (or of `scene.report`, the default), for warnings and agreement. `confidence` [N] of the Gaussians where
    the scene has no pointmaps that tell it. `mesh_later`: whoever serves the folder makes mesh.glb when it is asked for.
    """
    report = scene.report if report is None else report
    with whole_folder(folder, guard) as temporary, ThreadPoolExecutor(1) as beside:
        pictures = beside.submit(view_pictures, scene, temporary)  # about as much work as the splats, and most of it without Python's lock
        head = view_head(scene, report)
        splats = splats_of(scene, confidence)
        blob, told = pack(splats) if splats is not None else (b"", {"count": 0, "chunk": 1, "scale_log_range": [0.0, 1.0]})
        (temporary / BINARY).write_bytes(blob)
        head |= told
        if splats is not None:
            head |= {"sh_degree": splats.sh_degree, "has_confidence": splats.confidence is not None, "has_origin": splats.view is not None}
        if scene.mesh is not None and len(scene.mesh.faces):
            write_mesh(scene, temporary)
            head["mesh"] = MESH
        elif mesh_later:
            head["mesh"] = MESH
        there = {"splats": splats is not None and splats.scales is not None, "mesh": head["mesh"], "points": splats is not None}
        head["modes"] = [mode for mode, is_there in there.items() if is_there]  # the first is what is shown at first
        for view, told in zip(head["views"], pictures.result(), strict=True):
            view |= told
        (temporary / HEAD).write_text(json.dumps(head, allow_nan=False, separators=(",", ":")) + "\n", encoding="utf-8")


def view_head(scene: Scene, report: Mapping[str, Any]) -> dict[str, Any]:
    """What view.json says beside names and sizes of files: the world, the views in their photos' own pixels, and the report in words."""
    from recon.render.camera_paths import surroundings

    around = surroundings(scene)
    head: dict[str, Any] = {
        "version": VERSION, "axes": "opencv", "metric": scene.metric, "center": around.center.tolist(), "up": around.up.tolist(),
        "radius": around.radius, "has_confidence": False, "has_origin": False, "sh_degree": 0, "mesh": None,
        "warnings": [str(text) for text in report.get("warnings") or []], "views": [],
    }  # fmt: skip
    agreement = _agreement(report, len(scene))
    names = scene.images.names if scene.images is not None else report.get("names") or [f"view {v + 1}" for v in range(len(scene))]
    for v, camera in enumerate(scene.cameras.to("cpu").for_photos()):
        placed_by, confidence = camera.placed_by[0], float(camera.confidence[0].nan_to_num())
        placed = placed_by != "unplaced" and bool(camera.posed)
        head["views"].append({
            "name": str(names[v]), "width": _photo_size(camera, "width"), "height": _photo_size(camera, "height"),
            "K": camera.K[0].tolist() if placed else None, "cam_to_world": camera.cam_to_world[0].tolist() if placed else None,
            "placed_by": placed_by, "confidence": confidence, "distance": _distance(scene, v, around.center) if placed else None,
            "words": view_words(str(names[v]), placed_by, confidence, agreement[v], head["warnings"], alone=len(scene) == 1),
        })  # fmt: skip
    return head


def _photo_size(camera: Any, side: str) -> int:
    own = getattr(camera, f"photo_{side}")
    return int(own[0]) if own is not None else getattr(camera, side)


def _agreement(report: Mapping[str, Any], views: int) -> list[Mapping[str, Any] | None]:
    """The comparison of two ways, a record a view: from `scene.report` or from report.json."""
    told = report.get("agreement") or [view.get("agreement") for view in report.get("views") or []]
    return list(told) if len(told) == views else [None] * views


def _distance(scene: Scene, view: int, center: torch.Tensor) -> float:
    """How far in front of a camera the middle of what it sees is (z): what the view turns around."""
    if scene.depth is not None and scene.pointmaps is not None and bool(scene.pointmaps.mask[view].any()):
        return float(scene.depth[view][scene.pointmaps.mask[view]].median())
    cam_to_world = scene.cameras.cam_to_world[view].float().cpu()
    return max(float((center - cam_to_world[:3, 3]) @ cam_to_world[:3, 2]), 1e-3)


def write_mesh(scene: Scene, folder: Path) -> None:
    """mesh.glb of the scene's mesh, in the world of its splats."""
    from recon.io.writing import save

    save(replace(scene, offset=(0.0, 0.0, 0.0)), folder / MESH, kind="mesh")
    (folder / LIST).unlink()  # the list of files belongs to the whole folder
