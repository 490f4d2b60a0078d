"""The cameras.json of INRIA's trainer, which SuperSplat and other viewers read: centre, rotation (camera to world) and focal lengths a view.

The format has no principal point: it stands for the picture's middle.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.errors import reason
from recon.io.files import fault, read_json, whole_file
from recon.io.options import Options
from recon.io.parts import Parts, views_of_file

if TYPE_CHECKING:
    from recon.scene import Scene

KEYS = ("width", "height", "fx", "fy")
log = logging.getLogger(__name__)


def write(scene: Scene, path: Path, options: Options) -> None:
    """Writes the placed views; a warning tells of principal points more than a pixel off the middle."""
    from recon.io.views import views_of

    entries = []
    off, bent = 0.0, []
    for view in views_of(scene, path):
        bent += [view.name] if view.lens is not None else []
        camera, T = view.camera, view.camera.cam_to_world[0].double().numpy()
        K = camera.K[0].double().numpy()
        off = max(off, abs(K[0, 2] - camera.width / 2), abs(K[1, 2] - camera.height / 2))
        entries.append({
            "id": view.index, "img_name": view.name, "width": camera.width, "height": camera.height,
            "position": (T[:3, 3] + options.offset).tolist(), "rotation": T[:3, :3].tolist(), "fx": K[0, 0], "fy": K[1, 1],
        })  # fmt: skip
    if bent:
        log.warning("%s: the distortion of %d lenses, which this format cannot say, is left out", path, len(bent))
    if off > 1:
        log.warning("%s: principal points lie up to %.1f px off the middle, which this format cannot say", path, off)
    with whole_file(path, options.guard) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, allow_nan=False), encoding="utf-8")


def read(path: Path) -> Parts:
    """The cameras of the file; names are in the report. Raises FileError."""
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(e, dict) and all(k in e for k in KEYS) for e in entries):
        raise fault(path, f"is no cameras.json: it should be a list of entries with {', '.join(KEYS)}")
    count = len(entries)
    K, T = np.tile(np.eye(3), (count, 1, 1)), np.tile(np.eye(4), (count, 1, 1))
    try:
        for v, entry in enumerate(entries):
            K[v, 0, 0], K[v, 1, 1] = entry["fx"], entry["fy"]
            K[v, 0, 2], K[v, 1, 2] = int(entry["width"]) / 2, int(entry["height"]) / 2
            if "rotation" in entry or "position" in entry:
                T[v, :3, :3], T[v, :3, 3] = entry["rotation"], entry["position"]
            else:
                T[v] = np.nan
        widths, heights = [int(e["width"]) for e in entries], [int(e["height"]) for e in entries]
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise fault(path, f"has a camera that is not numbers: {reason(error)}") from error
    views = views_of_file(path, K=K, cam_to_world=T, width=widths, height=heights)
    return Parts(views=views, report={"names": [str(e.get("img_name", "")) for v, e in enumerate(entries)]})
