"""Contains the pictures of each view: the photo, and depth, confidence and normals in colours, all cut to the photo's own frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recon.render.colour_maps import camera_points, confidence_pictures, depth_pictures, normal_pictures
from recon.scene import Images, Scene

LONGEST_PHOTO = 1600  # pixels: a screen shows no more
JPEG_QUALITY = 88


def view_pictures(scene: Scene, folder: Path) -> list[dict[str, Any]]:
    """Writes the pictures into `folder` and returns for each view their names there, and what the ends of the colours stand for.

    Keys: photo (photos/NN.jpg), depth (depth/NN.png) with depth_range, confidence_picture (confidence/NN.png) with confidence_range, normals
    (normals/NN.png).
    """
    told: list[dict[str, Any]] = [{} for _ in range(len(scene))]
    images = scene.images
    if images is None:
        return told
    for v in range(len(images)):
        told[v]["photo"] = _write(folder, "photos", v, ".jpg", _photo(images, v))
    if scene.depth is None or scene.pointmaps is None:
        return told
    from recon.surfaces.pixel_gaussians import surface_normals

    everything = range(len(scene))
    depths, near, far = depth_pictures(scene, everything)
    confidences, low, high = confidence_pictures(scene, everything)
    normals = normal_pictures(surface_normals(camera_points(scene)), scene.pointmaps.mask)
    for v in everything:
        told[v] |= {
            "depth": _write(folder, "depth", v, ".png", _cut(depths[v], images, v)), "depth_range": [near, far],
            "confidence_picture": _write(folder, "confidence", v, ".png", _cut(confidences[v], images, v)), "confidence_range": [low, high],
            "normals": _write(folder, "normals", v, ".png", _cut(normals[v], images, v)),
        }  # fmt: skip
    return told


def _photo(images: Images, v: int) -> np.ndarray:  # [h, w, 3] uint8
    import cv2

    if not images.photos:
        return _cut((images.rgb[v].cpu().clamp(0, 1) * 255).round().byte().numpy(), images, v)
    photo = np.asarray(images.photos[v])
    shrink = LONGEST_PHOTO / max(photo.shape[:2])
    return photo if shrink >= 1 else cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)


def _cut(picture: np.ndarray, images: Images, v: int) -> np.ndarray:  # [H, W, C] -> [h, w, C]
    """The part of a picture on the grid that shows the photo, without the padding."""
    height, width = picture.shape[:2]
    x, y = (round(float(o)) for o in images.grid_offset[v])
    right = round(float(images.grid_offset[v, 0] + images.photo_width[v] * images.grid_scale[v, 0]))
    bottom = round(float(images.grid_offset[v, 1] + images.photo_height[v] * images.grid_scale[v, 1]))
    return picture[max(y, 0) : min(bottom, height), max(x, 0) : min(right, width)]


def _write(folder: Path, kind: str, v: int, ending: str, picture: np.ndarray) -> str:
    import cv2

    name = f"{kind}/{v:02d}{ending}"
    order = [2, 1, 0, 3][: picture.shape[2]]
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if ending == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    done, content = cv2.imencode(ending, np.ascontiguousarray(picture[..., order]), options)
    assert done, (name, picture.shape)
    (folder / kind).mkdir(exist_ok=True)
    (folder / name).write_bytes(content.tobytes())
    return name
