"""Contains the training task of recon-mvs's Gaussian head: the inputs' Gaussians, rendered from other views, against what those see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import invert_rigid, project, unproject
from recon.models.recon_mvs.network import PosedViews, ReconMVS, SweptDepth
from recon.models.recon_small.network import ReconSmall
from recon.models.training.correspondence import OCCLUSION
from recon.models.training.gaussian_losses import picture_loss, psnr
from recon.models.training.generator import FARTHEST, SceneGenerator
from recon.models.training.photometrics import expose
from recon.models.training.recon_mvs import compile_residuals, draw_sources, posed_views
from recon.models.training.recon_small import compile_blocks
from recon.models.training.train import BatchShape, TrainOptions
from recon.models.training.viewpoints import camera_matrices
from recon.render import render
from recon.scene import Cameras, Gaussians, Rendering
from recon.surfaces.assembly import on_surface
from recon.surfaces.depth_maps import DepthMaps
from recon.surfaces.merging import finest_first, fuse_depth, one_layer
from recon.surfaces.pixel_gaussians import pixel_gaussians

DEFAULTS = TrainOptions(sides=(256, 256, 352, 432), pixels=40 * 256 * 256, views=(4, 5, 5, 6), lr=1e-3, warmup=50, ema_steps=150)
LEAST_SEEN = 0.2  # share of a target that the inputs must see
DECAY = 1e-3  # of the corrections' mean square
COMPARE_EVERY = 50  # steps from one comparison with the Gaussians without corrections to the next


@dataclass(frozen=True, kw_only=True)
class NovelViews:
    """What one step reads: B scenes of V inputs, all in one list, and T targets each."""

    views: PosedViews  # the inputs
    references: Tensor  # [BV]
    sources: Tensor  # [BV, S], -1: none
    color: Tensor  # [B, T, H, W, 3] what the targets see
    K: Tensor  # [B, T, 3, 3]
    cam_to_world: Tensor  # [B, T, 4, 4]
    seen: Tensor  # [B, T, H, W] bool: an input sees that, too
    empty: Tensor  # [B, T, H, W] bool: there is nothing that an input could show: sky, or what is hidden from all
    background: Tensor  # [B, 3]


def split_views(views: int) -> tuple[list[int], list[int]]:
    """Inputs and targets: the second and the last but one of a walk are targets, so that on turntables they lie between inputs."""
    if views < 4:
        raise ValueError(f"a scene has {views} views, wanted at least 4: two targets and two inputs")
    targets = [1, views - 2]
    return [v for v in range(views) if v not in targets], targets


def seen_by(depth: Tensor, K: Tensor, cam_to_world: Tensor, target_depth: Tensor, target_K: Tensor, target_cam_to_world: Tensor) -> Tensor:
    """Which pixels of the targets [B, T, H, W] an input sees, by true depth; cameras [B, V or T, 3, 3] and [B, V or T, 4, 4], 0: nothing there."""
    targets, height, width = target_depth.shape[1:]
    world = unproject(target_depth, target_K, target_cam_to_world).flatten(2, 3)[:, :, None]  # [B, T, 1, HW, 3]
    xy, z = project(world, K[:, None], invert_rigid(cam_to_world)[:, None])  # [B, T, V, HW, 2], [B, T, V, HW]
    size = xy.new_tensor([width, height])
    grid = (xy / size * 2 - 1).flatten(0, 2)[:, None]
    maps = depth[:, None].expand(-1, targets, -1, -1, -1).flatten(0, 2)[:, None]
    there = F.grid_sample(maps, grid, mode="nearest", align_corners=False).reshape(z.shape)
    inside = ((xy > 0) & (xy < size)).all(-1) & (z > 0.05)
    seen = (inside & ((there - z).abs() < OCCLUSION * z)).any(2)
    return seen.unflatten(-1, (height, width)) & (target_depth > 0)


class GaussianTask:
    """Trains recon-mvs's Gaussian head on true cameras, all else held: its depth, its mask and one layer of the scene are the pipeline's."""

    def __init__(self, net: ReconMVS, small: ReconSmall, generator: SceneGenerator) -> None:
        self.net, self.small, self.generator = net.requires_grad_(False), small.eval().requires_grad_(False), generator
        self.net.gaussians.requires_grad_(True)
        self.steps = 0

    def optimizers(self, lr: float) -> list[torch.optim.Optimizer]:
        """Adam for the head alone."""
        return [torch.optim.Adam(self.net.gaussians.parameters(), lr=lr, betas=(0.9, 0.98), fused=self.small.scales().is_cuda)]

    def compile(self) -> None:
        """Compiles the blocks of both networks that are held."""
        compile_residuals(self.net)
        compile_blocks(self.small)

    def batch(self, shape: BatchShape) -> NovelViews:
        """New scenes; all views of one are exposed alike."""
        dice = self.generator.dice
        inputs, targets = split_views(shape.views)
        drawn = self.generator.render(shape.scenes, shape.views, shape.height, shape.width)
        color = expose(dice, drawn.color, drawn.depth > 0)
        there = (drawn.depth > 0) & (drawn.depth < FARTHEST)
        K, cam_to_world = camera_matrices(drawn.cameras)
        depth = torch.where(there, drawn.depth, 0)
        known = (color[:, inputs].permute(0, 1, 4, 2, 3), depth[:, inputs], there[:, inputs], K[:, inputs], cam_to_world[:, inputs])
        references, sources = draw_sources(dice, shape.scenes, len(inputs))
        seen = seen_by(depth[:, inputs], K[:, inputs], cam_to_world[:, inputs], depth[:, targets], K[:, targets], cam_to_world[:, targets])
        return NovelViews(
            views=posed_views(dice, self.small, *known), references=references, sources=sources, color=color[:, targets], K=K[:, targets],
            cam_to_world=cam_to_world[:, targets], seen=seen, empty=F.max_pool2d(seen.float(), 3, 1, 1) == 0,
            background=dice.uniform(0, 1, shape.scenes, 3),
        )  # fmt: skip

    def forward(self, batch: NovelViews) -> SweptDepth:
        """Depth of all inputs and the head's corrections; gradients reach the head alone."""
        return self.net(batch.views, self.net.describe(batch.views.images), batch.references, batch.sources, gaussians=True)

    def loss(self, out: SweptDepth, batch: NovelViews) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of `picture_loss` over the targets of which enough is seen; now and then also the PSNR that there is without corrections."""
        assert out.gaussians is not None
        maps, layer = merged(out, batch)
        useful = (batch.seen.float().mean((2, 3)) > LEAST_SEEN).float()  # [B, T]
        mean = lambda values: (torch.stack(values) * useful).sum() / useful.sum().clamp(min=1)
        pictures = draw(maps, layer, out.gaussians, batch)
        loss = mean([picture_loss(p.color, p.alpha, *truth) for p, *truth in zip(pictures, batch.color, batch.seen, batch.empty, strict=True)])
        corrections = out.gaussians.square().mean()
        quality = lambda pictures: mean([psnr(p.color, *truth) for p, *truth in zip(pictures, batch.color, batch.seen, strict=True)])
        total = loss + DECAY * corrections
        parts = {"loss": total, "corrections": corrections, "layer": layer.float().mean()}
        with torch.no_grad():
            parts["psnr"] = quality(pictures)
            if self.steps % COMPARE_EVERY == 0:
                parts["psnr_without"] = quality(draw(maps, layer, None, batch))
        self.steps += 1
        return total, {name: value.detach() for name, value in parts.items()}


@torch.no_grad()
def merged(out: SweptDepth, batch: NovelViews) -> tuple[DepthMaps, Tensor]:
    """Depth of the inputs, fused, and the pixels [BV, H, W] that are left in one layer: the pipeline's way from networks to surfaces."""
    maps = DepthMaps(
        depth=1 / out.inverse_depth, relative_error=out.log_b.exp(), valid=out.validity.sigmoid(), seen=torch.ones_like(out.log_b, dtype=torch.bool)
    )
    mask, K, cam_to_world = on_surface(maps), batch.views.K, batch.views.cam_to_world
    rows = torch.arange(len(mask), device=mask.device).view(len(batch.color), -1).T  # [V, B]: the views of all scenes are merged side by side
    order = finest_first(maps.depth[rows], mask[rows], K[rows])
    rows = rows.gather(0, order)
    views = list(range(len(rows)))
    partners = [[b for b in views if b != a] for a in views]
    depth, layer = maps.depth.clone(), torch.empty_like(mask)
    depth[rows] = fuse_depth(depth[rows], maps.relative_error[rows], mask[rows], K[rows], cam_to_world[rows], partners)
    layer[rows] = one_layer(depth[rows], mask[rows], K[rows], cam_to_world[rows], partners, views)
    return DepthMaps(depth=depth, relative_error=maps.relative_error, valid=maps.valid, seen=layer), layer


def draw(maps: DepthMaps, layer: Tensor, corrections: Tensor | None, batch: NovelViews) -> list[Rendering]:
    """Each scene's Gaussians from its targets; the Gaussians of all scenes are made together, they lie in the order of the views."""
    views = batch.views
    points = unproject(maps.depth, views.K)
    rows = pixel_gaussians(points, views.images.permute(0, 2, 3, 1), maps.confidence, layer, views.K, views.cam_to_world, corrections)
    counts = layer.unflatten(0, (len(batch.color), -1)).sum((1, 2, 3)).tolist()
    pictures = []
    for b, (means, quats, scales, opacities, sh) in enumerate(zip(*(x.split(counts) for x in rows), strict=True)):
        gaussians = Gaussians(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh)
        height, width = batch.color.shape[2:4]
        placed = ("given",) * batch.K.shape[1]
        cameras = Cameras(K=batch.K[b], cam_to_world=batch.cam_to_world[b], width=width, height=height, placed_by=placed)
        backend = "gsplat" if means.is_cuda else "torch"
        pictures.append(render(gaussians, cameras, backend=backend, background=batch.background[b], check=False))
    return pictures
