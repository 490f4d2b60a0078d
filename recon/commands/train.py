"""`recon train`: trains the default network on procedural scenes."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `recon train`."""
    parser.add_argument("-o", "--output", type=Path, default=Path("out/recon-small.safetensors"), help="weights, saved every minute")
    parser.add_argument("--log", type=Path, help="json lines (default: beside the weights)")
    parser.add_argument("--minutes", type=float, required=True, help="time budget of this run")
    parser.add_argument("--done-minutes", type=float, default=0.0, help="minutes of earlier runs on the same learning-rate curve")
    parser.add_argument("--total-minutes", type=float, default=0.0, help="length of that curve (default: this run)")
    parser.add_argument("--start", type=Path, help="weights to go on from (default: random ones)")
    parser.add_argument("--textures", type=Path, help="texture pack (default: noise); see models/training/assets.py")
    parser.add_argument("--meshes", type=Path, help="mesh pack (default: crossed boards)")
    parser.add_argument("--side", type=int, default=224, help="pictures have about side x side pixels, at any aspect")
    parser.add_argument("--pixels", type=int, default=256 * 224 * 224, help="pixels a step and GPU")
    parser.add_argument("--views", type=int, nargs="+", default=[2, 2, 2, 3, 4], help="numbers of views, one drawn a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--device", help="cpu or cuda (default: cuda when there is one)")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Trains until the time is up; 0 when the weights are written."""
    from recon.errors import ReconError
    from recon.models.training.run import run as train
    from recon.models.training.train import TrainOptions
    from recon.reconstruct import pick_device

    if args.minutes <= 0 or args.side < 64 or args.pixels < 2 * 64 * 64 or min(args.views) < 1:
        raise ReconError(f"minutes {args.minutes}, side {args.side}, pixels {args.pixels}, views {args.views}: wanted > 0, >= 64, >= 8192, >= 1")
    options = TrainOptions(
        minutes=args.minutes, done_minutes=args.done_minutes, total_minutes=args.total_minutes, side=args.side, pixels=args.pixels, views=tuple(args.views),
        lr=args.lr, compile=not args.no_compile, seed=args.seed, save=args.output, log=args.log or args.output.with_suffix(".jsonl"),
    )  # fmt: skip
    train(options, textures=args.textures, meshes=args.meshes, start=args.start, device=pick_device(args.device))
    return 0
