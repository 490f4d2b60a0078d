"""Files written whole or not at all and past a Guard, and reading with a bound: every fault names the file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recon.errors import FileError, reason, shown
from recon.io.guard import Guard

MAX_JSON_BYTES = 256 << 20


def fault(path: str | Path, text: str) -> FileError:
    """The error of a file that cannot be used; raise it. What a file's own names hold that cannot be printed is told as ?."""
    return FileError("".join(c if c.isprintable() else "?" for c in f"{path}: {text}"))


@contextmanager
def whole_file(path: Path, guard: Guard | None = None) -> Iterator[Path]:
    """A temporary name in the folder of `path` that becomes `path` when the block ends well; otherwise the old file stays as it was.

    Raises FileError for what the guard keeps, a folder that is absent or cannot be written and a full disk.
    """
    if path.is_dir():
        raise fault(path, "is a folder, wanted a file name")
    if not path.parent.is_dir():
        raise fault(path, f"cannot be written: there is no folder {path.parent}")
    guard = guard or Guard()
    guard.check(path.parent, [path.name])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        guard.publish(path.parent, {path.name: temporary})
    except OSError as error:
        raise fault(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, guard: Guard | None = None, *, stale: Sequence[str] = ()) -> Iterator[Path]:
    """A temporary folder whose files are moved into the folder `path` when the block ends well; other files there are kept.

    `stale`: files of an older output that would be read together with the new one; they go away. Raises FileError as `whole_file` does.
    """
    if path.exists() and not path.is_dir():
        raise fault(path, "is a file, wanted a folder")
    if not path.parent.is_dir():
        raise fault(path, f"cannot be written: there is no folder {path.parent}")
    temporary, there = None, path.is_dir()
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        yield temporary
        path.mkdir(exist_ok=True)
        files = {file.relative_to(temporary).as_posix(): file for file in sorted(temporary.rglob("*")) if not file.is_dir()}
        (guard or Guard()).publish(path, files, stale)
    except OSError as error:
        raise fault(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not there and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def read_json(path: Path, content: bytes | None = None) -> Any:
    """The value of a JSON file (or of `content` that came from it). Raises FileError."""
    if content is None:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise fault(path, f"is {path.stat().st_size} bytes of JSON, wanted at most {MAX_JSON_BYTES}")
        content = path.read_bytes()
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise fault(path, f"is not JSON: {reason(error)}") from error


def inside(path: Path, folder: Path, name: object) -> Path:
    """The file `name` under `folder` that the file `path` speaks of. Raises FileError for names that lead out of the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise fault(path, f"names a file {shown(name)}, wanted a relative path")
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise fault(path, f"names the file {shown(name)} outside its folder")
    return folder.joinpath(*parts)
