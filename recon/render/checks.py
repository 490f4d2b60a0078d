"""What is looked at before a renderer starts: values that no renderer can use, and more memory than there is."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.render.options import MAX_SIDE
from recon.scene import Cameras, Gaussians

UNIT_TOLERANCE = 1e-2
PAIRS_A_SPLAT = 8  # tiles that a splat touches, generous for real scenes (2 to 6)
# bytes for each Gaussian beside its own (projected values, sorting) and for each of its pairs, by backend; and for each pixel
SPLAT_BYTES = {"torch": 700, "cpu": 110, "gsplat": 160, "cuda": 96}
PAIR_BYTES = {"torch": 48, "cpu": 12, "gsplat": 32, "cuda": 18}
PIXEL_BYTES = {"torch": 108, "cpu": 44, "gsplat": 48, "cuda": 44}


def check_cameras(cameras: Cameras) -> None:
    """Raises ReconError for cameras that see nothing: not placed, no focal length, a matrix that is not rigid, an image beyond all use."""
    check_sides(cameras)
    if all(map(_is_right, cameras.K.tolist(), cameras.cam_to_world.tolist())):
        return
    K, T = (x.detach().cpu().double() for x in (cameras.K, cameras.cam_to_world))
    for c in range(len(cameras)):
        if not bool(T[c].isfinite().all()):
            raise ReconError(f"camera {c} ({cameras.placed_by[c]}) has no place: its cam_to_world is not finite")
        R = T[c, :3, :3]
        off = float((R @ R.T - torch.eye(3).double()).abs().max())
        if off > 1e-3 or bool((T[c, 3] != torch.tensor([0.0, 0, 0, 1]).double()).any()):
            raise ReconError(f"cam_to_world of camera {c} is no rigid motion: R R^T is off by {off:.2g}, last row {T[c, 3].tolist()}")
        fx, fy = float(K[c, 0, 0]), float(K[c, 1, 1])
        if not bool(K[c].isfinite().all()) or fx <= 0 or fy <= 0:
            raise ReconError(f"K of camera {c} is {K[c].tolist()}, wanted finite numbers with focal lengths K[0, 0] and K[1, 1] above 0")
        if K[c, 1, 0] != 0 or bool((K[c, 2] != torch.tensor([0.0, 0, 1]).double()).any()):
            raise ReconError(f"K of camera {c} is {K[c].tolist()}, wanted [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]")


def check_sides(cameras: Cameras) -> None:
    """Raises ReconError for an image beyond all use."""
    if max(cameras.width, cameras.height) > MAX_SIDE:
        raise ReconError(f"the image is {cameras.width} x {cameras.height} pixels, wanted at most {MAX_SIDE} a side")


def _is_right(K: list[list[float]], T: list[list[float]]) -> bool:
    """Whether there is nothing to tell of a camera. Plain numbers, for this runs before every picture and one camera is too little for numpy."""
    x, y, z, last = T
    for a, b, wanted in ((x, x, 1), (y, y, 1), (z, z, 1), (x, y, 0), (x, z, 0), (y, z, 0)):
        if not abs(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] - wanted) <= 1e-3:  # nor for NaN
            return False
    finite = all(map(math.isfinite, (x[3], y[3], z[3], *K[0], *K[1])))
    return finite and last == [0, 0, 0, 1] and K[2] == [0, 0, 1] and K[0][0] > 0 and K[1][1] > 0 and K[1][0] == 0


class Unchanged:
    """Remembers tensors until they are written to or replaced."""

    def __init__(self) -> None:
        self._states: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}  # of live tensors by their id

    def are(self, tensors: Sequence[Tensor]) -> bool:
        """Whether all were remembered and none was written to since; never so for tensors made in inference mode, which count no writes."""
        for x in tensors:
            state = self._states.get(id(x))
            if state is None or state[0]() is not x or x.is_inference() or x._version != state[1] or x.data_ptr() != state[2]:
                return False
        return True

    def remember(self, tensors: Sequence[Tensor]) -> None:
        for x in tensors:
            if not x.is_inference():
                self._states[id(x)] = (weakref.ref(x, partial(self._forget, id(x))), x._version, x.data_ptr())

    def _forget(self, key: int, dead: weakref.ref[Tensor]) -> None:
        state = self._states.get(key)
        if state is not None and state[0] is dead:  # and not a newer tensor in its place
            del self._states[key]


def check_gaussians(gaussians: Gaussians) -> None:
    """Raises ReconError for values that are not finite, opacities outside 0..1, negative scales, quaternions that are not unit, saying which.

    One pass over each tensor and one synchronisation.
    """
    if not len(gaussians):
        return
    g = gaussians
    named = {"means": g.means, "quats": g.quats, "scales": g.scales, "opacities": g.opacities, "sh": g.sh}
    for name, value in named.items():
        if value.device != g.means.device or not value.is_floating_point():
            raise ReconError(f"Gaussians.{name} is {value.dtype} on {value.device}, wanted floats on {g.means.device} as the means are")
    with torch.no_grad():
        ranges = [torch.stack(torch.aminmax(v)).float() for v in named.values()]  # NaN goes through
        ranges.append(torch.stack(torch.aminmax(g.quats.float().norm(dim=-1))))
        low_high = torch.stack(ranges).tolist()
    for (name, value), (low, high) in zip(named.items(), low_high, strict=False):
        if not -torch.inf < low <= high < torch.inf:
            raise ReconError(f"Gaussians.{name}: {_told(value, ~value.isfinite())}; wanted finite numbers")
    if low_high[2][0] < 0:
        raise ReconError(f"Gaussians.scales: {_told(g.scales, g.scales < 0)}; wanted standard deviations >= 0 (activated, not logarithms)")
    if low_high[3][0] < 0 or low_high[3][1] > 1:
        raise ReconError(f"Gaussians.opacities: {_told(g.opacities, (g.opacities < 0) | (g.opacities > 1))}; wanted 0..1 (activated, not logits)")
    if low_high[5][0] < 1 - UNIT_TOLERANCE or low_high[5][1] > 1 + UNIT_TOLERANCE:
        length = g.quats.norm(dim=-1)
        raise ReconError(f"Gaussians.quats: {_told(g.quats, (length - 1).abs() > UNIT_TOLERANCE)}; wanted unit quaternions (w, x, y, z)")


def _told(value: Tensor, wrong: Tensor) -> str:
    rows = torch.nonzero(wrong.reshape(len(wrong), -1).any(1))[:, 0]
    return f"{len(rows)} of {len(value)} are wrong, the first is number {int(rows[0])}: {value[rows[0]].flatten()[:6].tolist()}"


def memory_needed(backend: str, gaussians: int, cameras: Cameras) -> int:
    """About how many bytes a rendering takes beside the Gaussians themselves."""
    pixels = cameras.width * cameras.height
    return gaussians * (SPLAT_BYTES[backend] + PAIRS_A_SPLAT * PAIR_BYTES[backend]) + pixels * len(cameras) * PIXEL_BYTES[backend]


def memory_free(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where that is not known."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    free = None
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        free = free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, KeyError, ValueError):  # another system than Linux, or no such group
        pass
    return free


def check_memory(backend: str, gaussians: Gaussians, cameras: Cameras) -> None:
    """Raises ReconError with the memory that a rendering would need when there is less."""
    needed, free = memory_needed(backend, len(gaussians), cameras), memory_free(gaussians.means.device)
    if free is not None and needed > free:
        raise ReconError(
            f"rendering {len(gaussians):,} Gaussians to {len(cameras)} image(s) of {cameras.width} x {cameras.height} with backend {backend!r} needs "
            f"about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free on {gaussians.means.device}; fewer cameras at once, a smaller image "
            f"or fewer Gaussians (gaussians[gaussians.opacities > 0.02]) need less"
        )
