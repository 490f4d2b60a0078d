"""Trains one of the default networks on procedural scenes made on the fly; under torchrun one process a GPU. Weights are saved every minute."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from recon.commands import UsageError
from recon.commands.output import say

NETWORKS = ("recon-small", "recon-mvs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Under torchrun no option may be the beginning of two of torchrun's own (--start and --log are)."""
    parser.add_argument("--network", choices=NETWORKS, default="recon-small", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, required=True, help="how long")
    parser.add_argument("-o", "--output", type=Path, help="weights file; the log lies beside it (default: NETWORK_train.safetensors)")
    parser.add_argument("--begin-from", metavar="FILE", help="weights to go on from (default: random)")
    parser.add_argument("--done-minutes", type=float, default=0.0, help="minutes trained before, for the learning rate")
    parser.add_argument("--total-minutes", type=float, default=0.0, help="minutes of all runs together (default: this run)")
    parser.add_argument("--sides", type=int, nargs="+", help="pictures have about side x side pixels, one side a step (default: the network's own)")
    parser.add_argument("--pixels", type=int, help="pixels a step and GPU (default: the network's own)")
    parser.add_argument("--lr", type=float, help="largest learning rate (default: the network's own)")
    parser.add_argument("--no-compile", action="store_true", help="leave the blocks as they are: a minute less at the start, slower steps")
    parser.add_argument("--only-gaussians", action="store_true", help="train the Gaussian head of recon-mvs alone; needs --begin-from")
    parser.add_argument("--textures", type=Path, help="texture pack (.npz); noise without it")
    parser.add_argument("--meshes", type=Path, help="mesh pack (.npz); crossed boards without it")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda when there is one)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")


def run(args: argparse.Namespace) -> int:
    given = {"minutes": args.minutes, "sides": args.sides and min(args.sides), "pixels": args.pixels, "lr": args.lr}
    given = {name: value for name, value in given.items() if value is not None}
    wrong = [f"--{name} is {value}" for name, value in given.items() if not value > 0]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}; wanted above 0")
    if args.only_gaussians and (args.begin_from is None or args.network != "recon-mvs"):
        raise UsageError("--only-gaussians needs weights of recon-mvs to go on from: --network recon-mvs --begin-from FILE")
    from recon.models.training.run import DEFAULTS, GAUSSIAN_DEFAULTS
    from recon.models.training.run import run as train
    from recon.reconstruct import pick_device

    device = pick_device(args.device)
    output = args.output or Path(f"{args.network}_train.safetensors")
    own = GAUSSIAN_DEFAULTS if args.only_gaussians else DEFAULTS[args.network]
    options = replace(
        own, minutes=args.minutes, done_minutes=args.done_minutes, total_minutes=args.total_minutes, sides=tuple(args.sides or own.sides),
        pixels=args.pixels or own.pixels, lr=args.lr or own.lr, compile=device != "cpu" and not args.no_compile, seed=args.seed, save=output,
        log=output.with_suffix(".jsonl"),
    )  # fmt: skip
    train(
        args.network, options, textures=args.textures, meshes=args.meshes, begin_from=args.begin_from, device=device,
        only_gaussians=args.only_gaussians,
    )  # fmt: skip
    say(args, {"weights": str(output), "log": str(options.log)}, [str(output), str(options.log)])
    return 0
