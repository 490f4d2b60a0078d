"""Contains how far the matches of many pairs are from the pure rotation that explains the better half of each best (Kabsch on the rays)."""

from __future__ import annotations

import numpy as np

from recon.cores import on_all_cores


def median(x: np.ndarray, mask: np.ndarray) -> np.ndarray:  # [B, N] twice -> [B]
    """Median of each row where the mask is set; 0 where it is nowhere."""
    count = mask.sum(1)
    row = np.sort(np.where(mask, x, np.inf), 1)
    low, high = (np.take_along_axis(row, np.maximum(k, 0)[:, None], 1)[:, 0] for k in ((count - 1) // 2, np.minimum(count // 2, x.shape[1] - 1)))
    return np.where(count > 0, (low + high) / 2, 0.0)


def from_rotation(a: np.ndarray, b: np.ndarray, near: np.ndarray, log_focal: np.ndarray, rounds: int) -> np.ndarray:  # -> [B, N] pixels
    """Distance of each match from the rotation that explains the near ones [B, N] best, then `rounds` - 1 times the better half of those.

    a, b [B, 3, N]: pixels from the principal points, with a one appended; log_focal [B, 2]. 1e4 behind the camera.
    """
    from recon.cameras.rotations import correlation_rows, distance_rows

    M, out, kept = np.empty((len(a), 3, 3)), np.empty(near.shape), near
    for _ in range(rounds):
        on_all_cores(correlation_rows, len(a), a, b, kept, log_focal, M, work=out.size)
        U, _, Vt = np.linalg.svd(M)
        U[:, :, 2] *= np.sign(np.linalg.det(U @ Vt))[:, None]
        on_all_cores(distance_rows, len(a), a, b, U @ Vt, log_focal, out, work=out.size)
        kept = near & (out <= median(out, near)[:, None])
    return out
