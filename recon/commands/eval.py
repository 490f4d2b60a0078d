"""Figures on photos with known cameras: pose AUC, focal and depth errors of pairs, and camera centres of many views at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recon.commands import UsageError
from recon.commands.network import add_network_arguments
from recon.commands.output import say, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="a folder with sets: below it any folders with cameras.json, and perhaps pairs.json")
    parser.add_argument("--sets", nargs="+", help="names of sets (default: all)")
    parser.add_argument("--lists", default="neighbours", help="comma-separated lists of pairs.json (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=12, help="pairs a list (default: %(default)s)")
    parser.add_argument("--views", type=int, default=0, help="also the first N views at once")
    parser.add_argument("-o", "--output", type=Path, help="write the tables to this JSON file")
    add_network_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if not Path(args.folder).is_dir():
        raise UsageError(f"no such folder: {args.folder}")
    from recon.evaluate import evaluate, read_sets
    from recon.models import load_model
    from recon.photos.grid import load_images
    from recon.reconstruct import check_resolution, pick_device

    check_resolution(args.resolution)
    try:
        alone = [s.name for s in read_sets(args.folder, args.sets) if len(s.views) < 2]
    except (ValueError, KeyError) as error:
        raise UsageError(f"{args.folder}: {error}") from error
    if alone:
        raise UsageError(f"the set {alone[0]} has 1 photo; a pair needs 2")
    net = load_model(args.model, weights=args.weights, device=pick_device(args.device))

    def tell(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr, flush=True)

    import cv2

    cv2.setRNGSeed(args.seed % 2**31)
    tables = evaluate(  # past recon.reconstruct: pairs that it would refuse are measured too
        args.folder, lambda photos: net(
            load_images(photos, long_side=args.resolution), matches=args.matches, pairs=args.pairs, place=args.place, surfaces=args.surfaces,
            seed=args.seed,
        ),
        sets=args.sets, lists=args.lists.split(","), limit=args.limit, views=args.views, progress=tell,
    )  # fmt: skip
    if args.output:
        write_json(tables, args.output)
    lines = []
    for name, table in tables.items():
        lines += [name, *("  " + _row(row) for row in [*table["sets"], table["mean"]])]
    say(args, tables, lines)
    return 0


def _row(row: dict[str, object]) -> str:
    shown = {key: value for key, value in row.items() if not isinstance(value, list | dict)}
    return "  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items())
