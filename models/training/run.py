"""Contains one training run from the command line's options: devices, assets, generator, task, loop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn

from recon import weights
from recon.errors import ReconError
from recon.models.recon_mvs.network import ReconMVS
from recon.models.recon_small.network import ReconSmall
from recon.models.training import gaussians, recon_mvs, recon_small
from recon.models.training.assets import load_assets
from recon.models.training.gaussians import GaussianTask
from recon.models.training.generator import SceneGenerator
from recon.models.training.recon_mvs import ReconMVSTask
from recon.models.training.recon_small import ReconSmallTask
from recon.models.training.train import Task, TrainOptions, train

Network = Literal["recon-small", "recon-mvs"]
DEFAULTS: dict[Network, TrainOptions] = {"recon-small": recon_small.DEFAULTS, "recon-mvs": recon_mvs.DEFAULTS}
GAUSSIAN_DEFAULTS = gaussians.DEFAULTS


def run(
    network: Network, options: TrainOptions, *, textures: Path | None, meshes: Path | None, begin_from: str | Path | None, device: str,
    only_gaussians: bool = False,
) -> None:  # fmt: skip
    """Trains a network and leaves packed weights in options.save; under torchrun one process a GPU.

    `begin_from`: weights to go on from, None for random ones. recon-mvs reads the packaged recon-small, which is held; `only_gaussians` trains its
    Gaussian head and holds the rest. Raises ReconError for packs and weights that cannot be used.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world > 1:
        if not torch.cuda.is_available():
            raise ReconError(f"torchrun started {world} processes, but torch sees no GPU")
        torch.cuda.set_device(rank)
        device = f"cuda:{rank}"
        dist.init_process_group("nccl")
    torch.set_float32_matmul_precision("highest" if only_gaussians else "high")  # TF32 would move Gaussians by a fifth of a pixel
    torch.manual_seed(options.seed)  # the same random weights on every GPU
    net = on_device(ReconSmall() if network == "recon-small" else ReconMVS(), begin_from, device)
    seed = options.seed * 1000 + rank + round(options.done_minutes * 7919)  # a run that goes on sees other scenes
    generator = SceneGenerator(load_assets(device, textures, meshes), seed=seed, device=device)
    torch.manual_seed(seed)  # the losses draw windows
    options.save.parent.mkdir(parents=True, exist_ok=True)
    train(build_task(net, generator, only_gaussians), options)
    if world > 1:
        dist.destroy_process_group()


def on_device(net: ReconSmall | ReconMVS, path: str | Path | None, device: str) -> ReconSmall | ReconMVS:
    """The network with the weights of a file, in the layout in which its convolutions run fastest."""
    if path is not None:
        weights.load_into(net, path)
    return net.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (a fifth faster)


def build_task(net: nn.Module, generator: SceneGenerator, only_gaussians: bool) -> Task:
    """How this network, or of recon-mvs the Gaussian head alone, is trained."""
    if isinstance(net, ReconMVS):
        small = on_device(ReconSmall(), weights.packaged("recon-small.safetensors"), str(generator.dice.device))
        assert isinstance(small, ReconSmall)
        return (GaussianTask if only_gaussians else ReconMVSTask)(net, small, generator)
    assert isinstance(net, ReconSmall) and not only_gaussians, type(net)
    return ReconSmallTask(net, generator)

