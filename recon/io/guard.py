"""Contains Guard, through which all writing goes: recon writes over what is absent or its own, and never over an input of the same run.

Its own is what the list `.recon` of a folder names with the sum of its bytes (SHA-256). The list is brought up to date before a file gets its
name and after it, so that whatever stops the program, each file is whole and known. An older file is replaced by renaming, never written into.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from recon.errors import FileError

LIST = ".recon"  # JSON: {"recon_files": 1, "files": {name: [sum, ...]}}; several sums only while a file is being replaced
VERSION = 1


class Guard:
    """What one run reads, whether it may replace its own output that was changed since, and the files that it wrote."""

    def __init__(self, inputs: Iterable[str | Path] = (), *, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        self.files: list[Path] = []
        self._inputs: set[object] = set()
        self.protect(inputs)

    def protect(self, inputs: Iterable[str | Path]) -> None:
        """These files, and all files in these folders, are read in this run: they are never targets."""
        for path in map(Path, inputs):
            if path.is_dir():
                self.protect(file for file in path.rglob("*") if not file.is_dir())
            else:
                self._inputs |= set(_identities(path))

    def check(self, root: Path, names: Iterable[str]) -> None:
        """Raises FileError unless recon may write these files of the folder `root`."""
        known = read_list(root)
        for name in names:
            path = root / name
            if not os.path.lexists(path):
                continue
            if self._inputs & set(_identities(path)):
                raise FileError(f"{path}: is read in this run and is never written over; choose another folder or name")
            if path.is_dir():
                raise FileError(f"{path}: is a folder, wanted a file name")
            if name not in known or path.is_symlink():
                raise FileError(
                    f"{path}: was not written by recon and stays as it is (overwrite=True replaces only what recon wrote); "
                    "choose another folder or name, or move it away"
                )
            if not self.overwrite and _sum(path) not in known[name]:
                raise FileError(f"{path}: was changed since recon wrote it; overwrite=True replaces it")

    def publish(self, root: Path, files: Mapping[str, Path], stale: Iterable[str] = ()) -> None:
        """Gives temporary files of the folder's own disk their names below `root`, after `check` of all; files named `stale` go away.

        Raises FileError, or OSError for what the system refuses.
        """
        gone = [name for name in stale if name not in files and os.path.lexists(root / name)]
        self.check(root, [*files, *gone])
        sums = {name: _sum(file) for name, file in files.items()}
        known = {name: told for name, told in read_list(root).items() if os.path.lexists(root / name)}
        before = {name: _sum(root / name) for name in files if name in known}  # with overwrite, the changed file is recon's too
        _write_list(root, {**known, **{name: [*([before[name]] if name in before else []), total] for name, total in sums.items()}})
        for name, file in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, root / name)
        for name in gone:
            (root / name).unlink()
        _write_list(root, {name: told for name, told in {**known, **{n: [total] for n, total in sums.items()}}.items() if name not in gone})
        self.files += [root / name for name in files if root / name not in self.files]


def read_list(root: Path) -> dict[str, list[str]]:
    """Name -> sums of the files in `root` that recon wrote. Raises FileError where something else has the list's name."""
    path = root / LIST
    if not os.path.lexists(path):
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["recon_files"] != VERSION:
            raise ValueError
        return {str(name): [str(total) for total in sums] for name, sums in content["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileError(f"{path}: is not recon's list of the files it wrote, which has this name; move it away or choose another folder") from error


def _write_list(root: Path, files: Mapping[str, list[str]]) -> None:
    temporary = root / f"{LIST}.{os.getpid()}.tmp"
    try:
        temporary.write_text(json.dumps({"recon_files": VERSION, "files": dict(sorted(files.items()))}, indent=0) + "\n", encoding="utf-8")
        os.replace(temporary, root / LIST)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identities(path: Path) -> Iterator[object]:
    """What makes two names one file: the resolved name, and the file system's number."""
    yield path.resolve()
    with suppress(OSError):
        found = path.stat()
        yield found.st_dev, found.st_ino
