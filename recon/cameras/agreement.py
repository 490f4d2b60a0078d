"""Contains the comparison of two independent ways: cameras from matches against PnP on the other photos' points, network depth against tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recon.cameras.sight import Sight
from recon.cores import in_threads
from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.cameras.bundle import Bundle
    from recon.cameras.solve import Placed
    from recon.scene import Images

LEAST_POINTS = 20
PNP_THRESHOLD_PX = 6.0  # the network's depth is off by some per cent, which is pixels in another view


def agreement(sight: Sight, fine: Images, placed: Placed, bundle: Bundle | None) -> list[dict[str, Any]]:
    """What `compare` says of the network's uncorrected depth and the bundle (on the grid `fine`); empty without a bundle."""
    if bundle is None or not len(bundle.points):
        return []
    depth = np.empty(len(bundle.view))
    for v in range(len(placed.K)):
        mine = bundle.view == v
        depth[mine] = np.exp(sight.log_depth_at(v, bundle.xy[mine], fine) + placed.log_scales[v])
    return compare(bundle, placed.K, placed.cam_to_world, depth)


def compare(bundle: Bundle, K: np.ndarray, cam_to_world: np.ndarray, network_depth: np.ndarray) -> list[dict[str, Any]]:
    """One record a view of V, with None where too little is seen: how far the two ways are apart.

    K [V, 3, 3] in the bundle's pixels; network_depth [O] is what the network alone, at one scale a view, says of each observation.
    `pnp_rotation_degrees` and `pnp_centre` (distance of the camera centres by the largest baseline): the view placed anew from the other views'
    network points and its own matches to them. `depth` is the median of |network / track - 1|.
    """
    baseline = np.linalg.norm(cam_to_world[:, None, :3, 3] - cam_to_world[None, :, :3, 3], axis=-1)
    extent = float(np.nanmax(baseline)) if np.isfinite(baseline).any() else 0.0
    world = network_points(bundle, K, cam_to_world, network_depth)
    partner = other_observation(bundle)

    def record(v: int) -> dict[str, Any]:
        out: dict[str, Any] = {"pnp_rotation_degrees": None, "pnp_centre": None, "depth": None, "points": 0}
        mine = np.flatnonzero((bundle.view == v) & (partner >= 0))
        if len(mine) >= LEAST_POINTS and np.isfinite(cam_to_world[v]).all():
            out["points"] = len(mine)
            out["depth"] = depth_difference(bundle, cam_to_world[v], network_depth, mine)
            found = place_anew(world[partner[mine]], bundle.xy[mine], K[v])
            if found is not None and extent > 0:
                turn = found[:3, :3].T @ cam_to_world[v][:3, :3]
                out["pnp_rotation_degrees"] = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
                out["pnp_centre"] = float(np.linalg.norm(found[:3, 3] - cam_to_world[v][:3, 3]) / extent)
        return out

    return in_threads(record, range(len(K)))


def network_points(bundle: Bundle, K: np.ndarray, cam_to_world: np.ndarray, network_depth: np.ndarray) -> np.ndarray:  # -> [O, 3]
    """Each observation carried into the world by the network's depth."""
    k, T = K[bundle.view], cam_to_world[bundle.view]
    ray = np.c_[(bundle.xy - k[:, :2, 2]) / k[:, [0, 1], [0, 1]], np.ones(len(bundle.xy))]
    return np.einsum("oij,oj->oi", T[:, :3, :3], ray * network_depth[:, None]) + T[:, :3, 3]


def other_observation(bundle: Bundle) -> np.ndarray:  # -> [O]
    """For each observation the number of another one of the same point, -1 where there is none: the next in a ring round the point's views."""
    order = np.lexsort((bundle.view, bundle.point))
    point = bundle.point[order]
    after = np.roll(np.arange(len(order)), -1)
    first = np.searchsorted(point, point)
    same = point[after] == point if len(point) else np.zeros(0, bool)
    after = np.where(same, after, first)
    partner = np.empty(len(order), int)
    partner[order] = np.where(after == np.arange(len(order)), -1, order[after]) if len(order) else 0
    return partner


def depth_difference(bundle: Bundle, cam_to_world: np.ndarray, network_depth: np.ndarray, mine: np.ndarray) -> float | None:
    """Median of |network / track - 1| over the observations `mine` of one view; None when no track lies before it."""
    world_to_cam = np.linalg.inv(cam_to_world)
    z = (bundle.points[bundle.point[mine]] @ world_to_cam[:3, :3].T + world_to_cam[:3, 3])[:, 2]
    front = z > 1e-9
    return float(np.median(np.abs(network_depth[mine][front] / z[front] - 1))) if front.any() else None


def place_anew(points: np.ndarray, xy: np.ndarray, K: np.ndarray) -> np.ndarray | None:
    """cam_to_world [4, 4] by PnP; None when no camera agrees with the points."""
    from recon.geometry import pnp

    try:
        to = lambda x: torch.as_tensor(x, dtype=torch.float64)
        return np.linalg.inv(pnp(to(points), to(xy), to(K), threshold=PNP_THRESHOLD_PX)[0].numpy())
    except ReconError:
        return None
