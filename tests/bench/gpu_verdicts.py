"""What the benchmarks on a GPU say: PASS and FAIL lines as they go, a file of all that was found, and in the end whether all passed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

results: dict[str, Any] = {}
failures: list[str] = []


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """--commit and --output."""
    parser.add_argument("--commit", default="", help="what to write where there is no git")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", ".")))


def verdict(passed: bool, text: str) -> None:
    """One PASS or FAIL line."""
    print(f"{'PASS' if passed else 'FAIL'}  {text}", flush=True)
    if not passed:
        failures.append(text)


def save(file: Path, commit: str = "") -> None:
    """Writes all results so far; its folder is made where it is not there."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).resolve().parent).stdout.strip()
    about = {"device": torch.cuda.get_device_name(), "commit": found or commit, "torch": torch.__version__, "failures": failures}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(about | results, indent=1, default=str) + "\n")


def run_part(name: str, part: Callable[[], None], file: Path, commit: str) -> None:
    """One part and the results so far; where it breaks off that is a failure, and the others are still worth their minutes."""
    begin = time.monotonic()
    try:
        part()
    except Exception:
        traceback.print_exc()
        verdict(False, f"{name} broke off, see above")
    print(f"      {name}: {time.monotonic() - begin:.1f} s", flush=True)
    save(file, commit)


def summary() -> int:
    """The last line, and the exit status."""
    print("all passed" if not failures else f"{len(failures)} FAILED: " + "; ".join(failures))
    return 1 if failures else 0
