"""The way from the network's outputs to cameras: parts with a known answer."""

import math

import pytest
import torch

from recon.models import placement
from recon.models.recon_small import ReconSmallParams
from recon.models.recon_small_model import USUAL_FOCAL, USUAL_SHARE, lens_focal
from recon.scene import Images


@pytest.mark.parametrize("true", [0.4, 0.8, 3.0])
def test_a_sure_lens_is_read_and_drawn_a_little_to_a_usual_one(true: float) -> None:
    params = ReconSmallParams()
    centres = torch.linspace(math.log(params.lens_range[0]), math.log(params.lens_range[1]), params.lens_bins)
    logits = -((centres - math.log(true)) ** 2) / (2 * 0.05**2)
    focal = lens_focal(logits[None], params, 300, 400)[0] / 500
    expected = true ** (1 - USUAL_SHARE) * USUAL_FOCAL**USUAL_SHARE
    assert focal == pytest.approx(expected, rel=0.02)


def test_sift_takes_the_grid_itself_where_no_photos_are_kept() -> None:
    torch.manual_seed(0)
    rgb = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 32), size=(192, 256), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1)
    (xy, descriptors), *_ = placement.sift_of(Images(rgb=rgb))
    assert len(xy) > 50 and descriptors.shape == (len(xy), 128)
    assert xy.min() >= 0 and xy[:, 0].max() <= 256 and xy[:, 1].max() <= 192
