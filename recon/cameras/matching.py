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


def find_matches(
    images: Images, pairs: Sequence[Pair], matcher: Matcher | None, *, sift: bool, step: Callable[[float], None], device: torch.device | str = "cpu"
) -> dict[Pair, list[Matches]]:
    """Matches of each pair by kind, in pixels of `images`: the network's own where a matcher is given, and SIFT's; `step` is told the share done.

    Beside a GPU, which makes the network's matches, the processor looks for the SIFT features meanwhile.
    """
    device = torch.device(device)
    found: dict[Pair, list[Matches]] = {pair: [] for pair in pairs}
    passes = (matcher is not None) + sift
    told = iter(range(1, passes * len(pairs) + 1))
    with ThreadPoolExecutor(1) as aside:
        features = aside.submit(sift_of, images) if sift else None
        if features is not None and device.type == "cpu":
            features.result()
        if matcher is not None:
            for pair in pairs:
                found[pair].append(matcher(*pair))
                step(next(told) / (passes * len(pairs)))
    if features is not None:
        there = [(xy, torch.from_numpy(descriptors).to(device)) for xy, descriptors in features.result()]
        for i, j in pairs:
            matches = match_features(there[i], there[j])
            found[(i, j)].append(replace(matches, weight=np.full(len(matches), SIFT_WEIGHT)))
            step(next(told) / (passes * len(pairs)))
    return found
