"""Contains `load`: the scene of a file or folder of any format, or one clear error."""

from __future__ import annotations

import struct
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

from recon.errors import FileError, ReconError, reason
from recon.io.files import fault, read_json
from recon.io.options import Axes
from recon.io.table import Format, find, named

if TYPE_CHECKING:
    from recon.io.parts import Parts
    from recon.scene import Scene

# What parsing bytes of a stranger can raise beyond our own checks; `load` makes one clear error of each.
PARSING = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, RecursionError, struct.error, zlib.error,
    zipfile.BadZipFile, NotImplementedError, RuntimeError,  # the last two: archives packed or locked in a way that is not known
    TokenError, SyntaxError,  # the header of numpy's arrays is Python
)  # fmt: skip


def load(path: str | Path, *, axes: Axes | None = None, repair: bool = False, drop_outliers: bool = False) -> Scene:
    """The scene of a file or folder of any format. Raises FileError naming the file and its fault.

    `axes`: the world of the file's numbers where it is not its format's own. Values that are not finite are a fault; with `repair` such Gaussians and
    points are left out instead. `drop_outliers`: leave out Gaussians and points that lie far from everything else.
    """
    from recon.io.axes import move, world_matrix
    from recon.io.content import check_loaded, scene_of_parts, without_outliers
    from recon.io.parts import Parts

    path = Path(path)
    entry, found = read_unchecked(path, as_numbered=axes is not None)
    scene = scene_of_parts(found) if isinstance(found, Parts) else found
    scene = check_loaded(scene, path, repair)
    return move(without_outliers(scene, path) if drop_outliers else scene, world_matrix(axes or entry.axes).T)


def read_unchecked(path: Path, *, as_numbered: bool = False) -> tuple[Format, Scene | Parts]:
    """The format of a file and what it holds as the file has it: in the file's axes, values that are not finite included. Raises FileError.

    `as_numbered`: in the world of the file's numbers, also where the file says what its world was made of.
    """
    if not path.exists():
        raise fault(path, "there is no such file")
    entry = find_for_reading(path)
    if entry.reader is None:
        raise fault(path, f"cannot be read: {entry.name} files are only written")
    if path.is_dir() and entry.name in ("meta.json", "transforms.json"):
        path = path / entry.name
    elif path.is_dir() and not entry.folder:
        raise fault(path, f"is a folder, wanted a {entry.name} file")
    options = {"as_numbered": True} if as_numbered and entry.name == "transforms.json" else {}
    try:
        return entry, import_module(f"recon.io.{entry.reader}").read(path, **options)
    except FileError:
        raise
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror or error}") from error
    except ReconError as error:
        raise fault(path, str(error).removeprefix(f"{path}: ")) from error
    except PARSING as error:
        raise fault(path, f"is no readable {entry.name} file: {reason(error)}") from error
    except MemoryError as error:
        raise fault(path, "needs more memory than there is") from error


def find_for_reading(path: Path) -> Format:
    """The format of a file by its name, of JSON by its content, of a folder by what is in it. Raises FileError."""
    if path.suffix.lower() == ".json":
        return _json_format(path)
    if not path.is_dir():
        return find(path)
    if any((path / below / f"cameras{ending}").is_file() for below in (".", "sparse/0", "sparse", "0") for ending in (".txt", ".bin")):
        return named("colmap")
    for inner, name in (("depth.json", "depth_npy"), ("meta.json", "meta.json"), ("transforms.json", "transforms.json")):
        if (path / inner).is_file():
            return named(name)
    return find(path)


def _json_format(path: Path) -> Format:
    """The format of a JSON file by what it holds; by its name where that tells nothing. Raises FileError."""
    content = read_json(path)
    if isinstance(content, dict):
        for key, name in (("camera_path", "camera_path.json"), ("frames", "transforms.json"), ("fl_x", "transforms.json"), ("means", "meta.json")):
            if key in content:
                return named(name)
    if isinstance(content, list) and content and all(isinstance(entry, dict) and "fx" in entry for entry in content):
        return named("cameras.json")
    return find(path)


def in_numbers_of_trainer(splats: Path, cameras: Path) -> bool:
    """Whether a file of cameras belongs to splats that a trainer made of it: then both are in the world of the cameras' own numbers.

    recon's own splats are in the scene's world, which its own transforms.json tells the way to.
    """
    entry = find_for_reading(cameras)
    if entry.name not in ("transforms.json", "camera_path.json"):
        return False
    if splats.suffix.lower() == ".ply" and splats.is_file():
        from recon.io.ply import read_header

        return not any(text.startswith("recon axes") for text in read_header(splats).comments)
    if splats.suffix.lower() == ".npz" or entry.name == "camera_path.json":
        return splats.suffix.lower() != ".npz"
    content = read_json(cameras / entry.name if cameras.is_dir() else cameras)
    return not (isinstance(content, dict) and content.get("generator") == "recon")
