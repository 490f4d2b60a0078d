"""Contains the way from matches to cameras: relative poses of the pairs, the focal length that shapes agree on, and the bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from recon.cameras.bundle import Bundle, common_focal, solve_views
from recon.cameras.focal_from_shape import PAIR_LIMIT, SeenPair, lens_shift
from recon.cameras.order import in_order
from recon.cameras.pairing import Pair
from recon.cameras.pairs import Solver, TwoViews
from recon.cameras.panorama import panorama
from recon.cameras.pose import Matches, RelativePose
from recon.cameras.sight import Sight
from recon.photos.moves import principal_points

if TYPE_CHECKING:
    from recon.scene import Images

THRESHOLD_PX = 0.5  # expected error of a match on the match grid
POLISH_SIGMA = 0.5  # of the prior where it has moved to the lens that shape, matches and prior agree on
SWEEP_SUPPORT = 30  # inliers of a pair below which its shape says nothing
SURE, SETTLED = 0.3, 0.1  # confidence of a pair that is not searched anew where its focal lengths change by so little, in logs
FOCAL_PAIRS = 24  # pairs that the focal length is looked for in; the others are solved with what these agree on


def place(
    images: Images, found: dict[Pair, list[Matches]], sight: Sight, *, K: np.ndarray | None, cam_to_world: np.ndarray | None, seed: int = 0,
    ordered: bool = False, stage: Callable[[str], None] = lambda name: None,
) -> tuple[Bundle, float, dict[Pair, RelativePose]]:  # fmt: skip
    """Cameras and tracks from the matches, all in pixels of `images`, how open the log focals are left, and the poses of pairs.

    K and poses are kept where finite. Views that are `ordered` are frames of which neighbours see the same things. `stage` is told what begins.
    """
    centre = principal_points(images)
    sizes = {(int(w), int(h)) for w, h in zip(images.photo_width, images.photo_height, strict=True)}
    shared = len({tuple(sorted(s)) for s in sizes}) == 1
    known = np.zeros(len(sight.focal), bool) if K is None else np.asarray(np.isfinite(K).all((1, 2)))
    prior = sight.focal.copy()
    if K is not None:
        prior[known] = K[known][:, [0, 1], [0, 1]].mean(1)
        centre[known] = K[known][:, :2, 2]
    views = {
        (i, j): TwoViews(
            kinds=tuple(k for k in kinds if len(k)), principal_a=centre[i], principal_b=centre[j], focal_a=prior[i], focal_b=prior[j],
            known_a=bool(known[i]), known_b=bool(known[j]), shared=shared,
        )
        for (i, j), kinds in found.items()
        if sum(map(len, kinds)) >= 8
    }  # fmt: skip
    if cam_to_world is None:
        stationary = panorama({pair: v.every for pair, v in views.items()}, centre, prior, known, THRESHOLD_PX)
        if stationary is not None:
            return stationary, 0.0, {}
    solver = Solver(sigma=sight.sigma, threshold_px=THRESHOLD_PX, seed=seed)
    if len(views) > 1:  # the bundle refines what the pairs only begin
        solver = replace(solver, coarse_limit=300, refine_limit=800)
    stage("poses of pairs")
    relative = with_focal(solver, views)
    stage("focal length")
    width = 0.0
    if sight.log_prior is not None and not known.any():
        prior, width, polished = by_shape(images, views, relative, sight, solver)
        relative |= polished
    if len(views) > 1 and not known.all():
        stage("poses of pairs again")
        agreed = np.where(known, prior, common_focal(relative, prior, shared=shared))
        fixed = {(i, j): replace(v, focal_a=agreed[i], focal_b=agreed[j], known_a=True, known_b=True) for (i, j), v in views.items()}
        relative = settled(solver, fixed, relative)
    if ordered:
        relative = in_order(relative, len(sight.focal))
    stage("bundle")
    matches = {pair: v.every for pair, v in views.items()}
    options = {"sigma": sight.sigma, "threshold_px": THRESHOLD_PX, "shared_focal": shared}
    return solve_views(matches, relative, centre, prior, K=K, cam_to_world=cam_to_world, **options), width, relative


def solved(solver: Solver, views: dict[Pair, TwoViews], guesses: dict[Pair, RelativePose] | None = None) -> dict[Pair, RelativePose]:
    """The relative poses of the pairs that have one."""
    starts = [g.start if (g := (guesses or {}).get(pair)) is not None else None for pair in views]
    return {pair: p for pair, p in zip(views, solver.solve(list(views.values()), guesses=starts), strict=True) if p is not None}


def settled(solver: Solver, views: dict[Pair, TwoViews], guesses: dict[Pair, RelativePose]) -> dict[Pair, RelativePose]:
    """The relative poses at known focal lengths: of sure guesses with nearly those refined, the others searched for anew."""
    near = [pair for pair, g in guesses.items() if g.confidence > SURE and _apart(views[pair], g) < SETTLED]
    refined = solver.polish([views[pair] for pair in near], [guesses[pair].start for pair in near])
    return solved(solver, {pair: v for pair, v in views.items() if pair not in near}, guesses) | dict(zip(near, refined, strict=True))


def _apart(pair: TwoViews, pose: RelativePose) -> float:
    """How far the focal lengths of a pose are from the pair's, in logs."""
    return max(abs(np.log(pose.focal_a / pair.focal_a)), abs(np.log(pose.focal_b / pair.focal_b)))


def surest(relative: dict[Pair, RelativePose], limit: int) -> list[Pair]:
    """The pairs that tell most."""
    return sorted(relative, key=lambda pair: -relative[pair].confidence * relative[pair].support ** 0.5)[:limit]


def with_focal(solver: Solver, views: dict[Pair, TwoViews]) -> dict[Pair, RelativePose]:
    """Relative poses with the focal lengths that fit them best: of all the pairs, or of those that look best at the prior."""
    if len(views) > FOCAL_PAIRS and not all(v.known_a and v.known_b for v in views.values()):
        look = solved(solver, {pair: replace(v, known_a=True, known_b=True) for pair, v in views.items()})
        chosen = surest(look, FOCAL_PAIRS)
        return solved(solver, {pair: views[pair] for pair in chosen}, look)
    return solved(solver, views)


def by_shape(
    images: Images, views: dict[Pair, TwoViews], relative: dict[Pair, RelativePose], sight: Sight, solver: Solver
) -> tuple[np.ndarray, float, dict[Pair, RelativePose]]:
    """Prior focals [V] moved to where the shapes fit too (see `lens_shift`), how sure that is, and the surest pairs refined from there."""
    assert sight.log_prior is not None
    chosen = surest({pair: p for pair, p in relative.items() if p.support >= SWEEP_SUPPORT}, PAIR_LIMIT)
    if not chosen:
        return sight.focal, sight.sigma, {}
    seen = []
    for i, j in chosen:
        m = views[(i, j)].every
        points_a, points_b = sight.points(i, m.xa, images), sight.points(j, m.xb, images)
        seen.append(SeenPair(views=views[(i, j)], points_a=points_a, points_b=points_b, pose=relative[(i, j)]))
    lens = lens_shift(seen, sight.log_prior, solver)
    prior = sight.focal * np.exp(lens.shift)
    moved = [replace(views[(i, j)], focal_a=prior[i], focal_b=prior[j]) for i, j in chosen]
    polished = replace(solver, sigma=POLISH_SIGMA).polish(moved, lens.starts)
    return prior, lens.width, dict(zip(chosen, polished, strict=True))
