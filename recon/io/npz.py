"""Contains the npz file of a whole scene, lossless: one array a field, named by its place ("cameras.K"), and the rest as JSON in `meta`.

The arrays are stored, not deflated, and never pickled; sizes are checked against the file before anything is allocated.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy

from recon.errors import reason, shown
from recon.io.files import fault, read_json, whole_file
from recon.io.options import Options
from recon.io.parts import lens_of
from recon.scene import Cameras, Gaussians, Images, Mesh, Pointmaps, Scene, Tracks

PARTS: dict[str, type] = {
    "cameras": Cameras, "pointmaps": Pointmaps, "gaussians": Gaussians, "mesh": Mesh, "tracks": Tracks, "images": Images,
}  # fmt: skip
VERSION = 1


def write(scene: Scene, path: Path, options: Options) -> None:
    """Writes everything that the scene holds."""
    arrays: dict[str, np.ndarray] = {}
    meta: dict[str, Any] = {"recon": VERSION, "metric": scene.metric, "offset": scene.offset, "report": scene.report, "parts": {}}
    for name in PARTS:
        part = getattr(scene, name)
        if part is None:
            continue
        plain = meta["parts"][name] = {}
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, torch.Tensor):
                arrays[f"{name}.{field.name}"] = value.detach().numpy()
            elif field.name == "photos":
                arrays |= {f"{name}.photos.{i}": photo for i, photo in enumerate(value)}
            elif field.name == "lenses":
                plain["lenses"] = [None if lens is None else [lens.model, *lens.params] for lens in value]
            elif value is not None and field.name != "files":  # places on this machine are nobody else's business
                plain[field.name] = value
    if scene.depth is not None:
        arrays["depth"] = scene.depth.detach().numpy()
    arrays["meta"] = np.frombuffer(json.dumps(meta, default=str).encode(), np.uint8)
    with whole_file(path, options.guard) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> Scene:
    """The scene of a file that `write` made. Raises FileError for any other."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {info.filename.removesuffix(".npy"): _array(path, archive, info) for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise fault(path, f"is not an npz file: {reason(error)}") from error
    if "meta" not in arrays:
        raise fault(path, f"is not a scene: it has {', '.join(list(arrays)[:8])} but no meta")
    meta = read_json(path, arrays["meta"].tobytes())
    if not isinstance(meta, dict) or meta.get("recon") != VERSION or not isinstance(meta.get("parts"), dict):
        raise fault(path, f"is a scene of version {meta.get('recon') if isinstance(meta, dict) else None}, wanted {VERSION}")
    parts = {name: _part(path, name, plain, arrays) for name, plain in meta["parts"].items()}
    if "cameras" not in parts:
        raise fault(path, "is a scene without cameras")
    depth = torch.from_numpy(arrays["depth"]) if "depth" in arrays else None
    return Scene(**parts, metric=bool(meta.get("metric")), report=meta.get("report") or {}, depth=depth, offset=_offset(path, meta))


def _offset(path: Path, meta: dict[str, Any]) -> tuple[float, float, float]:
    told = meta.get("offset", [0.0, 0.0, 0.0])
    if not isinstance(told, list) or len(told) != 3 or not all(isinstance(value, int | float) for value in told):
        raise fault(path, f"has the offset {shown(told)}, wanted three numbers")
    x, y, z = map(float, told)
    return x, y, z


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One stored array, no larger than the file says and the file is."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise fault(path, f"has the compressed member {shown(info.filename)}; a scene's arrays are stored as they are")
    if info.file_size > path.stat().st_size:
        raise fault(path, f"has the member {shown(info.filename)} of {info.file_size} bytes, more than the file")
    content = archive.read(info)
    stream = io.BytesIO(content)
    try:
        version = npy.read_magic(stream)
        shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    except (ValueError, EOFError) as error:
        raise fault(path, f"has the member {shown(info.filename)}, which is no array: {reason(error)}") from error
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.kind not in "biuf" or fortran or size != len(content) - stream.tell():
        left = len(content) - stream.tell()
        raise fault(path, f"has the array {shown(info.filename)} of {list(shape)} values of {dtype.itemsize} bytes in {left} bytes")
    return np.frombuffer(bytearray(memoryview(content)[stream.tell() :]), dtype).reshape(shape)


def _part(path: Path, name: str, plain: Any, arrays: dict[str, np.ndarray]) -> Any:
    if name not in PARTS or not isinstance(plain, dict):
        raise fault(path, f"has the part {shown(name)}; known are {', '.join(PARTS)}")
    known = {field.name for field in fields(PARTS[name])}
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items() if key in known}
    values |= {key: torch.from_numpy(arrays[f"{name}.{key}"]) for key in known if f"{name}.{key}" in arrays}
    if values.get("lenses"):
        values["lenses"] = tuple(None if lens is None else lens_of(path, lens[0], lens[1:]) for lens in values["lenses"])
    if name == "images":
        count = sum(key.startswith("images.photos.") for key in arrays)
        values["photos"] = tuple(arrays[f"images.photos.{i}"] for i in range(count) if f"images.photos.{i}" in arrays)
    try:
        return PARTS[name](**values)
    except TypeError as error:
        raise fault(path, f"has the part {shown(name)} without all its fields: {reason(error)}") from error
