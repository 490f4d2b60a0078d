"""Depth drawn on from what is seen."""

import numpy as np
import torch

from recon.surfaces.completion import completed, plate
from recon.surfaces.depth_maps import DepthMaps


def room(h: int = 96, w: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse depth of a slanted wall left and a box before it right, and their colors."""
    row, column = torch.meshgrid(torch.arange(h) / h, torch.arange(w) / w, indexing="ij")
    inverse = 0.2 + 0.1 * column + 0.05 * row
    rgb = torch.full((h, w, 3), 0.3)
    inverse[:, 90:], rgb[:, 90:] = 0.8, 0.9
    return inverse, rgb


def test_a_wall_goes_on_where_one_view_alone_sees_it():
    inverse, rgb = room()
    depth = (1 / inverse)[None].repeat(2, 1, 1)
    seen = torch.ones_like(depth, dtype=torch.bool)
    seen[:, 20:70, 40:90] = False  # up to the box
    guess = torch.where(seen, depth, depth * (1 + 0.04 * torch.sin(torch.arange(128) / 3)))
    error = torch.where(seen, 0.005, 0.1)
    maps = DepthMaps(depth=guess, relative_error=error, valid=torch.ones_like(depth), seen=seen)
    out = completed(maps, rgb[None].repeat(2, 1, 1, 1))
    off = lambda x: float((x / depth - 1).abs()[~seen].mean())
    assert torch.equal(out.depth[seen], guess[seen]) and torch.equal(out.depth[0], out.depth[1])
    assert off(out.depth) < 0.25 * off(guess)
    assert (out.depth[~seen] / depth[~seen] - 1).abs().max() < 0.03  # the box does not pull the wall towards it
    assert torch.equal(out.relative_error, error) and torch.equal(maps.depth, guess)


def test_sky_stays_at_infinity():
    inverse, rgb = room()
    depth = (1 / inverse)[None]
    depth[:, :15] = torch.inf
    seen = torch.ones_like(depth, dtype=torch.bool)
    seen[:, :20] = False
    error = torch.where(seen, 0.005, 0.1)
    out = completed(DepthMaps(depth=depth, relative_error=error, valid=torch.ones_like(depth), seen=seen), rgb[None]).depth
    assert out[:, :15].isinf().all() and out[:, 15:].isfinite().all()
    assert (out[:, 15:] / depth[:, 15:] - 1).abs().max() < 0.05


def test_what_nothing_holds_and_what_is_all_seen_stays():
    depth = torch.rand(2, 30, 41) + 1
    seen = torch.zeros_like(depth, dtype=torch.bool)
    seen[1] = True
    maps = DepthMaps(depth=depth, relative_error=torch.full_like(depth, 0.05), valid=torch.ones_like(depth), seen=seen)
    assert torch.equal(completed(maps, torch.rand(2, 30, 41, 3)).depth, depth)


def test_the_plate_is_least_where_its_gradient_vanishes():
    rng = np.random.default_rng(0)
    x, error, color = rng.uniform(0.5, 1, (7, 9)), rng.uniform(0.01, 0.2, (7, 9)), np.full((3, 7, 9), 0.5)
    y = plate(x, error, color)
    from recon.surfaces.completion import BEND, DEPTH_STEP, LEAST_HOLD

    def price(y: torch.Tensor) -> torch.Tensor:
        total = (((y - torch.tensor(x)) / torch.tensor(error * x)) ** 2).sum()
        for a, level in ((y, x), (y.T, x.T)):
            second = a[:, :-2] - 2 * a[:, 1:-1] + a[:, 2:]
            logs = np.abs(np.diff(np.log(level), axis=1))
            hold = (1 + LEAST_HOLD) / (1 + (np.maximum(logs[:, 1:], logs[:, :-1]) / DEPTH_STEP) ** 4)
            usual = BEND * np.maximum(level[:, 1:-1], np.maximum(level[:, :-2], level[:, 2:]))
            total = total + (torch.tensor(hold) * (second / torch.tensor(usual)) ** 2).sum()
        return total

    at = torch.tensor(y, requires_grad=True)
    price(at).backward()
    assert at.grad is not None and at.grad.abs().max() < 1e-6 * float(price(torch.tensor(x)))
