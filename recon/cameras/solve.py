"""Contains the cameras of all views: given ones kept, the others from matches, the rest from the network's own rough poses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.cameras.bundle import Bundle
from recon.cameras.depth_scale import depth_scales
from recon.cameras.pairing import Pair
from recon.cameras.partners import best_partners
from recon.cameras.placing import place
from recon.cameras.pose import Matches
from recon.cameras.sight import Sight
from recon.cores import one_thread_each
from recon.photos.moves import move_K, principal_points

if TYPE_CHECKING:
    from recon.scene import Cameras, Images, PlacedBy

LEAST_CONFIDENCE = 0.02  # below it a pose from matches is no better than the pointmap's


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Cameras on the match grid, in one world."""

    K: np.ndarray  # [V, 3, 3]
    cam_to_world: np.ndarray  # [V, 4, 4]
    placed_by: tuple[PlacedBy, ...]
    confidence: np.ndarray  # [V]
    log_scales: np.ndarray  # [V] of each view's depth
    focal_width: float = 0.0  # standard deviation of the log focal lengths that matches and network leave; 0 where they are known
    partners: tuple[dict[str, Any], ...] = ()  # of each view, see `best_partners`; () where no matches were sought


def solve(
    images: Images, fine: Images, sight: Sight, found: dict[Pair, list[Matches]], cameras: Cameras | None, *, guess: bool = False, seed: int = 0,
    ordered: bool = False, stage: Callable[[str], None] = lambda name: None,
) -> tuple[Placed, Bundle | None]:  # fmt: skip
    """Cameras of all views: given ones kept, then from matches, then the network's own pose; and the bundle when there was one.

    Of more than two views those that nothing holds are "unplaced", with the network's pose for what it is worth, unless a `guess` is wanted.
    `cameras` are on the grid of `images`, NaN where unknown; `found` and the result are on the match grid `fine`; views that are `ordered` are
    frames of which neighbours see the same things; `stage` is told what begins.
    """
    V = len(images.rgb)
    K_given, T_given = given_cameras(cameras, images, fine)
    K = np.tile(np.eye(3), (V, 1, 1))
    K[:, 0, 0] = K[:, 1, 1] = sight.focal
    K[:, :2, 2] = principal_points(fine)
    if K_given is not None:
        K = np.where(np.isfinite(K_given), K_given, K)
    has_pose = np.zeros(V, bool) if T_given is None else np.asarray(np.isfinite(T_given).all((1, 2)))
    T = np.full((V, 4, 4), np.nan) if T_given is None else T_given.copy()
    by: list[PlacedBy] = ["given" if g else "unplaced" for g in has_pose]
    confidence = np.where(has_pose, 1.0, 0.0)
    bundle, focal_width, relative = None, 0.0, {}
    if any(len(m) for kinds in found.values() for m in kinds):
        with one_thread_each():
            bundle, focal_width, relative = place(fine, found, sight, K=K_given, cam_to_world=T_given, seed=seed, ordered=ordered, stage=stage)
        held = bundle.placed & (bundle.confidence > LEAST_CONFIDENCE)
        if held.sum() >= 2 or has_pose.any():
            K = bundle.K
            for v in np.flatnonzero(held & ~has_pose):
                T[v], by[v], confidence[v] = bundle.cam_to_world[v], "matches", bundle.confidence[v]
        else:
            bundle = None
    scales = depth_scales(sight, fine, bundle, T)
    T, by, confidence = fill_poses(sight, T, by, confidence, scales, keep=guess or V <= 2)
    scales = np.where(np.isfinite(scales), scales, np.nanmedian(scales))
    partners = tuple(best_partners(found, relative, images.names)) if found else ()
    return Placed(
        K=K, cam_to_world=T, placed_by=tuple(by), confidence=confidence, log_scales=scales, focal_width=focal_width, partners=partners
    ), bundle


def given_cameras(cameras: Cameras | None, images: Images, fine: Images) -> tuple[np.ndarray | None, np.ndarray | None]:
    """K on the match grid and cam_to_world of known cameras; NaN matrices where unknown, None when there are none."""
    if cameras is None:
        return None, None
    K = np.asarray(cameras.K.detach().cpu(), float)
    T = np.asarray(cameras.cam_to_world.detach().cpu(), float)
    return move_K(K, images, fine), T


def fill_poses(
    sight: Sight, T: np.ndarray, by: list[PlacedBy], confidence: np.ndarray, scales: np.ndarray, *, keep: bool
) -> tuple[np.ndarray, list[PlacedBy], np.ndarray]:
    """Poses of the views that nothing placed, from the network's own, carried over by the surest placed view that it saw together with them.

    They count as placed by the pointmap where that guess is to be kept, else as unplaced, with confidence 0.
    """
    T, by, confidence = T.copy(), list(by), confidence.copy()
    held = np.isfinite(T).all((1, 2))
    for v in np.flatnonzero(~held):
        near = np.flatnonzero(held & (sight.group == sight.group[v]))
        anchor = int(near[np.argmax(confidence[near])]) if len(near) else int(np.flatnonzero(sight.group == sight.group[v])[0])
        step = np.linalg.inv(sight.cam_to_world[anchor]) @ sight.cam_to_world[v]
        step[:3, 3] *= math.exp(scales[anchor]) if np.isfinite(scales[anchor]) else 1.0
        T[v] = (T[anchor] if len(near) else np.eye(4)) @ step
        if keep and (len(near) or not held.any()):
            by[v], confidence[v] = "pointmap", 0.3 * math.exp(-5 * float(sight.residual[v]))
    return T, by, confidence
