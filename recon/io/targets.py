"""Contains what a save will write, known before it writes: so that all of it can be looked at before the first byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recon.io.guard import Guard
from recon.io.table import Format, find

COLMAP = ("cameras", "images", "points3D")


def check_targets(paths: Sequence[Path], guard: Guard, pictures: Sequence[str] = (), *, textured: bool = False) -> None:
    """Raises FileError where saving to these paths would touch what is not recon's; `pictures` are the names of the views' pictures."""
    for path in paths:
        root, names = targets(find(path), path, pictures, textured=textured)
        guard.check(root, names)


def targets(entry: Format, path: Path, pictures: Sequence[str], *, textured: bool = False) -> tuple[Path, list[str]]:
    """The folder and the names in it that saving to `path` writes, or takes away as an older output's."""
    if entry.name in ("colmap", "colmap_binary"):
        from recon.io.colmap import rivals

        binary = path.name.endswith("binary")
        parts = [f"sparse/0/{name}{'.bin' if binary else '.txt'}" for name in COLMAP]
        return path, [*parts, *rivals(binary), *(f"images/{name}" for name in pictures)]
    if entry.name == "transforms.json":
        return path.parent, [path.name, "points.ply", *(f"images/{name}" for name in pictures)]
    if entry.name.startswith("depth_"):
        from recon.io.views import stems_of

        ending = path.name.rpartition("_")[2]
        return path, ["depth.json", *(f"{stem}{what}.{ending}" for stem in stems_of(pictures) for what in ("", "_confidence"))]
    if entry.name == "meta.json":
        maps = ("means_l", "means_u", "scales", "quats", "sh0", "shN_centroids", "shN_labels")
        return path.parent, [path.name, *(f"{name}.webp" for name in maps)]
    beside = {"obj": [".mtl", "_texture.png"], "usda": ["_texture.png"], "usdc": ["_texture.png"]}.get(entry.name, [])
    return path.parent, [path.name, *(f"{path.stem}{ending}" for ending in beside if textured)]
