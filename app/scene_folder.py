"""Contains `scene_of`: a scene to look at, from a file or from the folder that `recon run` wrote."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.errors import ReconError
from recon.io.files import fault, read_json
from recon.io.reading import load, read_unchecked
from recon.scene import Cameras, Images, Scene

REPORT = "report.json"
WHOLE = ("scene.npz",)
SPLATS = ("scene.ply", "scene.compressed.ply", "scene.sog", "scene.spz", "scene.splat", "scene.splats.glb")
SURFACES = ("scene.mesh.glb", "scene.mesh.ply", "scene.obj")
POINTS = ("scene.points.ply", "scene.points.glb", "scene.glb")
PHOTOS = ("colmap/images", "colmap_binary/images", "nerfstudio/images")
LONG_SIDE = 512
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A scene, what its report says, the files it was read from, and the confidence [N] of its Gaussians where a file tells it."""

    scene: Scene
    report: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    confidence: np.ndarray | None = None


def scene_of(source: Path) -> Found:
    """The scene of a file of any format, of a folder that is one (COLMAP, depth maps), or of a folder of `recon run`. Raises ReconError."""
    if not source.exists():
        raise fault(source, "there is no such file or folder")
    if source.is_dir() and (source / REPORT).is_file():
        return _of_run(source)
    scene = load(source)
    return Found(scene=scene, report=scene.report, files=(source,))


def _of_run(folder: Path) -> Found:
    report = read_json(folder / REPORT)
    if not isinstance(report, dict) or not isinstance(report.get("views"), list):
        raise fault(folder / REPORT, "is no report of recon run")
    if (whole := _first(folder, WHOLE)) is not None:
        return Found(scene=load(whole), report=report, files=(whole, folder / REPORT))
    splats = _first(folder, SPLATS)
    others = [path for path in (_first(folder, SURFACES), splats or _first(folder, POINTS)) if path is not None]
    if not others:
        raise fault(folder, f"holds nothing to look at; wanted one of: {', '.join((*WHOLE, *SPLATS, *SURFACES, *POINTS))}")
    parts = [load(path) for path in others]
    images, photos = _photos(folder, report)
    scene = replace(
        parts[-1], cameras=_cameras(report, images), images=images, mesh=next((part.mesh for part in parts if part.mesh is not None), None),
        metric=bool(report.get("metric")), depth=None, pointmaps=None,
    )  # fmt: skip
    confidence = _confidence(folder / "scene.points.ply", scene)
    return Found(scene=scene, report=report, files=(*others, folder / REPORT, *photos), confidence=confidence)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _cameras(report: dict[str, Any], images: Images | None) -> Cameras:
    """The cameras as report.json tells them, on the grid of the photos where those are there."""
    from recon.cameras.known import cameras_of_photos, on_grid
    from recon.io.content import no_cameras

    views = report["views"]
    if not views:
        return no_cameras()
    try:
        matrix = lambda view, key: np.array([[np.nan if v is None else float(v) for v in row] for row in view[key]])
        cameras = cameras_of_photos(
            np.stack([matrix(view, "K") for view in views]), [int(view["width"]) for view in views], [int(view["height"]) for view in views],
            np.stack([matrix(view, "cam_to_world") for view in views]),
        )  # fmt: skip
        sure = torch.tensor([float(view["confidence"] or 0) for view in views])
        told = {"placed_by": tuple(view["placed_by"] for view in views), "confidence": sure}
    except (KeyError, TypeError, ValueError) as error:
        raise ReconError(f"{REPORT} does not tell the cameras as recon run writes them") from error
    return replace(on_grid(cameras, images) if images is not None else cameras, **told)


def _photos(folder: Path, report: dict[str, Any]) -> tuple[Images | None, list[Path]]:
    """The photos that the run copied beside its cameras, of all views or of none; a warning tells that some are missing."""
    from recon.io.views import picture_names
    from recon.photos.grid import load_images

    names = [str(view.get("name")) for view in report["views"]]
    for place in PHOTOS:
        kept = [folder / place / name for name in _copies(folder / place, names, picture_names(names, ()))]
        if kept and all(path.is_file() for path in kept):
            images = load_images(kept, long_side=LONG_SIDE)
            return replace(images, names=tuple(names)), kept
    if names:
        log.warning("%s: the photos are not all there (%s): the view shows none", folder, " or ".join(PHOTOS))
    return None, []


def _copies(folder: Path, names: list[str], written: list[str]) -> list[str]:
    """The file of each photo: under its own name, or under the one that it got when it was written anew."""
    return [name if (folder / name).is_file() and Path(name).name == name else other for name, other in zip(names, written, strict=True)]


def _confidence(path: Path, scene: Scene) -> np.ndarray | None:
    """Of each Gaussian, where the points of the same run are as many: both stand one a pixel in one order."""
    if scene.gaussians is None or not path.is_file():
        return None
    parts = read_unchecked(path)[1]
    points = None if isinstance(parts, Scene) else parts.points
    if points is None or "confidence" not in points or len(points["confidence"]) != len(scene.gaussians):
        return None
    return points["confidence"]
