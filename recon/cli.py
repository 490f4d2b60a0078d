"""The command `recon`: a table of commands, and errors as one line. `recon --help` imports nothing but argparse.

Exit codes: 0 done, 1 the work failed, 2 the call is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import recon
from recon.commands import UsageError

COMMANDS = {
    "run": "photos to a 3D scene and its files",
    "demo": "the same with the bundled sample photos",
    "render": "pictures or a video of a scene",
    "view": "a folder to look at in a browser and to share, offline",
    "mesh": "photos or a scene to one textured mesh",
    "convert": "a file of one format to another",
    "inspect": "what a file holds and what is wrong with it",
    "models": "the networks, what they need and their licences",
    "eval": "figures on photos with known cameras",
    "app": "the web page",
    "train": "train the default network",
    "doctor": "what is installed here and what is missing",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a call in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _top() -> argparse.ArgumentParser:
    table = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    epilog = f"commands:\n{table}\n\n`recon COMMAND --help` tells a command's options."
    top = _Parser(
        prog="recon", usage="recon COMMAND [options]", description="Photos in, 3D out.", epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="store_true", help="print the version")
    top.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    return top


def _run(arguments: list[str]) -> int:
    """The exit code of a command line; raises what the command raises."""
    first = _top().parse_args(arguments[:1])
    if first.version:
        print(f"recon {recon.__version__}")
        return 0
    if first.command not in COMMANDS:
        what = f"unknown command {first.command!r}" if first.command else "no command was given"
        raise UsageError(f"{what}; one of: {', '.join(COMMANDS)}")
    module = importlib.import_module(f"recon.commands.{first.command}")
    parser = _Parser(prog=f"recon {first.command}", description=(module.__doc__ or "").strip())
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return module.run(parser.parse_args(arguments[1:]))


def _failure(error: BaseException) -> tuple[int, str] | None:
    """Exit code and line of an error that a user can do something about; None for our own mistakes."""
    if isinstance(error, UsageError):
        return 2, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 1, "interrupted"
    if isinstance(error, OSError):
        return 1, f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error.strerror or str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return 1, f"not enough memory: try a smaller --resolution or fewer photos ({str(error).splitlines()[0] if str(error) else 'no details'})"
    from recon.errors import ReconError

    return (1, str(error)) if isinstance(error, ReconError) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads spin while they wait: on busy cores that costs more than all the work
    try:
        code = _run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `recon models | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
        if failure is None:
            raise
    from recon.errors import spelled_for_command_line

    code, text = failure[0], spelled_for_command_line(failure[1])
    print(f"recon: {' '.join(text.split())}", file=sys.stderr)
    if "--json" in given:
        print(json.dumps({"error": text}))
    return code


if __name__ == "__main__":
    sys.exit(main())
