"""A job is planned before it begins, and refused where it cannot fit."""

import numpy as np
import pytest

from recon.cameras.pairing import choose_pairs
from recon.cameras.plan import plan_work, refuse_too_large
from recon.errors import ReconError


@pytest.mark.parametrize("views", [2, 8, 20, 60])
@pytest.mark.parametrize("choice", ["auto", "all", "sequence"])
def test_the_plan_counts_the_pairs_that_are_matched(views, choice):
    angle = np.arange(views) * (2 * np.pi / views)
    similarity = np.cos(angle[:, None] - angle)
    planned, chosen = plan_work(views, choice, "cpu").pairs, len(choose_pairs(similarity, choice))
    assert planned == chosen if views <= 8 or choice == "all" else 0.8 * chosen <= planned <= 2 * chosen


def test_time_and_memory_grow_with_the_pairs_and_not_with_their_square():
    few, many = plan_work(100, "auto", "cpu"), plan_work(300, "auto", "cpu")
    assert many.pairs <= 3.1 * few.pairs and many.seconds < 3.1 * few.seconds and many.gibibytes < 3.1 * few.gibibytes
    assert plan_work(300, "all", "cpu").seconds > 10 * many.seconds
    assert "300 photos" in many.line() and "minutes" in many.line()


def test_what_cannot_fit_is_refused():
    plan = plan_work(300, "all", "cpu")
    with pytest.raises(ReconError, match=r"300 photos with 44850 pairs need about .* GiB, and 8.0 are free; give fewer photos, or --pairs auto"):
        refuse_too_large(plan, 8.0)
    refuse_too_large(plan, None)
    refuse_too_large(plan_work(8, "auto", "cpu"), 4.0)
