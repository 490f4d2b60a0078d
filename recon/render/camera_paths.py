"""Paths of cameras around a scene's own centre and up: orbit, spiral, wobble, and a smooth way through given cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.geometry import matrices_to_quats, quats_to_matrices
from recon.scene import Cameras, Scene

MAX_SAMPLES = 200_000  # Gaussians or points that the centre is taken from
WORLD_UP = (0.0, -1.0, 0.0)  # y points down in OpenCV's axes


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a scene is: what a path turns around."""

    center: Tensor  # [3] world
    up: Tensor  # [3] unit, world
    radius: float  # holds most of the scene


def surroundings(scene: Scene) -> Surroundings:
    """Centre, up and radius of a scene, from its Gaussians or points (weighted medians, so that far outliers do not matter) and its cameras.

    Up is the mean of the cameras' up, or -y without cameras. Raises ReconError for a scene that holds nothing to look at.
    """
    points, weight = _content(scene)
    step = max(1, len(points) // MAX_SAMPLES)
    points, weight = points[::step].float().cpu(), weight[::step].float().cpu()
    center = torch.stack([_quantile(points[:, i], weight, 0.5) for i in range(3)])
    radius = float(_quantile((points - center).norm(dim=-1), weight, 0.8))
    up = torch.tensor(WORLD_UP)
    placed = _placed(scene.cameras)
    if len(placed):
        mean = -placed.cam_to_world[:, :3, 1].float().cpu().mean(0)
        up = mean / mean.norm() if float(mean.norm()) > 0.1 else up  # cameras all round an axis have no common up
    return Surroundings(center=center, up=up, radius=max(radius, 1e-6))


def _content(scene: Scene) -> tuple[Tensor, Tensor]:
    if scene.gaussians is not None and len(scene.gaussians):
        return scene.gaussians.means.detach(), scene.gaussians.opacities.detach().clamp(min=1e-3)
    for points in (
        scene.pointmaps.points[scene.pointmaps.mask] if scene.pointmaps is not None else None,
        scene.mesh.vertices if scene.mesh is not None else None,
        scene.tracks.points if scene.tracks is not None else None,
    ):
        if points is not None and len(points):
            return points.detach(), torch.ones(len(points))
    raise ReconError("the scene holds no Gaussians, points or mesh to look at")


def _placed(cameras: Cameras) -> Cameras:
    rows = [c for c in range(len(cameras)) if cameras.placed_by[c] != "unplaced" and bool(cameras.cam_to_world[c].isfinite().all())]
    return cameras[torch.tensor(rows, dtype=torch.long)]


def _quantile(values: Tensor, weight: Tensor, share: float) -> Tensor:
    order = torch.from_numpy(np.argsort(values.numpy()))  # several times as fast as torch's
    total = weight[order].cumsum(0)
    return values[order[int(torch.searchsorted(total, share * total[-1]).clamp(max=len(values) - 1))]]


def look_at(eyes: Tensor, target: Tensor, up: Tensor) -> Tensor:  # [C, 3], [3] or [C, 3], [3] -> [C, 4, 4]
    """cam_to_world of cameras at `eyes` that look at `target`, with the image's upper side towards `up`."""
    forward = torch.nn.functional.normalize(target - eyes, dim=-1)
    right = torch.linalg.cross(forward, up.expand_as(forward))
    # straight up or down any right hand will do
    other = torch.linalg.cross(forward, forward.new_tensor([1.0, 0.3, 0.2]).expand_as(forward))
    right = torch.nn.functional.normalize(torch.where(right.norm(dim=-1, keepdim=True) > 1e-4, right, other), dim=-1)
    T = torch.eye(4).to(eyes).repeat(len(eyes), 1, 1)
    T[:, :3, 0], T[:, :3, 1], T[:, :3, 2], T[:, :3, 3] = right, torch.linalg.cross(forward, right), forward, eyes
    return T


def with_view(cam_to_world: Tensor, width: int, height: int, fov_degrees: float) -> Cameras:
    """Cameras [C] with a centred principal point and `fov_degrees` across the shorter side of the image. Raises ReconError."""
    if not 1 <= fov_degrees < 179:
        raise ReconError(f"the field of view is {fov_degrees} degrees, wanted 1 to 179")
    focal = min(width, height) / 2 / math.tan(math.radians(fov_degrees) / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Cameras(K=K.repeat(len(cam_to_world), 1, 1), cam_to_world=cam_to_world, width=width, height=height)


def orbit(place: Surroundings, *, width: int, height: int, frames: int = 120, elevation_degrees: float = 20.0, distance: float = 2.6,
          fov_degrees: float = 50.0) -> Cameras:  # fmt: skip
    """One turn around the centre at `distance` radii, looking at it from `elevation_degrees` above; the last frame leads to the first."""
    angle = torch.arange(frames) * (2 * math.pi / frames)
    return _around(place, angle, torch.full_like(angle, distance), torch.full_like(angle, elevation_degrees), width, height, fov_degrees)


def spiral(place: Surroundings, *, width: int, height: int, frames: int = 240, turns: float = 2.0, distance: float = 2.6,
           fov_degrees: float = 50.0) -> Cameras:  # fmt: skip
    """Turns around the centre that come closer (to half of `distance` radii) and sink from 50 to 5 degrees of elevation."""
    share = torch.arange(frames) / max(frames - 1, 1)
    ease = (1 - torch.cos(math.pi * share)) / 2
    return _around(place, 2 * math.pi * turns * share, distance * (1 - 0.5 * ease), 50 - 45 * ease, width, height, fov_degrees)


def _around(place: Surroundings, angle: Tensor, distance: Tensor, elevation: Tensor, width: int, height: int, fov: float) -> Cameras:
    first = torch.linalg.cross(place.up, torch.tensor([1.0, 0.0, 0.0]))  # the angle 0: in front, as the first camera is
    first = first if float(first.norm()) > 0.1 else torch.linalg.cross(place.up, torch.tensor([0.0, 0.0, 1.0]))
    first = torch.nn.functional.normalize(first, dim=0)
    first = -first if float(first[2]) > 0 else first
    second = torch.linalg.cross(place.up, first)
    flat = torch.cos(angle)[:, None] * first + torch.sin(angle)[:, None] * second
    high = torch.deg2rad(elevation)[:, None]
    eyes = place.center + place.radius * distance[:, None] * (torch.cos(high) * flat + torch.sin(high) * place.up)
    return with_view(look_at(eyes, place.center, place.up), width, height, fov)


def wobble(scene: Scene, *, width: int, height: int, frames: int = 90, amount: float = 0.08) -> Cameras:
    """A small circle around the scene's first placed camera, looking at the point before it: for scenes that were only seen from the front.

    `amount` is the circle's radius as a share of the distance looked over. Raises ReconError without a placed camera.
    """
    start = _placed(scene.cameras)
    if not len(start):
        raise ReconError("wobble moves around a camera of the scene, and it has none; use orbit")
    T = start.cam_to_world[0].float().cpu()
    points, weight = _content(scene)
    z = (points.float().cpu() - T[:3, 3]) @ T[:3, 2]
    seen = z > 0
    depth = float(_quantile(z[seen], weight.float().cpu()[seen], 0.4)) if bool(seen.any()) else 1.0
    angle = torch.arange(frames) * (2 * math.pi / frames)
    circle = torch.stack([torch.sin(angle), 0.5 * (torch.cos(angle) - 1), torch.zeros(frames)], -1) * (amount * depth)
    moved = look_at(T[:3, 3] + circle @ T[:3, :3].T, T[:3, 3] + depth * T[:3, 2], -T[:3, 1])
    return Cameras(K=_resized(start, width, height)[:1].repeat(frames, 1, 1), cam_to_world=moved, width=width, height=height)


def through(cameras: Cameras, *, width: int, height: int, frames: int = 0) -> Cameras:
    """The placed cameras themselves (`frames` 0), or `frames` cameras on a smooth way through them (Catmull-Rom; rotations by slerp).

    Their K is scaled so that the image's shorter side covers what it did. Raises ReconError where no camera is placed.
    """
    placed = _placed(cameras)
    if not len(placed):
        raise ReconError("the scene has no placed cameras to go through; use orbit")
    K, T = _resized(placed, width, height), placed.cam_to_world.float().cpu()
    if not frames or len(placed) == 1:
        return Cameras(K=K, cam_to_world=T, width=width, height=height)
    at = torch.linspace(0, len(placed) - 1, frames)
    low = at.floor().long().clamp(max=len(placed) - 2)
    share = (at - low)[:, None]
    eyes = T[:, :3, 3]
    eyes = torch.cat([2 * eyes[:1] - eyes[1:2], eyes, 2 * eyes[-1:] - eyes[-2:-1]])  # the ends go on straight
    near = [eyes[low + i] for i in range(4)]
    out = torch.eye(4).repeat(frames, 1, 1)
    out[:, :3, 3] = _catmull_rom(near, share)
    out[:, :3, :3] = quats_to_matrices(_slerp(matrices_to_quats(T[low, :3, :3]), matrices_to_quats(T[low + 1, :3, :3]), share))
    return Cameras(K=torch.lerp(K[low], K[low + 1], share[..., None]), cam_to_world=out, width=width, height=height)


def _resized(cameras: Cameras, width: int, height: int) -> Tensor:  # [C, 3, 3]
    scale = min(width, height) / min(cameras.width, cameras.height)
    K = cameras.K.float().cpu().clone()
    K[:, :2] *= scale
    K[:, 0, 2] += (width - scale * cameras.width) / 2
    K[:, 1, 2] += (height - scale * cameras.height) / 2
    return K


def _catmull_rom(p: list[Tensor], t: Tensor) -> Tensor:
    a, b = 2 * p[0] - 5 * p[1] + 4 * p[2] - p[3], 3 * (p[1] - p[2]) + p[3] - p[0]
    return 0.5 * (2 * p[1] + (p[2] - p[0]) * t + a * t**2 + b * t**3)


def _slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    dot = (a * b).sum(-1, keepdim=True)
    b, dot = torch.where(dot < 0, -b, b), dot.abs().clamp(max=1)
    angle = torch.acos(dot)
    near = angle < 1e-3  # a straight line is then the same, without dividing by zero
    sine = torch.where(near, torch.ones_like(angle), torch.sin(angle))
    wa, wb = (torch.where(near, w, torch.sin(w * angle) / sine) for w in (1 - t, t))
    return torch.nn.functional.normalize(wa * a + wb * b, dim=-1)
