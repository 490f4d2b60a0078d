"""Contains the matches of pairs of views: a network's own matches through a function handed in, and SIFT's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from recon.cameras.pairing import Pair
from recon.cameras.pose import Matches
from recon.cameras.sift import MOST_FEATURES, match_features, sift_features
from recon.photos.grid import photo_mask
from recon.photos.moves import grid_of

if TYPE_CHECKING:
    from recon.scene import Images

MatchKind = Literal["both", "own", "sift", "none"]
Matcher = Callable[[int, int], Matches]  # two views -> their matches, in pixels of the match grid
Features = Callable[[], list[tuple[np.ndarray, np.ndarray]]]  # SIFT features of each view, see `sift_of`
FEW_VIEWS, MOST_OF_MANY = 8, 4096  # SIFT features of a photo where more views hold each other
SIFT_WEIGHT = 5.0  # of a SIFT match beside one of a network's: found at the full resolution, it is more exact


def sift_of(images: Images) -> list[tuple[np.ndarray, np.ndarray]]:
    """SIFT features of each photo with places in pixels of the grid of `images`; of the grid's own pixels where no photos are kept."""
    scale, offset = grid_of(images)
    photos = [np.asarray(p) for p in images.photos] or [(rgb.cpu().clamp(0, 1) * 255).round().byte().numpy() for rgb in images.rgb]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        describe = partial(sift_features, max_features=MOST_FEATURES if len(photos) <= FEW_VIEWS else MOST_OF_MANY)
        features = list(pool.map(describe, photos, [_kept(images, v) for v in range(len(photos))]))
    if not images.photos:
        return features
    out = []
    for v, (photo, (xy, descriptors)) in enumerate(zip(photos, features, strict=True)):
        size = np.array([float(images.photo_width[v]), float(images.photo_height[v])])
        out.append((xy * size / [photo.shape[1], photo.shape[0]] * scale[v] + offset[v], descriptors))
    return out


def _kept(images: Images, view: int) -> np.ndarray | None:
    """What of the photo, or of the grid where no photos are kept, its mask leaves; None for all of it."""
    if not images.photos:
        return None if images.mask[view].all() else images.mask[view].cpu().numpy()
    return photo_mask(images, view)


def sift_ahead(images: Images, device: torch.device | str) -> Features:
    """`sift_of` to be asked for later; beside a GPU, which does the network's work, the processor begins at once."""
    if torch.device(device).type == "cpu":
        return lambda: sift_of(images)
    pool = ThreadPoolExecutor(1)
    job = pool.submit(sift_of, images)
    pool.shutdown(wait=False)
    return job.result


def find_matches(
    pairs: Sequence[Pair], matcher: Matcher | None, features: Features | None, *, step: Callable[[float], None], device: torch.device | str = "cpu"
) -> dict[Pair, list[Matches]]:
    """Matches of each pair by kind, in pixels of the match grid: the network's own where a matcher is given, and SIFT's where features are.

    `step` is told the share done.
    """
    found: dict[Pair, list[Matches]] = {pair: [] for pair in pairs}
    done = iter(np.linspace(0, 1, len(pairs) * ((matcher is not None) + (features is not None)) + 1)[1:].tolist())
    if matcher is not None:
        for pair in pairs:
            found[pair].append(matcher(*pair))
            step(next(done))
    if features is not None:
        there = [(xy, torch.from_numpy(descriptors).to(device)) for xy, descriptors in features()]
        for i, j in pairs:
            matches = match_features(there[i], there[j])
            found[(i, j)].append(replace(matches, weight=np.full(len(matches), SIFT_WEIGHT)))
            step(next(done))
    return found
