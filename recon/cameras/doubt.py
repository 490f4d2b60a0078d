"""Contains doubt: how much less sure a camera is where the lens is left open, or where its two witnesses disagree; and what to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recon.cameras.solve import Placed

OPEN_WIDTH = 0.25  # of log focal: a lens known no better halves the confidence; turntables have .2 to .3, walls and streets .01 to .1
WARNED_WIDTH = 0.18
DISAGREE_DEGREES, DISAGREE_CENTRE = 15.0, 0.5  # between the two witnesses, the latter by the largest baseline
DISAGREE_CONFIDENCE = 0.2  # of such a view, at most


def doubted(placed: Placed, agreement: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[Placed, list[str]]:
    """The cameras with the confidence that is due, and a line for each doubt; `agreement` as `recon.cameras.agreement` tells, or empty."""
    confidence = placed.confidence.copy()
    matched = np.array([by == "matches" for by in placed.placed_by])
    lines = []
    if placed.focal_width > 0:
        confidence[matched] /= 1 + (placed.focal_width / OPEN_WIDTH) ** 2
    if placed.focal_width > WARNED_WIDTH and matched.any():
        lines.append(
            f"the photos leave the focal length open (about {100 * np.expm1(placed.focal_width):.0f} % either way): a plane, or a thing seen from "
            "all round at one distance, fits many lenses; give it, or photos with EXIF"
        )
    apart = [v for v, record in enumerate(agreement) if matched[v] and _disagree(record)]
    confidence[apart] = np.minimum(confidence[apart], DISAGREE_CONFIDENCE)
    for v in apart:
        lines.append(
            f"{names[v]}: its matches and the shape that the network sees place it {agreement[v]['pnp_rotation_degrees']:.0f} degrees apart: "
            "one of the two is wrong"
        )
    return replace(placed, confidence=confidence), lines


def _disagree(record: dict[str, Any]) -> bool:
    turn, shift = record["pnp_rotation_degrees"], record["pnp_centre"]
    return turn is not None and turn > DISAGREE_DEGREES and shift > DISAGREE_CENTRE
