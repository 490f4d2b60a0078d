"""Contains what each view shares with the others: its best partner, the matches that agree on one camera there, and how many would be needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recon.cameras.judgement import CHANCE
from recon.cameras.pairing import Pair
from recon.cameras.pose import Matches, RelativePose

LEAST = 12  # matches that agree, however few there are


def best_partners(found: Mapping[Pair, Sequence[Matches]], relative: Mapping[Pair, RelativePose], names: Sequence[str]) -> list[dict[str, Any]]:
    """One record a view: `partner` (a name, None without any match), `matches` with it, those that `agree`, and how many are `needed`.

    The best partner is the one with the surest pose, then the most matches that agree, or matches at all. As many as chance may bring are not enough.
    """
    records = []
    for v, _ in enumerate(names):
        pairs = [(pair, relative.get(pair), sum(map(len, kinds))) for pair, kinds in found.items() if v in pair]
        rank = lambda p: (p[1].confidence, p[1].support, p[2]) if p[1] is not None else (0.0, 0, p[2])
        pair, pose, matches = max(pairs, key=rank, default=((v, v), None, 0))
        needed = max(LEAST, math.ceil(CHANCE * matches))
        partner = names[pair[0] + pair[1] - v] if matches else None
        records.append({"partner": partner, "matches": matches, "agree": pose.support if pose is not None else 0, "needed": needed})
    return records
