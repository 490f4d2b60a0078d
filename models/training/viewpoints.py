"""Contains the cameras of training scenes: walks through rooms, orbits outdoors, turntables round one object."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.training.dice import Dice
from recon.models.training.places import Places

LENS_DEGREES = (7.0, 105.0)  # field of view over the long side
FAR_SCENES, FAR_VIEWS = 0.1, 0.35  # shares: scenes with views from another side, and in these the views that are
FAR_DEGREES = (30.0, 80.0)  # how far around
USUAL_DEGREES = (42.0, 82.0)  # of phones and standard lenses
OBJECT_DEGREES = (20.0, 65.0)  # with which single objects are usually taken


def look_at(position: Tensor, target: Tensor, roll: Tensor) -> Tensor:  # [..., 3], [..., 3], [...] -> [..., 3, 3]
    """Camera to world rotations, OpenCV axes, y up in the world, turned by `roll` about the view direction."""
    forward = F.normalize(target - position, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], device=position.device).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    c, s = roll.cos()[..., None], roll.sin()[..., None]
    return torch.stack([c * right + s * down, c * down - s * right, forward], -1)


def draw_lenses(dice: Dice, places: Places, views: int) -> Tensor:  # [B, V] radians over the long side
    """The usual lenses in 60 % of the scenes, any other log-uniformly; one for all views in 80 %; rooms need a wide one."""
    count = len(places)
    usual = torch.where(places.single[:, None], dice.log_uniform(*OBJECT_DEGREES, count, 1), dice.log_uniform(*USUAL_DEGREES, count, 1))
    lens = torch.where(dice.chance(0.6, count, 1), usual, dice.log_uniform(*LENS_DEGREES, count, 1))
    own = lens * (dice.normal(count, views) * 0.25).exp()
    low = torch.where(places.indoor, 28.0, LENS_DEGREES[0])[:, None]
    degrees = torch.where(dice.chance(0.8, count, 1), lens.expand(-1, views), own)
    return torch.maximum(degrees, low).clamp(max=LENS_DEGREES[1]) * math.pi / 180


def walk(dice: Dice, places: Places, views: int) -> tuple[Tensor, Tensor]:  # positions, targets [B, V, 3]
    """Steps of 2 % to 40 % of a room, looking about one direction: across the room, or anywhere, which may be at a wall."""
    count = len(places)
    start = dice.uniform(-1, 1, count, 1, 3) * places.room[:, None] * torch.tensor([0.85, 0.6, 0.85], device=dice.device)
    reach = dice.log_uniform(0.02, 0.4, count, 1, 1) * places.room.mean(-1)[:, None, None]
    step = dice.normal(count, views, 3) * reach * torch.tensor([1.0, 0.4, 1.0], device=dice.device)
    step[:, 0] = 0
    across_room = dice.normal(count, views, 3) * 0.6 * places.room[:, None] * torch.tensor([1.0, 0.3, 1.0], device=dice.device)
    step = torch.where(far_views(dice, count, views)[..., None], across_room, step)
    limit = places.room[:, None] * 0.93
    position = torch.maximum(torch.minimum(start + step, limit), -limit)
    across = dice.uniform(-1, 1, count, 1, 3) * places.room[:, None] * 0.5 - start * 0.6
    anywhere = start + 2 * F.normalize(dice.normal(count, 1, 3) * torch.tensor([1.0, 0.3, 1.0], device=dice.device), dim=-1)
    aimless = dice.chance(0.35, count, 1, 1) & ~places.bare[:, None, None]  # at a bare wall there is nothing to learn from
    target = torch.where(aimless, anywhere, across)
    return position, target + dice.normal(count, views, 3) * dice.uniform(0, 0.35, count, 1, 1)


def far_views(dice: Dice, count: int, views: int) -> Tensor:  # [B, V] bool
    """Views that stand far from the rest, never the first: what a reconstruction from few photos around a place is made of."""
    far = dice.chance(FAR_SCENES, count, 1) & dice.chance(FAR_VIEWS, count, views)
    far[:, 0] = False
    return far


def orbit(dice: Dice, places: Places, lens: Tensor) -> tuple[Tensor, Tensor]:  # lens [B, V]; positions, targets [B, V, 3]
    """Views of one part of the place from around it; steps are spread log-uniformly, on turntables even and up to 45 degrees."""
    count, views = lens.shape
    radius = places.radius[:, None]
    zoom = (math.tan(math.radians(27)) / (lens / 2).tan()).clamp(0.55, 9.0)  # long lenses stand far away
    distance = dice.log_uniform(0.8, 2.8, count, 1) * radius * zoom
    turntable = places.single[:, None] & dice.chance(0.6, count, 1)
    distance = distance * torch.where(turntable, 1.0, (dice.normal(count, views) * 0.12).exp())
    step = dice.log_uniform(4, 45, count, 1) * math.pi / 180 * torch.arange(views, device=dice.device) * dice.pick([-1.0, 1.0], count, 1)
    spread = dice.normal(count, views) * dice.log_uniform(0.03, 0.5, count, 1)
    around = torch.where(places.wall[:, None], math.pi / 2 + 0.5 * dice.normal(count, 1).clamp(-2, 2), dice.uniform(0, 2 * math.pi, count, 1))
    aside = dice.uniform(*FAR_DEGREES, count, views) * math.pi / 180 * dice.pick([-1.0, 1.0], count, views)
    azimuth = around + torch.where(turntable, step, spread) + torch.where(far_views(dice, count, views) & ~turntable, aside, 0.0)
    highest = torch.where(places.wall, 0.4, torch.where(places.single, 1.2, 0.8))[:, None]
    rise = torch.where(turntable, 0.02, dice.log_uniform(0.05, 0.4, count, 1)) * dice.normal(count, views)
    elevation = 0.03 + dice.uniform(0, 1, count, 1) * highest + rise
    elevation = elevation.clamp(0.02, 1.3)
    middle = dice.uniform(-1, 1, count, 1, 3) * radius[..., None] * torch.tensor([0.5, 0.2, 0.5], device=dice.device)
    middle = torch.where(places.single[:, None, None], middle * 0.2, middle) + torch.tensor([0.0, 0.3, 0.0], device=dice.device)
    middle[..., 2] *= torch.where(places.wall, 0.1, 1.0)[:, None]
    way = torch.stack([azimuth.cos() * elevation.cos(), elevation.sin(), azimuth.sin() * elevation.cos()], -1)
    wander = torch.where(turntable[..., None], 0.02, 0.15) * dice.normal(count, views, 3) * radius[..., None]
    return middle + way * distance[..., None], middle + wander


def draw_cameras(dice: Dice, places: Places, views: int, height: int, width: int) -> Tensor:  # [B, V, 16]
    """Rows for the kernels: camera to world rotation (9), position (3), fx, fy, cx, cy in pixels."""
    count = len(places)
    lens = draw_lenses(dice, places, views)
    inside, outside = walk(dice, places, views), orbit(dice, places, lens)
    position, target = (torch.where(places.indoor[:, None, None], a, b) for a, b in zip(inside, outside, strict=True))
    close = (position - target).norm(dim=-1, keepdim=True) < 0.4
    target = torch.where(close, target + torch.tensor([0.7, 0.1, 0.7], device=dice.device), target)
    quarter = torch.where(dice.chance(0.1, count, 1), dice.integers(1, 4, count, 1) * (math.pi / 2), 0.0)  # a phone held upright
    roll = dice.normal(count, views) * 0.12 + quarter + torch.where(dice.chance(0.04, count, views), dice.uniform(-3.1, 3.1, count, views), 0.0)
    focal = 0.5 * max(height, width) / (lens / 2).tan()
    centre = torch.tensor([width / 2, height / 2], device=dice.device) + dice.normal(count, views, 2) * 0.012 * max(height, width)
    R = look_at(position, target, roll)
    return torch.cat([R.flatten(2), position, focal[..., None], focal[..., None], centre], -1).contiguous()


def camera_matrices(rows: Tensor) -> tuple[Tensor, Tensor]:  # [..., 16] -> [..., 3, 3], [..., 4, 4]
    """K in pixels and cam_to_world of the rows of draw_cameras."""
    shape = rows.shape[:-1]
    K = torch.eye(3, device=rows.device).repeat(*shape, 1, 1)
    K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2] = rows[..., 12:16].unbind(-1)
    cam_to_world = torch.eye(4, device=rows.device).repeat(*shape, 1, 1)
    cam_to_world[..., :3, :3], cam_to_world[..., :3, 3] = rows[..., :9].unflatten(-1, (3, 3)), rows[..., 9:12]
    return K, cam_to_world
