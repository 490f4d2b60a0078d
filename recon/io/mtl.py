"""Materials of Wavefront OBJ files: one with a texture is written, and of others' files the colours and the pictures of map_Kd are found."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from recon.io.files import fault, inside

MATERIAL = "textured"
MAX_BYTES = 4 << 20
# an option such as -s 1 1 1 or -clamp on, before the name of the picture
OPTION = re.compile(r"-[A-Za-z]+(?:\s+(?:on|off|[rgbmlz]|[-+]?[\d.]+(?:[eE][-+]?\d+)?)(?=\s))+\s+")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
log = logging.getLogger(__name__)


def material(picture: str) -> str:
    """The MTL of a matt white material that shows the file `picture` beside it."""
    return f"newmtl {MATERIAL}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture}\n"


def materials_of(path: Path, libraries: list[str]) -> tuple[dict[str, Path], dict[str, tuple[float, ...]]]:
    """Material -> the picture of its map_Kd, and material -> its colour Kd, for the values of an OBJ file's mtllib lines.

    Names lead into the OBJ file's own folder or below it, else FileError. A library or a picture that is not there is a warning.
    """
    out: dict[str, Path] = {}
    colors: dict[str, tuple[float, ...]] = {}
    for names in libraries:
        whole = inside(path, path.parent, names)
        for file in [whole] if whole.is_file() else [inside(path, path.parent, name) for name in names.split()]:
            if not file.is_file():
                log.warning("%s: its materials %s are not there, so it has neither their colours nor textures", path, file.name)
                continue
            if file.stat().st_size > MAX_BYTES:
                raise fault(path, f"names the materials {file.name} of {file.stat().st_size} bytes, wanted at most {MAX_BYTES}")
            _read(path, text_of(file.read_bytes()), out, colors)
    return out, colors


def text_of(content: bytes) -> str:
    """UTF-8 where it is, else Latin-1, as programs of all ages wrote names."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read(path: Path, content: str, out: dict[str, Path], colors: dict[str, tuple[float, ...]]) -> None:
    name = None
    for line in content.splitlines():
        word, _, rest = line.strip().replace("\t", " ").partition(" ")
        rest = rest.strip()
        if word == "newmtl":
            name = rest
        elif word == "Kd" and name is not None:
            numbers = [float(part) for part in rest.split()[:3] if NUMBER.fullmatch(part)]
            if len(numbers) == 3:
                colors[name] = tuple(numbers)
        elif word.lower() == "map_kd" and rest and name is not None:
            picture = rest
            while option := OPTION.match(picture):
                if option[0].split()[0] in ("-s", "-o", "-t"):
                    log.warning("%s: the option %r of a texture is not read", path, option[0].strip())
                picture = picture[option.end() :]
            file = inside(path, path.parent, picture)
            if file.is_file():
                out[name] = file
            else:
                log.warning("%s: the texture %s of material %s is not there", path, picture, name)
