"""Contains the way from photos to cameras: own and SIFT matches of the pairs, relative poses, bundle; Procrustes where nothing matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F

from recon.bundle import WORKERS, Bundle, solve_views
from recon.models.grids import grid_of, principal_points
from recon.models.lens_from_shape import PAIR_LIMIT, SeenPair, lens_shift
from recon.models.matches import match_views
from recon.models.recon_small import COARSE_STRIDE, ReconSmall
from recon.pose import Matches, RelativePose, choose, concatenate, polish
from recon.sift import match_features, sift_features

if TYPE_CHECKING:
    from recon.images import Images

MatchKind = Literal["both", "own", "sift", "none"]
Pair = tuple[int, int]
NO_MATCHES = Matches(xa=np.zeros((0, 2)), xb=np.zeros((0, 2)), confidence=np.zeros(0))
THRESHOLD_PX = 0.5  # expected error of a match on the match grid
SIFT_WEIGHT = 5.0  # of a SIFT match beside one of the network's: found at the full resolution, it is more exact
POLISH_SIGMA = 0.5  # of the prior where it has moved to the lens that shape, matches and prior agree on
SWEEP_SUPPORT = 30  # inliers of a pair below which its shape says nothing


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What is known of lens and shape before any match."""

    focal: np.ndarray  # [V] pixels of the match grid: where the prior has its mean
    sigma: float  # its width in log focal
    log_prior: Callable[[np.ndarray], np.ndarray] | None  # of log factors on `focal`, common to all views; None: the focals are known
    points: Callable[[int, np.ndarray], np.ndarray]  # view and pixels [n, 2] of the match grid -> points [n, 3] in the view's axes, any scale


def choose_pairs(views: int, similarity: np.ndarray, limit: int) -> list[Pair]:  # similarity [V, V]
    """All pairs (i, j), i < j, when they are at most `limit`; otherwise the neighbours in order and then the most similar."""
    pairs = [(i, j) for i in range(views) for j in range(i + 1, views)]
    if len(pairs) <= limit:
        return pairs
    return sorted(sorted(pairs, key=lambda p: (p[1] - p[0] > 2, -similarity[p]))[:limit])


def view_similarity(coarse: Tensor) -> np.ndarray:  # [V, C, h, w] unit descriptors -> [V, V]
    """How well each view's cells (every fourth) find a partner in each other view: mean of the best similarity."""
    flat = coarse[:, :, ::2, ::2].flatten(2)
    best = torch.stack([torch.einsum("cn,vcm->vnm", f, flat).amax(-1).mean(-1) for f in flat])
    return ((best + best.T) / 2).cpu().numpy()


def own_descriptors(net: ReconSmall, images: Images) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Coarse and fine descriptors and the usable cells of each view, at the resolution of `images`; one view at a time."""
    device = next(net.parameters()).device
    out = []
    for v in range(len(images.rgb)):
        x = images.rgb[v].permute(2, 0, 1)[None, None].to(device)
        _, coarse, fine = net.encode(x)
        inside = F.avg_pool2d(images.mask[v][None, None].float().to(device), COARSE_STRIDE)[0, 0] > 0.5
        out.append((coarse[0], fine[0], inside))
    return out


def own_matches(net: ReconSmall, a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]) -> Matches:
    """Sub-pixel matches from a's cells into b and from b's cells into a."""
    scales = net.scales()
    xa, xb, confidence = match_views(a[0], b[0], a[1], b[1], scales, cells_a=a[2], cells_b=b[2])
    yb, ya, back = match_views(b[0], a[0], b[1], a[1], scales, cells_a=b[2], cells_b=a[2])
    join = lambda p, q: torch.cat([p, q]).double().cpu().numpy()
    return Matches(xa=join(xa, ya), xb=join(xb, yb), confidence=join(confidence, back), source="own")


def sift_of(images: Images) -> list[tuple[np.ndarray, np.ndarray]]:
    """SIFT features of each photo with places in pixels of the grid of `images`; of the grid's own pixels where no photos are kept."""
    scale, offset = grid_of(images)
    out = []
    if not images.photos:
        return [sift_features((rgb.cpu().clamp(0, 1) * 255).round().byte().numpy()) for rgb in images.rgb]
    for v, photo in enumerate(images.photos):
        xy, descriptors = sift_features(np.asarray(photo))
        size = np.array([float(images.photo_width[v]), float(images.photo_height[v])])
        out.append((xy * size / [photo.shape[1], photo.shape[0]] * scale[v] + offset[v], descriptors))
    return out


def find_matches(
    net: ReconSmall, images: Images, pairs: Sequence[Pair], kind: MatchKind, step: Callable[[float], None]
) -> dict[Pair, list[Matches]]:
    """Matches of each pair by kind, in pixels of `images`."""
    own = own_descriptors(net, images) if kind in ("both", "own") else []
    sift = sift_of(images) if kind in ("both", "sift") else []
    found: dict[Pair, list[Matches]] = {}
    for k, (i, j) in enumerate(pairs):
        kinds = [own_matches(net, own[i], own[j])] if own else []
        if sift:
            matches = match_features(sift[i], sift[j])
            kinds.append(replace(matches, weight=np.full(len(matches), SIFT_WEIGHT)))
        found[(i, j)] = kinds
        step((k + 1) / len(pairs))
    return found


def place(images: Images, found: dict[Pair, list[Matches]], sight: Sight, *, K: np.ndarray | None, cam_to_world: np.ndarray | None) -> Bundle:
    """Cameras and tracks from the matches, all in pixels of `images`; K and poses are kept where finite."""
    centre = principal_points(images)
    sizes = {(int(w), int(h)) for w, h in zip(images.photo_width, images.photo_height, strict=True)}
    shared = len({tuple(sorted(s)) for s in sizes}) == 1
    known = np.zeros(len(sight.focal), bool) if K is None else np.asarray(np.isfinite(K).all((1, 2)))
    prior = sight.focal.copy()
    if K is not None:
        prior[known] = K[known][:, [0, 1], [0, 1]].mean(1)
        centre[known] = K[known][:, :2, 2]

    def solve(pair: Pair) -> RelativePose | None:
        i, j = pair
        return choose(
            found[pair], centre[i], centre[j], prior[i], prior[j], sigma=sight.sigma, threshold_px=THRESHOLD_PX,
            focal_known=bool(known[i] and known[j]), shared_focal=shared and not (known[i] or known[j]),
        )

    matches = {pair: concatenate([k for k in kinds if len(k)] or [NO_MATCHES]) for pair, kinds in found.items()}
    # thousands of small products: BLAS threads would only wait for each other, the pairs themselves share the cores
    with threadpool_limits(1, user_api="blas"):
        with ThreadPoolExecutor(WORKERS) as pool:
            relative = dict(zip(found, pool.map(solve, found), strict=True))
        if sight.log_prior is not None and not known.any():
            prior, polished = by_shape(matches, relative, centre, sight, shared)
            relative |= polished
        options = {"sigma": sight.sigma, "threshold_px": THRESHOLD_PX, "shared_focal": shared}
        return solve_views(matches, centre, prior, relative=relative, K=K, cam_to_world=cam_to_world, **options)


def by_shape(
    matches: dict[Pair, Matches], relative: dict[Pair, RelativePose | None], centre: np.ndarray, sight: Sight, shared: bool
) -> tuple[np.ndarray, dict[Pair, RelativePose]]:
    """Prior focals [V] moved to where the shapes fit too (see lens_from_shape), and the surest pairs refined from there."""
    assert sight.log_prior is not None
    solved = {pair: p for pair, p in relative.items() if p is not None and p.support >= SWEEP_SUPPORT}
    surest = sorted(solved, key=lambda pair: -solved[pair].confidence * solved[pair].support ** 0.5)[:PAIR_LIMIT]
    if not surest:
        return sight.focal, {}
    seen = [
        SeenPair(
            matches=(m := matches[(i, j)]), points_a=sight.points(i, m.xa), points_b=sight.points(j, m.xb), pose=solved[(i, j)],
            principal_a=centre[i], principal_b=centre[j], focal_a=sight.focal[i], focal_b=sight.focal[j],
        )
        for i, j in surest
    ]  # fmt: skip
    shift, poses = lens_shift(seen, sight.log_prior, THRESHOLD_PX)
    prior = sight.focal * np.exp(shift)
    polished = {}
    for (i, j), pose in zip(surest, poses, strict=True):
        polished[(i, j)] = polish(
            pose, matches[(i, j)], centre[i], centre[j], prior[i], prior[j], sigma=POLISH_SIGMA, threshold_px=THRESHOLD_PX, shared_focal=shared
        )
    return prior, polished


def procrustes(local: Tensor, common: Tensor, weight: Tensor) -> tuple[np.ndarray, float]:  # [n, 3], [n, 3], [n]
    """Pose [4, 4] (local axes to common) with common ~ R local + t at one scale, weighted; and the relative residual.

    Kabsch's closed form; both maps share the scene's scale, so that no scale is fitted.
    """
    x, y, w = local.double(), common.double(), (weight / weight.sum()).double()[:, None]
    for _ in range(3):
        mx, my = (w * x).sum(0), (w * y).sum(0)
        U, _, Vt = torch.linalg.svd((w * (y - my)).T @ (x - mx))
        flip = torch.diag(torch.tensor([1.0, 1.0, torch.linalg.det(U @ Vt).sign().item()], dtype=torch.float64, device=x.device))
        R = U @ flip @ Vt
        t = my - R @ mx
        error = (x @ R.T + t - y).norm(dim=1) / y.norm(dim=1).clamp(min=1e-6)
        middle = error.median().clamp(min=1e-6)
        w = weight.double()[:, None] / (1 + (error / middle) ** 2)[:, None]
        w = w / w.sum()
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R.cpu().numpy(), t.cpu().numpy()
    return T, float(middle)
