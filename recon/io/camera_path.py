"""Reads nerfstudio's camera_path.json: the cameras of a video, in the world that its splats were trained in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import reason, shown
from recon.io.files import fault, read_json
from recon.io.parts import Parts, views_of_file

GL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV camera axes from OpenGL's
MOST = 1 << 14  # pixels a side


def read(path: Path) -> Parts:
    """The cameras; `fps` is in the report where the file tells it. `fov` is that of the picture's height. Raises FileError."""
    content = read_json(path)
    entries = content.get("camera_path") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise fault(path, "is no camera_path.json: it has no list camera_path")
    if str(content.get("camera_type", "perspective")).lower() != "perspective":
        raise fault(path, f"has cameras of the type {shown(content['camera_type'])}; wanted perspective ones")
    try:
        width, height = int(content["render_width"]), int(content["render_height"])
        K = np.array([_matrix(float(e["fov"]), width, height) for e in entries])
        poses = np.array([np.array(e["camera_to_world"], float).reshape(4, 4) @ GL for e in entries])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise fault(path, f"has a camera without render_width, render_height, fov or a camera_to_world of 16 numbers: {reason(error)}") from error
    if not (1 <= width <= MOST and 1 <= height <= MOST):
        raise fault(path, f"has pictures of {width} x {height} pixels, wanted 1 to {MOST}")
    views = views_of_file(path, K=K, cam_to_world=poses, width=[width] * len(K), height=[height] * len(K))
    report: dict[str, Any] = {"names": [f"frame_{i:04d}" for i in range(len(K))]}
    fps = content.get("fps")
    return Parts(views=views, report={**report, "fps": float(fps)} if isinstance(fps, int | float) and 0 < fps < 1000 else report)


def _matrix(fov_degrees: float, width: int, height: int) -> list[list[float]]:
    if not 0 < fov_degrees < 180:
        raise ValueError(f"fov is {fov_degrees}")
    focal = 0.5 * height / math.tan(math.radians(fov_degrees) / 2)
    return [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
