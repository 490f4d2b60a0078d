"""Contains the optimisers: Muon for matrices inside the blocks, AdamW for the rest."""

from collections import defaultdict

import torch
from torch import Tensor, nn


def orthogonalise(x: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices of x [N, R, C] by the quintic Newton-Schulz iteration (Jordan et al. 2024)."""
    tall = x.shape[1] > x.shape[2]
    x = x.bfloat16().mT if tall else x.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; update size matched to AdamW's (0.2 sqrt(longest side)); kernels as matrices, qkv matrices as three."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.05) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in weights]
            for p in weights:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in weights]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
            updates = torch._foreach_lerp(gradients, momenta, group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])  # pyright: ignore[reportPrivateImportUsage]
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p, update in zip(weights, updates, strict=True):
                parts = 3 if p.ndim == 2 and p.shape[0] == 3 * p.shape[1] else 1
                for weight, step in zip(p.chunk(parts), update.flatten(1).chunk(parts), strict=True):
                    by_shape[step.shape].append((weight, step))
            for shape, items in by_shape.items():
                directions = orthogonalise(torch.stack([step for _, step in items]))
                chosen = [weight for weight, _ in items]
                steps = [direction.view_as(weight) for weight, direction in zip(chosen, directions, strict=True)]
                torch._foreach_add_(chosen, steps, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)  # pyright: ignore[reportPrivateImportUsage]


def build_optimizers(net: nn.Module, matrices: list[nn.Parameter], lr: float, weight_decay: float = 0.05) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and kernels named, AdamW (0.9, 0.95) for all other parameters."""
    chosen = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    fused = next(net.parameters()).is_cuda
    return [Muon(matrices, lr, weight_decay=weight_decay), torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay, fused=fused)]
