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


def shown(value: object) -> str:
    """A value in a message, as a person would write it: text in quotes, nothing for None."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return repr(value.decode("latin-1"))
    return repr(value) if isinstance(value, str) else str(value)[:80]


NUMBER = re.compile(
    r"(?:could not convert string(?: to float:)?|invalid literal for int\(\) with base 10:) b?(['\"])(.*?)\1(?: to float\d+(.*))?", re.DOTALL
)
JARGON = re.compile(r"<|\bb['\"]|dtype|newaxis|reshape|array|Error|literal|numpy|object|Header|descr|\bEOF\b")


def reason(error: BaseException) -> str:
    """What an exception of Python or a library says, for a message to people who do not program."""
    text = " ".join(str(error).split())
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no text (UTF-8)"
    if found := NUMBER.match(str(error)):
        return f"{shown(found[2][:40])} is no number{(found[3] or '').rstrip('.')}"
    if isinstance(error, IndexError):
        return "numbers are missing"
    if isinstance(error, KeyError):
        return f"{shown(error.args[0] if error.args else None)} is missing"
    if isinstance(error, TypeError | AttributeError | SyntaxError | RecursionError) or JARGON.search(text):
        return "what is in it does not fit the format"
    return text or "it says no reason"



def listed(names: Sequence[str]) -> str:
    """The names for a message, the first three of many."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def spelled_for_command_line(text: str) -> str:
    """A message with its options as the command line has them: overwrite=True becomes --overwrite, matches="none" --matches none."""
    return re.sub(r"\b([a-z][a-z_]*)=(True\b|\"[^\"]*\"|\.\.\.|\d+\b)", _option, text)


def _option(found: re.Match[str]) -> str:
    value = {"True": "", "...": ""}.get(found[2], " " + found[2].strip('"'))
    return "--" + found[1].replace("_", "-") + value
