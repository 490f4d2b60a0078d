"""The commands of the command line, one file each: `add_arguments(parser)` and `run(args) -> exit code`.

Nothing heavy is imported before `run`. The result goes to stdout (with --json as one JSON object), progress and errors to stderr. A command
raises UsageError for a call that is wrong (exit code 2) and lets ReconError and OSError through (exit code 1): recon.cli turns them into a line.
"""

from __future__ import annotations


class UsageError(Exception):
    """The call is wrong: exit code 2."""
