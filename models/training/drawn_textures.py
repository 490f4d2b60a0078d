"""Contains textures drawn from random numbers: noise, leaves, patterns that repeat, plain paint."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.training.dice import Dice

SIDE = 256


def noise_textures(dice: Dice, count: int) -> Tensor:  # [count, 256, 256, 3] uint8
    """Coloured noise of several octaves with sharp patches: enough to match on where no pictures are at hand."""
    x = torch.zeros(count, 3, SIDE, SIDE, device=dice.device)
    for octave in range(2, 8):
        grid = dice.uniform(-1, 1, count, 3, 2**octave, 2**octave)
        mode = "nearest" if octave % 3 == 0 else "bicubic"
        x += F.interpolate(grid, size=(SIDE, SIDE), mode=mode) * dice.uniform(0.2, 1, count, 1, 1, 1) * 0.75 ** (octave - 2)
    colour = dice.uniform(0.2, 0.8, count, 3, 1, 1)
    return ((colour + 0.25 * x).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1)


def leaf_textures(dice: Dice, count: int) -> Tensor:  # [count, 256, 256, 3] uint8
    """Leaves that fill the texture, base at its lower edge: a midrib, side veins, blotches; mostly green, some yellow, red or brown."""
    y, x = torch.meshgrid(torch.linspace(1, 0, SIDE, device=dice.device), torch.linspace(-1, 1, SIDE, device=dice.device), indexing="ij")
    draw = lambda low, high, *more: dice.uniform(low, high, count, *more)[..., None, None]
    green = torch.stack([dice.uniform(0.1, 0.45, count), dice.uniform(0.3, 0.7, count), dice.uniform(0.03, 0.25, count)], -1)
    autumn = torch.stack([dice.uniform(0.4, 0.85, count), dice.uniform(0.1, 0.6, count), dice.uniform(0.02, 0.3, count)], -1)
    colour = torch.where(dice.chance(0.75, count, 1), green, autumn)[..., None, None]
    veins = ((y - draw(0.3, 0.9) * x.abs()) * draw(4, 14)).remainder(1)
    veins = (1 - (veins - 0.5).abs() * 8).clamp(min=0) + (1 - x.abs() * 12).clamp(min=0)
    blotches = F.interpolate(dice.uniform(-1, 1, count, 1, 12, 12), size=(SIDE, SIDE), mode="bicubic")
    shade = 1 + (draw(-0.1, 0.5) * veins.clamp(max=1) + draw(-0.3, 0.3) * y)[:, None] + draw(0.05, 0.3, 1) * blotches
    return ((colour * shade).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1)


def pattern_textures(dice: Dice, count: int) -> Tensor:  # [count, 256, 256, 3] uint8
    """Tiles, bricks, stripes, checks or dots in two colours, 3 to 16 cells a side; in half of them all are alike, in the others shaded."""
    draw = lambda low, high: dice.uniform(low, high, count)[:, None, None]
    along, kind = (torch.arange(SIDE, device=dice.device) + 0.5) / SIDE, dice.integers(0, 5, count)[:, None, None]
    rows, columns = (dice.integers(3, 17, count)[:, None, None] for _ in range(2))
    y = along[:, None] * rows
    x = along * columns + 0.5 * ((kind == 1) & (y.long() % 2 == 1))
    joint, (u, v) = draw(0.04, 0.12), (x % 1, y % 1)
    joints, stripes, checks = (u < joint) | (v < joint), u < draw(0.2, 0.8), (x.long() + y.long()) % 2 == 1
    dots = (u - 0.5).square() + (v - 0.5).square() < draw(0.15, 0.45).square()
    second = torch.where(kind < 2, joints, torch.where(kind == 2, stripes, torch.where(kind == 3, checks, dots)))
    shades = dice.normal(count, 18, 18) * dice.uniform(0.03, 0.15, count, 1, 1) * dice.chance(0.5, count, 1, 1)
    shade = 1 + shades[torch.arange(count, device=dice.device)[:, None, None], y.long(), x.long()]
    first, other = (dice.uniform(0.1, 0.95, count, 1) * (1 + dice.normal(count, 3) * 0.15) for _ in range(2))
    colour = torch.where(second[:, None], other[..., None, None], first[..., None, None] * shade[:, None])
    return ((colour.clamp(0, 1)) * 255).byte().permute(0, 2, 3, 1)


def plain_textures(dice: Dice, count: int) -> Tensor:  # [count, 256, 256, 3] uint8
    """One colour each, mostly a light one as of painted walls, with a gradient of up to 6 % and, on half of them, a grain of up to 1 %."""
    light = dice.uniform(0.6, 0.97, count, 1) * (1 + dice.normal(count, 3) * 0.03)
    colour = torch.where(dice.chance(0.75, count, 1), light, dice.uniform(0.08, 0.9, count, 3))[..., None, None]
    drift = F.interpolate(dice.uniform(-1, 1, count, 1, 3, 3), size=(SIDE, SIDE), mode="bilinear", align_corners=True)
    grain = dice.normal(count, 1, SIDE, SIDE) * dice.chance(0.5, count, 1, 1, 1)
    shade = 1 + drift * dice.uniform(0, 0.06, count, 1, 1, 1) + grain * dice.uniform(0, 0.01, count, 1, 1, 1)
    return ((colour * shade).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
