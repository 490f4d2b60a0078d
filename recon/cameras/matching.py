"""Contains the matches of pairs of views: which pairs, a network's own matches through a function handed in, and SIFT's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from recon.cameras.pose import Matches
from recon.cameras.sift import match_features, sift_features
from recon.photos.moves import grid_of

if TYPE_CHECKING:
    from recon.scene import Images

MatchKind = Literal["both", "own", "sift", "none"]
Pair = tuple[int, int]
Matcher = Callable[[int, int], Matches]  # two views -> their matches, in pixels of the match grid
SIFT_WEIGHT = 5.0  # of a SIFT match beside one of a network's: found at the full resolution, it is more exact


def choose_pairs(views: int, similarity: np.ndarray, limit: int) -> list[Pair]:  # similarity [V, V]
    """All pairs (i, j), i < j, when they are at most `limit`; otherwise the neighbours in order and then the most similar."""
    pairs = [(i, j) for i in range(views) for j in range(i + 1, views)]
    if len(pairs) <= limit:
        return pairs
    return sorted(sorted(pairs, key=lambda p: (p[1] - p[0] > 2, -similarity[p]))[:limit])


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
    images: Images, pairs: Sequence[Pair], matcher: Matcher | None, *, sift: bool, step: Callable[[float], None]
) -> dict[Pair, list[Matches]]:
    """Matches of each pair by kind, in pixels of `images`: the network's own where a matcher is given, and SIFT's; `step` is told the share done."""
    features = sift_of(images) if sift else []
    found: dict[Pair, list[Matches]] = {}
    for k, (i, j) in enumerate(pairs):
        kinds = [] if matcher is None else [matcher(i, j)]
        if sift:
            matches = match_features(features[i], features[j])
            kinds.append(replace(matches, weight=np.full(len(matches), SIFT_WEIGHT)))
        found[(i, j)] = kinds
        step((k + 1) / len(pairs))
    return found
