"""Contains Dice, random draws on one device from one generator."""

import math

import torch
from torch import Tensor


class Dice:
    """Random tensors; equal seeds give equal draws on one kind of device."""

    def __init__(self, seed: int, device: str | torch.device) -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in low..high."""
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in the logarithm, low..high > 0."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True with this probability."""
        return torch.rand(shape, generator=self.generator, device=self.device) < probability

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers low..high - 1."""
        return torch.randint(low, high, shape, generator=self.generator, device=self.device)

    def pick(self, values: list[float], *shape: int) -> Tensor:
        """One of the values, each as likely."""
        return torch.tensor(values, device=self.device)[self.integers(0, len(values), *shape)]

    def rotations(self, *shape: int) -> Tensor:  # [*shape, 3, 3]
        """Uniform random rotations."""
        w, x, y, z = torch.nn.functional.normalize(self.normal(*shape, 4), dim=-1).unbind(-1)
        rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z),
                2 * (y * z - w * x), 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]  # fmt: skip
        return torch.stack(rows, -1).reshape(*shape, 3, 3)

    def turns(self, *shape: int) -> Tensor:  # [*shape, 3, 3]
        """Uniform random rotations about y."""
        return turn_y(self.uniform(0, 2 * math.pi, *shape))


def turn_y(angle: Tensor) -> Tensor:  # [...] -> [..., 3, 3]
    """Rotations about y."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, zero, s, zero, one, zero, -s, zero, c], -1).reshape(*angle.shape, 3, 3)
