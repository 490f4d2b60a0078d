"""Contains the viewer's binary pack of Gaussians or points: 24 bytes each, shuffled, so that any prefix is an even sample of the scene.

view.bin holds chunks of CHUNK rows (the last is shorter): first A [n, 4] uint32, then B [n, 2] uint32, little-endian; the two are GPU textures as
they are.
A = x, y, z as float32 bits (OpenCV axes, scene units), then red | green << 8 | blue << 16 | opacity << 24, each 0..255 (sRGB).
B0 = scale along the three axes, 3 x 8 bits (natural logarithm, linear between `scale_log_range`) | low 8 bits of the view << 24.
B1 = x, y, z of the rotation's quaternion, 3 x 8 bits signed in sqrt(1/2) / 127 (w follows) | rank of the confidence, 7 bits << 24 |
high bit of the view << 31. Half a turn around one of its axes leaves a Gaussian as it is, so that w can be the largest part of the quaternion.
The view is 0..510, or UNKNOWN_VIEW where the origin is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recon.io.content import dc_colors, points_of, valid_rows
from recon.scene import Gaussians, Scene

CHUNK = 65536
UNKNOWN_VIEW = 511
RANKS = 127
TURN_PARTS = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])  # q, q i, q j, q k: which part of q, and its sign
TURN_SIGNS = np.array([[1, 1, 1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1], [-1, 1, -1, 1]], np.float32)


@dataclass(frozen=True, kw_only=True)
class Splats:
    """What view.bin will hold, in the scene's order."""

    positions: np.ndarray  # [N, 3] float32
    colors: np.ndarray  # [N, 3] 0..1
    opacities: np.ndarray  # [N] 0..1
    scales: np.ndarray | None  # [N, 3] standard deviations; None: bare points
    quats: np.ndarray | None  # [N, 4] wxyz
    view: np.ndarray | None  # [N] int, of origin
    confidence: np.ndarray | None  # [N]
    sh_degree: int = 0  # of the scene; the pack holds degree 0


def splats_of(scene: Scene, confidence: np.ndarray | None = None) -> Splats | None:
    """The Gaussians of a scene, else its points or its mesh's vertices; None for nothing. `confidence` [N] of its Gaussians, where known."""
    if scene.gaussians is not None and len(scene.gaussians):
        return _of_gaussians(scene, scene.gaussians.to("cpu"), confidence)
    cloud = points_of(scene)
    if cloud is None or not len(cloud):
        return None
    cloud = cloud.to("cpu")
    fine = cloud.points.isfinite().all(1)
    colors = torch.full_like(cloud.points, 0.6) if cloud.colors is None else cloud.colors
    view, sure = _origin(scene, len(cloud))
    return Splats(
        positions=cloud.points[fine].float().numpy(), colors=colors[fine].numpy(), opacities=np.ones(int(fine.sum()), np.float32), scales=None,
        quats=None, view=None if view is None else view[fine.numpy()], confidence=None if sure is None else sure[fine.numpy()],
    )  # fmt: skip


def _of_gaussians(scene: Scene, gaussians: Gaussians, known: np.ndarray | None) -> Splats:
    view, confidence = _origin(scene, len(gaussians))
    confidence = confidence if known is None else known
    fine = valid_rows(gaussians)
    if not fine.all():
        rows = fine.numpy()
        gaussians = gaussians[fine]
        view, confidence = None if view is None else view[rows], None if confidence is None else confidence[rows]
    return Splats(
        positions=gaussians.means.float().numpy(), colors=dc_colors(gaussians).float().numpy(), opacities=gaussians.opacities.float().numpy(),
        scales=gaussians.scales.float().numpy(), quats=gaussians.quats.float().numpy(), view=view, confidence=confidence,
        sh_degree=round(gaussians.sh.shape[1] ** 0.5) - 1,
    )  # fmt: skip


def _origin(scene: Scene, count: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """View [count] and confidence [count] of Gaussians that stand one a pixel in the order of the pointmaps; None where they do not."""
    maps = scene.pointmaps
    if maps is None:
        return None, None
    for use in (maps.layer, maps.mask, torch.ones_like(maps.mask)):
        if use is not None and int(use.sum()) == count:
            use = use.cpu()
            return use.nonzero()[:, 0].numpy(), maps.confidence.cpu()[use].numpy()
    return None, None


def pack(splats: Splats, *, seed: int = 0) -> tuple[bytes, dict[str, Any]]:
    """The bytes of view.bin and what view.json says of them: count, chunk, scale_log_range, box, bounds (of the middle 98 % on each axis)."""
    count = len(splats.positions)
    order = np.random.default_rng(seed).permutation(count)
    a, b = np.empty((count, 4), "<u4"), np.zeros((count, 2), "<u4")
    a[:, :3] = np.ascontiguousarray(splats.positions, "<f4").view("<u4")
    a[:, 3] = _bytes(splats.colors * 255) | (_byte(splats.opacities * 255) << 24)
    low, high = 0.0, 1.0
    if splats.scales is not None and splats.quats is not None:
        logs = np.log(np.maximum(splats.scales, 1e-30))
        low, high = (float(v) for v in np.percentile(_sample(logs), [0.05, 99.95]))
        high = max(high, low + 1e-3)
        b[:, 0] = _bytes((logs - low) * (255 / (high - low)))
        signed = np.rint(_largest_first(splats.quats)[:, 1:] * (127 * 2**0.5)).astype(np.int8).view(np.uint8).astype("<u4")
        b[:, 1] = signed[:, 0] | signed[:, 1] << 8 | signed[:, 2] << 16
    view = np.full(count, UNKNOWN_VIEW, "<u4") if splats.view is None else np.minimum(splats.view, UNKNOWN_VIEW).astype("<u4")
    b[:, 0] |= (view & 255) << 24
    b[:, 1] |= view >> 8 << 31
    if splats.confidence is not None:
        b[:, 1] |= _ranks(splats.confidence) << 24
    a, b = a.view(np.complex128).take(order), b.view(np.uint64).take(order)  # a row as one number: seven times as fast as row by row
    blob = b"".join(part[i : i + CHUNK].tobytes() for i in range(0, count, CHUNK) for part in (a, b))
    box = [side.tolist() for side in torch.aminmax(torch.from_numpy(splats.positions), dim=0)]  # ten times as fast as NumPy's
    bounds = np.percentile(_sample(splats.positions), [1, 99], axis=0).tolist()
    return blob, {"count": count, "chunk": CHUNK, "scale_log_range": [low, high], "bounds": bounds, "box": box}


def _largest_first(quats: np.ndarray) -> np.ndarray:  # [N, 4] wxyz -> [N, 4] unit
    """The same Gaussians' quaternions with w their largest part, times i, j or k (half a turn around an own axis) where it is not."""
    largest = np.abs(quats).argmax(1)
    turned = np.take_along_axis(quats, TURN_PARTS.take(largest, 0), 1)
    turned *= TURN_SIGNS.take(largest, 0)
    turned *= (np.sign(turned[:, 0]) / np.sqrt(np.einsum("ij,ij->i", turned, turned)))[:, None]
    return turned


def _sample(values: np.ndarray) -> np.ndarray:
    """At most about 200,000 rows, evenly: percentiles of more take longer than all else."""
    return values[:: max(1, len(values) // 200_000)]


def _byte(values: np.ndarray) -> np.ndarray:  # [...] -> [...] uint32 0..255
    return np.clip(np.rint(values), 0, 255).astype("<u4")


def _bytes(values: np.ndarray) -> np.ndarray:  # [N, 3] -> [N] uint32
    whole = _byte(values)
    return whole[:, 0] | whole[:, 1] << 8 | whole[:, 2] << 16


def _ranks(confidence: np.ndarray) -> np.ndarray:  # [N] -> [N] uint32 0..RANKS
    """How many of RANKS + 1 equal shares are less sure: a filter at one half hides half of the splats, whatever the unit of confidence."""
    edges = np.quantile(_sample(confidence), np.arange(1, RANKS + 1) / (RANKS + 1))
    return np.searchsorted(edges, confidence, side="right").astype("<u4")
