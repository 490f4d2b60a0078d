"""SceneStore: results on disk, found by an unguessable name only, gone after their lifetime or when they are deleted."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recon.app.limits import Limits

TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


@dataclass
class Entry:
    """One result."""

    token: str
    folder: Path
    owner: str  # the session that made it
    ends: float  # time.monotonic()
    scale: float | None = None  # metres per unit, once someone measured a length
    ready: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)  # while files are made of it


class SceneStore:
    """The results below one folder. Nothing is served of one that is not whole: `making` keeps it hidden until its block has ended well."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self._lock, self._entries = threading.Lock(), dict[str, Entry]()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def making(self, owner: str) -> Iterator[Entry]:
        """A new entry with an empty folder; it can be found once the block has ended well, and is gone when it has not."""
        token = secrets.token_urlsafe(24)
        entry = Entry(token, self.root / token, owner, time.monotonic() + self.limits.lifetime_s)
        entry.folder.mkdir(mode=0o700)
        try:
            yield entry
            entry.ends = time.monotonic() + self.limits.lifetime_s
            with self._lock:
                self._entries[token] = entry
                entry.ready = True
        finally:
            if not entry.ready:
                remove(entry.folder)

    def find(self, token: str) -> Entry | None:
        """The result of this name, while it is kept."""
        if not TOKEN.fullmatch(token):
            return None
        with self._lock:
            entry = self._entries.get(token)
        return entry if entry is not None and entry.ends > time.monotonic() else None

    def delete(self, token: str) -> bool:
        """Takes a result away at once; whether there was one."""
        with self._lock:
            entry = self._entries.pop(token, None)
        if entry is None:
            return False
        with entry.lock:
            remove(entry.folder)
        return True

    def left(self, owner: str) -> None:
        """The owner's page was closed: its results are kept for a shorter time (a reload finds another session)."""
        end = time.monotonic() + self.limits.after_leaving_s
        with self._lock:
            for entry in self._entries.values():
                if entry.owner == owner:
                    entry.ends = min(entry.ends, end)

    def over(self) -> list[str]:
        """The tokens of those that are over their time."""
        now = time.monotonic()
        with self._lock:
            return [token for token, entry in self._entries.items() if entry.ends <= now]

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)


def remove(folder: Path) -> None:
    """A folder gone in one step for whoever looks, then from the disk."""
    with contextlib.suppress(OSError):
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=folder.parent))
        folder.rename(gone / "x")
        shutil.rmtree(gone, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
