"""Contains what the report says of one photo, as sentences for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recon.app.words import names

PLACED = {
    "given": "Its camera was given and kept as it is.",
    "matches": "Placed by matches with the other photos.",
    "pointmap": "Placed roughly, by the network alone: no reliable matches with the other photos.",
    "unplaced": "Not placed: it shares too little with the other photos. Nothing of it is in the scene.",
}
SURE, FAIRLY = 0.75, 0.4  # from here on the words are "sure" and "fairly sure"


def view_words(name: str, placed_by: str, confidence: float, agreement: Mapping[str, Any] | None, warnings: Sequence[str]) -> list[str]:
    """Placed by what, how sure, how far a second way agrees, and the warnings that name this photo.

    `agreement`: the view's record of report["agreement"], or None; `warnings`: all of the report's.
    """
    lines = [PLACED.get(placed_by, f"Placed by {placed_by}.")]
    if placed_by in ("matches", "pointmap"):
        how = "sure" if confidence >= SURE else "fairly sure" if confidence >= FAIRLY else "unsure"
        lines.append(f"Confidence of its place: {confidence:.2f} of 1 ({how}).")
    lines += _agreement_words(agreement or {})
    return lines + [f"Warning: {text}" for text in warnings if names(text, name)]


def _agreement_words(agreement: Mapping[str, Any]) -> list[str]:
    """What the comparison of two independent ways says (recon.cameras.agreement)."""
    lines = []
    turn, depth, points = (agreement.get(key) for key in ("pnp_rotation_degrees", "depth", "points"))
    if points:
        lines.append(f"{points:,} of its points are seen in other photos too.")
    if turn is not None:
        lines.append(f"A second way of placing it differs by {turn:.1f} degrees.")
    if depth is not None:
        lines.append(f"The network's own depth differs from the matched points by {100 * depth:.1f} % (median).")
    return lines
