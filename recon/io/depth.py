"""Depth maps (z) and confidences as a folder: one picture a view in 16-bit PNG, float EXR or npy, and depth.json with the cameras.

0 means: no depth. PNG counts in steps that depth.json tells: millimetres where the scene is metric and shallower than 65 m, else the deepest
value over 65,535. EXR and npy are exact.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.errors import ReconError, reason, shown
from recon.geometry import unproject
from recon.io.files import fault, inside, read_json, whole_folder
from recon.io.options import Options
from recon.io.views import stems_of, view_names
from recon.scene import Cameras, Pointmaps, Scene

TOP = 65535
MOST_PIXELS = 1 << 28
log = logging.getLogger(__name__)


def write(scene: Scene, path: Path, options: Options) -> None:
    """Writes into the folder `path`; its name says the kind: depth_png, depth_exr or depth_npy."""
    if scene.depth is None:
        raise fault(path, "cannot hold this scene: it has no depth")
    kind = path.name.rpartition("_")[2]
    depth = scene.depth.float()
    valid = depth.isfinite() & (depth > 0)
    if scene.pointmaps is not None:
        valid &= scene.pointmaps.mask
    depth = torch.where(valid, depth, 0)
    deepest = float(depth.max()) if depth.numel() else 0.0
    step = 0.001 if scene.metric and deepest < 0.001 * TOP else max(deepest, 1e-9) / TOP
    confidence = None if scene.pointmaps is None else scene.pointmaps.confidence.float()
    most = float(confidence.max()) if confidence is not None and confidence.numel() else 1.0
    views = []
    finite = lambda tensor: tensor.double().tolist() if tensor.isfinite().all() else None
    with whole_folder(path, options.guard) as folder:
        names = view_names(scene)
        for v, (name, stem) in enumerate(zip(names, stems_of(names), strict=True)):
            entry: dict[str, Any] = {
                "name": name, "depth": f"{stem}.{kind}", "K": finite(scene.cameras.K[v]),
                "cam_to_world": finite(_shifted(scene.cameras.cam_to_world[v], options)),
            }  # fmt: skip
            _write_map(folder / entry["depth"], depth[v].numpy(), step)
            if confidence is not None:
                entry["confidence"] = f"{stem}_confidence.{kind}"
                _write_map(folder / entry["confidence"], confidence[v].numpy(), max(most, 1e-9) / TOP)
            views.append(entry)
        size = {"width": scene.cameras.width, "height": scene.cameras.height}
        steps = {"step": step, "confidence_step": max(most, 1e-9) / TOP} if kind == "png" else {}
        content = {"recon_depth": 1, "metric": scene.metric, **size, **steps, "views": views}
        (folder / "depth.json").write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


def _shifted(pose: torch.Tensor, options: Options) -> torch.Tensor:
    """A pose in the file's world, offset and all."""
    pose = pose.double().clone()
    pose[:3, 3] += torch.tensor(options.offset, dtype=torch.float64)
    return pose


def _write_map(path: Path, values: np.ndarray, step: float) -> None:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".exr":
        exr = _openexr()
        header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
        with exr.File(header, {"Z": np.ascontiguousarray(values)}) as file:
            file.write(str(path))
    else:
        from PIL import Image

        Image.fromarray(np.clip(np.rint(values.astype(np.float64) / step), 0, TOP).astype(np.uint16)).save(path, "PNG")


def _openexr() -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise ReconError("EXR files need OpenEXR: pip install OpenEXR") from error
    return OpenEXR


def read(path: Path) -> Scene:
    """The depth maps, the cameras and the points that follow from them. Raises FileError."""
    folder = path if path.is_dir() else path.parent
    path = folder / "depth.json"
    if not path.is_file():
        raise fault(folder, "is no folder of depth maps: it has no depth.json")
    content = read_json(path)
    views = content.get("views") if isinstance(content, dict) else None
    if not isinstance(views, list) or content.get("recon_depth") != 1 or not all(isinstance(v, dict) for v in views):
        raise fault(path, "is not the depth.json that this project writes")
    sizes: list[Any] = [content.get("width"), content.get("height")]
    if not all(isinstance(n, int) and 0 < n <= 1 << 16 for n in sizes) or sizes[0] * sizes[1] * max(1, len(views)) > MOST_PIXELS:
        raise fault(path, f"says its {len(views)} maps are {shown(sizes[0])} x {shown(sizes[1])} pixels")
    width, height = sizes
    count = len(views)
    depth, confidence = torch.zeros(count, height, width), torch.ones(count, height, width)
    K, T = torch.full((count, 3, 3), float("nan")), torch.full((count, 4, 4), float("nan"))
    for v, view in enumerate(views):
        depth[v] = _read_map(path, view.get("depth"), height, width, content.get("step"))
        if view.get("confidence") is not None:
            confidence[v] = _read_map(path, view["confidence"], height, width, content.get("confidence_step"))
        for tensor, key, shape in ((K, "K", (3, 3)), (T, "cam_to_world", (4, 4))):
            if view.get(key) is not None:
                value = np.array(view[key], float)
                if value.shape != shape:
                    raise fault(path, f"has {key} of {list(value.shape)}, wanted {list(shape)}")
                tensor[v] = torch.from_numpy(value)
    points = unproject(depth, K, T)
    mask = (depth > 0) & points.isfinite().all(-1)
    maps = Pointmaps(points=points, confidence=confidence, mask=mask)
    cameras = Cameras(K=K, cam_to_world=T, width=width, height=height)
    names = [str(v.get("name", f"view_{i:03d}")) for i, v in enumerate(views)]
    return Scene(cameras=cameras, pointmaps=maps, depth=depth, metric=bool(content.get("metric")), report={"names": names})


def _read_map(path: Path, name: Any, height: int, width: int, step: Any) -> torch.Tensor:
    """One map [H, W]. Raises FileError for one of another size."""
    file = inside(path, path.parent, name)
    if not file.is_file():
        raise fault(path, f"names {shown(name)}, which is not there")
    if file.suffix == ".npy":
        values = np.load(file, mmap_mode="r", allow_pickle=False)  # a view of the file: a false shape costs nothing
    elif file.suffix == ".exr":
        values = _read_exr(file)
    else:
        from PIL import Image

        with Image.open(file, formats=["PNG"]) as image:
            if image.size != (width, height) or not isinstance(step, int | float) or not step > 0:
                raise fault(file, f"is {image.width} x {image.height} pixels in steps of {shown(step)}, wanted {width} x {height}")
            values = np.asarray(image).astype(np.float64) * step
    if values.shape != (height, width) or values.dtype.kind != "f" or not np.isfinite(values).all() or values.min() < 0:
        kind = "numbers" if values.dtype.kind == "f" else "whole numbers"
        raise fault(file, f"holds {kind} {list(values.shape)}, wanted finite positive numbers [{height}, {width}]")
    return torch.from_numpy(np.array(values, np.float32))


def _read_exr(file: Path) -> np.ndarray:
    exr = _openexr()
    try:
        with exr.File(str(file), separate_channels=True) as content:
            channels = content.channels()
            name = "Z" if "Z" in channels else next(iter(channels))
            return np.array(channels[name].pixels)
    except (RuntimeError, StopIteration, TypeError) as error:
        raise fault(file, f"is no EXR file: {reason(error)}") from error
