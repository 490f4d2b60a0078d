"""Contains DUSt3R's global alignment by gradient descent (Wang et al. 2024, section 3.4, equation 5), on a sample of each view's pixels.

Minimises, over cameras, focal lengths, depths and one similarity a pair, the distance of every pixel's point in the world from what each pair says
of it, weighted by log confidence. Known lenses and poses are constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from recon.cores import one_thread_each
from recon.geometry import invert_rigid, matrices_to_quats, pixel_grid, quats_to_matrices, transform
from recon.models.dust3r.alignment import Alignment, Known
from recon.models.dust3r.pairs import PairPoints

ROUNDS, RATE = 300, 0.01  # of Adam, the rate on a cosine to nothing
SAMPLES = 1500  # pixels a view


def optimise(pairs: PairPoints, known: Known, start: Alignment, step: Callable[[float], None], rounds: int = ROUNDS) -> Alignment:
    """The alignment that all pairs agree on best, from a first one; the first view's axes are the world's where no pose is known."""
    with torch.inference_mode(False), torch.enable_grad(), one_thread_each():
        problem = _Problem(pairs, known, start)
        optimizer = torch.optim.Adam(problem.variables, lr=RATE, betas=(0.9, 0.9))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds)
        for done in range(rounds):
            optimizer.zero_grad(set_to_none=True)
            problem.loss().backward()
            optimizer.step()
            schedule.step()
            step((done + 1) / rounds)
        with torch.no_grad():
            return _in_first_view(problem.alignment()) if not known.has_pose.any() else problem.alignment()


class _Problem:
    """The variables of the alignment and the value that is minimised."""

    def __init__(self, pairs: PairPoints, known: Known, start: Alignment) -> None:
        height, width = pairs.first.shape[1:3]
        kept = torch.arange(0, height * width, max(1, height * width // SAMPLES))
        pick = lambda x: x.flatten(1, 2)[:, kept].clone()
        self.index, self.known = pairs.index.clone(), known  # clone: tensors of inference mode cannot be saved for gradients
        self.targets = torch.stack([pick(pairs.first), pick(pairs.second)])  # [2, E, n, 3]
        weight = torch.stack([pick(pairs.first_confidence), pick(pairs.second_confidence)]).log() + 1e-6
        self.weight = weight / weight.sum()
        self.pixels = pixel_grid(height, width).reshape(-1, 2)[kept]
        variable = lambda x: x.detach().clone().float().requires_grad_()
        self.quats, self.places = variable(matrices_to_quats(start.cam_to_world[:, :3, :3])), variable(start.cam_to_world[:, :3, 3])
        self.log_focal = variable(start.K[:, 0, 0].log())
        self.log_depth = variable(self._first_depth(start).log())
        self.pair_quats, self.pair_places = variable(matrices_to_quats(start.R)), variable(start.t)
        self.log_scale = variable(start.scale.clamp(min=1e-6).log())
        self.variables = [self.quats, self.places, self.log_focal, self.log_depth, self.pair_quats, self.pair_places, self.log_scale]
        self.free_scale = int(known.has_pose.sum()) >= 2  # otherwise everything could shrink to a point
        self.mean_scale = self.log_scale.detach().mean()
        self.size = self.log_depth.detach().exp().median()

    def _first_depth(self, start: Alignment) -> Tensor:  # [V, n]
        """z of each view's points in its surest sense: the mean of what the pairs say."""
        total = torch.zeros(len(start.K), len(self.pixels))
        weight = torch.zeros_like(total)
        world_to_cam = invert_rigid(start.cam_to_world)
        for side in range(2):
            view = self.index[:, side]
            world = start.scale[:, None, None] * self.targets[side] @ start.R.transpose(1, 2) + start.t[:, None]
            z = transform(world_to_cam[view], world)[..., 2]
            total.index_add_(0, view, self.weight[side] * z)
            weight.index_add_(0, view, self.weight[side])
        depth = total / weight
        return torch.maximum(depth, 1e-2 * depth.median().clamp(min=1e-6))

    def cameras(self) -> tuple[Tensor, Tensor]:
        """K [V, 3, 3] and cam_to_world [V, 4, 4]; known ones as they are."""
        T = torch.zeros(len(self.quats), 4, 4)
        T[:, :3, :3], T[:, :3, 3], T[:, 3, 3] = quats_to_matrices(self.quats), self.places, 1
        known = self.known.cam_to_world.float().nan_to_num()
        return self.known.with_focal(self.log_focal.exp()), torch.where(self.known.has_pose[:, None, None], known, T)

    def scales(self) -> Tensor:  # [E]
        """The pairs' scales; without known distances their product is held."""
        return (self.log_scale if self.free_scale else self.log_scale - self.log_scale.mean() + self.mean_scale).exp()

    def loss(self) -> Tensor:
        """Weighted mean distance between the views' points and the pairs', in units of the scene's depth."""
        K, T = self.cameras()
        rays = torch.stack([
            (self.pixels[:, 0] - K[:, 0, 2, None]) / K[:, 0, 0, None], (self.pixels[:, 1] - K[:, 1, 2, None]) / K[:, 1, 1, None],
            torch.ones(len(K), len(self.pixels)),
        ], -1)  # fmt: skip
        world = transform(T, rays * self.log_depth.exp()[..., None])  # [V, n, 3]
        told = self.scales()[:, None, None] * self.targets @ quats_to_matrices(self.pair_quats).transpose(1, 2) + self.pair_places[:, None]
        difference = torch.stack([world[self.index[:, side]] for side in range(2)]) - told
        return (self.weight * (difference.square().sum(-1) + 1e-10).sqrt()).sum() / self.size

    def alignment(self) -> Alignment:
        K, T = self.cameras()
        return Alignment(K=K, cam_to_world=T, scale=self.scales(), R=quats_to_matrices(self.pair_quats), t=self.pair_places.detach())


def _in_first_view(a: Alignment) -> Alignment:
    """The same with the first camera as the world."""
    T = invert_rigid(a.cam_to_world[0])
    return replace(a, cam_to_world=T @ a.cam_to_world, R=T[:3, :3] @ a.R, t=a.t @ T[:3, :3].T + T[:3, 3])
