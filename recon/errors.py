"""What a user can do wrong, as exceptions: each message says what was wrong, the value got and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence


class ReconError(Exception):
    """Input, a file or an option that this project cannot use; the base of all its errors."""


class ShapeError(ReconError, ValueError):
    """An array whose shape does not fit the others."""


class GeometryError(ReconError):
    """Points or matches that determine no answer (too few, on a line, no agreement)."""


class FileError(ReconError):
    """A file that cannot be read or written: the message names it and its fault."""


def listed(names: Sequence[str]) -> str:
    """The names for a message, the first three of many."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def spelled_for_command_line(text: str) -> str:
    """A message with its options as the command line has them: overwrite=True becomes --overwrite, matches="none" --matches none."""
    return re.sub(r"\b([a-z][a-z_]*)=(True\b|\"[^\"]*\"|\.\.\.)", _option, text)


def _option(found: re.Match[str]) -> str:
    value = {"True": "", "...": ""}.get(found[2], " " + found[2].strip('"'))
    return "--" + found[1].replace("_", "-") + value
