"""Depth maps against each other on a scene with a known answer: a slanted wall with a box before it, seen by a row of cameras."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recon.geometry import unproject
from recon.scene import Images
from recon.surfaces.consistency import compare, confirmations
from recon.surfaces.depth_maps import DepthMaps, move_depth
from recon.surfaces.merging import coarseness, contradicted, finest_first, fuse_depth, off_surface, one_layer
from recon.surfaces.resolve import GUESS_ERROR, partners, resolve
from recon.surfaces.sources import angle_worth, choose_sources, shared_tracks, view_worths

HEIGHT, WIDTH, FOCAL = 60, 80, 70.0


def rig(shifts: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Parallel cameras at x = shift."""
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]).repeat(len(shifts), 1, 1)
    T = torch.eye(4).repeat(len(shifts), 1, 1)
    T[:, 0, 3] = torch.tensor(shifts)
    return K, T


def wall_depth(shifts: list[float], box: bool = False) -> torch.Tensor:  # [V, H, W]
    """z of the wall z = 4 + x / 2, and of a box at z = 2 that covers x in -.3..(.3), y in -.3..(.3)."""
    x = (torch.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL
    y = (torch.arange(HEIGHT) + 0.5 - HEIGHT / 2) / FOCAL
    out = []
    for shift in shifts:
        z = ((4 + shift / 2) / (1 - x / 2)).expand(HEIGHT, WIDTH)
        if box:
            inside = ((x * 2 + shift).abs() < 0.3) & ((y * 2).abs() < 0.3)[:, None]
            z = torch.where(inside, 2.0, z)
        out.append(z)
    return torch.stack(out)


ALL = [[1, 2], [0, 2], [0, 1]]
SHIFTS = [-0.3, 0.0, 0.3]


def test_exact_depth_agrees_and_a_wrong_one_does_not() -> None:
    (K, T), depth = rig(SHIFTS), wall_depth(SHIFTS)
    same = compare(depth[0], K[0], T[0], depth[1], K[1], T[1])
    inside = (same.xy[..., 0] > 1) & (same.xy[..., 0] < WIDTH - 1)
    assert same.agrees[inside].all() and not same.agrees[~((same.xy > 0).all(-1) & (same.xy[..., 0] < WIDTH))].any()
    assert torch.allclose(same.depth[inside], depth[0][inside], rtol=1e-3)
    assert not compare(depth[0] * 1.03, K[0], T[0], depth[1], K[1], T[1]).agrees.any()
    assert int(confirmations(depth, K, T, ALL).max()) == 2


def test_one_layer_keeps_every_place_once() -> None:
    (K, T), depth = rig(SHIFTS), wall_depth(SHIFTS, box=True)
    mask = ~off_surface(depth)
    kept = one_layer(depth, mask, K, T, ALL, finest_first(depth, mask, K).tolist())
    assert (kept <= mask).all() and 1 / 3 < kept.float().mean() / mask.float().mean() < 0.6
    points = unproject(depth, K, T)
    left, every = points[kept].numpy(), points[mask].numpy()
    from scipy.spatial import cKDTree

    far = cKDTree(left).query(every)[0]
    assert np.quantile(far, 0.99) < 2.5 * 4 / FOCAL  # what went has a neighbour within about two pixels


def test_a_wall_seen_at_a_slant_is_left_to_the_view_that_faces_it() -> None:
    """The first view stands closer, and so comes first, but looks along the wall; where the second sees it, the second's pixels stand."""
    K, _ = rig([0.0, 0.0])
    T = torch.eye(4).repeat(2, 1, 1)
    turn = math.radians(75)
    T[0, :3, :3] = torch.tensor([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
    T[0, :3, 3] = torch.tensor([-1.5, 0.0, 1.6])  # close to the wall z = 2
    rays = unproject(torch.ones(2, HEIGHT, WIDTH), K) @ T[:, None, :3, :3].mT
    depth = (2 - T[:, None, None, 2, 3]) / rays[..., 2]  # the distance along a ray of z = 1 is the depth
    mask = (depth > 0.1) & (depth < 5)
    depth = torch.where(mask, depth, 5)
    kept = one_layer(depth, mask, K, T, [[1], [0]], [0, 1])
    assert kept[1].float().mean() > 0.85  # but for the foot of the first camera, where that one is finer
    there = compare(depth[0], K[0], T[0], depth[1], K[1], T[1])
    steep = coarseness(depth, K)[0] > 2 * coarseness(depth, K)[1].median()
    assert (there.agrees & mask[0] & steep).sum() > 50 and (kept[0] & there.agrees & steep).sum() < 0.1 * (there.agrees & mask[0] & steep).sum()


def test_one_layer_keeps_all_where_views_stand_alone() -> None:
    (K, T), depth = rig(SHIFTS), wall_depth(SHIFTS)
    mask = torch.rand(depth.shape, generator=torch.Generator().manual_seed(0)) > 0.3
    assert torch.equal(one_layer(depth, mask, K, T, [[], [], []], [0, 1, 2]), mask)


def test_fusing_averages_the_errors_of_views_that_agree() -> None:
    (K, T), truth = rig(SHIFTS), wall_depth(SHIFTS)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)) * 0.003
    mask = torch.ones_like(truth, dtype=torch.bool)
    fused = fuse_depth(truth * noise.exp(), torch.full_like(truth, 0.003), mask, K, T, ALL)
    middle = slice(15, WIDTH - 15)
    before, after = noise[1][:, middle].std(), (fused / truth).log()[1][:, middle].std()
    assert after < 0.75 * before  # three witnesses: 1 / sqrt(3) but for interpolation


def test_a_sure_view_outweighs_an_unsure_one() -> None:
    (K, T), truth = rig(SHIFTS[:2]), wall_depth(SHIFTS[:2])
    wrong = truth.clone()
    wrong[1] *= 1.005
    error = torch.stack([torch.full_like(truth[0], 0.001), torch.full_like(truth[0], 0.02)])
    fused = fuse_depth(wrong, error, torch.ones_like(truth, dtype=torch.bool), K, T, [[1], [0]])
    assert (fused[1, :, 20:60] / truth[1, :, 20:60] - 1).abs().max() < 0.001


def test_a_guess_before_a_seen_surface_is_contradicted() -> None:
    (K, T), depth = rig(SHIFTS), wall_depth(SHIFTS)
    seen = torch.ones_like(depth, dtype=torch.bool)
    depth[2, 20:40, 30:50] = 1.5  # a floater
    seen[2, 20:40, 30:50] = False
    found = contradicted(depth, seen, K, T, ALL)
    assert found[2, 22:38, 32:48].all() and not found[:2].any() and not found[2, :, :20].any()
    seen[2] = True  # two views look through it all the same, and nobody sees it
    assert contradicted(depth, seen, K, T, ALL)[2, 22:38, 32:48].all() and not contradicted(depth, seen, K, T, [[1], [0], [1]]).any()
    seen[2, 20:40, 30:50] = False
    depth[2, 20:40, 30:50] = 9.0  # behind the wall: nobody can look through it
    assert not contradicted(depth, seen, K, T, ALL).any()


def test_what_as_many_see_as_look_through_it_stays() -> None:
    shifts = [-0.3, -0.15, 0.0, 0.15, 0.3]
    (K, T), depth = rig(shifts), wall_depth(shifts, box=True)
    box = depth == 2
    depth[:2] = wall_depth(shifts)[:2]  # two views miss the box, three have it
    every = [[b for b in range(5) if b != a] for a in range(5)]
    found = contradicted(depth, torch.ones_like(box), K, T, every)
    assert found[2:][box[2:]].float().mean() < 0.1 and not found[2:][~box[2:]].any()  # but for the rim, which falls on either side
    found = contradicted(depth, torch.ones_like(box), K, T, [[], [], [0, 1, 3], [], []])  # two look through it, one sees it
    assert found[2][box[2]].float().mean() > 0.8 and not found[2][~box[2]].any()


def test_off_surface_finds_what_hangs_at_an_edge_and_spares_slopes() -> None:
    depth = wall_depth([0.0], box=True)
    assert not off_surface(depth).any()  # a clean step is no fog
    bled = torch.nn.functional.avg_pool2d(depth[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    edge = (bled / depth - 1).abs() > 0.1
    assert off_surface(bled)[edge].float().mean() > 0.6 and not off_surface(bled)[:, :5].any()


def test_moving_depth_never_makes_a_value_between_two_surfaces() -> None:
    depth = wall_depth([0.0], box=True)
    coarse = Images(rgb=torch.rand(1, HEIGHT, WIDTH, 3))
    scale = torch.tensor([[1.7, 1.7]])
    fine = Images(rgb=torch.rand(1, 102, 136, 3), grid_scale=scale, photo_width=torch.tensor([WIDTH]), photo_height=torch.tensor([HEIGHT]))
    moved = move_depth(depth, coarse, fine)
    assert (((moved - 2).abs() < 1e-5) | (moved > 3)).all()
    x = (torch.arange(136) + 0.5) / 1.7
    wall = 4 / (1 - (x - WIDTH / 2) / FOCAL / 2)
    assert (moved[0, 2] / wall - 1)[3:-3].abs().max() < 2e-4


def test_confidence_is_a_fifth_of_the_error() -> None:
    error = torch.tensor([[[0.5, 0.2, 0.02, 0.002]]])
    maps = DepthMaps(depth=error, relative_error=error, valid=error, seen=error > 0)
    assert torch.allclose(maps.confidence, torch.tensor([[[1.0, 1.0, 10.0, 100.0]]]))


def test_resolve_keeps_what_is_confirmed_and_bends_the_guess_to_it() -> None:
    (K, T), truth = rig(SHIFTS), wall_depth(SHIFTS)
    swept = truth.clone()
    swept[:, :, :12] *= 1.5  # nonsense at one side, and the network is unsure of it
    error = torch.full_like(truth, 0.003)
    error[:, :, :12] = 0.4
    ones = torch.ones_like(truth)
    prior = DepthMaps(depth=truth * 1.2, relative_error=torch.full_like(truth, 0.1), valid=ones, seen=ones < 0)
    sources = torch.tensor([[1, 2], [0, 2], [1, -1]])
    out = resolve(DepthMaps(depth=swept, relative_error=error, valid=ones, seen=ones < 0), prior, sources, K, T, seed=0)
    assert out.seen[:, :, 20:60].all() and torch.equal(out.depth[:, :, 20:60], swept[:, :, 20:60])
    assert not out.seen[:, :, :8].any() and (out.relative_error[:, :, :8] >= GUESS_ERROR).all()
    assert (out.depth / truth - 1)[:, :, 2:10].abs().max() < 0.04  # the pointmap's shape at the sweep's level, not 20 % off


def test_partners_go_both_ways() -> None:
    assert partners(torch.tensor([[1, -1], [-1, -1], [1, 0]])) == [[1, 2], [0, 2], [0, 1]]


@pytest.mark.parametrize(("degrees", "low", "high"), [(0.2, 0, 0), (3.0, 1, 1), (20.0, 1, 1), (1.0, 0.3, 0.6), (60.0, 0.05, 0.15)])
def test_worth_of_an_angle(degrees: float, low: float, high: float) -> None:
    assert low <= float(angle_worth(torch.tensor(degrees))) <= high


def test_sources_are_near_but_not_the_same_place() -> None:
    shifts = [0.0, 0.001, 0.5, 1.0, 40.0]
    (K, T), depth = rig(shifts), wall_depth([0.0] * 5)
    worth = view_worths(depth, K, T)
    assert worth[0, 1] == 0 and worth[0, 4] == 0 and worth[0, 2] > 0.5
    options = {"sharpness": torch.ones(5), "tracks": None}
    usable = np.array([True, True, True, False, True])
    chosen = choose_sources(depth, K, T, usable, **options)
    assert chosen.shape == (5, 4) and chosen[0].tolist() == [2, -1, -1, -1] and chosen[3].tolist() == [-1] * 4
    blurred = torch.tensor([1.0, 1, 0.1, 1, 1])
    assert choose_sources(depth, K, T, np.ones(5, bool), sharpness=blurred, tracks=None)[0, 0] == 3


def test_shared_tracks_count_points_seen_by_both() -> None:
    shared = shared_tracks(torch.tensor([0, 1, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 1]), 3)
    assert shared.tolist() == [[2, 2, 1], [2, 2, 1], [1, 1, 1]]
    assert math.isfinite(float(shared.sum()))


def test_the_rim_of_one_view_leaves_no_crack() -> None:
    """Where the first view's picture ends, the second one's goes on: a pixel just beyond the last that is shown stays."""
    (K, T), depth = rig([0.0, 0.3]), wall_depth([0.0, 0.3])
    mask = torch.ones_like(depth, dtype=torch.bool)
    mask[0, :, 60:] = False  # as if its picture ended there
    kept = one_layer(depth, mask, K, T, [[1], [0]], [0, 1])
    xy = compare(depth[1], K[1], T[1], depth[0], K[0], T[0]).xy
    beyond = (xy[..., 0] > 60) & (xy[..., 0] < 61)
    assert beyond.any() and kept[1][beyond].all() and not kept[1][(xy[..., 0] > 2) & (xy[..., 0] < 59)].any()
