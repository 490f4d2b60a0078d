"""Contains the reduction of Gaussians to a given number: those whose union is least seen are merged, pair by pair.

A pair costs what Ward's criterion says (the growth of the weighted variance of colour and place; Ward 1963); its weights are opacity times the
solid angle that a Gaussian fills, as cameras see it. A union keeps weight, mean and covariance of both and their opacity times area (Kerbl et al.
2024, A Hierarchical 3D Gaussian Representation).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.geometry import matrices_to_quats, quats_to_matrices
from recon.scene import Gaussians
from recon.surfaces.pixel_gaussians import FOOTPRINT, SH_DC

NEIGHBOURS = 6  # among which the other of a pair is looked for
APART = 0.05  # what lies apart by its own size differs as much as what differs in colour by this
DEARER = 4.0  # pairs that cost so much more than the cheapest sixteenth wait: what comes of those may be cheaper
JITTER = 0.01  # of costs: of equal pairs in a row only the first would be the cheapest of both its ends
DENSEST = 0.99  # opacity of a union, at most
# Discs of pixels overlap: their variance is FOOTPRINT^2 where that of a pixel is 1/12. With distances weighted by the ratio of both, n x n discs
# would merge to just the disc of a pixel n times as wide; half of it opens no gaps either and blurs less (Herz-Jesu at half the number: 24.4 dB
# for 23.1).
OVERLAP = 6 * FOOTPRINT**2


def check_budget(most: int | None) -> None:
    """ReconError for a number of Gaussians that is none."""
    if most is not None and (isinstance(most, bool) or most < 1):
        raise ReconError(f"max_gaussians is {most}, wanted 1 or more, or None for as many as there are")


def within_budget(gaussians: Gaussians, most: int, centres: Tensor) -> Gaussians:  # centres [V, 3]
    """At most `most` Gaussians, exactly so many where there were more; `centres`: of the cameras that weigh them (NaN: none there).

    Those that are not merged stay as they are. Raises ReconError for `most` below 1.
    """
    check_budget(most)
    if len(gaussians) <= most:
        return gaussians
    device = gaussians.means.device
    eyes = centres[centres.isfinite().all(1)].double().cpu().numpy()
    merged = Union(gaussians, eyes)
    while len(merged.mean) > most:
        a, b = merged.cheapest_pairs(len(merged.mean) - most)
        merged.merge(a, b)
    return merged.gaussians(gaussians, device)


class Union:
    """Gaussians on the way to fewer, in float64."""

    def __init__(self, gaussians: Gaussians, eyes: np.ndarray) -> None:
        here = lambda x: x.detach().cpu().to(torch.float64, copy=True)  # never memory of the caller
        R, scales = quats_to_matrices(here(gaussians.quats)), here(gaussians.scales)
        half = R * scales[:, None]
        self.mean, self.covariance = here(gaussians.means).numpy(), (half @ half.mT).numpy()
        self.sh, self.opacity = here(gaussians.sh).flatten(1).numpy(), here(gaussians.opacities).numpy()
        self.origin = np.arange(len(gaussians))  # number of a Gaussian that was not merged, else -1
        self.distance = distances(self.mean, eyes)
        self.weight = self.opacity * area(self.covariance) / self.distance**2 + 1e-30

    def cheapest_pairs(self, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """At least one pair and at most `wanted`: those that are each other's cheapest, the cheapest of all first."""
        from scipy.spatial import KDTree

        count = len(self.mean)
        nearest = min(NEIGHBOURS, count - 1) + 1  # with itself
        _, found = KDTree(self.mean).query(self.mean, k=nearest)
        a, b = np.repeat(np.arange(count), nearest), np.ravel(found)
        a, b = a[a != b], b[a != b]
        lower, upper = np.minimum(a, b), np.maximum(a, b)
        pairs = np.unique(lower * np.int64(count) + upper)
        a, b = pairs // count, pairs % count
        color = SH_DC * (self.sh[a, :3] - self.sh[b, :3])
        apart = ((self.mean[a] - self.mean[b]) ** 2).sum(1) / (area(self.covariance[a]) + area(self.covariance[b]))
        difference = (color**2).mean(1) + APART**2 * apart
        cost = self.weight[a] * self.weight[b] / (self.weight[a] + self.weight[b]) * difference
        cost *= 1 + JITTER * np.random.default_rng(0).random(len(cost))
        order = np.argsort(cost, kind="stable")
        a, b, cost, rank = a[order], b[order], cost[order], np.arange(len(order))
        best = np.full(count, len(order))
        np.minimum.at(best, a, rank)
        np.minimum.at(best, b, rank)
        chosen = np.flatnonzero((best[a] == rank) & (best[b] == rank))
        chosen = chosen[cost[chosen] <= DEARER * cost[chosen[len(chosen) // 16]]][:wanted]
        return a[chosen], b[chosen]

    def merge(self, a: np.ndarray, b: np.ndarray) -> None:
        """Puts the union of each pair in the place of its first, and takes the second away."""
        weight = self.weight[a] + self.weight[b]
        share = self.weight[a] / weight
        mix = lambda x: share.reshape(-1, *[1] * (x.ndim - 1)) * (x[a] - x[b]) + x[b]
        apart = self.mean[a] - self.mean[b]
        covariance = mix(self.covariance) + OVERLAP * (share * (1 - share))[:, None, None] * apart[:, :, None] * apart[:, None]
        covered = self.opacity[a] * area(self.covariance[a]) + self.opacity[b] * area(self.covariance[b])
        mean, sh, distance = mix(self.mean), mix(self.sh), mix(self.distance)
        self.opacity[a] = np.minimum(covered / area(covariance), DENSEST)
        self.mean[a], self.covariance[a], self.sh[a], self.distance[a], self.weight[a], self.origin[a] = mean, covariance, sh, distance, weight, -1
        keep = np.ones(len(self.mean), bool)
        keep[b] = False
        for name in ("mean", "covariance", "sh", "opacity", "distance", "weight", "origin"):
            setattr(self, name, getattr(self, name)[keep])

    def gaussians(self, before: Gaussians, device: torch.device) -> Gaussians:
        """Those that are left: unions, and the untouched of `before` as they were."""
        union, kind = torch.as_tensor(self.origin < 0), before.means.dtype
        out = before[torch.as_tensor(self.origin).clamp(min=0).to(device)]
        here = lambda x: torch.as_tensor(x)[union].to(device, kind)
        variance, axes = torch.linalg.eigh(torch.as_tensor(self.covariance)[union])
        axes = axes * torch.linalg.det(axes).sign()[:, None, None]  # no mirror images
        rows = union.to(device)
        out.means[rows], out.opacities[rows], out.sh[rows] = here(self.mean), here(self.opacity), here(self.sh).unflatten(1, (-1, 3))
        out.scales[rows] = variance.clamp(min=1e-18).sqrt().to(device, kind)
        out.quats[rows] = matrices_to_quats(axes).to(device, kind)
        return out


def area(covariance: np.ndarray) -> np.ndarray:  # [n, 3, 3] -> [n]
    """The root of the sum of the products of two variances each: of a disc the product of its two deviations, up to pi its area."""
    C = covariance
    minors = [C[:, i, i] * C[:, j, j] - C[:, i, j] ** 2 for i, j in ((0, 1), (0, 2), (1, 2))]
    return np.sqrt(np.maximum(np.sum(minors, axis=0), 1e-300))


def distances(points: np.ndarray, eyes: np.ndarray) -> np.ndarray:  # [n, 3], [V, 3] -> [n] > 0
    """From each point to the nearest eye; without eyes all alike."""
    if not len(eyes):
        return np.full(len(points), max(float(np.ptp(points, axis=0).max()), 1e-12))
    nearest = np.min([np.linalg.norm(points - eye, axis=1) for eye in eyes], axis=0)
    return np.maximum(nearest, 1e-3 * max(float(np.median(nearest)), 1e-12))
