"""What the commands print: results on stdout, progress on stderr, values that JSON can hold."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


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


def write_json(value: dict[str, Any], path: Path) -> None:
    """A JSON file, written whole or not at all."""
    from recon.io.files import whole_file

    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(finite(value), indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")
