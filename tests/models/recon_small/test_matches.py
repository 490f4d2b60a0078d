"""Sub-pixel matches on descriptors with a known answer: smooth random fields, shifted."""

import pytest
import torch
from torch.nn import functional as F

from recon.models.recon_small.matches import Described, coarse_matches, match_views, refine


def field(channels, height, width, dx=0.0, dy=0.0, seed=0):
    """Unit descriptors of a smooth random field sampled at cells shifted by (dx, dy)."""
    g = torch.Generator().manual_seed(seed)
    waves = torch.randn(channels, 2, generator=g) * 0.8
    phase = torch.rand(channels, generator=g) * 6.28
    y, x = torch.meshgrid(torch.arange(height) + dy, torch.arange(width) + dx, indexing="ij")
    return F.normalize((waves[:, 0, None, None] * x + waves[:, 1, None, None] * y + phase[:, None, None]).cos(), dim=0)


def test_chunks_do_not_change_the_answer(monkeypatch):
    a, b = field(32, 12, 10).flatten(1), field(32, 12, 10, 2, 1).flatten(1)
    whole = coarse_matches(a, b, 20.0)
    monkeypatch.setattr("recon.models.recon_small.matches.CHUNK", 7)
    parts = coarse_matches(a, b, 20.0)
    for x, y in zip(whole, parts, strict=True):
        torch.testing.assert_close(x, y)
    s = a.T @ b
    assert (s.argmax(1)[whole[0]] == whole[1]).all() and (s.argmax(0)[whole[1]] == whole[0]).all()
    torch.testing.assert_close((s * 20.0).softmax(1)[whole[0], whole[1]], whole[2])
    torch.testing.assert_close((s * 20.0).softmax(0)[whole[0], whole[1]], whole[3])


def test_refine_finds_the_cell():
    fine = field(48, 20, 24)
    at = torch.tensor([[5, 6], [12, 9], [20, 15]])
    query = fine[:, at[:, 1], at[:, 0]].T
    cell, mass = refine(query, fine.flatten(1).T, 24, at - 3, 40.0)
    assert (cell - at).abs().max() < 0.1
    assert (mass > 0).all() and (mass <= 1.0001).all()


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (8.0, -16.0), (5.0, 3.0)])
def test_a_shift_in_pixels_is_found(dx, dy):
    height, width = 160, 128
    # descriptor of a cell = the field at its centre; the second view sees the scene moved by (dx, dy)

    def descriptors(stride, x0, y0):
        g = torch.Generator().manual_seed(1)
        waves, phase = torch.randn(64, 2, generator=g) * 0.12, torch.rand(64, generator=g) * 6.28
        rows, columns = (torch.arange(height // stride) + 0.5) * stride - y0, (torch.arange(width // stride) + 0.5) * stride - x0
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return F.normalize((waves[:, 0, None, None] * x + waves[:, 1, None, None] * y + phase[:, None, None]).cos(), dim=0)

    every = torch.ones(height // 8, width // 8, dtype=torch.bool)
    a, b = (Described(coarse=descriptors(8, *by), fine=descriptors(4, *by), cells=every) for by in ((0, 0), (dx, dy)))
    xa, xb, confidence = match_views(a, b, torch.tensor([40.0, 40.0]))
    assert len(xa) > 50
    assert (xb - xa - torch.tensor([dx, dy])).norm(dim=1).median() < 1.5  # a third of a fine cell: the temperature was not trained here
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_masked_cells_and_tiny_views():
    coarse, fine, scales = field(16, 8, 8), field(16, 16, 16), torch.tensor([20.0, 20.0])
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:4] = True
    upper, nothing = (Described(coarse=coarse, fine=fine, cells=cells) for cells in (inside, inside & False))
    xa, _, _ = match_views(upper, upper, scales)
    middle = xa[: len(xa) // 2]  # cells of a; the rest are places within them
    assert len(middle) and (middle[:, 1] < 32).all()
    assert len(match_views(nothing, nothing, scales)[0]) == 0
    tiny = Described(coarse=coarse[:, :2, :2], fine=fine[:, :4, :4], cells=inside[:2, :2])
    assert len(match_views(tiny, tiny, scales)[0]) == 0
