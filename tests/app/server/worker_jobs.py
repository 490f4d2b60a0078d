"""Work for the worker's process in tests."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from recon.errors import ReconError


def steps(count: int, *, tell: Any) -> tuple[int, int]:
    for k in range(count):
        tell("step", k / count)
        time.sleep(0.02)
    return count, os.getpid()


def deaf(seconds: float, *, tell: Any) -> None:
    tell("deaf", 0.0)
    time.sleep(seconds)


def dies(*, tell: Any) -> None:
    os.kill(os.getpid(), 9)


def refuses(path: Path, *, tell: Any) -> None:
    raise ReconError(f"{path} cannot be read as a photo: it is no picture")


def breaks(path: Path, *, tell: Any) -> None:
    raise KeyError(f"our own mistake with {path}")


def half(folder: Path, *, tell: Any) -> None:
    """Begins a file in a folder of its own, as downloads do, and hears nothing."""
    (folder / ".making-x").mkdir()
    (folder / ".making-x" / "half.glb").write_bytes(b"x" * 1000)
    time.sleep(60)
