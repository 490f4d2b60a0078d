"""Contains the way from matches to cameras: relative poses of the pairs, the focal length that shapes agree on, and the bundle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from recon.cameras.bundle import WORKERS, Bundle, solve_views
from recon.cameras.focal_from_shape import PAIR_LIMIT, SeenPair, lens_shift
from recon.cameras.matching import Pair
from recon.cameras.pose import Matches, RelativePose, choose, concatenate, polish
from recon.cameras.sight import Sight
from recon.photos.moves import principal_points

if TYPE_CHECKING:
    from recon.scene import Images

NO_MATCHES = Matches(xa=np.zeros((0, 2)), xb=np.zeros((0, 2)), confidence=np.zeros(0))
THRESHOLD_PX = 0.5  # expected error of a match on the match grid
POLISH_SIGMA = 0.5  # of the prior where it has moved to the lens that shape, matches and prior agree on
SWEEP_SUPPORT = 30  # inliers of a pair below which its shape says nothing


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
            prior, polished = by_shape(images, matches, relative, centre, sight, shared)
            relative |= polished
        options = {"sigma": sight.sigma, "threshold_px": THRESHOLD_PX, "shared_focal": shared}
        return solve_views(matches, centre, prior, relative=relative, K=K, cam_to_world=cam_to_world, **options)


def by_shape(
    images: Images, matches: dict[Pair, Matches], relative: dict[Pair, RelativePose | None], centre: np.ndarray, sight: Sight, shared: bool
) -> tuple[np.ndarray, dict[Pair, RelativePose]]:
    """Prior focals [V] moved to where the shapes fit too (see lens_from_shape), and the surest pairs refined from there."""
    assert sight.log_prior is not None
    solved = {pair: p for pair, p in relative.items() if p is not None and p.support >= SWEEP_SUPPORT}
    surest = sorted(solved, key=lambda pair: -solved[pair].confidence * solved[pair].support ** 0.5)[:PAIR_LIMIT]
    if not surest:
        return sight.focal, {}
    seen = [
        SeenPair(
            matches=(m := matches[(i, j)]), points_a=sight.points(i, m.xa, images), points_b=sight.points(j, m.xb, images), pose=solved[(i, j)],
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
