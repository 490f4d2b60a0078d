"""Uploaded files are untrusted: what each one is by its own bytes, whether it is within the limits, and its safe copy in a job's folder."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from recon.app.limits import Limits, Refused
from recon.photos.decode import EXTENSIONS as PHOTO_ENDINGS
from recon.photos.decode import opened
from recon.photos.find import BROKEN_ZIP
from recon.photos.video import EXTENSIONS as VIDEO_ENDINGS

Kind = Literal["photo", "video", "zip"]
ENDINGS: dict[Kind, tuple[str, ...]] = {"photo": PHOTO_ENDINGS, "video": VIDEO_ENDINGS, "zip": (".zip",)}
MOST_RATIO = 200  # unpacked to packed bytes: pictures hardly shrink, bombs shrink a thousand times
LONGEST_NAME = 100


def kind_of(head: bytes) -> Kind | None:
    """What the first 16 bytes of a file say it is; None for anything that is not taken (HTML, SVG, PDF, PostScript, ...)."""
    if head[4:8] == b"ftyp":
        return "photo" if head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1") else "video"
    if head[:4] == b"RIFF":
        return {b"WEBP": "photo", b"AVI ": "video"}.get(head[8:12])  # type: ignore[return-value]
    starts: tuple[tuple[bytes, Kind], ...] = (
        (b"\xff\xd8\xff", "photo"), (b"\x89PNG\r\n\x1a\n", "photo"), (b"II*\0", "photo"), (b"MM\0*", "photo"), (b"BM", "photo"),
        (b"PK\3\4", "zip"), (b"\x1aE\xdf\xa3", "video"),
    )  # fmt: skip
    return next((kind for start, kind in starts if head.startswith(start)), None)


def safe_name(name: str) -> str:
    """A file name without folders, control characters and leading dots or dashes, not too long."""
    name = re.sub(r"[\x00-\x1f\x7f/\\:*?\"<>|]", "_", PurePosixPath(name.replace("\\", "/")).name).lstrip(".- ").strip() or "file"
    stem, ending = os.path.splitext(name)
    return stem[: LONGEST_NAME - len(ending[:12])] + ending[:12]


def count_photos(paths: Sequence[str | Path], limits: Limits, frames: int, *, tell: Any = None) -> int:
    """How many photos the uploaded photos, videos and archives hold, `frames` for each video. Raises Refused for what is not taken."""
    if not paths:
        raise Refused("no photos were given")
    if len(paths) > limits.photos:
        raise Refused(f"{len(paths)} files were given, and {limits.photos} photos are allowed here")
    photos, total = 0, 0.0
    for path in map(Path, paths):
        count, megabytes = _checked(path, limits, frames)
        photos, total = photos + count, total + megabytes
    if photos > limits.photos:
        raise Refused(f"{photos} photos were given (frames of videos counted), and {limits.photos} are allowed here")
    if total > limits.total_mb:
        raise Refused(f"the photos are {total:.0f} MB together, and {limits.total_mb} MB are allowed here")
    return photos


def take_photos(paths: Sequence[str | Path], folder: Path) -> list[Path]:
    """Copies in `folder`, in their order, of files that `count_photos` has looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    return [link_or_copy(Path(path), free_name(folder, safe_name(Path(path).name))) for path in paths]


def _checked(path: Path, limits: Limits, frames: int) -> tuple[int, float]:
    """Photos in a file, and its megabytes unpacked. Raises Refused."""
    name, megabytes = safe_name(path.name), path.stat().st_size / 1e6
    with open(path, "rb") as file:
        kind = kind_of(file.read(16))
    ending = path.suffix.lower()
    if kind is None or ending not in ENDINGS[kind]:
        named = next((k for k, endings in ENDINGS.items() if ending in endings), None)
        what = f"is named {ending} but holds {'something else' if kind is None else f'a {kind}'}" if named else "is no photo, video or zip archive"
        raise Refused(f"{name} {what}; allowed: {', '.join(PHOTO_ENDINGS)}, {', '.join(VIDEO_ENDINGS)}, .zip")
    if megabytes > limits.file_mb:
        raise Refused(f"{name} is {megabytes:.0f} MB, and {limits.file_mb} MB are allowed here")
    if kind == "photo":
        _check_pixels(path, name, limits)
        return 1, megabytes
    return (frames, megabytes) if kind == "video" else _check_archive(path, name, limits)


def _check_pixels(file: Path | IO[bytes], name: str, limits: Limits) -> None:
    """Raises Refused for too many pixels, by the header alone; what is broken is told when it is decoded, in another process."""
    try:
        with opened(file) as image:  # type: ignore[arg-type]
            width, height = image.size
    except Exception:
        return
    if width * height > limits.megapixels * 1e6:
        raise Refused(
            f"{name} is {width} x {height} pixels ({width * height / 1e6:.0f} million), and {limits.megapixels:.0f} million are allowed here"
        )


def _check_archive(path: Path, name: str, limits: Limits) -> tuple[int, float]:
    try:
        with zipfile.ZipFile(path) as archive:
            every = archive.infolist()
            check_members(every, name, limits, path.stat().st_size)
            photos = [e for e in every if is_photo_name(e.filename)]
            for entry in photos:
                inner = f"{name}: {safe_name(entry.filename)}"
                with archive.open(entry) as member:
                    if kind_of(member.read(16)) != "photo":
                        raise Refused(f"{inner} is no photo, although its name says so")
                with archive.open(entry) as member:
                    _check_pixels(member, inner, limits)  # type: ignore[arg-type]
    except BROKEN_ZIP as error:
        raise Refused(f"{name} cannot be read as a zip archive; it may be broken or locked by a password") from error
    if not photos:
        raise Refused(f"{name} holds no photos; allowed: {', '.join(PHOTO_ENDINGS)}")
    return len(photos), sum(e.file_size for e in every) / 1e6


def is_photo_name(name: str) -> bool:
    """Whether recon.photos.find takes a member of this name."""
    path = PurePosixPath(name)
    return path.suffix.lower() in PHOTO_ENDINGS and not path.name.startswith(".")


def check_members(members: Sequence[zipfile.ZipInfo], name: str, limits: Limits, size: int) -> None:
    """Raises Refused for names that lead out of the archive and for what would unpack to too much."""
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in member.filename or "\0" in member.filename:
            raise Refused(f"{name} holds a file whose name leads out of the archive ({member.filename[:80]!r}); nothing of it is used")
        if member.file_size > limits.file_mb * 1e6:
            raise Refused(f"{name} holds {safe_name(member.filename)} of {member.file_size / 1e6:.0f} MB, and {limits.file_mb} MB are allowed here")
    total = sum(m.file_size for m in members)
    if total > limits.total_mb * 1e6 or total > MOST_RATIO * max(size, 1):
        raise Refused(f"{name} would unpack from {size / 1e6:.1f} MB to {total / 1e6:.0f} MB, and {limits.total_mb} MB are allowed here")
    if len(members) > 10 * limits.photos:
        raise Refused(f"{name} holds {len(members)} files, and {limits.photos} photos are allowed here")


def free_name(folder: Path, name: str) -> Path:
    """A path of this name in the folder, with a number where the name is taken."""
    stem, ending = os.path.splitext(name)
    taken, count = {p.name.lower() for p in folder.iterdir()}, 2
    while name.lower() in taken:
        name, count = f"{stem}_{count}{ending}", count + 1
    return folder / name


def link_or_copy(source: Path, target: Path) -> Path:
    """The file under another name, without taking more room where the disk allows."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
