"""Pairs of frames against the turns from frame to frame."""

import numpy as np
from scipy.spatial.transform import Rotation

from recon.cameras.order import in_order
from recon.cameras.pose import RelativePose


def turned(degrees: float, confidence: float = 0.5) -> RelativePose:
    R = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    return RelativePose(R=R, t=np.array([1.0, 0, 0]), focal_a=1, focal_b=1, inliers=np.ones(9, bool), cost=0, support=9, confidence=confidence)


def test_a_wall_that_looks_like_another_is_no_match():
    """A quarter of a turn off, and surer than the neighbours: as alike walls of a room are."""
    steps = {(k, k + 1): turned(18) for k in range(19)}
    right = {(k, k + 2): turned(36) for k in range(18)} | {(0, 19): turned(342 + 12)}  # with the drift of a loop
    wrong = {(5, 9): turned(18 * 4 + 90, 0.9), (6, 10): turned(18 * 4 + 90, 0.9), (1, 19): turned(18 * 18 - 90, 0.9)}
    assert set(in_order(steps | right | wrong, 20)) == set(steps | right)


def test_a_break_in_the_chain_leaves_all_pairs_across_it():
    """A cut of a film, or neighbours that hardly share anything, tell nothing of the pairs across."""
    steps = {(k, k + 1): turned(10) for k in range(9) if k != 4}
    across = {(2, 7): turned(170), (3, 6): turned(-60)}
    weak = {(4, 5): turned(90, 0.01)}
    assert set(in_order(steps | across, 10)) == set(steps | across)
    assert set(in_order(steps | across | weak, 10)) == set(steps | across | weak)
    assert set(in_order(steps | across | {(4, 5): turned(10)}, 10)) == set(steps) | {(4, 5)}
