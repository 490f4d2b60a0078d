"""What a user can do wrong, as exceptions: each message says what was wrong, the value got and what is allowed."""

from __future__ import annotations


class ReconError(Exception):
    """Input, a file or an option that this project cannot use; the base of all its errors."""


class ShapeError(ReconError, ValueError):
    """An array whose shape does not fit the others."""


class GeometryError(ReconError):
    """Points or matches that determine no answer (too few, on a line, no agreement)."""


class FileError(ReconError):
    """A file that cannot be read or written: the message names it and its fault."""
