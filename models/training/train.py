"""Contains the training loop: a time budget, EMA weights saved every minute, any number of GPUs through torchrun."""

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from recon.models.recon_small import ReconSmall
from recon.models.training.losses import total_loss
from recon.models.training.optimizers import build_optimizers

log = logging.getLogger(__name__)
Batch = dict


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """One run of the loop. The cosine runs over total_minutes, of which done_minutes were trained before."""

    minutes: float
    done_minutes: float = 0.0
    total_minutes: float = 0.0  # 0: this run is all there is
    batch: int = 128  # images per step and GPU = 2 * batch, whatever the number of views
    lr: float = 1e-3
    warmup: int = 300
    compile: bool = True
    save: Path = Path("recon_small_train.pt")
    log: Path = Path("train.jsonl")


def learning_rate(options: TrainOptions, step: int, elapsed_minutes: float) -> float:
    """Linear warm-up, then a cosine to 2 % at the end of all runs."""
    total = options.total_minutes or options.minutes
    progress = min((options.done_minutes + elapsed_minutes) / total, 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * progress)) * 0.98 + 0.02
    return options.lr * min(1.0, (step + 1) / options.warmup) * cosine


def average_gradients(net: ReconSmall, world: int) -> None:
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    flat = torch._utils._flatten_dense_tensors(gradients)
    dist.all_reduce(flat)
    flat /= world
    for g, s in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients), strict=True):
        g.copy_(s)


def save_weights(net: ReconSmall, ema: list[torch.Tensor], path: Path) -> None:
    names = [n for n, _ in net.named_parameters()]
    temporary = path.with_suffix(".tmp")
    torch.save(dict(zip(names, (e.half() for e in ema), strict=True)), temporary)
    os.replace(temporary, path)


def train(net: ReconSmall, generate: Callable[[int], Batch], options: TrainOptions) -> None:
    """Trains net in place until the time is up; at the end it holds the EMA weights. generate(step) gives a batch."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    optimizers = build_optimizers(net, options.lr)
    ema = [p.detach().clone() for p in net.parameters()]

    def objective(batch: Batch):
        with torch.autocast("cuda", torch.bfloat16, enabled=batch["images"].is_cuda):
            out = net(batch["images"])
        return total_loss(net, out, batch)

    compiled = torch.compile(objective, dynamic=False) if options.compile else objective
    start = time.time()
    began: float | None = None
    saved, step = start, 0
    images = 0
    while True:
        elapsed = (time.time() - start) / 60
        if step % 20 == 0:
            stop = torch.tensor(float(elapsed >= options.minutes), device=ema[0].device)
            if world > 1:
                dist.broadcast(stop, 0)
            if stop.item():
                break
        lr = learning_rate(options, step, elapsed)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad(set_to_none=True)
        batch = generate(step)
        loss, parts = compiled(batch)
        loss.backward()
        if world > 1:
            average_gradients(net, world)
        norm = torch.nn.utils.clip_grad_norm_([p for p in net.parameters() if p.grad is not None], 1.0)
        if step % 50 == 0 and not torch.isfinite(norm):
            raise RuntimeError(f"gradient is not finite at step {step}")
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(ema, list(net.parameters()), 0.002 if step > 2000 else 0.01)
        images += batch["images"].shape[0] * batch["images"].shape[1]
        if began is None and step == 10:
            torch.cuda.synchronize() if ema[0].is_cuda else None
            began, images = time.time(), 0
        if rank == 0 and step % 100 == 0:
            rate = images / (time.time() - began) * world if began and images else 0.0
            row = {"step": step, "minutes": round(elapsed, 2), "lr": round(lr, 6), "images_per_s": round(rate), "norm": round(norm.item(), 3)}
            row |= {k: round(v.item(), 4) for k, v in parts.items()}
            with open(options.log, "a") as f:
                f.write(json.dumps(row) + "\n")
        if rank == 0 and time.time() - saved > 60:
            save_weights(net, ema, options.save)
            saved = time.time()
        step += 1
    with torch.no_grad():
        for p, e in zip(net.parameters(), ema, strict=True):
            p.copy_(e)
    if rank == 0:
        save_weights(net, ema, options.save)
