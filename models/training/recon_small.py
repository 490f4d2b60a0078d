"""Contains the training task of recon-small: generator batches to pointmaps, matches and lens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recon.models.recon_small.network import ReconSmall
from recon.models.training.generator import SceneGenerator
from recon.models.training.optimizers import build_optimizers
from recon.models.training.recon_small_losses import total_loss
from recon.models.training.train import BatchShape, TrainOptions

DEFAULTS = TrainOptions()
BLOCKS = ("encoder.", "frame.", "joint.")  # the transformer blocks


class ReconSmallTask:
    """Trains all of recon-small but its Gaussian head."""

    def __init__(self, net: ReconSmall, generator: SceneGenerator) -> None:
        self.net, self.generator = net, generator

    def optimizers(self, lr: float) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of the transformer blocks, AdamW for the rest."""
        return build_optimizers(self.net, [p for n, p in self.net.named_parameters() if p.ndim == 2 and n.startswith(BLOCKS)], lr)

    def compile(self) -> None:
        """Compiles the transformer blocks, once for all shapes: nearly all of the gain at a tenth of the compile time."""
        compile_blocks(self.net)

    def batch(self, shape: BatchShape) -> dict[str, Any]:
        """New scenes with their matches."""
        return self.generator.batch(shape.scenes, shape.views, shape.height, shape.width)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The network's raw outputs."""
        return self.net(batch["images"])

    def loss(self, out: dict[str, Tensor], batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """See recon_small_losses."""
        return total_loss(self.net, out, batch)


def compile_blocks(net: ReconSmall) -> None:
    """Compiles each transformer block for any number of tokens."""
    for stack in (net.encoder, net.frame, net.joint):
        for block in stack:
            block.compile(dynamic=True)
