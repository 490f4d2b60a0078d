"""Tracks of many views."""

import numpy as np

from recon.cameras.joining import joined


def test_no_track_has_two_places_in_one_view():
    """Against sets of views, for more views than one word has bits."""
    rng = np.random.default_rng(0)
    owner, views = rng.integers(0, 150, 900), 150
    matches = rng.integers(0, 900, (2500, 2))
    tracks = {k: {k} for k in range(900)}
    for a, b in matches:
        a, b = (next(r for r, members in tracks.items() if k in members) for k in (a, b))
        if a != b and not {owner[k] for k in tracks[a]} & {owner[k] for k in tracks[b]}:
            tracks[a] |= tracks.pop(b)
    wanted = {frozenset(members) for members in tracks.values()}
    roots = joined(matches, owner, views)
    assert {frozenset(np.flatnonzero(roots == r).tolist()) for r in np.unique(roots)} == wanted
    assert max(map(len, wanted)) > 20
