"""The one folder where a server keeps everything: uploads and results. Gone when the server ends; what a killed one left goes at the next start."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO, Any

LOCK = "lock"


class Home:
    """`<temporary folder>/recon-app-<user>/<server>` with `uploads/` (Gradio's) and `scenes/`; held by a lock on its file as long as this lives."""

    def __init__(self, parent: Path | None = None) -> None:
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        self.parent = parent or Path(tempfile.gettempdir()) / f"recon-app-{user}"
        self.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and self.parent.stat().st_uid != os.getuid():
            raise PermissionError(f"{self.parent} belongs to someone else")
        clear_dead(self.parent)
        self.folder = Path(tempfile.mkdtemp(prefix="server-", dir=self.parent))
        self._lock = _locked(self.folder / LOCK)
        self.uploads, self.scenes, self.example = (self.folder / name for name in ("uploads", "scenes", "example"))
        self.uploads.mkdir(mode=0o700)
        self.scenes.mkdir(mode=0o700)

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def drop_stale_uploads(self, age_s: float) -> None:
        """Removes uploads that have stood still half-way for so long; Gradio writes them as tmp... beside the folders of the whole ones."""
        for path in self.uploads.glob("tmp*"):
            with contextlib.suppress(OSError):
                if path.is_file() and time.time() - path.stat().st_mtime > age_s:
                    path.unlink()

    def drop_old_uploads(self, age_s: float) -> None:
        """Removes whole uploads older than this."""
        for folder in self.uploads.iterdir():
            with contextlib.suppress(OSError):
                if folder.is_dir() and time.time() - folder.stat().st_mtime > age_s:
                    shutil.rmtree(folder, ignore_errors=True)

    def size_mb(self) -> float:
        """What the folder takes on the disk."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total / 1e6


def clear_dead(parent: Path) -> None:
    """Removes the folders of servers that no longer live: nobody holds their lock."""
    for folder in parent.glob("server-*"):
        lock = folder / LOCK
        held = _locked(lock) if lock.is_file() else None
        if held is not None or (not lock.is_file() and time.time() - folder.stat().st_mtime > 60):
            shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            held.close()


def _locked(path: Path) -> IO[Any] | None:
    """The file, locked for this process; None where another one holds it."""
    file = open(path, "a+b")  # noqa: SIM115
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    except OSError:
        file.close()
        return None
