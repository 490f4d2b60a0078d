"""Uploaded files of what a person knows beside the photos, cameras and masks: checked as the photos are, and copied into a job's folder."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from recon.app.limits import Limits, Refused
from recon.app.uploads import check_members, free_name, link_or_copy, safe_name
from recon.photos.find import BROKEN_ZIP

MASK_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
COLMAP = re.compile(r"(cameras|images|points3D|rigs|frames)\.(txt|bin)")


def take_cameras(path: str | Path, folder: Path, limits: Limits) -> Path:
    """The file of known cameras in `folder`: JSON or npz, or the folder of a COLMAP model that came as a zip. Raises Refused."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".json", ".npz", ".zip"):
        raise Refused(f"{safe_name(path.name)} is no file of cameras; allowed: transforms.json, cameras.json, .npz, or a COLMAP model as .zip")
    folder.mkdir(parents=True, exist_ok=True)
    if ending == ".zip":
        return _unpacked(path, folder / "colmap", limits, lambda name: bool(COLMAP.fullmatch(name)), "COLMAP model (cameras, images, points3D)")
    return link_or_copy(path, folder / safe_name(path.name))


def take_masks(paths: Sequence[str | Path], folder: Path, limits: Limits) -> Path:
    """A folder with the masks: uploaded pictures, or one zip of them. Raises Refused."""
    wanted = lambda name: name.lower().endswith(MASK_ENDINGS) and not name.startswith(".")
    for path in map(Path, paths):
        if path.suffix.lower() == ".zip":
            _unpacked(path, folder, limits, wanted, "mask pictures")
        elif wanted(path.name):
            folder.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, free_name(folder, safe_name(path.name)))
        else:
            raise Refused(f"{safe_name(path.name)} is no picture of a mask; allowed: {', '.join(MASK_ENDINGS)}, or a .zip of them")
    return folder


def _unpacked(path: Path, folder: Path, limits: Limits, wanted: Callable[[str], bool], what: str) -> Path:
    """The wanted files of an archive in `folder`, by their last name alone."""
    name = safe_name(path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive.infolist(), name, limits, path.stat().st_size)
            chosen = [e for e in archive.infolist() if wanted(PurePosixPath(e.filename).name)]
            folder.mkdir(parents=True, exist_ok=True)
            for entry in chosen:
                with archive.open(entry) as source, open(folder / safe_name(entry.filename), "wb") as target:
                    shutil.copyfileobj(source, target)
    except BROKEN_ZIP as error:
        raise Refused(f"{name} cannot be read as a zip archive; it may be broken or locked by a password") from error
    if not chosen:
        raise Refused(f"{name} holds no {what}")
    return folder
