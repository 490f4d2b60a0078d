"""Contains where plants and thin things stand in a training scene: mostly between a camera and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.models.training.dice import Dice, turn_y
from recon.models.training.places import Places
from recon.models.training.procedural_meshes import Role

FINE = 4  # instances of a scene that may be plants or thin things
FREE = 0.15  # metres about a camera that stay empty


@dataclass(frozen=True, kw_only=True)
class FineMeshes:
    """What the layout must know of the procedural meshes."""

    of_role: list[Tensor]  # for each Role the numbers of its meshes
    half: Tensor  # [meshes, 3] half sizes of the boxes; procedural meshes are centred


def draw_themes(dice: Dice, places: Places) -> tuple[Tensor, Tensor]:  # [B] bool each
    """Which scenes have plants and which thin things, a fourth and a third: plants mostly outdoors, thin things mostly in rooms."""
    outdoors = ~(places.indoor | places.wall | places.single)
    share = lambda room, open_air, wall, single: (
        room * places.indoor.float() + open_air * outdoors.float() + wall * places.wall.float() + single * places.single.float()
    )
    plants, thin = share(0.15, 0.45, 0.3, 0.2), share(0.45, 0.3, 0.3, 0.35)
    drawn = dice.uniform(0, 1, len(places))
    return drawn < plants, (drawn >= plants) & (drawn < plants + thin)


def draw_roles(dice: Dice, places: Places, plants: Tensor) -> Tensor:  # plants [B] -> [B, FINE]
    """Roles of the fine instances; a sixth of those of a scene with plants are thin things all the same."""
    shape = (len(places), FINE)
    pick = lambda *roles: dice.pick([float(r) for r in roles], *shape)
    green = torch.where(places.single[:, None], float(Role.PLANT), pick(Role.PLANT, Role.PLANT, Role.PLANT, Role.BRANCH))
    thin = pick(Role.BARRIER, Role.CABLES, Role.POLE, Role.POLE, Role.FURNITURE)
    thin = torch.where(places.single[:, None], pick(Role.FURNITURE, Role.FURNITURE, Role.POLE), thin)
    return torch.where(plants[:, None] & (dice.chance(0.83, *shape) | places.single[:, None]), green, thin).long()


def is_any(roles: Tensor, wanted: Sequence[Role]) -> Tensor:
    """Where a role is one of these."""
    return torch.stack([roles == r for r in wanted]).any(0)


def sight_points(dice: Dice, places: Places, cameras: Tensor, roles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points that one of the cameras sees, before what it looks at: [B, FINE, 3], how wide its picture is there [B, FINE], its heading [B, FINE]."""
    count, views = cameras.shape[:2]
    chosen = cameras[torch.arange(count, device=dice.device)[:, None], dice.integers(0, views, count, FINE)]
    R, position = chosen[..., :9].unflatten(-1, (3, 3)), chosen[..., 9:12]
    reach = torch.where(places.indoor, places.room[:, [0, 2]].mean(-1), position.norm(dim=-1).amin(-1))[:, None]
    nearer = is_any(roles, [Role.BRANCH, Role.BARRIER, Role.CABLES, Role.POLE])  # well before the wall behind them
    depth = reach * torch.where(nearer, dice.uniform(0.25, 0.9, count, FINE), dice.uniform(0.45, 1.1, count, FINE))
    wide = depth * 2 * torch.maximum(chosen[..., 14], chosen[..., 15]) / chosen[..., 12]  # the principal point is near the middle
    aside = dice.uniform(-0.35, 0.35, count, FINE, 2) * wide[..., None]
    local = torch.cat([aside, depth[..., None]], -1)
    forward = R[..., 2]
    return position + (R @ local[..., None])[..., 0], wide, torch.atan2(forward[..., 0], forward[..., 2])


def draw_fine(dice: Dice, places: Places, cameras: Tensor, meshes: FineMeshes, textures: int, columns: int) -> Tensor:  # [B, FINE, columns]
    """Rows like those of objects.draw_instances; in a scene with a single object the first is that object and the only one."""
    shape = (len(places), FINE)
    plants, thin = draw_themes(dice, places)
    roles = draw_roles(dice, places, plants)
    drawn = torch.stack([numbers[dice.integers(0, len(numbers), *shape)] for numbers in meshes.of_role])
    mesh = torch.gather(drawn, 0, roles[None])[0]
    single = places.single[:, None]
    number = torch.where(places.single, 1, dice.integers(1, FINE + 1, shape[0]))
    used = (plants | thin)[:, None] & (torch.arange(FINE, device=dice.device) < number[:, None])
    point, wide, heading = sight_points(dice, places, cameras, roles)
    place = torch.where(single[..., None], dice.uniform(-1, 1, *shape, 3) * places.extent[:, None], point)
    floor, half = places.floor[:, None], meshes.half[mesh]
    furniture, across = roles == Role.FURNITURE, is_any(roles, [Role.BARRIER, Role.CABLES])
    stands = single | furniture | (roles == Role.POLE)
    stands |= (roles == Role.PLANT) & dice.chance(0.85, *shape) | (roles == Role.BARRIER) & dice.chance(0.4, *shape)
    size = torch.where(furniture, dice.uniform(0.6, 1.5, *shape), wide * dice.log_uniform(0.45, 1.5, *shape))
    size = torch.where(across, wide * dice.log_uniform(0.6, 2.0, *shape), size)
    to_sight = (place[..., 1] - floor).clamp(min=0) / (2 * half[..., 1]) * dice.uniform(0.8, 1.5, *shape)  # as high as the camera looks
    size = torch.where(stands & ~furniture, torch.maximum(size, torch.minimum(to_sight, 2.5 * wide)), size)
    size = torch.where(single, dice.uniform(0.7, 1.4, *shape), size)
    lowest = floor + half[..., 1] * size
    place[..., 1] = torch.where(stands, lowest, torch.maximum(place[..., 1], lowest))
    turn = turn_y(heading + dice.normal(*shape) * 0.6)
    tilted = dice.chance(0.5, *shape) & (roles == Role.BRANCH)
    R = torch.where(across[..., None, None], turn, torch.where(tilted[..., None, None], dice.rotations(*shape), dice.turns(*shape)))
    rows = torch.zeros(*shape, columns, device=dice.device)
    rows[..., 1:10] = R.flatten(2)
    rows[..., 10:13] = place
    rows[..., 13] = size
    rows[..., 14] = dice.uniform(0.6, 1.25, *shape)
    rows[..., 15] = torch.where(dice.chance(0.5, *shape), dice.integers(0, textures, *shape).float(), -1.0)
    rows[..., 0] = torch.where(used & ~holds_camera(rows, half, cameras[..., 9:12]), mesh.float(), -1.0)
    return rows


def holds_camera(rows: Tensor, half: Tensor, positions: Tensor) -> Tensor:  # [B, I, columns], [B, I, 3], [B, V, 3] -> [B, I]
    """Whether a camera is in the mesh's box or within FREE of it."""
    R = rows[..., None, 1:10].unflatten(-1, (3, 3))
    away = positions[:, None] - rows[:, :, None, 10:13]
    local = (R.mT @ away[..., None])[..., 0].abs()
    return (local < (half * rows[..., 13:14] + FREE)[:, :, None]).all(-1).any(-1)
