"""Trains the default network on procedural scenes made on the fly; under torchrun one process a GPU. Weights are saved every minute."""

from __future__ import annotations

import argparse
from pathlib import Path

from recon.commands import UsageError
from recon.commands.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, required=True, help="how long")
    parser.add_argument("-o", "--output", type=Path, default=Path("recon_small_train.safetensors"), help="weights file (default: %(default)s)")
    parser.add_argument("--start", help="weights to go on from (default: random)")
    parser.add_argument("--done-minutes", type=float, default=0.0, help="minutes trained before, for the learning rate")
    parser.add_argument("--total-minutes", type=float, default=0.0, help="minutes of all runs together (default: this run)")
    parser.add_argument("--sides", type=int, nargs="+", default=[224], help="pictures have about side x side pixels, one side a step (default: 224)")
    parser.add_argument("--pixels", type=int, default=256 * 224 * 224, help="pixels a step and GPU (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="largest learning rate (default: %(default)s)")
    parser.add_argument("--only-gaussians", action="store_true", help="train the Gaussian head of the --start weights alone, all else held")
    parser.add_argument("--textures", type=Path, help="texture pack (.npz); noise without it")
    parser.add_argument("--meshes", type=Path, help="mesh pack (.npz); crossed boards without it")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda when there is one)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")


def run(args: argparse.Namespace) -> int:
    given = {"minutes": args.minutes, "sides": min(args.sides), "pixels": args.pixels, "lr": args.lr}
    wrong = [f"--{name} is {value}" for name, value in given.items() if not value > 0]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}; wanted above 0")
    if args.only_gaussians and args.start is None:
        raise UsageError("--only-gaussians needs weights to go on from; name them with --start")
    from recon.models.training.run import run as train
    from recon.models.training.run import run_gaussians
    from recon.models.training.train import TrainOptions
    from recon.reconstruct import pick_device

    device = pick_device(args.device)
    log = args.output.with_suffix(".jsonl")
    options = TrainOptions(
        minutes=args.minutes, done_minutes=args.done_minutes, total_minutes=args.total_minutes, sides=tuple(args.sides), pixels=args.pixels,
        lr=args.lr, compile=device != "cpu", seed=args.seed, save=args.output, log=log,
    )  # fmt: skip
    if args.only_gaussians:
        run_gaussians(options, textures=args.textures, meshes=args.meshes, start=args.start, device=device)
    else:
        train(options, textures=args.textures, meshes=args.meshes, start=args.start, device=device)
    say(args, {"weights": str(args.output), "log": str(log)}, [str(args.output), str(log)])
    return 0
