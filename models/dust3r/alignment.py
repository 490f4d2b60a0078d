"""Contains the closed-form alignment of pairwise pointmaps: a spanning tree of the surest pairs, cameras from it, and the depth all pairs agree on.

The initialisation of DUSt3R's global alignment (Wang et al. 2024, section 3.4 and supplementary), and by itself the fast path.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import GeometryError
from recon.geometry import focal_from_points, invert_rigid, pixel_grid, pnp, transform, umeyama
from recon.models.dust3r.pairs import PairPoints

PNP_POINTS, PNP_THRESHOLD = 4000, 5.0  # at most so many pixels; error in pixels
FIT_POINTS = 20_000  # pixels in a similarity between two maps
FOCAL_RANGE = 20.0  # no lens is shorter or longer than the picture's diagonal by more than this
LEAST_DEPTH = 1e-3  # of the median depth


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the cameras on the network's grid; NaN matrices where nothing is."""

    K: Tensor  # [V, 3, 3]
    cam_to_world: Tensor  # [V, 4, 4]
    principal: Tensor  # [V, 2] the photos' centres, for views without K

    @property
    def has_K(self) -> Tensor:  # [V] bool
        return self.K.isfinite().flatten(1).all(1)

    @property
    def has_pose(self) -> Tensor:  # [V] bool
        return self.cam_to_world.isfinite().flatten(1).all(1)

    def with_focal(self, focal: Tensor) -> Tensor:  # [V] -> [V, 3, 3]
        """K of all views: known ones, and those of focal lengths in pixels."""
        K = torch.zeros_like(self.K)
        K[:, 0, 0] = K[:, 1, 1] = focal
        K[:, :2, 2] = self.principal.to(K)
        K[:, 2, 2] = 1
        return torch.where(self.has_K[:, None, None], self.K, K)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Cameras of all views, and the similarity of each pair's axes to the world: x_world = scale R x + t."""

    K: Tensor  # [V, 3, 3]
    cam_to_world: Tensor  # [V, 4, 4]
    scale: Tensor  # [E]
    R: Tensor  # [E, 3, 3]
    t: Tensor  # [E, 3]


def align(pairs: PairPoints, known: Known) -> Alignment:
    """Cameras without any iteration over all pairs. Known lenses and poses are kept; two known poses also give the scale."""
    focal = focals(pairs, known)
    K = known.with_focal(focal)
    world = spanning_tree(pairs)
    poses = torch.stack([view_pose(pairs, world, K, v) for v in range(pairs.views)])
    scale, R, t = _to_known(poses, known)
    moved = poses.clone()
    moved[:, :3, :3], moved[:, :3, 3] = R @ poses[:, :3, :3], scale * poses[:, :3, 3] @ R.T + t
    world = scale * world @ R.T + t
    edges = [edge_similarity(pairs, world, e) for e in range(len(pairs.index))]
    pair_scale, pair_R, pair_t = (torch.stack(part) for part in zip(*edges, strict=True))
    poses = torch.where(known.has_pose[:, None, None], known.cam_to_world.float(), moved)
    return Alignment(K=K, cam_to_world=poses, scale=pair_scale, R=pair_R, t=pair_t)


def focals(pairs: PairPoints, known: Known) -> Tensor:  # [V] pixels
    """Focal lengths by Weiszfeld's iteration on a view's own pointmaps, the median over its pairs; the picture's diagonal where they say nothing."""
    height, width = pairs.first.shape[1:3]
    view = pairs.index[:, 0]
    sure = pairs.first_confidence > torch.minimum(pairs.first_confidence.flatten(1).median(1).values[:, None, None], torch.tensor(3.0))
    each = focal_from_points(pairs.first, principal=known.principal[view], mask=sure)
    diagonal = float((height**2 + width**2) ** 0.5)
    out = torch.full((pairs.views,), diagonal)
    for v in range(pairs.views):
        good = each[(view == v) & (each > diagonal / FOCAL_RANGE) & (each < diagonal * FOCAL_RANGE)]
        if len(good):
            out[v] = good.median()
    return out


def spanning_tree(pairs: PairPoints) -> Tensor:  # [V, h, w, 3]
    """Every view's pointmap in one world: views are joined to the surest pair in the order of the pairs' scores (Prim's algorithm)."""
    order = pairs.score.argsort(descending=True).tolist()
    i, j = pairs.index[order[0]].tolist()
    world = torch.zeros(pairs.views, *pairs.first.shape[1:])
    world[j], world[i] = pairs.second[order[0]], pairs.first[order[0]]
    joined = {i, j}
    while len(joined) < pairs.views:
        edge = next((e for e in order if len(joined & set(pairs.index[e].tolist())) == 1), None)
        if edge is None:
            raise GeometryError(f"the pairs join only {len(joined)} of {pairs.views} photos")
        i, j = pairs.index[edge].tolist()
        a, b = (pairs.first, pairs.second) if i in joined else (pairs.second, pairs.first)
        confidence = pairs.first_confidence if i in joined else pairs.second_confidence
        old, new = (i, j) if i in joined else (j, i)
        scale, R, t = similarity(a[edge], world[old], confidence[edge])
        world[new] = scale * b[edge] @ R.T + t
        joined.add(new)
    return world


def view_pose(pairs: PairPoints, world: Tensor, K: Tensor, v: int) -> Tensor:  # [4, 4]
    """cam_to_world of one view from its pointmap in the world: PnP through its lens, or, where that fails, the similarity to its own pointmap."""
    height, width = world.shape[1:3]
    mine = (pairs.index[:, 0] == v).nonzero()[:, 0]
    edge = int(mine[pairs.score[mine].argmax()])
    confidence = pairs.first_confidence[edge].flatten()
    kept = confidence.argsort(descending=True, stable=True)[: max(4, len(confidence) // 2)]
    kept = kept[:: max(1, len(kept) // PNP_POINTS)]
    try:
        T, _ = pnp(world[v].reshape(-1, 3)[kept], pixel_grid(height, width).reshape(-1, 2)[kept], K[v], threshold=PNP_THRESHOLD)
        return invert_rigid(T)
    except GeometryError:
        _, R, t = similarity(pairs.first[edge], world[v], pairs.first_confidence[edge])
        return torch.cat([torch.cat([R, t[:, None]], 1), torch.tensor([[0.0, 0, 0, 1]])])


def edge_similarity(pairs: PairPoints, world: Tensor, edge: int) -> tuple[Tensor, Tensor, Tensor]:
    """scale, R, t of a pair's axes to the world, from both its views."""
    i, j = pairs.index[edge].tolist()
    own = torch.stack([pairs.first[edge], pairs.second[edge]])
    sure = torch.stack([pairs.first_confidence[edge], pairs.second_confidence[edge]])
    return similarity(own, torch.stack([world[i], world[j]]), sure)


def similarity(source: Tensor, target: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """scale, R, t with target ~ scale R source + t, weighted by log confidence; of maps [..., 3]."""
    source, target, weight = source.reshape(-1, 3), target.reshape(-1, 3), confidence.flatten().log()
    step = max(1, len(source) // FIT_POINTS)
    scale, R, t = umeyama(source[::step].double(), target[::step].double(), weight[::step].double() + 1e-6)
    return scale.float(), R.float(), t.float()


def _to_known(poses: Tensor, known: Known) -> tuple[Tensor, Tensor, Tensor]:
    """scale, R, t that carry poses [V, 4, 4] to the known ones in the mean; to the first view's axes where none is known."""
    has = known.has_pose
    if not has.any():
        R = poses[0, :3, :3].T
        return torch.tensor(1.0), R, -R @ poses[0, :3, 3]
    a, b = poses[has], known.cam_to_world[has].to(poses)
    U, _, Vh = torch.linalg.svd((b[:, :3, :3] @ a[:, :3, :3].transpose(1, 2)).sum(0))
    R = U @ torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(U @ Vh))])) @ Vh
    old, new = a[:, :3, 3] @ R.T, b[:, :3, 3]
    spread_old, spread_new = old - old.mean(0), new - new.mean(0)
    scale = (spread_new.norm() / spread_old.norm()) if spread_old.norm() > 1e-8 and spread_new.norm() > 0 else torch.tensor(1.0)
    return scale, R, new.mean(0) - scale * old.mean(0)


def agreed_depth(pairs: PairPoints, alignment: Alignment) -> tuple[Tensor, Tensor]:
    """Depth [V, h, w] and confidence [V, h, w]: the mean over all pairs that hold a view, weighted by log confidence, and the greatest confidence."""
    shape = (pairs.views, *pairs.first.shape[1:3])
    total, weight, confidence = torch.zeros(shape), torch.zeros(shape), torch.ones(shape)
    world_to_cam = invert_rigid(alignment.cam_to_world)
    for e, pair in enumerate(pairs.index.tolist()):
        maps = ((pairs.first[e], pairs.first_confidence[e]), (pairs.second[e], pairs.second_confidence[e]))
        for v, (points, sure) in zip(pair, maps, strict=True):
            world = alignment.scale[e] * points @ alignment.R[e].T + alignment.t[e]
            share = sure.log() + 1e-6
            total[v] += share * transform(world_to_cam[v], world.reshape(-1, 3))[:, 2].reshape(shape[1:])
            weight[v] += share
            confidence[v] = torch.maximum(confidence[v], sure)
    depth = total / weight
    least = LEAST_DEPTH * depth.flatten(1).median(1).values.clamp(min=1e-6)[:, None, None]
    return torch.maximum(depth, least), torch.where(depth > least, confidence, 1.0)
