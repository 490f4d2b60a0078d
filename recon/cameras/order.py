"""Contains what the order of frames says of pairs: one that contradicts the turns from frame to frame has matched things that only look alike.

Repeated textures (tiles, facades, alike walls) can hold a wrong pair with thousands of matches, which other wrong pairs agree with; but
neighbouring frames of a walk see the same things.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recon.cameras.pairing import Pair
from recon.cameras.pose import RelativePose

LEAST_STEP = 0.1  # confidence of a pair of neighbours that the chain goes on by
APART, APART_A_STEP = 15.0, 1.0  # degrees that a pair may differ from the chain: at once, and more for every step along it


def in_order(relative: Mapping[Pair, RelativePose], views: int) -> dict[Pair, RelativePose]:
    """The pairs that agree with the chained turns of neighbouring frames, and those that no unbroken chain tells of."""
    R, segment = [np.eye(3)], [0]
    for v in range(1, views):
        step = relative.get((v - 1, v))
        goes_on = step is not None and step.confidence >= LEAST_STEP
        R.append(step.R @ R[-1] if goes_on and step is not None else np.eye(3))
        segment.append(segment[-1] + (not goes_on))

    def agrees(i: int, j: int, pose: RelativePose) -> bool:
        cosine = (np.trace(pose.R.T @ R[j] @ R[i].T) - 1) / 2
        return bool(np.degrees(np.arccos(np.clip(cosine, -1, 1))) <= APART + APART_A_STEP * abs(j - i))

    return {(i, j): p for (i, j), p in relative.items() if segment[i] != segment[j] or agrees(i, j, p)}
