"""What makes training scenes hard on purpose: views from another side, and textures that repeat."""

import torch

from recon.models.training.dice import Dice
from recon.models.training.drawn_textures import pattern_textures
from recon.models.training.places import draw_places
from recon.models.training.repeats import SCENES, paint_patterns
from recon.models.training.viewpoints import FAR_SCENES, camera_matrices, draw_cameras, far_views


def test_some_scenes_have_views_from_another_side_and_the_first_is_never_one() -> None:
    far = far_views(Dice(0, "cpu"), 4000, 5)
    assert not far[:, 0].any() and 0.8 < far.any(1).float().mean() / FAR_SCENES < 1.0
    dice = Dice(1, "cpu")
    places = draw_places(dice, 2000)
    cam_to_world = camera_matrices(draw_cameras(dice, places, 5, 64, 64))[1]
    forward = cam_to_world[~places.indoor][..., :3, 2]
    turned = torch.rad2deg((forward @ forward[:, :1].mT)[..., 0].clamp(-1, 1).arccos())  # from the first view, which is 0
    wide = turned > 40
    near_and_far = ((turned[:, 1:] < 25) & wide.any(1)[:, None]).any(1)
    assert 0.3 < wide.any(1).float().mean() < 0.7 and near_and_far.float().mean() > 0.15


def test_patterns_repeat_and_are_painted_on_a_share_of_scenes() -> None:
    textures = pattern_textures(Dice(2, "cpu"), 40).float()
    assert textures.shape == (40, 256, 256, 3) and (textures.flatten(1).std(1) > 3).float().mean() > 0.8
    spectrum = torch.fft.rfft2(textures.mean(-1) - textures.mean((1, 2, 3))[:, None, None]).abs().square()
    strongest = spectrum.flatten(1).topk(40, dim=1).values.sum(1) / spectrum.sum((1, 2)).clamp(min=1e-6)
    assert strongest.median() > 0.6  # a few frequencies hold most of a pattern; of noise or photos far less at such heights
    primitives, instances = torch.zeros(2000, 20, 24), torch.zeros(2000, 5, 16)
    paint_patterns(Dice(3, "cpu"), primitives, instances, torch.arange(100, 164))
    painted = (primitives[..., 16] >= 100).any(1)
    assert abs(painted.float().mean() - SCENES) < 0.04 and not ((instances[..., 15] >= 100).any(1) & ~painted).any()
    assert all(len(row[row >= 100].unique()) <= 3 for row in primitives[..., 16])
