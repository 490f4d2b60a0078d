"""nerfstudio's transforms.json (also instant-ngp's): a camera for each frame with its own lens, the photos and the points beside it.

The file's world is z-up and its cameras have OpenGL axes (x right, y up, z back); pixel (0, 0) is centred at (0.5, 0.5) as in COLMAP, whose
numbers nerfstudio takes over unchanged; lenses with distortion stay as they are. `applied_transform` says how the file's world came from the scene's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.io.files import fault, inside, read_json, whole_folder
from recon.io.options import WORLDS, Options
from recon.io.parts import Arrays, Parts, views_of_file
from recon.io.transforms_lens import fields_of_lens, lens_of_frame, warn_of_unused

if TYPE_CHECKING:
    from recon.scene import Scene

GL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV camera axes from OpenGL's
PINHOLE = ("fl_x", "fl_y", "cx", "cy", "w", "h")


def write(scene: Scene, path: Path, options: Options) -> None:
    """Writes the file, images/ and points.ply into its folder; the scene has been turned to z-up. Views without a place are left out."""
    from recon.io import point_ply
    from recon.io.content import points_of
    from recon.io.views import views_of, write_pictures

    views = views_of(scene, path)
    frames, lenses = [], []
    for view in views:
        K = view.camera.K[0].double().tolist()
        lens = dict(zip(PINHOLE, (K[0][0], K[1][1], K[0][2], K[1][2], view.camera.width, view.camera.height), strict=True))
        lenses.append(fields_of_lens(path, view.lens))
        matrix = view.camera.cam_to_world[0].double().numpy() @ GL
        matrix[:3, 3] += options.offset
        frames.append({"file_path": f"images/{view.name}", **lens, "transform_matrix": matrix.tolist()})
    A = np.c_[np.array(WORLDS[options.axes], float) * options.unit_scale, np.zeros(3)]
    shared = lenses[0] if all(lens == lenses[0] for lens in lenses) else {}
    frames = [frame if shared else {**lens, **frame} for frame, lens in zip(frames, lenses, strict=True)]
    content: dict[str, Any] = {"generator": "recon", **shared, "applied_transform": A.tolist()}
    points = points_of(scene)
    with whole_folder(path.parent, options.guard) as folder:
        if points is not None:
            content["ply_file_path"] = "points.ply"
            fine = points.points.isfinite().all(1)
            colors = None if points.colors is None else points.colors[fine]
            cloud = replace(points, points=points.points[fine], colors=colors, normals=None, confidence=None)
            point_ply.write_content(cloud, folder / "points.ply", options)
        write_pictures(views, folder / "images")
        (folder / path.name).write_text(json.dumps({**content, "frames": frames}, indent=1, allow_nan=False), encoding="utf-8")


def read(path: Path, *, as_numbered: bool = False) -> Parts:
    """The cameras of a transforms.json, and the points beside it; names are in the report. Raises FileError.

    `as_numbered`: in the world of the file's own numbers, in which trainers make their splats, whatever applied_transform says.
    """
    content = read_json(path)
    frames = content.get("frames") if isinstance(content, dict) else None
    if isinstance(content, dict) and not frames and any(key in content for key in ("fl_x", "camera_angle_x")):
        frames = [{}]  # a lens alone: a view of any photo
    if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames):
        raise fault(path, "is no transforms.json: it has no list of frames")
    back = np.eye(4) if as_numbered else _applied(path, content)
    warn_of_unused(path, content, frames)
    Ks, poses, widths, heights, lenses, names = [], [], [], [], [], []
    for frame in frames:
        K, width, height, lens = lens_of_frame(path, {**content, **frame})
        poses.append(_pose(path, frame, back))
        Ks.append(K)
        widths.append(width)
        heights.append(height)
        lenses.append(lens)
        names.append(str(frame.get("file_path", "")).replace("\\", "/").removeprefix("./"))
    if not frames:
        raise fault(path, "has no frames")
    views = views_of_file(path, K=np.array(Ks), cam_to_world=np.array(poses), width=widths, height=heights, lenses=lenses)
    return Parts(views=views, points=_points(path, content, back), report={"names": below_common_folder(names)})


def below_common_folder(names: list[str]) -> list[str]:
    """Names relative to the folder that all of them share."""
    parents = [PurePosixPath(name).parent.parts for name in names if name]
    shared = next((n for n, level in enumerate(zip(*parents, strict=False)) if len(set(level)) > 1), min(map(len, parents), default=0))
    return ["/".join(PurePosixPath(name).parts[shared:]) for name in names]


def _pose(path: Path, frame: dict[str, Any], back: np.ndarray) -> np.ndarray:  # [4, 4]
    """cam_to_world with OpenCV axes, NaN where the frame has none."""
    if "transform_matrix" not in frame:
        return np.full((4, 4), np.nan)
    pose = back @ _matrix(path, frame["transform_matrix"], "a transform_matrix") @ GL
    pose[:3, :3] /= abs(np.linalg.det(pose[:3, :3])) ** (1 / 3) or 1
    return pose


def _applied(path: Path, content: dict[str, Any]) -> np.ndarray:  # [4, 4]
    """From the file's world to the z-up turn of the scene's world: the unit matrix unless the file says how its world came about."""
    applied = content.get("applied_transform")
    if applied is None:
        return np.eye(4)
    A = _matrix(path, [*applied, [0, 0, 0, 1]] if isinstance(applied, list) and len(applied) == 3 else applied, "an applied_transform")
    if abs(np.linalg.det(A[:3, :3])) < 1e-12:
        raise fault(path, "has an applied_transform that flattens the world")
    Z = np.eye(4)
    Z[:3, :3] = WORLDS["z-up"]
    return Z @ np.linalg.inv(A)


def _matrix(path: Path, value: Any, what: str) -> np.ndarray:
    try:
        out = np.array(value, float)
    except (TypeError, ValueError):
        out = np.zeros(0)
    if out.shape != (4, 4) or not np.isfinite(out).all():
        raise fault(path, f"has {what} that is not 4 x 4 numbers")
    return out


def _points(path: Path, content: dict[str, Any], back: np.ndarray) -> Arrays | None:
    """The points of the PLY that the file names, where it is there."""
    name = content.get("ply_file_path")
    if name is None or not (file := inside(path, path.parent, name)).is_file():
        return None
    from recon.io import any_ply

    points = any_ply.read(file).points
    if points is None:
        return None
    exact = np.array_equal(back, np.eye(4))
    moved = points["points"] if exact else points["points"].astype(np.float64) @ back[:3, :3].T + back[:3, 3]
    return {"points": moved, **({"colors": points["colors"]} if "colors" in points else {})}
