"""Contains what makes a training scene bare: painted walls and things without texture; in rooms a floor, a door, a window, skirtings."""

import torch
from torch import Tensor

from recon.models.training.dice import Dice
from recon.models.training.objects import BOX
from recon.models.training.places import Places

FIXTURES = 9  # the last primitives of a bare room: floor, ceiling, door, window's frame, its pane, four skirtings
FEW = 6  # primitives left in an almost empty room, with the room itself
THIN = 0.012  # half their thickness


def paint_plain(dice: Dice, places: Places, primitives: Tensor, instances: Tensor, plain: Tensor) -> None:
    """Gives the bare scenes, in place, textures of one colour (`plain` [n]: their numbers): all walls and most things.

    Half of the bare rooms lose all but a few primitives.
    """
    count, rows = primitives.shape[:2]
    painted = dice.chance(0.75, count, rows)
    painted[:, 0] = places.indoor
    painted[:, 1] = places.wall
    painted &= places.bare[:, None]
    own = plain[dice.integers(0, len(plain), count, rows)].float()
    primitives[..., 16] = torch.where(painted, own, primitives[..., 16])
    primitives[..., 17] = torch.where(painted, dice.uniform(0.05, 0.3, count, rows), primitives[..., 17])
    empty = (places.bare & places.indoor & dice.chance(0.5, count))[:, None] & (torch.arange(rows, device=dice.device) >= FEW)
    primitives[..., 0] = torch.where(empty, 0.0, primitives[..., 0])
    primitives[:, 0, 18:21] = torch.where((places.bare & places.indoor)[:, None], dice.uniform(0.85, 1.25, count, 1), primitives[:, 0, 18:21])
    own = plain[dice.integers(0, len(plain), *instances.shape[:2])].float()
    instances[..., 15] = torch.where(places.bare[:, None], own, instances[..., 15])


def fit_out_rooms(dice: Dice, places: Places, primitives: Tensor, plain: Tensor) -> None:
    """Puts the fixtures into the bare rooms, in place. A ceiling keeps the sun out, so that only ambient light is left."""
    count = len(places)
    place, half = torch.zeros(count, FIXTURES, 3, device=dice.device), torch.zeros(count, FIXTURES, 3, device=dice.device)
    level = torch.stack([places.room[:, 0], torch.full((count,), THIN, device=dice.device), places.room[:, 2]], -1)
    half[:, :2] = level[:, None]
    place[:, 0, 1], place[:, 1, 1] = places.floor, -places.floor
    tall, wide = dice.uniform(0.95, 1.1, count), dice.uniform(0.35, 0.55, count)
    place[:, 2], half[:, 2] = on_wall(places, dice.integers(0, 4, count), wide, tall, places.floor + tall, dice.uniform(-0.9, 0.9, count), THIN)
    wall, along = dice.integers(0, 4, count), dice.uniform(-0.7, 0.7, count)
    tall, wide, sill = dice.uniform(0.4, 0.7, count), dice.uniform(0.4, 1.2, count), dice.uniform(0.4, 0.9, count)
    middle = torch.minimum(places.floor + sill + tall, places.room[:, 1] - tall - 0.1)
    place[:, 3], half[:, 3] = on_wall(places, wall, wide, tall, middle, along, 2 * THIN)
    place[:, 4], half[:, 4] = on_wall(places, wall, wide - 0.06, tall - 0.06, middle, along, 2.2 * THIN)
    rim = dice.uniform(0.03, 0.07, count)
    for k in range(4):
        place[:, 5 + k], half[:, 5 + k] = on_wall(places, torch.full_like(wall, k), places.room.amax(-1), rim, places.floor + rim, along * 0, THIN)
    skirting, window = dice.chance(0.6, count), dice.chance(0.6, count)
    there = torch.stack([dice.chance(0.8, count), dice.chance(0.3, count), dice.chance(0.7, count), window, window, *[skirting] * 4], -1)
    rows = primitives[:, -FIXTURES:]
    texture = plain[dice.integers(0, len(plain), count, FIXTURES)].float()
    texture[:, 5:] = texture[:, 5:6]
    floor_texture = torch.where(dice.chance(0.5, count), rows[:, 0, 16], texture[:, 0])  # the floor may be of wood or tiles
    texture[:, 0] = floor_texture
    new = rows.clone()
    new[..., 0] = torch.where(there, BOX, 0.0)
    new[..., 1:10] = torch.eye(3, device=dice.device).flatten()
    new[..., 10:13], new[..., 13:16], new[..., 16] = place, half, texture
    new[:, 5:, 18:21], new[:, 4, 18:21] = rows[:, 5:6, 18:21], 1.5  # the sky behind the pane
    primitives[:, -FIXTURES:] = torch.where((places.bare & places.indoor)[:, None, None], new, rows)


def on_wall(places: Places, wall: Tensor, wide: Tensor, tall: Tensor, middle: Tensor, along: Tensor, thick: float) -> tuple[Tensor, Tensor]:
    """Place and half sizes [B, 3] of boards on the walls of rooms.

    wall [B]: 0 to 3 for -x, +x, -z, +z; wide, tall, thick: half sizes; middle: y; along: -1..1 from end to end of the wall.
    """
    to_x, sign = wall < 2, (wall % 2) * 2.0 - 1
    shift = along * torch.where(to_x, places.room[:, 2] - wide, places.room[:, 0] - wide).clamp(min=0)
    room_x, room_z = sign * places.room[:, 0], sign * places.room[:, 2]
    depth = torch.full_like(wide, thick)
    place = torch.stack([torch.where(to_x, room_x, shift), middle, torch.where(to_x, shift, room_z)], -1)
    return place, torch.stack([torch.where(to_x, depth, wide), tall, torch.where(to_x, wide, depth)], -1)
