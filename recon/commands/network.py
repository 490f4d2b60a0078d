"""The options of every command that runs a network."""

from __future__ import annotations

import argparse


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --weights, --device, --matches, --pairs, --place, --surfaces, --resolution and --seed, as recon.reconstruct takes them."""
    parser.add_argument("--model", default="recon-small", help="a name of `recon models`, or `auto`: what the weights are of (default: %(default)s)")
    parser.add_argument("--weights", help="a file, a folder or a hub id (owner/name) instead of the default weights, or `random`")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda when there is one)")
    parser.add_argument("--matches", choices=("both", "own", "sift", "none"), default="both", help="what places the views (default: both)")
    parser.add_argument("--pairs", choices=("auto", "all", "sequence"), default="auto", help="which photos are matched (default: auto)")
    parser.add_argument("--place", choices=("held", "all"), default="held", help="all: also photos that nothing holds, by a guess (default: held)")
    parser.add_argument("--surfaces", choices=("sweep", "pointmap"), default="sweep", help="where depth comes from: views swept against their "
                        "neighbours, or the network's pointmap alone (default: sweep)")  # fmt: skip
    parser.add_argument("--resolution", type=int, default=512, help="long side of the result's pixel grid (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal scenes (default: 0)")
