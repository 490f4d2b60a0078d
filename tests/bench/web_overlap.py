"""How many matches of one geometry photos share (recon.app.look): neighbours of one set against photos of other sets.

    python tests/bench/web_overlap.py DIR...      each DIR a set of photos of one place, in order
"""

from __future__ import annotations

import json
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from recon.app.look import LEAST_SHARED, LOOK_LONG_SIDE, SIFT_FEATURES, shared
from recon.cameras.sift import sift_features
from recon.photos.decode import EXTENSIONS, read_photo

MOST = 6  # photos of a set


def features_of(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS)[:MOST]
    return [sift_features(read_photo(p, p.name, long_side=LOOK_LONG_SIDE).rgb, max_features=SIFT_FEATURES) for p in files]


def main() -> None:
    sets = {path: features_of(Path(path)) for path in sys.argv[1:]}
    neighbours = {path: [shared(a, b) for a, b in pairwise(photos)] for path, photos in sets.items()}
    strangers = [shared(a, b) for one, other in combinations(sets.values(), 2) for a in one[:2] for b in other[:2]]
    every = [n for values in neighbours.values() for n in values]
    print(json.dumps({
        "neighbours": {path: sorted(values) for path, values in neighbours.items()}, "strangers_most": sorted(strangers)[-10:],
        "neighbours_below": float(np.mean(np.array(every) < LEAST_SHARED)), "strangers_above": float(np.mean(np.array(strangers) >= LEAST_SHARED)),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
