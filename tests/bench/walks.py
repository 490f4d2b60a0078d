"""Contains a walk round a procedural room with exact cameras, from the training generator."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon.models.training.assets import load_assets
from recon.models.training.dice import Dice
from recon.models.training.fine_structures import draw_fine
from recon.models.training.generator import SceneTables, render_tables
from recon.models.training.objects import clear_cameras, draw_instances, draw_primitives
from recon.models.training.places import Places, draw_lights, draw_places
from recon.models.training.viewpoints import camera_matrices, look_at

LENS_DEGREES = 65.0  # over the long side


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Frames and their truth."""

    frames: np.ndarray  # [V, H, W, 3] uint8
    K: np.ndarray  # [V, 3, 3]
    cam_to_world: np.ndarray  # [V, 4, 4]

    def write(self, folder: Path) -> list[Path]:
        """The frames as PNG files, in order."""
        import cv2

        paths = [folder / f"frame_{k:04d}.png" for k in range(len(self.frames))]
        for path, frame in zip(paths, self.frames, strict=True):
            cv2.imwrite(str(path), frame[..., ::-1])
        return paths


def walk_round(frames: int, *, seed: int = 0, height: int = 480, width: int = 640, textures: Path | None = None, device: str = "cpu") -> Walk:
    """Once round a textured room, looking across it, the last frame one step before the first; the hand shakes smoothly."""
    assets = load_assets(device, textures, seed=seed)
    dice = Dice(seed, device)
    places = draw_places(dice, 64)
    k = int((places.indoor & ~places.bare).nonzero()[0])
    place = Places(**{f.name: getattr(places, f.name)[k : k + 1] for f in fields(Places)})
    cameras = _round(dice, place, frames, height, width)
    primitives = draw_primitives(dice, place, assets.scene_textures)
    instances = draw_instances(dice, place, assets.bounds, assets.scene_textures)
    clear_cameras(primitives, instances, cameras[..., 9:12])
    fine = draw_fine(dice, place, cameras, assets.fine, assets.scene_textures, instances.shape[-1])
    lights = draw_lights(dice, place, assets.scene_textures)
    pictures = []
    for start in range(0, frames, 10):
        tables = SceneTables(
            primitives=primitives, instances=torch.cat([instances, fine], 1), cameras=cameras[:, start : start + 10].contiguous(), lights=lights
        )
        pictures.append(render_tables(tables, assets, height, width).color[0].cpu())
    K, cam_to_world = (x[0].double().cpu().numpy() for x in camera_matrices(cameras))
    return Walk(frames=(torch.cat(pictures).clamp(0, 1) * 255).round().byte().numpy(), K=K, cam_to_world=cam_to_world)


def _round(dice: Dice, place: Places, frames: int, height: int, width: int) -> Tensor:  # -> [1, frames, 16]
    angle = torch.arange(frames, device=dice.device) * (2 * math.pi / frames)
    shake = lambda size: sum(size / n * torch.sin(n * angle + float(dice.uniform(0, 6.28, 1))) for n in (1, 2, 3, 5))
    room = place.room[0]
    position = torch.stack([0.55 * room[0] * angle.cos(), shake(0.04) + 0.1, 0.55 * room[2] * angle.sin()], -1)
    target = -0.5 * position + torch.stack([shake(0.15), shake(0.1), shake(0.15)], -1)
    R = look_at(position, target, shake(0.03))
    focal = 0.5 * max(height, width) / math.tan(math.radians(LENS_DEGREES) / 2)
    lens = torch.tensor([focal, focal, width / 2, height / 2], device=dice.device).expand(frames, 4)
    return torch.cat([R.flatten(1), position, lens], -1)[None].contiguous()
