"""The networks: what they take, what they give, how large they are, and the licence of their weights."""

from __future__ import annotations

import argparse

from recon.commands.output import say

COLUMNS = ("model", "family", "takes", "gives", "parameters", "commercial use", "licence of the weights")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--commercial-only", action="store_true", help="only models whose weights may be used commercially")


def run(args: argparse.Namespace) -> int:
    from recon.models import list_models

    table = [model for model in list_models() if model["commercial"] or not args.commercial_only]
    rows = [COLUMNS, *(_cells(model) for model in table)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    say(args, {"models": table}, ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows])
    return 0


def _cells(model: dict) -> tuple[str, ...]:
    """The words of one line, in the order of COLUMNS."""
    outputs = model["outputs"] + (" (metric)" if model["metric"] else "")
    allowed = "yes" if model["commercial"] else "no"
    return model["name"], model["family"], model["inputs"], outputs, f"{model['parameters'] / 1e6:.1f} M", allowed, model["licence"]
