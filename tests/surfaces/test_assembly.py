"""Which pixels of depth maps become surface."""

import torch

from recon.surfaces.assembly import NEAR, NOTHING, UNSURE, nothing, on_surface
from recon.surfaces.depth_maps import DepthMaps


def test_what_is_doubted_all_over_is_there_and_a_backdrop_goes_with_its_rim():
    valid = torch.ones(2, 64, 96)
    valid[0, :, :40] = 0.02  # a backdrop, of which the networks are sure
    valid[0, :, 40:42] = 0.3  # its rim
    valid[0, :10, 80:] = 0.3  # doubted, far from all that is surely nothing
    valid[1] = 0.2  # black cloth, doubted all over
    out = nothing(valid)
    assert out[0, :, :42].all() and not out[0, :, 42:].any() and not out[1].any()
    reach = round(NEAR * 96)
    valid[0, :, 40:60] = NOTHING - 0.01
    assert nothing(valid)[0, :, : 40 + reach].all() and not nothing(valid)[0, :, 40 + reach :].any()


def test_unsure_pixels_and_those_without_depth_are_no_surface():
    depth = torch.full((1, 32, 32), 2.0)
    depth[0, 3, 4] = torch.inf
    error = torch.full_like(depth, 0.01)
    error[0, 20:] = UNSURE
    out = on_surface(DepthMaps(depth=depth, relative_error=error, valid=torch.ones_like(depth), seen=torch.ones_like(depth) > 0))
    assert not out[0, 3, 4] and not out[0, 20:].any() and out[0, 8:20].all()
