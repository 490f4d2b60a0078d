"""What a file holds, what is wrong with it and which programs open it. Exit code 1 when something is wrong."""

from __future__ import annotations

import argparse
from typing import Any

from recon.commands.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a file or folder of any format that `recon convert` reads")


def run(args: argparse.Namespace) -> int:
    from recon.errors import spelled_for_command_line
    from recon.io.inspect import inspect

    facts = inspect(args.file)
    facts |= {key: [spelled_for_command_line(text) for text in facts[key]] for key in ("problems", "notes")}
    say(args, facts, _lines(facts))
    return 1 if facts["problems"] else 0


def _lines(facts: dict[str, Any]) -> list[str]:
    """The facts for a person."""
    lines = [f"{facts['file']}: {facts['format']}, {facts['bytes']:,} bytes, {facts['axes']} axes"]
    for part in ("elements", "gaussians", "mesh", "points", "views"):
        if part in facts:
            lines.append(f"{part}: {', '.join(f'{key} {_short(value)}' for key, value in facts[part].items())}")
    lines += [f"comment: {text}" for text in facts.get("comments", [])]
    lines.append(f"opens in: {', '.join(facts['opens_in']) or 'recon'}")
    lines += [f"note: {text}" for text in facts["notes"]]
    return lines + ([f"wrong: {text}" for text in facts["problems"]] or [f"nothing was found wrong among: {', '.join(facts['checked'])}"])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return f"({', '.join(f'{key} {_short(v)}' for key, v in value.items())})"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
