"""Contains what a training scene is at large: a room, a place outdoors, a wall or one object, its size, its light."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.models.training.dice import Dice

LIGHT_COLUMNS, FAR = 16, 200.0


@dataclass(frozen=True, kw_only=True)
class Places:
    """B places. World axes: y up, the floor of an outdoor place at y = 0, a room centred at the origin."""

    indoor: Tensor  # [B] bool
    single: Tensor  # [B] bool: one object in the middle, seen all round
    wall: Tensor  # [B] bool: a facade with what hangs on it, seen from +z
    plain: Tensor  # [B] bool: before one colour
    bare: Tensor  # [B] bool: painted, without texture
    room: Tensor  # [B, 3] half sizes of the room
    radius: Tensor  # [B] of the interesting part outdoors
    floor: Tensor  # [B] y
    extent: Tensor  # [B, 3] half sizes of where objects are put

    def __len__(self) -> int:
        return len(self.indoor)


def draw_places(dice: Dice, count: int) -> Places:
    """35 % rooms, 25 % outdoors, 15 % walls, 25 % single objects, of which most stand before a plain background.

    30 % of the rooms and 10 % of the rest are bare.
    """
    kind = dice.uniform(0, 1, count)
    indoor, wall, single = kind < 0.35, (kind > 0.6) & (kind < 0.75), kind > 0.75
    room = torch.stack([dice.uniform(1.5, 4, count), dice.uniform(1.2, 2, count), dice.uniform(1.5, 4, count)], -1)
    radius = torch.where(single, dice.uniform(0.7, 1.1, count), dice.uniform(1.2, 3.2, count))
    box = lambda *half: torch.tensor(half, device=dice.device)
    spread = torch.where(wall[:, None], box(1.2, 0.8, 0.06), torch.where(single[:, None], box(0.15, 0.075, 0.15), box(1.0, 0.5, 1.0)))
    bare = dice.uniform(0, 1, count) < torch.where(indoor, 0.3, 0.1)
    return Places(
        indoor=indoor, single=single, wall=wall, plain=single & dice.chance(0.75, count) | ~indoor & ~single & dice.chance(0.1, count), room=room,
        bare=bare, radius=radius,
        floor=torch.where(indoor, -room[:, 1], 0.0), extent=torch.where(indoor[:, None], room * 0.85, radius[:, None] * spread),
    )  # fmt: skip


def draw_lights(dice: Dice, places: Places, textures: int) -> Tensor:  # [B, LIGHT_COLUMNS]
    """Rows for the kernels: sun direction (3), ambient, sun colour (3), sky texture, far, plain, plain colour (3)."""
    count = len(places)
    light = torch.zeros(count, LIGHT_COLUMNS, device=dice.device)
    sun = dice.normal(count, 3)
    sun[:, 1] = sun[:, 1].abs() + 0.4
    ambient = dice.uniform(0.4, 1.1, count)
    light[:, :3] = torch.nn.functional.normalize(sun, dim=-1)
    light[:, 3] = ambient
    light[:, 4:7] = (1.45 - ambient)[:, None] * (1 + dice.normal(count, 3) * 0.08)
    light[:, 7] = dice.integers(0, textures, count).float()
    light[:, 8] = FAR
    light[:, 9] = places.plain.float()
    kind = dice.uniform(0, 1, count, 1)
    light[:, 10:13] = torch.where(kind < 0.45, 1.0, torch.where(kind < 0.7, 0.02, dice.uniform(0, 1, count, 3)))
    return light
