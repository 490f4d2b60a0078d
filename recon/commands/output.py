"""What the commands print: results on stdout, progress on stderr, values that JSON can hold."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.io.guard import Guard


def say(args: argparse.Namespace, result: dict[str, Any], lines: Sequence[str]) -> None:
    """The result for a program (--json) or for a person."""
    print(json.dumps(finite(result), indent=1, allow_nan=False, default=str) if args.json else "\n".join(lines))


def progress(args: argparse.Namespace) -> Callable[[str, float], None]:
    """A function (what is being done, share done) that moves a bar on a terminal, or writes a line a stage elsewhere."""
    if args.quiet or args.json:
        return lambda text, share: None
    if not sys.stderr.isatty():
        return _stages()
    from tqdm import tqdm

    bar = tqdm(total=100, bar_format="{desc:<10} {bar:30} {percentage:3.0f}% {elapsed}", file=sys.stderr, leave=False)

    def tell(text: str, share: float) -> None:
        bar.set_description_str(text)
        bar.update(round(100 * share) - bar.n)
        if share >= 1:
            bar.close()

    return tell


def _stages() -> Callable[[str, float], None]:
    told: list[str] = []

    def tell(text: str, share: float) -> None:
        if text not in told:
            told.append(text)
            print(f"{round(100 * share):3d}% {text}", file=sys.stderr, flush=True)

    return tell


def finite(value: Any) -> Any:
    """The same nested value as plain numbers, with None for NaN and infinity."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


@contextlib.contextmanager
def told_warnings() -> Iterator[list[str]]:
    """What the library warns of meanwhile, as lines for the result instead of stderr, with options as the command line spells them."""
    from recon.errors import spelled_for_command_line

    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(spelled_for_command_line(record.getMessage()))

    handler = Collect(logging.WARNING)
    logger = logging.getLogger("recon")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def write_json(value: dict[str, Any], path: Path, guard: Guard | None = None) -> None:
    """A JSON file, written whole or not at all."""
    from recon.io.files import whole_file

    with whole_file(path, guard) as temporary:
        temporary.write_text(json.dumps(finite(value), indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")


def add_overwrite_argument(parser: argparse.ArgumentParser) -> None:
    """--overwrite."""
    text = "replace recon's own older output also where it was changed since; what recon did not write is never replaced"
    parser.add_argument("--overwrite", action="store_true", help=text)


@contextlib.contextmanager
def writable_folder(folder: Path) -> Iterator[Path]:
    """The folder, made when it is not there; OSError before the work rather than after it when nothing can be written into it.

    Folders that were made here go away again when the work fails before anything is in them.
    """
    made = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            for one in made:
                one.rmdir()
        raise
