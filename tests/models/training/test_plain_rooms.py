"""Bare scenes: walls of one colour, fixtures on the walls, and nothing changed in the others."""

from dataclasses import replace

import pytest
import torch

from recon.models.training.assets import Assets, load_assets
from recon.models.training.dice import Dice
from recon.models.training.generator import SceneTables, render_tables
from recon.models.training.objects import INSTANCE_COLUMNS, draw_primitives
from recon.models.training.places import draw_lights, draw_places
from recon.models.training.plain_rooms import FIXTURES, THIN, fit_out_rooms, paint_plain
from recon.models.training.viewpoints import draw_cameras


@pytest.fixture(scope="module")
def assets() -> Assets:
    return load_assets("cpu", noise=12)


def test_only_bare_scenes_change_and_fixtures_lie_on_walls(assets) -> None:
    dice = Dice(2, "cpu")
    places = draw_places(dice, 2000)
    assert 0.26 < places.bare[places.indoor].float().mean() < 0.34 and 0.07 < places.bare[~places.indoor].float().mean() < 0.13
    before, instances = draw_primitives(dice, places, assets.scene_textures), torch.zeros(2000, 3, INSTANCE_COLUMNS)
    after, held = before.clone(), instances.clone()
    paint_plain(dice, places, after, held, assets.plain)
    fit_out_rooms(dice, places, after, assets.plain)
    assert torch.equal(after[~places.bare], before[~places.bare]) and torch.equal(held[~places.bare], instances[~places.bare])
    rooms = places.bare & places.indoor
    assert torch.isin(after[rooms, 0, 16].long(), assets.plain).all()
    fixtures, room = after[rooms, -FIXTURES:], places.room[rooms, None]
    place, half = fixtures[..., 10:13], fixtures[..., 13:16]
    near = (place.abs() - room).abs() < 1e-5  # its middle is on the room's face along its thin axis
    assert ((half < 2.5 * THIN) & near).any(-1).all()
    assert (half[:, :2, 1] == THIN).all() and (half[:, 2:5, 1] < room[:, :, 1]).all()
    present = (fixtures[..., 0] > 0).float().mean(0)
    assert (present[0] > 0.7) and (present[1:].min() > 0.2) and (present.max() < 0.9)


def test_walls_of_bare_rooms_have_nearly_one_colour(assets) -> None:
    """Contrast within walls, by their normals, against that of the same rooms as they were before they were painted."""
    dice = Dice(6, "cpu")
    places = draw_places(dice, 64)
    places = replace(places, bare=places.indoor)
    rooms = places.indoor.nonzero()[:12, 0]
    cameras, lights = draw_cameras(dice, places, 1, 48, 48), draw_lights(dice, places, assets.scene_textures)
    textured = draw_primitives(dice, places, assets.scene_textures)
    textured[:, 1:, 0] = 0
    painted, nothing = textured.clone(), torch.full((64, 12, INSTANCE_COLUMNS), -1.0)
    paint_plain(dice, places, painted, nothing, assets.plain)
    contrast = []
    for primitives in (textured, painted):
        tables = SceneTables(primitives=primitives[rooms], instances=nothing[rooms], cameras=cameras[rooms], lights=lights[rooms])
        seen = render_tables(tables, assets, 48, 48)
        step = (seen.color[..., 1:, :] - seen.color[..., :-1, :]).abs().amax(-1)
        same_wall = (seen.normal[..., 1:, :] - seen.normal[..., :-1, :]).norm(dim=-1) < 1e-4
        contrast.append(float(step[same_wall].mean()))
    assert contrast[1] < 0.01 < 2 * contrast[1] + contrast[0] and contrast[1] < 0.4 * contrast[0]
