"""Contains the triplane: points gathered on three planes (Peng et al., "Convolutional Occupancy Networks", ECCV 2020) and read from them again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AXES = ((0, 1), (0, 2), (1, 2))  # the coordinates along columns and rows of each plane


class ResidualLinear(nn.Module):
    """Two layers after ReLUs beside a linear one."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.fc_0, self.fc_1 = nn.Linear(channels, out), nn.Linear(out, out)
        self.shortcut = nn.Linear(channels, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # [B, N, C] -> [B, N, out]
        return self.shortcut(x) + self.fc_1(F.relu(self.fc_0(F.relu(x))))


def cells(points: Tensor, radius: float, side: int) -> Tensor:  # [B, N, 3] -> [3, B, N] int64
    """The cell of each point on each plane; points beyond the cube count to its border."""
    place = ((points / radius + 1) / 2).clamp(0, 1 - 1e-6)
    index = (place * side).long()
    return torch.stack([index[..., a] + side * index[..., b] for a, b in AXES])


class PointEncoder(nn.Module):
    """Points with features to three planes, each cell the mean of its points."""

    def __init__(self, channels: int, hidden: int, out: int, depth: int, side: int, radius: float) -> None:
        super().__init__()
        self.side, self.radius = side, radius
        self.fc_pos = nn.Linear(channels, 2 * hidden)
        self.blocks = nn.ModuleList(ResidualLinear(2 * hidden, hidden) for _ in range(depth))
        self.fc_c = nn.Linear(hidden, out)

    def forward(self, points: Tensor, features: Tensor) -> Tensor:  # [B, N, 3], [B, N, C] -> [B, 3, out, side, side]
        index = cells(points, self.radius, self.side)
        first, *others = self.blocks
        x = first(self.fc_pos(torch.cat([points, features], -1)))
        for block in others:
            x = block(torch.cat([x, sum(self._greatest(x, plane) for plane in index)], -1))  # type: ignore[list-item]
        x = self.fc_c(x)
        return torch.stack([self._mean(x, plane) for plane in index], 1)

    def _greatest(self, x: Tensor, cell: Tensor) -> Tensor:  # [B, N, C] -> [B, N, C]
        """For each point the greatest values in its cell."""
        place = cell[..., None].expand_as(x)
        most = torch.full((len(x), self.side**2, x.shape[2]), -torch.inf, device=x.device, dtype=x.dtype).scatter_reduce(1, place, x, "amax")
        return most.gather(1, place)

    def _mean(self, x: Tensor, cell: Tensor) -> Tensor:  # [B, N, C] -> [B, C, side, side]
        """The mean in each cell, zero where there is no point."""
        place = cell[..., None].expand_as(x)
        total = torch.zeros(len(x), self.side**2, x.shape[2], device=x.device, dtype=x.dtype).scatter_add(1, place, x)
        count = torch.zeros(len(x), self.side**2, device=x.device, dtype=x.dtype).scatter_add(1, cell, torch.ones_like(x[..., 0]))
        return (total / count.clamp(min=1)[..., None]).transpose(1, 2).unflatten(2, (self.side, self.side))


def read_planes(planes: Tensor, points: Tensor, radius: float) -> Tensor:  # [B, 3, C, S, S], [B, N, 3] -> [B, N, 3 C]
    """The planes' values at points, one plane after the other."""
    place = points / radius
    grid = torch.stack([torch.stack([place[..., a], place[..., b]], -1) for a, b in AXES], 1)  # [B, 3, N, 2]
    read = F.grid_sample(planes.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)  # [B 3, C, 1, N]
    return read[:, :, 0].unflatten(0, (-1, 3)).permute(0, 3, 1, 2).flatten(2)
