"""Contains what makes a training scene repeat itself: tiled, striped, chequered surfaces, where a descriptor alone finds many equal places."""

import torch
from torch import Tensor

from recon.models.training.dice import Dice

SCENES, SURFACES = 0.06, 0.6  # shares: of the scenes, and in these of the primitives
STYLES = 3  # patterns of one scene


def paint_patterns(dice: Dice, primitives: Tensor, instances: Tensor, patterns: Tensor) -> None:
    """Gives a share of the scenes, in place, textures that repeat (`patterns` [n]: their numbers): most primitives, half of the meshes."""
    count, rows = primitives.shape[:2]
    chosen = dice.chance(SCENES, count, 1)
    styles = patterns[dice.integers(0, len(patterns), count, STYLES)].float()
    of_scene = lambda number: styles.gather(1, dice.integers(0, STYLES, count, number))
    primitives[..., 16] = torch.where(chosen & dice.chance(SURFACES, count, rows), of_scene(rows), primitives[..., 16])
    meshes = instances.shape[1]
    instances[..., 15] = torch.where(chosen & dice.chance(0.5, count, meshes), of_scene(meshes), instances[..., 15])
