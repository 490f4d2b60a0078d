"""Merging: two views of one wall make one layer, and scenes that are merged side by side come out as they do alone."""

import torch

from recon.geometry import unproject
from recon.surfaces.merging import finest_first, fuse_depth, one_layer

K = torch.tensor([[30.0, 0, 20], [0, 30.0, 16], [0, 0, 1]]).repeat(2, 1, 1)
ALL = [[1], [0]]


def wall(back: float, side: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth [2, 32, 40] of a wall at z = 4 and cameras, the second one `back` behind and `side` beside the first."""
    cam_to_world = torch.eye(4).repeat(2, 1, 1)
    cam_to_world[1, 0, 3], cam_to_world[1, 2, 3] = side, -back
    return torch.tensor([4.0, 4.0 + back])[:, None, None].expand(2, 32, 40).clone(), cam_to_world


def merge(depth: torch.Tensor, K: torch.Tensor, T: torch.Tensor, error: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    fused = fuse_depth(depth, error, mask, K, T, ALL)
    return fused, one_layer(fused, mask, K, T, ALL, [0, 1])


def test_a_wall_keeps_one_layer_and_the_mean_depth() -> None:
    depth, T = wall(1.0, 0.5)
    depth[1] *= 1.004
    mask = torch.ones(2, 32, 40, dtype=torch.bool)
    assert finest_first(depth, mask, K).tolist() == [0, 1] and finest_first(depth.flip(0), mask, K).tolist() == [1, 0]
    assert finest_first(depth, mask & torch.tensor([False, True])[:, None, None], K).tolist() == [1, 0]  # nothing to see comes last
    fused, layer = merge(depth, K, T, torch.full((2, 32, 40), 0.01), mask)
    assert layer[0].all()
    x, y, z = unproject(fused, K, T).unbind(-1)
    in_first = (x[1].abs() < 20 / 30 * 4 - 0.2) & (y[1].abs() < 16 / 30 * 4 - 0.2)  # what the nearer view sees, too
    assert not layer[1][in_first].any() and layer[1].any()
    inside = z[0, 4:-4, 8:-4]
    assert ((inside > 4.005) & (inside < 4.015)).all()  # between 4 and 4.02


def test_scenes_side_by_side_come_out_as_alone() -> None:
    torch.manual_seed(0)
    (a, T_a), (b, T_b) = wall(1.0, 0.5), wall(0.3, -0.2)
    scenes = [(x * (1 + 0.004 * torch.randn_like(x)), T, torch.rand_like(x) * 0.05, torch.rand_like(x) > 0.1) for x, T in ((a, T_a), (b, T_b))]
    depth, T, error, mask = (torch.stack(x, 1) for x in zip(*scenes, strict=True))
    fused, layer = merge(depth, K[:, None].expand(-1, 2, -1, -1), T, error, mask)
    order = finest_first(depth, mask, K[:, None].expand(-1, 2, -1, -1))
    for s, (d, t, e, m) in enumerate(scenes):
        fused_alone, layer_alone = merge(d, K, t, e, m)
        assert torch.allclose(fused[:, s], fused_alone, rtol=1e-5) and (layer[:, s] != layer_alone).float().mean() < 1e-3
        assert order[:, s].tolist() == finest_first(d, m, K).tolist()
        assert 0.3 < layer_alone.float().mean() < 0.95
