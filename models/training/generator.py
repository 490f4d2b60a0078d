"""Contains SceneGenerator: batches of procedural scenes with exact depth, cameras and correspondences, on a GPU or the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.models.training.assets import MESH_KEYS, Assets
from recon.models.training.correspondence import correspond, pixel_centres, to_reference, unproject
from recon.models.training.dice import Dice
from recon.models.training.fine_structures import FINE, draw_fine
from recon.models.training.objects import INSTANCES, PRIMITIVES, clear_cameras, draw_instances, draw_primitives
from recon.models.training.photometrics import develop, expose
from recon.models.training.places import draw_lights, draw_places
from recon.models.training.plain_rooms import fit_out_rooms, paint_plain
from recon.models.training.repeats import paint_patterns
from recon.models.training.scene_kernels import draw_meshes, shade_scenes
from recon.models.training.viewpoints import draw_cameras

FARTHEST = 150.0  # depth beyond it counts as background
ALL_INSTANCES = INSTANCES + FINE
LEAST_SHARE = 0.03  # of the pixels must see something, else the scene is left out of the losses


@dataclass(frozen=True, kw_only=True)
class Views:
    """What the kernels give for B scenes of V views."""

    color: Tensor  # [B, V, H, W, 3] 0..1 sRGB
    depth: Tensor  # [B, V, H, W] z, 0 where there is nothing
    normal: Tensor  # [B, V, H, W, 3] world, towards the camera
    cameras: Tensor  # [B, V, 16] rows of draw_cameras


@dataclass(frozen=True, kw_only=True)
class SceneTables:
    """B scenes as the rows that the kernels read."""

    primitives: Tensor  # [B, PRIMITIVES, PRIMITIVE_COLUMNS]
    instances: Tensor  # [B, ALL_INSTANCES, INSTANCE_COLUMNS]
    cameras: Tensor  # [B, V, 16]
    lights: Tensor  # [B, LIGHT_COLUMNS]


def draw_tables(dice: Dice, assets: Assets, scenes: int, views: int, height: int, width: int) -> SceneTables:
    """New scenes and the cameras that see them."""
    places = draw_places(dice, scenes)
    cameras = draw_cameras(dice, places, views, height, width)
    primitives = draw_primitives(dice, places, assets.scene_textures)
    instances = draw_instances(dice, places, assets.bounds, assets.scene_textures)
    clear_cameras(primitives, instances, cameras[..., 9:12])
    fine = draw_fine(dice, places, cameras, assets.fine, assets.scene_textures, instances.shape[-1])
    alone = places.single & (fine[..., 0] >= 0).any(-1)  # a plant or a chair is the single object
    instances[..., 0] = torch.where(alone[:, None], -1.0, instances[..., 0])
    instances = torch.cat([instances, fine], 1)
    paint_patterns(dice, primitives, instances, assets.patterns)
    paint_plain(dice, places, primitives, instances, assets.plain)
    fit_out_rooms(dice, places, primitives, assets.plain)
    return SceneTables(primitives=primitives, instances=instances, cameras=cameras, lights=draw_lights(dice, places, assets.scene_textures))


def render_tables(tables: SceneTables, assets: Assets, height: int, width: int) -> Views:
    """The scenes as their cameras see them; on the device of the tables and assets."""
    scenes, views = tables.cameras.shape[:2]
    device = tables.cameras.device
    keys = torch.full((scenes, views, height, width), -1, dtype=torch.int64, device=device)
    meshes = [assets.meshes[k] for k in MESH_KEYS]  # the order of the kernels' arguments
    draw_meshes(
        [tables.instances, tables.cameras, *meshes, keys, scenes, ALL_INSTANCES, assets.most_faces, views, height, width],
        triangles=assets.most_faces, scenes=scenes, instances=ALL_INSTANCES,
    )  # fmt: skip
    color, normal = (torch.empty(scenes, views, height, width, 3, device=device) for _ in range(2))
    depth = torch.empty(scenes, views, height, width, device=device)
    shade_scenes(
        [tables.primitives, tables.instances, tables.cameras, tables.lights, *meshes, assets.textures, keys, color, depth, normal,
         scenes, PRIMITIVES, ALL_INSTANCES, assets.scene_textures, views, height, width],
        pixels=views * height * width, scenes=scenes, primitives=PRIMITIVES,
    )  # fmt: skip
    return Views(color=color, depth=depth, normal=normal, cameras=tables.cameras)


class SceneGenerator:
    """Endless scenes from one seed."""

    def __init__(self, assets: Assets, *, seed: int, device: str | torch.device) -> None:
        self.assets = assets
        self.dice = Dice(seed, device)

    @torch.no_grad()
    def render(self, scenes: int, views: int, height: int, width: int) -> Views:
        """New scenes, seen from `views` cameras each."""
        return render_tables(draw_tables(self.dice, self.assets, scenes, views, height, width), self.assets, height, width)

    @torch.no_grad()
    def batch(self, scenes: int, views: int, height: int, width: int) -> dict:
        """What `losses.total_loss` and the network take; matches go round the views both ways, all pairs of three or fewer."""
        seen = self.render(scenes, views, height, width)
        x, y = pixel_centres(height, width, seen.depth.device)
        local = unproject(seen.depth, seen.cameras, x, y)
        mask = (seen.depth > 0) & (seen.depth < FARTHEST)
        useful = (mask.flatten(1).float().mean(1) > LEAST_SHARE)[:, None, None, None]
        pairs = [p for v in range(views) for p in ((v, (v + 1) % views), ((v + 1) % views, v))] if views > 1 else []
        matches = {p: (uv, ok & useful[:, 0]) for p, (uv, ok) in correspond(seen.depth, seen.cameras, list(dict.fromkeys(pairs))).items()}
        images = develop(self.dice, expose(self.dice, seen.color, seen.depth > 0))
        return {
            "images": images, "local": local, "common": to_reference(local, seen.cameras), "mask": mask & useful,
            "sky": ~mask, "focal": seen.cameras[..., 12], "matches": matches, "cameras": seen.cameras,
        }  # fmt: skip
