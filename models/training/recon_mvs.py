"""Contains the training task of recon-mvs: posed views as the solver and the frozen recon-small leave them, to depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.blocks import ResidualConv
from recon.models.recon_mvs.network import COARSE_STRIDE, PosedViews, ReconMVS, SweptDepth
from recon.models.recon_small.network import ReconSmall
from recon.models.training.dice import Dice
from recon.models.training.generator import FARTHEST, LEAST_SHARE, SceneGenerator
from recon.models.training.optimizers import build_optimizers
from recon.models.training.photometrics import develop, expose
from recon.models.training.recon_mvs_losses import total_loss
from recon.models.training.recon_small import compile_blocks
from recon.models.training.train import BatchShape, TrainOptions
from recon.models.training.viewpoints import camera_matrices

DEFAULTS = TrainOptions(
    sides=(256, 272, 400, 448), pixels=96 * 256 * 256, views=(2, 3, 3, 4, 4, 5), lr=1.5e-3, warmup=100, ema_steps=400, longest_gradient=2.0
)
LEAST_MATRIX = 16  # kernels with fewer rows or columns go to AdamW
MOST_SOURCES = 4


@dataclass(frozen=True, kw_only=True)
class DepthBatch:
    """What one step reads; the V views of all scenes are one list."""

    views: PosedViews
    references: Tensor  # [M]
    sources: Tensor  # [M, S], -1: none
    depth: Tensor  # [M, H, W] true z
    mask: Tensor  # [M, H, W] bool: it counts
    sky: Tensor  # [M, H, W] bool: there is nothing


def draw_solved(dice: Dice, K: Tensor, cam_to_world: Tensor) -> tuple[Tensor, Tensor]:
    """The cameras [B, V, 3, 3], [B, V, 4, 4] as a solver leaves them: half of the scenes exact, else small turns, shifts and one focal error."""
    b, v = K.shape[:2]
    noisy = dice.chance(0.5, b, 1, 1)
    turn = dice.normal(b, v, 3) * dice.log_uniform(0.003, 0.1, b, 1, 1) * (math.pi / 180) * noisy
    extent = (cam_to_world[..., :3, 3] - cam_to_world[:, :1, :3, 3]).norm(dim=-1).amax(1)[:, None, None]
    shift = dice.normal(b, v, 3) * dice.log_uniform(0.0003, 0.005, b, 1, 1) * extent * noisy
    x, y, z = turn.unbind(-1)
    o = torch.zeros_like(x)
    cam_to_world, K = cam_to_world.clone(), K.clone()
    cam_to_world[..., :3, :3] @= torch.linalg.matrix_exp(torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3)))
    cam_to_world[..., :3, 3] += shift
    K[..., :2, :2] *= (dice.normal(b, 1, 1, 1) * 0.01 * noisy[..., None]).exp()
    return K, cam_to_world


def draw_ranges(dice: Dice, depth: Tensor, mask: Tensor) -> Tensor:  # [B, V, H, W] -> [B, V, 2]
    """Least and largest inverse depth of each view's sweep.

    Usually wider than the truth; in a quarter of the views each end is cut off by up to 1.3 in depth; in a quarter the planes begin at infinity.
    """
    b, v = depth.shape[:2]
    far = torch.where(mask, depth, 0.0).flatten(2).amax(-1).clamp(min=0.1)
    near = torch.minimum(torch.where(mask, depth, math.inf).flatten(2).amin(-1), far * 0.95)
    far = far * torch.where(dice.chance(0.25, b, v), dice.uniform(1 / 1.3, 1, b, v), dice.uniform(1.02, 2.5, b, v))
    near = near * torch.where(dice.chance(0.25, b, v), dice.uniform(1, 1.3, b, v), dice.uniform(0.5, 0.97, b, v))
    least = torch.where(dice.chance(0.25, b, v), 0.0, 1 / far)
    return torch.stack([least, 1 / torch.minimum(near, far * 0.9)], -1)


def draw_sources(dice: Dice, scenes: int, views: int) -> tuple[Tensor, Tensor]:
    """references [BV] and their sources [BV, S], others of the scene in random order: all (at most 4) or, in a third, fewer."""
    most = min(views - 1, MOST_SOURCES)
    own = torch.arange(scenes * views, device=dice.device)
    order = dice.uniform(0, 1, scenes * views, views - 1).argsort(1)[:, :most]
    sources = own[:, None] // views * views + (own[:, None] + 1 + order) % views
    count = torch.where(dice.chance(0.67, len(own)), most, dice.integers(1, most + 1, len(own)))
    return own, torch.where(torch.arange(most, device=dice.device) < count[:, None], sources, -1)


def draw_prior(dice: Dice, z: Tensor, confidence: Tensor, depth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The pointmap's inverse depth and log confidence [B, V, H/8, W/8] from its z and confidence [B, V, H, W].

    Brought to the true scale but for 3 %; in a third of the views bent smoothly, as on photos unlike the training scenes; dropped in a tenth.
    """
    b, v = z.shape[:2]
    ratio = torch.where(mask, (depth.clamp(min=1e-3) / z.clamp(min=1e-4)).log(), math.nan).flatten(2)
    scale = torch.nanmedian(ratio, -1).values.nan_to_num(0) + dice.normal(b, v) * 0.03
    inverse = F.avg_pool2d((1 / z.clamp(min=1e-4)) * (-scale).exp()[..., None, None], COARSE_STRIDE)
    bend = F.interpolate(dice.normal(b, v, 3, 3), size=inverse.shape[-2:], mode="bicubic", align_corners=True)
    amount = dice.log_uniform(0.01, 0.15, b, v, 1, 1) * dice.chance(0.33, b, v, 1, 1)
    known = F.avg_pool2d(confidence.log(), COARSE_STRIDE) + 0.05
    return inverse * (bend * amount).exp(), known * ~dice.chance(0.1, b, 1, 1, 1)


def posed_views(dice: Dice, small: ReconSmall, images: Tensor, depth: Tensor, there: Tensor, K: Tensor, cam_to_world: Tensor) -> PosedViews:
    """What the pipeline would know of the views, all scenes in one list; prior and range are drawn.

    images [B, V, 3, H, W] 0..1; depth [B, V, H, W] the true one, known where `there`; K [B, V, 3, 3] and cam_to_world [B, V, 4, 4] as solved.
    """
    with torch.autocast("cuda", torch.bfloat16, enabled=images.is_cuda):
        out = small(images)
    prior, confidence = draw_prior(dice, out["local"][..., 2].float(), out["local_confidence"].float(), depth, there)
    flat = lambda x: x.flatten(0, 1)
    half = lambda x: flat(x).bfloat16() if x.is_cuda else flat(x)  # as autocast would; the sweep reads half as much
    return PosedViews(
        images=flat(images), coarse=half(out["coarse"]), fine=half(out["fine"]), scales=small.scales(), K=flat(K), cam_to_world=flat(cam_to_world),
        inverse_range=flat(draw_ranges(dice, depth, there)), prior=flat(prior), prior_confidence=flat(confidence),
    )  # fmt: skip


class ReconMVSTask:
    """Trains recon-mvs, all but its Gaussian head (see gaussians.py), on the descriptors and pointmaps of a recon-small that is held."""

    def __init__(self, net: ReconMVS, small: ReconSmall, generator: SceneGenerator) -> None:
        self.net, self.small, self.generator = net, small.eval().requires_grad_(False), generator

    def optimizers(self, lr: float) -> list[torch.optim.Optimizer]:
        """Muon for the kernels that make a matrix worth the name, AdamW for the rest."""
        matrices = [p for p in self.net.parameters() if p.ndim == 4 and min(p.shape[0], p[0].numel()) >= LEAST_MATRIX]
        return build_optimizers(self.net, matrices, lr, weight_decay=0.02)

    def compile(self) -> None:
        """Compiles the residual blocks, where the time is spent, and recon-small's transformer blocks."""
        compile_residuals(self.net)
        compile_blocks(self.small)

    def batch(self, shape: BatchShape) -> DepthBatch:
        """New scenes, each of whose views is a reference."""
        dice = self.generator.dice
        seen = self.generator.render(shape.scenes, shape.views, shape.height, shape.width)
        there = (seen.depth > 0) & (seen.depth < FARTHEST)
        useful = there.flatten(1).float().mean(1) > LEAST_SHARE
        references, sources = draw_sources(dice, shape.scenes, shape.views)
        useful = useful[:, None, None, None].expand_as(there).flatten(0, 1)
        depth, there_flat = seen.depth.flatten(0, 1), there.flatten(0, 1)
        images = develop(dice, expose(dice, seen.color, seen.depth > 0))
        views = posed_views(dice, self.small, images, seen.depth, there, *draw_solved(dice, *camera_matrices(seen.cameras)))
        return DepthBatch(views=views, references=references, sources=sources, depth=depth, mask=there_flat & useful, sky=~there_flat & useful)

    def forward(self, batch: DepthBatch) -> SweptDepth:
        """The network's depth of every reference."""
        return self.net(batch.views, self.net.describe(batch.views.images), batch.references, batch.sources)

    def loss(self, out: SweptDepth, batch: DepthBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See recon_mvs_losses."""
        return total_loss(out, batch.depth, batch.mask, batch.sky)


def compile_residuals(net: nn.Module) -> None:
    """Compiles every residual block for any height, width and number of views."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 64  # one graph a width, with and without gradients
    for module in net.modules():
        if isinstance(module, ResidualConv):
            module.compile(dynamic=True)
