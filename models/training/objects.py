"""Contains what stands in a training scene: primitives in groups, and textured meshes, as rows for the kernels of cuda/scene.cu."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.training.dice import Dice
from recon.models.training.places import Places

PRIMITIVES, PRIMITIVE_COLUMNS = 48, 24
INSTANCES, INSTANCE_COLUMNS = 8, 16
GROUPS = 10
BOX, ELLIPSOID, CYLINDER, ROOM, GROUND, CONE = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0


@dataclass(frozen=True, kw_only=True)
class MeshBounds:
    """What the layout must know of the meshes it may use."""

    usable: Tensor  # [n] their numbers
    lowest: Tensor  # [meshes] smallest y


def draw_primitives(dice: Dice, places: Places, textures: int) -> Tensor:  # [B, PRIMITIVES, PRIMITIVE_COLUMNS]
    """Two rows of surroundings (room or ground, backdrop), the rest in groups of parts that stand, hang or are stacked."""
    count, parts = len(places), PRIMITIVES - 2
    group = dice.integers(0, GROUPS, count, parts)
    of_group = lambda x: torch.gather(x, 1, group if x.dim() == 2 else group[..., None].expand(-1, -1, x.shape[2]))
    base = dice.uniform(-1, 1, count, GROUPS, 3) * places.extent[:, None]
    size = dice.uniform(0.12, 0.55, count, GROUPS) * torch.where(dice.chance(0.15, count, GROUPS), 1.8, 1.0)
    size = torch.where(places.single[:, None], dice.uniform(0.3, 0.7, count, GROUPS), size)
    stands = of_group(dice.uniform(0, 1, count, GROUPS) < torch.where(places.wall, 0.3, 0.7)[:, None])
    stacked = of_group(dice.chance(0.3, count, GROUPS))  # clutter on a table, a tower
    own = of_group(size)
    half = own[..., None] * (dice.normal(count, parts, 3) * 0.5).exp() * 0.6
    half = torch.where(dice.chance(0.25, count, parts, 1), half.mean(-1, keepdim=True).expand_as(half), half)
    axis = F.one_hot(dice.integers(0, 3, count, parts), 3).bool()
    half = torch.where(dice.chance(0.2, count, parts, 1) & axis, half * 0.15, half)  # boards
    half = torch.where(dice.chance(0.08, count, parts, 1) & ~axis, half * 0.12, half)  # poles
    half = torch.where((stacked & dice.chance(0.7, count, parts))[..., None], half * 0.5, half).clamp(min=0.01)
    upright = dice.chance(0.65, count, parts) | stacked
    R = torch.where(upright[..., None, None], dice.turns(count, parts), dice.rotations(count, parts))
    flat = torch.where(places.wall[:, None, None], torch.tensor([1.0, 1.0, 0.3], device=dice.device), 1.0)  # what hangs on a wall keeps to it
    place = of_group(base) + dice.normal(count, parts, 3) * own[..., None] * 0.6 * flat
    height = (R[..., 1, :].abs() * half).sum(-1)
    floor = places.floor[:, None]
    raised = torch.where(stacked, own * 1.2, dice.chance(0.4, count, parts) * dice.uniform(0, 1.5, count, parts) * own)
    on_floor = floor + height + torch.where(stacked & (half.amax(-1) > own * 0.4), 0.0, raised)
    free = torch.where(places.indoor[:, None], place[..., 1], place[..., 1].abs() + 0.3)
    place = torch.stack([place[..., 0], torch.where(stands, on_floor, free), place[..., 2]], -1)
    used = torch.where(dice.chance(0.4, count), dice.integers(0, 9, count), dice.integers(4, parts + 1, count))
    used = torch.where(places.single, torch.minimum(used, dice.pick([0.0, 1.0, 1.0, 2.0, 12.0], count)), used)
    kind = dice.pick([BOX, BOX, BOX, ELLIPSOID, CYLINDER, CONE], count, parts)
    rows = torch.zeros(count, PRIMITIVES, PRIMITIVE_COLUMNS, device=dice.device)
    rows[:, 2:, 0] = torch.where(torch.arange(parts, device=dice.device) < used[:, None], kind, 0.0)
    rows[:, 2:, 1:10] = R.flatten(2)
    rows[:, 2:, 10:13] = place
    rows[:, 2:, 13:16] = half
    draw_surroundings(dice, places, rows)
    own_texture = dice.integers(0, textures, count, PRIMITIVES)
    shared = of_group(dice.integers(0, textures, count, GROUPS))
    own_texture[:, 2:] = torch.where(dice.chance(0.4, count, parts), shared, own_texture[:, 2:])
    rows[:, :, 16] = own_texture.float()
    rows[:, :, 17] = dice.log_uniform(0.25, 2.5, count, PRIMITIVES)
    rows[:, 0, 17] *= 0.6
    rows[:, 1, 17] *= torch.where(places.wall, 0.5, 0.15)
    rows[:, :, 18:21] = (dice.uniform(0.5, 1.3, count, PRIMITIVES, 1) * (1 + dice.normal(count, PRIMITIVES, 3) * 0.15)).clamp(0.15, 1.5)
    rows[:, :, 21:23] = dice.uniform(0, 4, count, PRIMITIVES, 2)
    rows[:, :, 23] = dice.chance(0.3, count, PRIMITIVES) * dice.uniform(0, 0.6, count, PRIMITIVES)
    return rows


def draw_surroundings(dice: Dice, places: Places, rows: Tensor) -> None:
    """Fills rows 0 and 1: the room, or mostly a ground, and for some outdoor places a far backdrop, or the wall, its face near z = 0."""
    count = len(places)
    ground = dice.chance(0.85, count) & ~(places.plain & dice.chance(0.7, count))
    rows[:, 0, 0] = torch.where(places.indoor, ROOM, torch.where(ground, GROUND, 0.0))
    rows[:, 0, 1:10] = torch.eye(3, device=dice.device).flatten()
    rows[:, 0, 13:16] = torch.where(places.indoor[:, None], places.room, 1.0)
    rows[:, 1, 0] = torch.where(~places.indoor & ~places.plain & dice.chance(0.4, count), ROOM, 0.0)
    rows[:, 1, 1:10] = dice.turns(count).flatten(1)
    rows[:, 1, 13:16] = torch.stack([dice.uniform(9, 16, count), dice.uniform(6, 14, count), dice.uniform(9, 16, count)], -1)
    half = torch.stack([dice.log_uniform(1.5, 9, count), dice.log_uniform(1, 6, count), torch.full((count,), 0.2, device=dice.device)], -1)
    rows[:, 1, 0] = torch.where(places.wall, BOX, rows[:, 1, 0])
    rows[:, 1, 13:16] = torch.where(places.wall[:, None], half * places.radius[:, None], rows[:, 1, 13:16])
    rows[:, 1, 1:10] = torch.where(places.wall[:, None], torch.eye(3, device=dice.device).flatten(), rows[:, 1, 1:10])
    rows[:, 1, 12] = torch.where(places.wall, -0.25 * places.radius, 0.0)


def draw_instances(dice: Dice, places: Places, meshes: MeshBounds, textures: int) -> Tensor:  # [B, INSTANCES, INSTANCE_COLUMNS]
    """Meshes standing about: 2 to 8 in most scenes, mostly one in the middle of a scene with a single object."""
    shape = (len(places), INSTANCES)
    single = places.single[:, None]
    mesh = meshes.usable[dice.integers(0, len(meshes.usable), *shape)]
    number = torch.where(dice.chance(0.2, shape[0]), 0, dice.integers(2, INSTANCES + 1, shape[0]))
    number = torch.where(places.single, dice.pick([0.0, 1.0, 1.0, 1.0, 2.0], shape[0]).long(), number)
    used = torch.arange(INSTANCES, device=dice.device) < number[:, None]
    size = torch.where(single, dice.uniform(0.7, 1.4, *shape), dice.log_uniform(0.35, 1.7, *shape))
    upright = dice.chance(0.85, *shape)
    R = torch.where(upright[..., None, None], dice.turns(*shape), dice.rotations(*shape))
    place = dice.uniform(-1, 1, *shape, 3) * places.extent[:, None]
    stands = upright & (dice.chance(0.85, *shape) | single)
    free = torch.where(places.indoor[:, None], place[..., 1], place[..., 1].abs() + 0.3)
    place[..., 1] = torch.where(stands, places.floor[:, None] - meshes.lowest[mesh] * size, free)
    rows = torch.zeros(*shape, INSTANCE_COLUMNS, device=dice.device)
    rows[..., 0] = torch.where(used, mesh.float(), -1.0)
    rows[..., 1:10] = R.flatten(2)
    rows[..., 10:13] = place
    rows[..., 13] = size
    rows[..., 14] = dice.uniform(0.6, 1.25, *shape)
    rows[..., 15] = torch.where(dice.chance(0.7, *shape), dice.integers(0, textures, *shape).float(), -1.0)
    return rows


def clear_cameras(primitives: Tensor, instances: Tensor, positions: Tensor) -> None:
    """Takes away, in place, what a camera (positions [B, V, 3]) would stand in or right before."""
    distance = lambda rows: (rows[:, :, None, 10:13] - positions[:, None]).norm(dim=-1).amin(-1)
    parts = primitives[:, 2:]
    parts[..., 0] = torch.where(distance(parts) < parts[..., 13:16].norm(dim=-1) * 0.8 + 0.15, 0.0, parts[..., 0])
    instances[..., 0] = torch.where(distance(instances) < instances[..., 13] * 0.6 + 0.15, -1.0, instances[..., 0])
