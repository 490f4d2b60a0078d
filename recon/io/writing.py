"""Contains `save`: a scene to a file or folder of any format, and `convert` from one to another."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import ReconError, shown
from recon.io.files import fault
from recon.io.guard import Guard
from recon.io.options import Axes, Encoding, Kind, Options
from recon.io.reading import load
from recon.io.table import Format, find
from recon.io.targets import check_targets

if TYPE_CHECKING:
    from torch import Tensor

    from recon.scene import Scene

EXACT = (  # formats whose places have the digits for coordinates as large as the Earth
    "ply", "points.ply", "mesh.ply", "obj", "transforms.json", "cameras.json", "colmap", "colmap_binary", "npz", "depth_png",
    "depth_exr", "depth_npy",
)  # fmt: skip
log = logging.getLogger(__name__)


def save(
    scene: Scene, path: str | Path, *, kind: Kind | None = None, axes: Axes | None = None, unit_scale: float = 1.0,
    sh_degree: int | None = None, encoding: Encoding = "binary", spz_version: int = 3, overwrite: bool = False, guard: Guard | None = None,
) -> list[Path]:  # fmt: skip
    """Writes a scene in the format that the name says and returns the files; each appears whole or not at all, and the scene stays as it is.

    A file that recon did not write is never replaced, nor are the photos of the scene; one that recon wrote and that was changed since only with
    `overwrite`. `guard`: what a run of several saves reads and has written (then `overwrite` is the guard's).

    `kind`: "splats", "mesh" or "points" where the format could hold several; `axes`: another world than the format's own; `unit_scale`: file
    units per scene unit; `sh_degree`: at most this (default: what the format holds, at most 3 as programs read no more); `encoding` of PLY;
    `spz_version` 2, 3 or 4. Gaussians and points that are not finite are left out with a warning. Raises ReconError.
    """
    from recon.io.axes import move, world_matrix
    from recon.io.content import sh_within, take
    from recon.io.views import view_names

    path = Path(path)
    entry = find(path)
    chosen = _kind(scene, entry, kind, path)
    if not 0 < unit_scale < float("inf"):
        raise ReconError(f"unit_scale is {unit_scale}, wanted a positive number")
    if encoding not in ("binary", "big-endian", "ascii"):
        raise ReconError(f"unknown encoding {shown(encoding)}; one of: binary, big-endian, ascii")
    guard = guard or Guard(overwrite=overwrite)
    guard.protect(file.path for file in (scene.images.files if scene.images is not None else ()))
    textured = scene.mesh is not None and scene.mesh.texture is not None
    check_targets([path], guard, view_names(scene), textured=textured)
    content = take(scene, chosen, path)
    if chosen == "splats":
        content = sh_within(content, entry.sh_degree if sh_degree is None else sh_degree, path)
    options = Options(
        axes=axes or entry.axes, unit_scale=unit_scale, sh_degree=entry.sh_degree if sh_degree is None else sh_degree,
        encoding=encoding, spz_version=spz_version, guard=guard,
    )  # fmt: skip
    matrix = world_matrix(options.axes)
    if any(scene.offset):
        options = replace(options, offset=_file_offset(scene, entry, matrix * unit_scale, path))
    content = move(content, matrix, unit_scale)
    before = len(guard.files)
    import_module(f"recon.io.{entry.writers[chosen]}").write(content, path, options)
    return guard.files[before:]


def _file_offset(scene: Scene, entry: Format, M: Tensor, path: Path) -> tuple[float, float, float]:
    """The scene's offset in a file's axes and units; a warning where the format has no digits for it."""
    x, y, z = (M @ M.new_tensor(scene.offset)).tolist()
    if entry.name not in EXACT:
        log.warning("%s: is around (%.0f, %.0f, %.0f), which this format has no digits for: the offset is left out", path, x, y, z)
    return x, y, z


def _kind(scene: Scene, entry: Format, kind: Kind | None, path: Path) -> Kind:
    """What of the scene goes into the file. Raises FileError where nothing fits."""
    from recon.io.content import holds

    if not entry.writers:
        raise fault(path, f"cannot be written: {entry.name} files are only read")
    if kind is not None:
        if kind not in entry.writers:
            raise fault(path, f"cannot hold {shown(kind)}; {entry.name} files hold: {', '.join(entry.writers)}")
        return kind
    if "scene" in entry.writers:
        return "scene"
    there = holds(scene)
    fitting: list[Kind] = [k for k in entry.writers if there.count(k)]
    return fitting[0] if fitting else next(iter(entry.writers))


def convert(source: str | Path, target: str | Path, *, repair: bool = False, overwrite: bool = False) -> list[Path]:
    """Reads one file and writes it as another; the names decide the formats. Returns the files. Raises ReconError."""
    target = Path(target)
    find(target)
    return save(load(source, repair=repair), target, guard=Guard(inputs_of(source), overwrite=overwrite))


def inputs_of(source: str | Path) -> list[Path]:
    """The files that reading `source` may read: itself, and what lies beside a file that names others."""
    source = Path(source)
    if source.name.lower().endswith(("transforms.json", "meta.json", ".obj", ".gltf")):
        return [source, source.parent]
    return [source]
