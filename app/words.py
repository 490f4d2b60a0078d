"""What the report says, in words for people: of the whole, and of each photo."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

SURE = ((0.75, "very sure"), (0.5, "fairly sure"), (0.25, "unsure"), (0.0, "hardly more than a guess"))
PLACES = {
    "given": "Stands where the given cameras say", "matches": "Placed by what it shares with the other photos",
    "pointmap": "Placed roughly, by the network alone: it shares no reliable details with the other photos",
    "unplaced": "Could not be placed: it shares too little with the other photos",
}  # fmt: skip
FILM_DIAGONAL_MM = math.hypot(36, 24)


def headline(report: dict[str, Any]) -> str:
    """One line on the whole result."""
    views = report["views"]
    placed = sum(view["placed_by"] != "unplaced" for view in views)
    photos = "1 photo" if len(views) == 1 else f"{placed} of {len(views)} photos placed" if placed < len(views) else f"{placed} photos placed"
    unit = "in metres" if report["metric"] else "without a known scale"
    return f"{photos}, {report['points']:,} points, {unit}, {report['seconds']['total']:.0f} s"


def photo_words(report: dict[str, Any]) -> list[dict[str, Any]]:
    """For each photo its name, sentences, and the warnings that name it."""
    alone = len(report["views"]) == 1
    return [
        {
            "name": view["name"], "placed_by": view["placed_by"], "confidence": view["confidence"],
            "words": placed(view["placed_by"], view["confidence"], alone=alone), "lens": lens(view),
            "warnings": [text for text in report["warnings"] if names(text, view["name"])],
        }
        for view in report["views"]
    ]  # fmt: skip


def placed(placed_by: str, confidence: float | None, *, alone: bool = False) -> str:
    """How a photo was placed, and how sure (0..1) that is; `alone`: there is no other photo."""
    if alone and placed_by != "given":
        return "The only photo: shape and depth are the network's guess."
    words = PLACES[placed_by]
    if placed_by in ("given", "unplaced"):  # nothing was estimated
        return f"{words}."
    sure = next(text for least, text in SURE if (confidence or 0.0) >= least)
    return f"{words}; {sure} ({100 * (confidence or 0.0):.0f} %)."


def view_words(
    name: str, placed_by: str, confidence: float, agreement: Mapping[str, Any] | None, warnings: Sequence[str], *, alone: bool = False
) -> list[str]:
    """What the view tells of a photo: placed by what, how sure, how far a second way agrees, and the warnings that name this photo.

    `agreement`: the view's record of report["agreement"], or None; `warnings`: all of the report's.
    """
    lines = [placed(placed_by, confidence, alone=alone), *_agreement(agreement or {})]
    return lines + [f"Warning: {text}" for text in warnings if names(text, name)]


def _agreement(agreement: Mapping[str, Any]) -> list[str]:
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


def lens(view: dict[str, Any]) -> str:
    """The focal length as people know it, and where it comes from; "" where there is none."""
    focal = view["K"][0][0]
    if not focal:
        return ""
    film = focal / math.hypot(view["width"], view["height"]) * FILM_DIAGONAL_MM
    source = "told by the photo's EXIF" if view.get("exif_focal") else "as given" if view["placed_by"] == "given" else "found from the photos"
    return f"Lens like {film:.0f} mm on 35 mm film, {source}."


def names(text: str, name: str) -> bool:
    """Whether a warning speaks of this photo: its name stands there as a whole, not as a part of another's."""
    return bool(name) and re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w-])", text) is not None
