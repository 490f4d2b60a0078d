"""Contains one training run from the command line's options: devices, assets, generator, loop."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
import torch.distributed as dist

from recon.errors import ReconError
from recon.models.recon_small.network import PATCH, ReconSmall
from recon.models.training.assets import load_assets
from recon.models.training.gaussians import train_gaussian_head
from recon.models.training.generator import SceneGenerator
from recon.models.training.train import TrainOptions, train
from recon.weights import load_into


def run(options: TrainOptions, *, textures: Path | None, meshes: Path | None, start: str | Path | None, device: str) -> None:
    """Trains recon-small and leaves packed weights in options.save; under torchrun one process a GPU.

    `start`: weights to go on from, None for random ones. Raises ReconError for packs and weights that cannot be used.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world > 1:
        if not torch.cuda.is_available():
            raise ReconError(f"torchrun started {world} processes, but torch sees no GPU")
        torch.cuda.set_device(rank)
        device = f"cuda:{rank}"
        dist.init_process_group("nccl")
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(options.seed)  # the same random weights on every GPU
    net = ReconSmall().to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] the convolutions run a fifth faster
    if start is not None:
        load_into(net, start)
    options.save.parent.mkdir(parents=True, exist_ok=True)
    generator = SceneGenerator(load_assets(device, textures, meshes), seed=options.seed * 1000 + rank, device=device)
    torch.manual_seed(options.seed * 1000 + rank)  # the losses draw windows
    generate = lambda s: generator.batch(s.scenes, s.views, s.height, s.width)
    train(net, generate, options)
    if world > 1:
        dist.destroy_process_group()


def run_gaussians(options: TrainOptions, *, textures: Path | None, meshes: Path | None, start: str | Path, device: str) -> None:
    """Trains the Gaussian head of the weights in `start` alone, on pictures of 4:3 with about min(options.sides)^2 pixels; one process."""
    net = ReconSmall().to(device)
    load_into(net, start)
    options.save.parent.mkdir(parents=True, exist_ok=True)
    generator = SceneGenerator(load_assets(device, textures, meshes), seed=options.seed, device=device)
    width, height = (max(2, round(min(options.sides) * factor / PATCH)) * PATCH for factor in (math.sqrt(4 / 3), math.sqrt(3 / 4)))
    train_gaussian_head(net, generator, minutes=options.minutes, save=options.save, log=options.log, height=height, width=width, lr=options.lr)
