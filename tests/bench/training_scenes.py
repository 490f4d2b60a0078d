"""Contact sheets of training scenes: each a picture and its depth, near red and far blue. Noise textures and procedural meshes only.

    PYTHONPATH=. python tests/bench/training_scenes.py --to docs [--seed 3]

Writes training_scenes_thin.jpg (the first scenes of the seed with plants or thin things) and training_scenes_bare.jpg (the first bare rooms).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from recon.models.training.assets import Assets, load_assets
from recon.models.training.dice import Dice
from recon.models.training.generator import FARTHEST, SceneTables, draw_tables, render_tables
from recon.models.training.objects import INSTANCES, ROOM
from recon.models.training.photometrics import expose

SIDE, COLUMNS = 160, 4


def depth_picture(depth: Tensor) -> np.ndarray:  # [H, W] -> [H, W, 3] uint8 BGR
    """The inverse depth between its 2nd and 98th percentile in colours; background grey."""
    z = depth.numpy()
    seen = (z > 0) & (z < FARTHEST)
    inverse = 1 / np.where(seen, z, 1)
    low, high = np.quantile(inverse[seen], [0.02, 0.98]) if seen.any() else (0, 1)
    level = np.clip((inverse - low) / max(high - low, 1e-6), 0, 1)
    picture = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    picture[~seen] = 40
    return picture


def contact_sheet(tables: SceneTables, numbers: Tensor, assets: Assets) -> np.ndarray:  # [H, W, 3] uint8 BGR
    """The first view of these scenes."""
    chosen = SceneTables(**{name: table[numbers].contiguous() for name, table in vars(tables).items()})
    seen = render_tables(chosen, assets, SIDE, SIDE)
    colors = (expose(Dice(0, "cpu"), seen.color, seen.depth > 0)[:, 0] * 255).byte().numpy()[..., ::-1]
    tiles = [np.concatenate([color, depth_picture(depth)], 1) for color, depth in zip(colors, seen.depth[:, 0], strict=True)]
    return np.concatenate([np.concatenate(tiles[k : k + COLUMNS], 1) for k in range(0, len(tiles), COLUMNS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("docs"), help="folder of the two pictures")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rows", type=int, default=5)
    options = parser.parse_args()
    assets = load_assets("cpu")
    tables = draw_tables(Dice(options.seed, "cpu"), assets, 400, 2, SIDE, SIDE)
    fine = (tables.instances[:, INSTANCES:, 0] >= 0).any(1)
    bare = (tables.primitives[:, 0, 0] == ROOM) & torch.isin(tables.primitives[:, 0, 16].long(), assets.plain)
    for name, which in (("thin", fine & ~bare), ("bare", bare)):
        sheet = contact_sheet(tables, which.nonzero()[: options.rows * COLUMNS, 0], assets)
        cv2.imwrite(str(options.to / f"training_scenes_{name}.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 58])


if __name__ == "__main__":
    main()
