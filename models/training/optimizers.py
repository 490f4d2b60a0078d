"""Contains the optimisers: Muon for matrices inside the blocks, AdamW for the rest."""

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
    """Momentum, orthogonalised; update size matched to AdamW's (0.2 sqrt(longest side)); qkv matrices as three."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.05) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"])
                parts = 3 if p.shape[0] == 3 * p.shape[1] else 1
                for weight, step in zip(p.chunk(parts), update.chunk(parts), strict=True):
                    by_shape.setdefault(step.shape, []).append((weight, step))
            for shape, items in by_shape.items():
                directions = orthogonalise(torch.stack([step for _, step in items]))
                size = 0.2 * max(shape) ** 0.5
                for (weight, _), direction in zip(items, directions, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"] * size)


def build_optimizers(net: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the 2-D weights of the transformer blocks, AdamW (0.9, 0.95) for everything else."""
    blocks = ("encoder.", "frame.", "joint.")
    matrices = [p for n, p in net.named_parameters() if p.ndim == 2 and n.startswith(blocks)]
    chosen = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    fused = next(net.parameters()).is_cuda
    return [Muon(matrices, lr), torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.05, fused=fused)]
