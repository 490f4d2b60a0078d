"""What is said of views that nothing holds."""

import numpy as np

from recon.cameras.partners import best_partners
from recon.cameras.pose import Matches, RelativePose


def some(count: int) -> Matches:
    return Matches(xa=np.zeros((count, 2)), xb=np.zeros((count, 2)), confidence=np.ones(count))


def pose(support: int, confidence: float) -> RelativePose:
    return RelativePose(
        R=np.eye(3), t=np.array([1.0, 0, 0]), focal_a=1, focal_b=1, inliers=np.ones(support, bool), cost=0, support=support, confidence=confidence
    )


def test_the_surest_pair_is_the_best_partner_and_chance_is_not_enough():
    found = {(0, 1): [some(900), some(100)], (0, 2): [some(400)], (1, 2): [some(7)], (2, 3): [some(5)]}
    relative = {(0, 1): pose(120, 0.0), (0, 2): pose(90, 0.3)}
    a, b, c, d, e = best_partners(found, relative, ["a", "b", "c", "d", "e"])
    assert a == {"partner": "c", "matches": 400, "agree": 90, "needed": 60} and c == a | {"partner": "a"}
    assert b == {"partner": "a", "matches": 1000, "agree": 120, "needed": 150}
    assert d == {"partner": "c", "matches": 5, "agree": 0, "needed": 12}
    assert e["partner"] is None and e["matches"] == 0
