"""Contains the catalogue of procedural meshes, as a pack like the one of files, and what each of them is for in a scene."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np

from recon.models.training import fences, foliage, furniture, poles, trusses
from recon.models.training.mesh_parts import Part, fitted

LEAF_TEXTURES = 24


class Role(IntEnum):
    """How a mesh is put into a scene; see fine_structures.py."""

    PLANT = 0  # stands on the ground
    BRANCH = 1  # hangs into the picture
    BARRIER = 2  # stands or floats across the line of sight
    CABLES = 3  # hangs across the line of sight
    POLE = 4  # stands, as high as the picture
    FURNITURE = 5  # stands about


MAKERS: dict[Callable[[np.random.Generator], Part], Role] = {
    foliage.bush: Role.PLANT, foliage.tree: Role.PLANT, foliage.fern: Role.PLANT, foliage.grass: Role.PLANT, foliage.branch: Role.BRANCH,
    fences.fence: Role.BARRIER, fences.grid: Role.BARRIER, fences.lattice: Role.BARRIER, fences.railing: Role.BARRIER,
    poles.cables: Role.CABLES, poles.pole: Role.POLE, poles.ladder: Role.POLE,
    trusses.truss: Role.POLE, trusses.machine: Role.FURNITURE,
    furniture.table: Role.FURNITURE, furniture.chair: Role.FURNITURE, furniture.shelf: Role.FURNITURE,
}  # fmt: skip


def procedural_pack(seed: int, each: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`each` meshes of every maker in one pack (keys as in assets.py, textures counted from 0 to LEAF_TEXTURES) and their roles [meshes]."""
    rng = np.random.default_rng(seed)
    made = [(fitted(make(rng)), role) for make, role in MAKERS.items() for _ in range(each)]
    parts, mats = [part for part, _ in made], [materials(rng, role) for _, role in made]
    ranges = lambda counts: np.stack([np.cumsum(counts) - counts, np.cumsum(counts)], -1)
    pack = {
        "verts": np.concatenate([p.vertices for p in parts]), "uvs": np.concatenate([p.uvs for p in parts]),
        "faces": np.concatenate([p.faces for p in parts]), "face_mat": np.concatenate([p.paint for p in parts]), "mats": np.concatenate(mats),
        "mesh_v": ranges(np.array([len(p.vertices) for p in parts])), "mesh_f": ranges(np.array([len(p.faces) for p in parts])),
        "mesh_m": ranges(np.array([len(m) for m in mats])),
    }  # fmt: skip
    return pack, np.array([role for _, role in made])


def materials(rng: np.random.Generator, role: Role) -> np.ndarray:  # [M, 4]: texture or -1, r, g, b
    """Bark and leaves of a plant, frame and filling of a thin thing: metal grey, white, black, wood or any colour."""
    if role in (Role.PLANT, Role.BRANCH):
        return np.array([[-1, *rng.integers(40, 140, 3)], *([t, 255, 255, 255] for t in rng.integers(0, LEAF_TEXTURES, foliage.LEAF_PAINTS))])
    usual = [[150, 150, 155], [235, 235, 230], [25, 25, 28], [140, 95, 60], [90, 60, 40]]
    colours = [usual[rng.integers(len(usual))] if rng.random() < 0.7 else rng.integers(20, 240, 3) for _ in range(2)]  # FRAME and FILLING
    return np.array([[-1, *c] for c in colours])
