"""Plants and thin things in training scenes: how many scenes have them, and that cameras see them before something else."""

from dataclasses import replace

import pytest
import torch

from recon.models.training.assets import Assets, load_assets
from recon.models.training.dice import Dice
from recon.models.training.fine_structures import FREE, draw_themes
from recon.models.training.generator import SceneTables, draw_tables, render_tables
from recon.models.training.objects import INSTANCES
from recon.models.training.places import draw_places


@pytest.fixture(scope="module")
def assets() -> Assets:
    return load_assets("cpu", noise=12)


@pytest.fixture(scope="module")
def tables(assets) -> SceneTables:
    return draw_tables(Dice(4, "cpu"), assets, 600, 2, 64, 64)


def test_most_scenes_have_them(tables) -> None:
    dice = Dice(0, "cpu")
    places = draw_places(dice, 20000)
    plants, thin = draw_themes(dice, places)
    assert not (plants & thin).any()
    assert 0.22 < plants.float().mean() < 0.3 and 0.32 < thin.float().mean() < 0.4
    assert plants[places.indoor].float().mean() < 0.2 < 0.4 < plants[~(places.indoor | places.wall | places.single)].float().mean()
    drawn = (tables.instances[:, INSTANCES:, 0] >= 0).any(1).float().mean()
    assert 0.5 < drawn < 0.7  # a few are taken away before cameras


def test_no_camera_is_in_one(tables, assets) -> None:
    rows = tables.instances[:, INSTANCES:]
    away = tables.cameras[:, None, :, 9:12] - rows[:, :, None, 10:13]
    local = torch.einsum("bnji,bnvj->bnvi", rows[..., 1:10].unflatten(-1, (3, 3)), away).abs()
    half = assets.fine.half[rows[..., 0].long()] * rows[..., 13:14]
    inside = (local < half[:, :, None] + FREE * 0.999).all(-1).any(-1)
    assert not (inside & (rows[..., 0] >= 0)).any()
    assert torch.isfinite(tables.instances).all() and torch.isfinite(tables.primitives).all()


def test_they_are_seen_before_something_else(tables, assets) -> None:
    """Where a scene has them, rendering without them shows what is behind: much of it is farther by more than 3 %."""
    some = (tables.instances[:, INSTANCES:, 0] >= 0).any(1).nonzero()[:24, 0]
    scenes = SceneTables(**{k: v[some].contiguous() for k, v in vars(tables).items()})
    seen = render_tables(scenes, assets, 64, 64)
    bare = scenes.instances.clone()
    bare[:, INSTANCES:, 0] = -1
    behind = render_tables(replace(scenes, instances=bare), assets, 64, 64)
    fine = (seen.depth > 0) & ((behind.depth == 0) | (behind.depth > 1.03 * seen.depth))
    assert torch.isfinite(seen.color).all() and torch.isfinite(seen.normal).all()
    assert (fine.flatten(1).float().mean(1) > 0.01).float().mean() > 0.75
    assert steps(seen.depth) > 2 * steps(behind.depth)  # which is what they are for


def steps(depth: torch.Tensor) -> float:
    """Share of neighbours in a row whose depth differs by more than a tenth."""
    z = depth.clamp(min=1e-3).log()
    return float(((z[..., 1:] - z[..., :-1]).abs() > 0.1).float().mean())
