"""Files of scenes: `save`, `load`, `convert`; the end of a name decides the format (see `formats()`).

`scene.ply` holds Gaussians where the scene has them, else its mesh, else its points; `scene.points.ply` and `scene.mesh.ply` hold what they
say. `scene.glb` holds the mesh, else points, else Gaussians; `scene.splats.glb` and `scene.points.glb` what they say. `colmap` and
`colmap_binary` are folders. `scene.npz` holds everything. A name fits when a format's name stands at its end, alone or after `.`, `_` or `-`.

Files have the axes of their format (PLY, .splat, SOG: OpenCV's; glTF, USD, OBJ, spz: y up; transforms.json: z up) and scenes always OpenCV's;
`load` turns back what `save` turned. Formats without cameras are read as scenes of zero views, bare points as tracks that no view saw.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import FileError, ReconError
from recon.io.files import fault
from recon.io.options import Axes, Encoding, Kind, Options
from recon.io.presets import save_for
from recon.io.table import TABLE, Format, find, named

if TYPE_CHECKING:
    from recon.scene import Scene

__all__ = ["convert", "file_name", "formats", "load", "save", "save_for"]

# What parsing bytes of a stranger can raise beyond our own checks; `load` makes one clear error of each.
PARSING = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, RecursionError, struct.error, zlib.error, zipfile.BadZipFile
)  # fmt: skip


def formats() -> dict[str, str]:
    """The names of all formats that can be written, with what each holds."""
    return {f.name: f.description for f in TABLE if f.writers}


def file_name(name: str) -> str:
    """The file or folder that `recon run` writes for the format `name`. Raises ReconError for an unknown one."""
    return named(name).file


def save(
    scene: Scene, path: str | Path, *, kind: Kind | None = None, axes: Axes | None = None, unit_scale: float = 1.0,
    sh_degree: int | None = None, encoding: Encoding = "binary", spz_version: int = 3,
) -> None:  # fmt: skip
    """Writes a scene in the format that the name says; the file appears whole or not at all, and the scene stays as it is.

    `kind`: "splats", "mesh" or "points" where the format could hold several; `axes`: another world than the format's own; `unit_scale`: file
    units per scene unit; `sh_degree`: at most this (default: what the format holds, at most 3 as programs read no more); `encoding` of point and
    mesh PLY; `spz_version` 2, 3 or 4. Gaussians and points that are not finite are left out with a warning. Raises ReconError.
    """
    from recon.io.axes import move, world_matrix
    from recon.io.content import sh_within, take

    path = Path(path)
    entry = find(path)
    chosen = _kind(scene, entry, kind, path)
    if not 0 < unit_scale < float("inf"):
        raise ReconError(f"unit_scale is {unit_scale}, wanted a positive number")
    if encoding not in ("binary", "big-endian", "ascii"):
        raise ReconError(f"unknown encoding {encoding!r}; one of: binary, big-endian, ascii")
    content = take(scene, chosen, path)
    if chosen == "splats":
        content = sh_within(content, entry.sh_degree if sh_degree is None else sh_degree, path)
    options = Options(
        axes=axes or entry.axes, unit_scale=unit_scale, sh_degree=entry.sh_degree if sh_degree is None else sh_degree,
        encoding=encoding, spz_version=spz_version,
    )  # fmt: skip
    content = move(content, world_matrix(options.axes), unit_scale)
    import_module(f"recon.io.{entry.writers[chosen]}").write(content, path, options)


def _kind(scene: Scene, entry: Format, kind: Kind | None, path: Path) -> Kind:
    """What of the scene goes into the file. Raises FileError where nothing fits."""
    from recon.io.content import holds

    if not entry.writers:
        raise fault(path, f"cannot be written: {entry.name} files are only read")
    if kind is not None:
        if kind not in entry.writers:
            raise fault(path, f"cannot hold {kind!r}; {entry.name} files hold: {', '.join(entry.writers)}")
        return kind
    if "scene" in entry.writers:
        return "scene"
    there = holds(scene)
    fitting: list[Kind] = [k for k in entry.writers if there.count(k)]
    return fitting[0] if fitting else next(iter(entry.writers))


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


def convert(source: str | Path, target: str | Path, *, repair: bool = False) -> None:
    """Reads one file and writes it as another; the names decide the formats. Raises ReconError."""
    target = Path(target)
    find(target)
    save(load(source, repair=repair), target)
