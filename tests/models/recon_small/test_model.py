"""The way from the network's outputs to cameras: parts with a known answer."""

import math

import numpy as np
import pytest
import torch

from recon.cameras import matching
from recon.models.recon_small.network import ReconSmallParams
from recon.models.recon_small.prediction import USUAL_FOCAL, lens_density
from recon.scene import Images


def mean_lens(width: float, true: float) -> float:
    """Focal / diagonal under the density of a network that says `true` with this width in log."""
    params = ReconSmallParams()
    centres = torch.linspace(math.log(params.lens_range[0]), math.log(params.lens_range[1]), params.lens_bins)
    logs, (density,) = lens_density((-((centres - math.log(true)) ** 2) / (2 * width**2))[None], params)
    share = np.exp(density - density.max())
    return float(np.exp(share @ logs / share.sum()))


@pytest.mark.parametrize("true", [0.4, 0.9, 3.0])
def test_a_sure_lens_is_kept_and_a_vague_one_drawn_to_the_usual_ones(true: float) -> None:
    assert mean_lens(0.05, true) == pytest.approx(true, rel=0.03)
    vague = mean_lens(0.5, true)
    assert vague == pytest.approx(USUAL_FOCAL, rel=0.03) if true == USUAL_FOCAL else min(true, USUAL_FOCAL) < vague < max(true, USUAL_FOCAL)


def test_sift_takes_the_grid_itself_where_no_photos_are_kept() -> None:
    torch.manual_seed(0)
    rgb = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 32), size=(192, 256), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1)
    (xy, descriptors), *_ = matching.sift_of(Images(rgb=rgb))
    assert len(xy) > 50 and descriptors.shape == (len(xy), 128)
    assert xy.min() >= 0 and xy[:, 0].max() <= 256 and xy[:, 1].max() <= 192
