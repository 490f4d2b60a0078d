"""Confidence is low where the lens is open or two witnesses disagree, and is kept where neither is so."""

import numpy as np
import pytest

from recon.cameras.doubt import doubted
from recon.cameras.solve import Placed

NAMES = ("a.jpg", "b.jpg", "c.jpg")


def placed(width: float) -> Placed:
    eye = np.tile(np.eye(4), (3, 1, 1))
    return Placed(K=eye[:, :3, :3], cam_to_world=eye, placed_by=("matches", "given", "matches"), confidence=np.array([0.9, 1.0, 0.9]),
                  log_scales=np.zeros(3), focal_width=width)  # fmt: skip


def record(turn=1.0, shift=0.1):
    return {"pnp_rotation_degrees": turn, "pnp_centre": shift, "depth": 0.1, "points": 50}


def test_a_known_lens_and_witnesses_that_agree_leave_no_doubt():
    out, lines = doubted(placed(0.0), [record()] * 3, NAMES)
    assert out.confidence.tolist() == [0.9, 1.0, 0.9] and lines == []
    out, lines = doubted(placed(0.02), [], NAMES)
    assert out.confidence[0] == pytest.approx(0.9, rel=0.01) and lines == []


def test_an_open_lens_is_told_and_what_was_given_stays_sure():
    out, lines = doubted(placed(0.45), [], NAMES)
    assert out.confidence[0] < 0.25 and out.confidence[1] == 1.0
    assert len(lines) == 1 and "focal length open" in lines[0]


def test_a_view_whose_witnesses_disagree_is_named():
    out, lines = doubted(placed(0.0), [record(), record(60.0, 1.0), record(60.0, 1.0)], NAMES)
    assert out.confidence.tolist() == [0.9, 1.0, 0.2]
    assert len(lines) == 1 and lines[0].startswith("c.jpg") and "60 degrees" in lines[0]
    assert doubted(placed(0.0), [record(None, None)] * 3, NAMES)[1] == []
