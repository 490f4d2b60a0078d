"""Contains the search for photos: files, folders, patterns and zip archives, in natural order."""

from __future__ import annotations

import glob
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from recon.errors import reason
from recon.photos.decode import EXTENSIONS, PhotoError
from recon.scene import PhotoFile

BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError)
MOST_PHOTOS = 300
MOST_FILE_BYTES = 500_000_000  # of one photo inside an archive


def find_photos(paths: Sequence[str | Path] | str | Path) -> list[PhotoFile]:
    """Each photo's place, in the order given; folders, patterns and archives sorted naturally."""
    found: list[PhotoFile] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        if path.is_dir():
            files = [p for p in path.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()]
            if not files:
                raise PhotoError(f"the folder {path} holds no photos; allowed: {', '.join(EXTENSIONS)}")
        elif path.suffix.lower() == ".zip" and path.is_file():
            found += _zip_photos(path)
            continue
        elif not path.exists() and glob.has_magic(str(path)):
            files = [Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file()]
            if not files:
                raise PhotoError(f"no photo is named like {path}")
        else:
            files = [path]
        found += [PhotoFile(path=str(p)) for p in sorted(files, key=lambda p: _natural(p.name))]
    if not found:
        raise PhotoError("no photos were given")
    if len(found) > MOST_PHOTOS:
        raise PhotoError(f"{len(found)} photos were given, wanted at most {MOST_PHOTOS}")
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key that puts photo_9 before photo_10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def content_of(file: PhotoFile) -> Path | bytes:
    """The file itself, or the bytes of an archive's member. Raises PhotoError, or OSError where it is gone."""
    if not file.member:
        return Path(file.path)
    try:
        with zipfile.ZipFile(file.path) as archive:
            return archive.read(file.member)
    except (*BROKEN_ZIP, KeyError) as error:
        raise PhotoError(f"{file.path} cannot be read as a zip archive: {reason(error)}") from error


def _zip_photos(path: Path) -> list[PhotoFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if Path(e.filename).suffix.lower() in EXTENSIONS and not Path(e.filename).name.startswith(".")]
            large = [e.filename for e in entries if e.file_size > MOST_FILE_BYTES]
            if not entries or large or len(entries) > MOST_PHOTOS:
                what = f"{large[0]} of over {MOST_FILE_BYTES // 1_000_000} MB" if large else f"{len(entries)} photos"
                raise PhotoError(f"the archive {path} holds {what}, wanted 1 to {MOST_PHOTOS} photos")
            return [PhotoFile(path=str(path), member=e.filename) for e in sorted(entries, key=lambda e: _natural(e.filename))]
    except BROKEN_ZIP as error:
        raise PhotoError(f"{path} cannot be read as a zip archive: {reason(error)}") from error
