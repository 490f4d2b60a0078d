"""Contains the training loop: a time budget, EMA weights saved every minute, any number of GPUs through torchrun."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

log = logging.getLogger(__name__)
MULTIPLE = 16  # of which heights and widths are made
RECORD_EVERY, STOP_EVERY = 25, 10  # steps
MOST_BROKEN = 20  # steps in a row without a finite gradient end the run
ASPECTS = (1.0, 4 / 3, 3 / 4, 3 / 2, 2 / 3, 16 / 9, 9 / 16)
ASPECT_SHARE = (0.3, 0.25, 0.15, 0.1, 0.08, 0.07, 0.05)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """One run of the loop. The cosine runs over total_minutes, of which done_minutes were trained before."""

    minutes: float = 10.0
    done_minutes: float = 0.0
    total_minutes: float = 0.0  # 0: this run is all there is
    sides: tuple[int, ...] = (224,)  # pictures have about side^2 pixels, whatever their aspect; one is drawn a step
    pixels: int = 256 * 224 * 224  # per step and GPU, whatever the number of views
    views: tuple[int, ...] = (1, 2, 2, 2, 2, 3, 4)  # one is drawn a step
    lr: float = 1e-3
    warmup: int = 200
    ema_steps: int = 300  # the average reaches back about so far
    longest_gradient: float = 1.0  # its norm is clipped to this
    compile: bool = True
    seed: int = 0
    save: Path = Path("trained.safetensors")
    log: Path = Path("train.jsonl")


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """What a step trains on."""

    scenes: int
    views: int
    height: int
    width: int


class Task(Protocol):
    """What is trained: a network, its batches and its loss."""

    @property
    def net(self) -> nn.Module:
        """The network that is trained, or a part of it; all of it is saved."""
        ...

    def optimizers(self, lr: float) -> list[torch.optim.Optimizer]:
        """Optimisers of the parameters that are trained."""
        ...

    def compile(self) -> None:
        """Compiles what gains most from it."""
        ...

    def batch(self, shape: BatchShape) -> Any:
        """New scenes; made without gradients."""
        ...

    def forward(self, batch: Any) -> Any:
        """What the network says of a batch; run under bf16 autocast on a GPU."""
        ...

    def loss(self, out: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of that and its parts, by name, for the log."""
        ...


def batch_shapes(options: TrainOptions) -> Iterator[BatchShape]:
    """Endless shapes: random views and aspect, equal numbers of pixels; the same on every GPU, so that no one waits."""
    draw = random.Random(options.seed)
    while True:
        views = draw.choice(options.views)
        aspect = draw.choices(ASPECTS, ASPECT_SHARE)[0]
        side = draw.choice(options.sides)
        width, height = (max(2, round(side * a / MULTIPLE)) * MULTIPLE for a in (math.sqrt(aspect), math.sqrt(1 / aspect)))
        yield BatchShape(scenes=max(1, options.pixels // (views * height * width)), views=views, height=height, width=width)


def learning_rate(options: TrainOptions, step: int, elapsed_minutes: float) -> float:
    """Linear warm-up, then a cosine to 2 % at the end of all runs."""
    total = options.total_minutes or options.minutes
    progress = min((options.done_minutes + elapsed_minutes) / total, 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * progress)) * 0.98 + 0.02
    return options.lr * min(1.0, (step + 1) / options.warmup) * cosine


def average_gradients(parameters: list[nn.Parameter], world: int) -> None:
    """The mean over the GPUs, one message for all."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class Average:
    """Exponential moving average of the parameters; its horizon grows with the steps, so that it never holds on to the start."""

    def __init__(self, net: nn.Module, steps: int) -> None:
        self.parameters, self.steps, self.count = list(net.parameters()), steps, 0
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        share = 1 / min(self.steps, 1 + self.count / 4)
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], share)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges average and parameters."""
        for p, value in zip(self.parameters, self.values, strict=True):
            kept = p.detach().clone()
            p.copy_(value)
            value.copy_(kept)


def save_average(net: nn.Module, average: Average, path: Path) -> None:
    """The averaged weights as packed safetensors, whole or not at all."""
    from recon.weights import pack

    average.swap()
    pack(net.state_dict(), path)
    average.swap()


def train(task: Task, options: TrainOptions) -> None:
    """Trains task.net in place until the time is up; at the end it holds the EMA weights, which are also in options.save.

    RuntimeError when the gradient is not finite many times in a row; single such steps are left out.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    parameters = list(task.net.parameters())
    device = parameters[0].device
    optimizers = task.optimizers(options.lr)
    average = Average(task.net, options.ema_steps)
    if options.compile:
        task.compile()
    start = saved = time.monotonic()
    images = broken = 0
    for step, shape in enumerate(batch_shapes(options)):
        elapsed = (time.monotonic() - start) / 60
        if step % STOP_EVERY == 0 and agreed(elapsed >= options.minutes, world, device):
            break
        rate = learning_rate(options, step, elapsed)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            batch = task.batch(shape)
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            out = task.forward(batch)
        loss, parts = task.loss(out, batch)
        loss.backward()
        if world > 1:
            average_gradients(parameters, world)
        norm = nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], options.longest_gradient)
        if torch.isfinite(norm):
            broken = 0
            for optimizer in optimizers:
                optimizer.step()
            average.update()
        elif (broken := broken + 1) > MOST_BROKEN:
            raise RuntimeError(f"no finite gradient in {broken} steps up to step {step}")
        images += shape.scenes * shape.views
        if rank == 0 and step % RECORD_EVERY == 0:
            record(options.log, step, elapsed, rate, images * world, norm, shape, parts)
        if rank == 0 and time.monotonic() - saved > 60:
            save_average(task.net, average, options.save)
            saved = time.monotonic()
    average.swap()
    if rank == 0:
        from recon.weights import pack

        pack(task.net.state_dict(), options.save)


def agreed(stop: bool, world: int, device: torch.device) -> bool:
    """What the first process says, so that all stop at the same step."""
    if world == 1:
        return stop
    flag = torch.tensor(float(stop), device=device)
    dist.broadcast(flag, 0)
    return bool(flag.item())


def record(path: Path, step: int, minutes: float, rate: float, images: int, norm: Tensor, shape: BatchShape, parts: dict[str, Tensor]) -> None:
    """One line of json in the log."""
    row: dict[str, Any] = {"step": step, "minutes": round(minutes, 2), "lr": round(rate, 6), "images": images, "norm": round(norm.item(), 3)}
    if torch.cuda.is_available():
        row["gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    row |= {"views": shape.views, "height": shape.height, "width": shape.width} | {k: round(v.item(), 4) for k, v in parts.items()}
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
