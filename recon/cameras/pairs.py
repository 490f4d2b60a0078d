"""Contains the solver of pairs: relative pose and focal lengths of many pairs at once, from matches and a focal prior.

The route: robust estimation at several focal lengths around the prior (PoseLib, pair by pair on all cores), and the refinement of rotation,
translation direction and log focals on the Sampson error under a Cauchy loss, batched over all pairs, the focals held by a log-normal prior.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from recon.cameras.epipolar import CLIP, Poses, Problems, cat, cost, refine, where
from recon.cameras.judgement import judge
from recon.cameras.pose import Matches, RelativePose, Start, concatenate
from recon.cameras.starts import MATCH_LIMIT, essential_starts, planar_starts
from recon.cores import in_threads

FACTORS = (1.0, 0.75, 1.35)  # focal starts, as factors of the prior
WIDER_FACTORS = (0.55, 1.8)  # where those do not lead to one answer
SURE_COST = 0.5 * CLIP  # of a pose: above it starts that agree may do so by chance
LEAST_MATCHES = 8
ROWS_AT_ONCE = 1 << 18  # matches in one batch: some 100 MB

Tried = tuple[Poses, Tensor, Tensor, Tensor]  # poses, their tasks, costs, and which came by way of the essential matrix


@dataclass(frozen=True, kw_only=True)
class TwoViews:
    """A pair to be solved: its matches by kind, in pixels, and what is known of both lenses."""

    kinds: tuple[Matches, ...]
    principal_a: np.ndarray  # [2] pixels
    principal_b: np.ndarray
    focal_a: float  # pixels, the prior
    focal_b: float
    known_a: bool = False  # the prior is the truth
    known_b: bool = False
    shared: bool = True  # one focal length for both, where neither is known

    def __post_init__(self) -> None:
        if not (self.focal_a > 0 and self.focal_b > 0):
            raise ValueError(f"focal lengths must be positive, got {self.focal_a} and {self.focal_b}")

    @cached_property
    def every(self) -> Matches:
        """The matches of all kinds; those that `inliers` of an answer are over."""
        return concatenate(self.kinds)

    def log_prior(self) -> np.ndarray:  # [2]
        """Log focals to start from and be held at: one mean of both where they are one unknown."""
        logs = np.log([self.focal_a, self.focal_b])
        return np.full(2, logs.mean()) if self.shared and not (self.known_a or self.known_b) else logs

    def columns(self) -> np.ndarray:  # [2, 2]
        """What each unknown adds to the log focals (see Problems)."""
        if self.known_a or self.known_b or not self.shared:
            return np.diag([float(not self.known_a), float(not self.known_b)])
        return np.array([[1.0, 0.0], [1.0, 0.0]])


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How pairs are solved."""

    sigma: float = 0.35  # width of the prior in log focal
    threshold_px: float = 1.0  # expected error of a match
    coarse_limit: int = 600  # matches in the refinement of each start
    refine_limit: int = 2000  # in the last one
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("sigma", self.sigma), ("threshold_px", self.threshold_px)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")

    def solve(self, pairs: Sequence[TwoViews], *, guesses: Sequence[Start | None] = ()) -> list[RelativePose | None]:
        """The pose of each pair that explains the matches of every kind together best, searched for in each kind; None where nothing is found.

        `guesses` (one a pair, or none at all) join the candidates. `inliers` of an answer is over `TwoViews.every`.
        """
        out: list[RelativePose | None] = [None] * len(pairs)
        for group in _groups([len(p.every) for p in pairs]):
            some = [pairs[k] for k in group]
            candidates = self._candidates(some)
            for k, guess in enumerate(guesses[g] for g in group if guesses):
                if guess is not None and len(some[k].every):
                    candidates.append((k, _as_poses([guess])))
            for k, answer in zip(group, self._decide(some, candidates), strict=True):
                out[k] = answer
        return out

    def polish(self, pairs: Sequence[TwoViews], starts: Sequence[Start]) -> list[RelativePose]:
        """Each pose refined from its start alone, without a search; known focals go to exactly the prior's."""
        out: list[RelativePose | None] = [None] * len(pairs)
        for group in _groups([len(p.every) for p in pairs]):
            some = [pairs[k] for k in group]
            every, counts = self.problems(some, [p.every for p in some])
            few, _ = self.problems(some, [_spread(p.every, self.refine_limit) for p in some])
            poses = _as_poses([starts[k] for k in group])
            for k, answer in zip(group, judge(refine(_held(poses, every, torch.arange(len(some))), few), every, counts), strict=True):
                out[k] = answer
        return [p for p in out if p is not None]

    def problems(self, pairs: Sequence[TwoViews], matches: Sequence[Matches]) -> tuple[Problems, list[int]]:
        """The batch of some matches of each pair, and how many of each row are real."""
        counts = [len(m) for m in matches]
        rows = max([*counts, 1])
        a, b, share = np.ones((len(pairs), 3, rows)), np.ones((len(pairs), 3, rows)), np.zeros((len(pairs), rows))
        for k, (pair, m) in enumerate(zip(pairs, matches, strict=True)):
            a[k, :2, : len(m)], b[k, :2, : len(m)] = (m.xa - pair.principal_a).T, (m.xb - pair.principal_b).T
            share[k, : len(m)] = m.weights()
        to = lambda x: torch.from_numpy(np.asarray(x, float))
        log_prior, columns = (np.stack([f(p) for p in pairs]) for f in (TwoViews.log_prior, TwoViews.columns))
        data = {"a": to(a), "b": to(b), "share": to(share), "log_prior": to(log_prior), "columns": to(columns)}
        return Problems(**data, sigma=self.sigma, threshold=self.threshold_px), counts

    def _candidates(self, pairs: Sequence[TwoViews]) -> list[tuple[int, Poses]]:
        """The best pose by each kind of matches of each pair, as (number of the pair, one pose)."""
        tasks = [(k, kind) for k, p in enumerate(pairs) for kind in p.kinds if len(kind) >= LEAST_MATCHES]
        if not tasks:
            return []
        coarse, _ = self.problems([pairs[k] for k, _ in tasks], [_spread(m.best(self.refine_limit), self.coarse_limit) for _, m in tasks])
        free = [not (pairs[k].known_a and pairs[k].known_b) for k, _ in tasks]
        at_prior = self._try(pairs, tasks, coarse, [(t, 1.0, True) for t in range(len(tasks))])
        moved = _elsewhere(coarse, at_prior, [t for t, y in enumerate(free) if y])
        unsure = [t for t, y in enumerate(free) if y and not _agreed(_costs((at_prior, moved), t))]
        anew = self._try(pairs, tasks, coarse, [(t, factor, False) for t in unsure for factor in FACTORS[1:]])
        wider = [t for t in unsure if not _agreed(_costs((at_prior, anew), t))]
        further = self._try(pairs, tasks, coarse, [(t, factor, False) for t in wider for factor in WIDER_FACTORS])
        found, owner, price, _ = _joined([at_prior, moved, anew, further])
        best = []
        for t, (k, _) in enumerate(tasks):
            mine = (owner == t).nonzero()[:, 0]
            if len(mine):
                best.append((k, found.take(mine[price[mine].argmin()][None])))
        return best

    def _try(self, pairs, tasks, coarse: Problems, wanted: list[tuple[int, float, bool]]) -> Tried:
        """Starts of (task, focal factor, planes too), refined: poses, their tasks, costs, and which came by way of the essential matrix."""

        few = {t: tasks[t][1].best(MATCH_LIMIT) for t in {t for t, _, _ in wanted}}

        def search(want: tuple[int, float, bool]) -> tuple[list[Start], list[Start]]:
            t, factor, planes = want
            pair, m = pairs[tasks[t][0]], few[t]
            focal_a, focal_b = (float(f) for f in np.exp(pair.log_prior()) * factor)
            where_ = (m.xa - pair.principal_a, m.xb - pair.principal_b, focal_a, focal_b, self.threshold_px, self.seed)
            return essential_starts(*where_), planar_starts(*where_) if planes else []

        started = in_threads(search, wanted)
        starts = [(s, t, True) for (t, _, _), (lines, _) in zip(wanted, started, strict=True) for s in lines]
        starts += [(s, t, False) for (t, _, _), (_, planes) in zip(wanted, started, strict=True) for s in planes]
        poses = _as_poses([s for s, _, _ in starts])
        owner = torch.tensor([t for _, t, _ in starts], dtype=torch.long)
        searched = torch.tensor([e for _, _, e in starts], dtype=torch.bool)
        poses = refine(poses, coarse, owner)
        return poses, owner, cost(poses, coarse, owner), searched

    def _decide(self, pairs: Sequence[TwoViews], candidates: list[tuple[int, Poses]]) -> list[RelativePose | None]:
        """Of the candidates, as they are and polished on the matches of all kinds, the one of least cost on all the matches."""
        if not candidates:
            return [None] * len(pairs)
        every, counts = self.problems(pairs, [p.every for p in pairs])
        few, _ = self.problems(pairs, [_spread(p.every, self.refine_limit) for p in pairs])
        owner = torch.tensor([k for k, _ in candidates])
        poses = cat([p for _, p in candidates])
        poses = _held(poses, every, owner)
        polished = refine(poses, few, owner)
        before, after = cost(poses, every, owner), cost(polished, every, owner)
        poses, price = where(after < before, polished, poses), torch.minimum(after, before)
        rows, chosen = [], []
        for k in range(len(pairs)):
            own = (owner == k).nonzero()[:, 0]
            if len(own):
                rows.append(k)
                chosen.append(int(own[price[own].argmin()]))
        index = lambda numbers: torch.tensor(numbers)
        answers = judge(poses.take(index(chosen)), every.take(index(rows)), [counts[k] for k in rows])
        out: list[RelativePose | None] = [None] * len(pairs)
        for k, answer in zip(rows, answers, strict=True):
            out[k] = answer
        return out


def _held(poses: Poses, problems: Problems, owner: Tensor) -> Poses:
    """The poses with known focals at exactly the prior of their problems."""
    free = problems.columns[owner].abs().sum(2) > 0
    return replace(poses, log_focal=torch.where(free, poses.log_focal, problems.log_prior[owner]))


def _elsewhere(coarse: Problems, tried: Tried, tasks: list[int]) -> Tried:
    """The best poses by the essential matrix of some tasks, where they are good, refined from the other focal starts without a search."""
    poses, owner, price, searched = tried
    rows = []
    for t in tasks:
        mine = ((owner == t) & searched).nonzero()[:, 0]
        if len(mine) and float(price[mine].min()) < SURE_COST:
            rows.append(int(mine[price[mine].argmin()]))
    chosen = torch.tensor(rows, dtype=torch.long).repeat(len(FACTORS) - 1)
    mine = owner[chosen]
    factor = torch.tensor(FACTORS[1:], dtype=torch.float64).repeat_interleave(len(rows))
    moved = refine(replace(poses.take(chosen), log_focal=coarse.log_prior[mine] + factor.log()[:, None]), coarse, mine)
    return moved, mine, cost(moved, coarse, mine), torch.ones_like(mine, dtype=torch.bool)


def _joined(parts: Sequence[Tried]) -> Tried:
    poses, *rest = zip(*parts, strict=True)
    owner, price, searched = (torch.cat(x) for x in rest)
    return cat(list(poses)), owner, price, searched


def _costs(parts: Sequence[Tried], task: int) -> list[float]:
    """Costs of a task's poses by way of the essential matrix."""
    return [float(c) for _, owner, price, searched in parts for c in price[(owner == task) & searched]]


def _agreed(costs: list[float]) -> bool:
    """Whether as many starts as were made lead to one answer, and a good one."""
    return len(costs) >= len(FACTORS) and max(costs) < 1.02 * min(costs) and costs[0] < SURE_COST


def _spread(matches: Matches, limit: int) -> Matches:
    """At most so many of the matches, drawn evenly."""
    return matches if len(matches) <= limit else matches.take(np.sort(np.random.default_rng(0).permutation(len(matches))[:limit]))


def _as_poses(starts: Sequence[Start]) -> Poses:
    to = lambda x, shape: torch.from_numpy(np.asarray(x, float).reshape(-1, *shape))
    R, t, focals = ([s[k] for s in starts] for k in range(3))
    return Poses(R=to(R, (3, 3)), t=to(t, (3,)), log_focal=to(np.log(np.asarray(focals, float).reshape(-1, 2)), (2,)))


def _groups(counts: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of the pairs in batches of alike size, each of at most ROWS_AT_ONCE matches with the padding."""
    order = sorted(range(len(counts)), key=lambda k: -counts[k])
    start = 0
    while start < len(order):
        step = max(1, ROWS_AT_ONCE // max(counts[order[start]], 1))
        yield order[start : start + step]
        start += step
