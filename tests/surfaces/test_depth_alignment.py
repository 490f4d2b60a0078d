"""The bending of depth to tracks: back to a known surface, nothing where no track is near, alike by rows and by blocks of rows."""

from __future__ import annotations

import numpy as np
import torch

from recon.surfaces import depth_alignment
from recon.surfaces.depth_alignment import smooth_correction

HEIGHT, WIDTH = 45, 60


def tracks(count: int = 900, columns: int = WIDTH) -> tuple[torch.Tensor, np.ndarray, np.ndarray, np.ndarray]:
    """A slanted log depth [h, w], and tracks in its first columns that lie 0.1 farther: pixels, ratios, log depths."""
    log_depth = torch.linspace(0.0, 0.5, WIDTH).expand(HEIGHT, WIDTH).contiguous()
    xy = np.random.default_rng(0).uniform(0, [columns, HEIGHT], (count, 2))
    column, row = np.clip(xy.astype(int), 0, [WIDTH - 1, HEIGHT - 1]).T
    return log_depth, xy, np.full(count, 0.1), log_depth[row, column].double().numpy()


def test_depth_comes_to_its_tracks_and_stays_where_there_are_none() -> None:
    assert (smooth_correction(*tracks(), seed=0) - 0.1).abs().max() < 0.02  # the prior holds it back
    left = smooth_correction(*tracks(columns=20), seed=0)
    assert (left[:, :15] - 0.1).abs().max() < 0.02 and left[:, 50:].abs().max() < 1e-4
    assert not smooth_correction(*tracks(count=5), seed=0).any()


def test_blocks_of_rows_give_what_rows_give(monkeypatch) -> None:
    log_depth, xy, _, at = tracks()
    ratio = np.random.default_rng(1).normal(0, 0.1, len(xy))
    by_rows = smooth_correction(log_depth, xy, ratio, at, seed=3)
    monkeypatch.setattr(depth_alignment, "ROWS_AT_ONCE", {"cpu": 16})  # as on a GPU; the last block is smaller
    assert torch.allclose(by_rows, smooth_correction(log_depth, xy, ratio, at, seed=3), atol=1e-6)
