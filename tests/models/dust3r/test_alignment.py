"""Global alignment of perfect pairwise pointmaps with noise: cameras with a known answer."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch

from recon.errors import GeometryError, ReconError
from recon.evaluate import camera_centre_errors, depth_absrel, rotation_error_degrees
from recon.models.dust3r.alignment import Known, agreed_depth, align
from recon.models.dust3r.optimisation import optimise
from recon.models.dust3r.pairs import pair_graph

sys.path.insert(0, str(Path(__file__).parent))
from pairwise_scenes import HEIGHT, WIDTH, pairwise_scene  # pyright: ignore[reportMissingImports]


def unknown(views: int) -> Known:
    nothing = lambda side: torch.full((views, side, side), torch.nan)
    return Known(K=nothing(3), cam_to_world=nothing(4), principal=torch.tensor([[WIDTH / 2, HEIGHT / 2]]).expand(views, 2))


def errors(alignment, K, T) -> tuple[float, float, float]:
    """Largest rotation error in degrees, centre error over the cameras' extent, relative focal error."""
    rotation = max(rotation_error_degrees(a[:3, :3].numpy(), b[:3, :3].numpy()) for a, b in zip(alignment.cam_to_world, T, strict=True))
    centre = camera_centre_errors(alignment.cam_to_world.numpy(), T.numpy()).max()
    return rotation, float(centre), float((alignment.K[:, 0, 0] / K[:, 0, 0] - 1).abs().max())


def test_eight_views_are_recovered():
    """The bound of the task: poses below half a degree, focal lengths below 1 %, within a minute."""
    pairs, K, T, depth = pairwise_scene(8, noise=0.03, seed=0)
    start = time.process_time()
    first = align(pairs, unknown(8))
    best = optimise(pairs, unknown(8), first, lambda share: None)
    assert time.process_time() - start < 60
    rotation, centre, focal = errors(best, K, T)
    assert rotation < 0.5 and focal < 0.01 and centre < 0.01
    assert all(a <= b for a, b in zip((rotation, centre, focal), errors(first, K, T), strict=True))  # better than the closed form
    got, confidence = agreed_depth(pairs, best)
    assert depth_absrel(got.numpy(), depth.numpy()) < 0.02
    assert confidence.min() >= 1


@pytest.mark.parametrize(("kind", "views"), [("all", 2), ("sequence", 6), ("reference", 4)])
def test_the_closed_form_alone(kind, views):
    pairs, K, T, _ = pairwise_scene(views, noise=0.002, seed=1, kind=kind)
    rotation, centre, focal = errors(align(pairs, unknown(views)), K, T)
    assert rotation < 0.5 and focal < 0.01
    assert views == 2 or centre < 0.02


def test_known_lenses_and_poses_are_kept_exactly():
    pairs, K, T, _ = pairwise_scene(4, noise=0.01, seed=2)
    turned = torch.linalg.matrix_exp(torch.tensor([[0, -0.3, 0.2], [0.3, 0, -0.4], [-0.2, 0.4, 0.0]]))
    world = torch.eye(4)
    world[:3, :3], world[:3, 3] = turned, torch.tensor([5.0, -2.0, 1.0])
    true = world @ T
    true[:, :3, 3] *= 3
    known = unknown(4)
    known.K[1], known.cam_to_world[0], known.cam_to_world[3] = K[1], true[0], true[3]
    best = optimise(pairs, known, align(pairs, known), lambda share: None, rounds=60)
    assert torch.equal(best.K[1], K[1])
    assert torch.equal(best.cam_to_world[[0, 3]], true[[0, 3]])
    rotation, _, focal = errors(best, K, true)
    assert rotation < 0.5 and focal < 0.01
    assert (best.cam_to_world[:, :3, 3] - true[:, :3, 3]).norm(dim=1).max() < 0.05 * 3 * 4  # in the given world's scale


def test_pairs_that_do_not_join_all_views():
    pairs, *_ = pairwise_scene(4, noise=0.0, seed=3)
    apart = (pairs.index < 2).all(1) | (pairs.index >= 2).all(1)
    from dataclasses import replace

    names = ("index", "first", "second", "first_confidence", "second_confidence")
    cut = replace(pairs, **{name: getattr(pairs, name)[apart] for name in names})
    with pytest.raises(GeometryError, match="join only 2 of 4"):
        align(cut, unknown(4))


def test_graphs():
    assert pair_graph(1, "auto") == [(0, 0)]
    assert len(pair_graph(5, "auto")) == 20
    assert set(pair_graph(4, "reference")) == {(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0)}
    assert max(abs(i - j) for i, j in pair_graph(9, "sequence")) == 3
    with pytest.raises(ReconError, match="unknown pairs 'star'; one of: auto, all, sequence, reference"):
        pair_graph(3, "star")  # type: ignore[arg-type]
