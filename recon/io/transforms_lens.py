"""The lenses of transforms.json as nerfstudio, instant-ngp, Polycam and Record3D's exports write them, and which of its fields are used."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from recon.errors import shown
from recon.io.files import fault, inside
from recon.io.parts import lens_of
from recon.lenses import Lens

MODELS = {  # nerfstudio's and COLMAP's names
    "OPENCV": "FULL_OPENCV", "PINHOLE": "PINHOLE", "SIMPLE_PINHOLE": "PINHOLE", "SIMPLE_RADIAL": "FULL_OPENCV", "RADIAL": "FULL_OPENCV",
    "FULL_OPENCV": "FULL_OPENCV", "PERSPECTIVE": "FULL_OPENCV", "OPENCV_FISHEYE": "OPENCV_FISHEYE", "FISHEYE": "OPENCV_FISHEYE",
    "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE", "RADIAL_FISHEYE": "OPENCV_FISHEYE", "EQUIRECTANGULAR": "EQUIRECTANGULAR",
}  # fmt: skip
DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
LENS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y", "camera_model", "is_fisheye", "latlong", *DISTORTION)
USED = {*LENS, "frames", "file_path", "transform_matrix", "applied_transform", "ply_file_path"}
HARMLESS = {  # what other programs note for themselves
    "aabb", "aabb_scale", "applied_scale", "auto_scale_poses_override", "black_transparent", "blur_score", "center_depth", "colmap_im_id",
    "enable_ray_loading", "fps", "from_na", "generator", "is_hdr", "manual_keyframe", "neighbors", "offset", "orientation_override", "ply_comment",
    "rotation", "scale", "sharpness", "test_filenames", "time", "timestamp", "train_filenames", "up", "val_filenames", "white_transparent", "x_fov",
    "y_fov",
}  # fmt: skip
REFUSED = ("ftheta_p0", "ftheta_p1")  # instant-ngp's f-theta lens, whose numbers have no published meaning
log = logging.getLogger(__name__)


def lens_of_frame(path: Path, frame: dict[str, Any]) -> tuple[list[list[float]], int, int, Lens | None]:
    """K, width, height and distortion of a frame, whose own values come before the file's. Raises FileError."""
    number = lambda key: float(frame[key]) if isinstance(frame.get(key), int | float) else None
    if any(number(key) for key in REFUSED):
        raise fault(path, "has an f-theta lens, which is not read; undistort the photos first")
    width, height = number("w"), number("h")
    if width is None or height is None:
        width, height = _size(path, frame.get("file_path"))
    model = _model(path, frame)
    if model == "EQUIRECTANGULAR":
        K = [[width / (2 * math.pi), 0.0, width / 2], [0.0, height / math.pi, height / 2], [0.0, 0.0, 1.0]]
        return K, int(width), int(height), lens_of(path, model, [])
    focals = [number("fl_x"), number("fl_y")]
    for i, (key, side) in enumerate((("camera_angle_x", width), ("camera_angle_y", height))):
        angle = number(key)
        if focals[i] is None and angle is not None and 0 < angle < math.pi:
            focals[i] = 0.5 * side / math.tan(0.5 * angle)
    focal_x = focals[0] or focals[1]
    if focal_x is None:
        raise fault(path, "has a frame without fl_x or camera_angle_x")
    cx, cy = number("cx"), number("cy")
    K = [[focal_x, 0.0, width / 2 if cx is None else cx], [0.0, focals[1] or focal_x, height / 2 if cy is None else cy], [0.0, 0.0, 1.0]]
    return K, int(width), int(height), _distortion(path, frame, model)


def _model(path: Path, frame: dict[str, Any]) -> str:
    told = str(frame.get("camera_model", "OPENCV")).upper()
    if frame.get("is_fisheye") is True:
        told = "OPENCV_FISHEYE"
    if frame.get("latlong") is True:
        told = "EQUIRECTANGULAR"
    if told not in MODELS:
        raise fault(path, f"has the camera_model {shown(told)}; known are {', '.join(MODELS)}")
    return MODELS[told]


def _distortion(path: Path, frame: dict[str, Any], model: str) -> Lens | None:
    """The lens with the fewest numbers that says the same."""
    k = {key: float(frame[key]) if isinstance(frame.get(key), int | float) else 0.0 for key in DISTORTION}
    if model == "PINHOLE":
        if any(k.values()):
            raise fault(path, f"has a pinhole with the distortion {', '.join(f'{key} {value:g}' for key, value in k.items() if value)}")
        return None
    if model == "OPENCV_FISHEYE":
        return lens_of(path, model, [k["k1"], k["k2"], k["k3"], k["k4"]])
    if k["k3"] or k["k4"] or k["k5"] or k["k6"]:
        return lens_of(path, "FULL_OPENCV", [k[key] for key in DISTORTION])
    return lens_of(path, "OPENCV", [k["k1"], k["k2"], k["p1"], k["p2"]])


def fields_of_lens(path: Path, lens: Lens | None) -> dict[str, Any]:
    """camera_model and k1 ... for a frame. Raises FileError for a lens that nerfstudio has no name for."""
    if lens is None:
        return {"camera_model": "OPENCV", "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    p = lens.params
    brown = {"SIMPLE_RADIAL": (*p, 0, 0, 0), "RADIAL": (*p, 0, 0), "OPENCV": p, "FULL_OPENCV": p}.get(lens.model)
    fish = {"SIMPLE_FISHEYE": (), "FISHEYE": (), "SIMPLE_RADIAL_FISHEYE": p, "RADIAL_FISHEYE": p, "OPENCV_FISHEYE": p}.get(lens.model)
    if brown is not None:
        return {"camera_model": "OPENCV", **dict(zip(DISTORTION, map(float, brown), strict=False))}
    if fish is not None:
        return {"camera_model": "OPENCV_FISHEYE", **dict(zip(("k1", "k2", "k3", "k4"), map(float, [*fish, 0, 0, 0, 0]), strict=False))}
    if lens.model == "EQUIRECTANGULAR":
        return {"camera_model": "EQUIRECTANGULAR"}
    raise fault(path, f"cannot hold a {lens.model} lens; undistort=True writes undistorted photos and pinholes where the photos are at hand")


def warn_of_unused(path: Path, content: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    """Names the fields that change what is seen and that nothing here uses."""
    seen = {key for table in (content, *frames) for key, value in table.items() if value not in (None, False, 0, "", [], {})}
    unused = sorted(key for key in seen - USED - HARMLESS if not key.startswith("_"))
    if any(isinstance(table.get("rolling_shutter"), list) and not any(table["rolling_shutter"]) for table in (content, *frames)):
        unused = [key for key in unused if key != "rolling_shutter"]
    if unused:
        log.warning("%s: not used: %s", path, ", ".join(unused[:8]) + (f" and {len(unused) - 8} more" if len(unused) > 8 else ""))


def _size(path: Path, name: Any) -> tuple[float, float]:
    """Width and height of a frame's picture, for files that do not say them."""
    from PIL import Image

    for ending in ("", ".png", ".jpg"):
        file = inside(path, path.parent, f"{str(name).removeprefix('./')}{ending}")
        if file.is_file():
            try:
                with Image.open(file) as image:
                    return image.width, image.height
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise fault(path, f"names the picture {shown(name)}, which cannot be read") from error
    raise fault(path, f"says no w and h, and its picture {shown(name)} is not there")
