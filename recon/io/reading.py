"""Contains `load`: the scene of a file or folder of any format, or one clear error."""

from __future__ import annotations

import struct
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import FileError, ReconError
from recon.io.files import fault
from recon.io.options import Axes
from recon.io.table import Format, find, named

if TYPE_CHECKING:
    from recon.scene import Scene

# What parsing bytes of a stranger can raise beyond our own checks; `load` makes one clear error of each.
PARSING = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, RecursionError, struct.error, zlib.error, zipfile.BadZipFile
)  # fmt: skip


def load(path: str | Path, *, axes: Axes | None = None, repair: bool = False) -> Scene:
    """The scene of a file or folder of any format. Raises FileError naming the file and its fault.

    `axes`: the world of the file where it is not its format's own. Values that are not finite are a fault; with `repair` such Gaussians and
    points are left out instead.
    """
    from recon.io.axes import move, world_matrix
    from recon.io.content import check_loaded

    path = Path(path)
    entry, scene = read_unchecked(path)
    return move(check_loaded(scene, path, repair), world_matrix(axes or entry.axes).T)


def read_unchecked(path: Path) -> tuple[Format, Scene]:
    """The format of a file and its scene as the file has it: in the file's axes, values that are not finite included. Raises FileError."""
    if not path.exists():
        raise fault(path, "there is no such file")
    entry = find_for_reading(path)
    if entry.reader is None:
        raise fault(path, f"cannot be read: {entry.name} files are only written")
    if path.is_dir() and entry.name in ("meta.json", "transforms.json"):
        path = path / entry.name
    elif path.is_dir() and not entry.folder:
        raise fault(path, f"is a folder, wanted a {entry.name} file")
    try:
        return entry, import_module(f"recon.io.{entry.reader}").read(path)
    except FileError:
        raise
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror or error}") from error
    except ReconError as error:
        raise fault(path, str(error).removeprefix(f"{path}: ")) from error
    except PARSING as error:
        raise fault(path, f"is no readable {entry.name} file: {type(error).__name__}: {error}") from error
    except MemoryError as error:
        raise fault(path, "needs more memory than there is") from error


def find_for_reading(path: Path) -> Format:
    """The format of a file by its name, of a folder by what is in it. Raises FileError."""
    if not path.is_dir():
        return find(path)
    if any((path / below / f"cameras{ending}").is_file() for below in (".", "sparse/0", "sparse", "0") for ending in (".txt", ".bin")):
        return named("colmap")
    for inner, name in (("depth.json", "depth_npy"), ("meta.json", "meta.json"), ("transforms.json", "transforms.json")):
        if (path / inner).is_file():
            return named(name)
    return find(path)
