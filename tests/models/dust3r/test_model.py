"""DUSt3R and MASt3R end to end with small random networks: grids, shapes, known cameras, matches, files."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

import recon
from recon import models
from recon.cli import main
from recon.models.dust3r.grids import covered, network_grid
from recon.models.dust3r.matches import reciprocal_matches
from recon.models.dust3r.network import Dust3rParams
from recon.models.layers.dpt import DptParams
from recon.photos.grid import load_images

SMALL = {
    "encoder_width": 64, "encoder_depth": 2, "encoder_heads": 2, "decoder_width": 48, "decoder_depth": 4, "decoder_heads": 2,
    "dpt": DptParams((12, 24, 48, 64), 32, 16), "local_hidden": 64,
}  # fmt: skip
NAMES = models.FAMILIES["dust3r"]


def small(name: str) -> Dust3rParams:
    entry = models.model_spec(name)
    return replace(entry.params, **SMALL, long_side=min(entry.params.long_side, 224 if "224" in name else 96))


@pytest.mark.parametrize("name", NAMES)
def test_photos_to_a_scene(name, sample_photos):
    torch.manual_seed(0)
    net = recon.load_model(name, weights="random", params=small(name), device="cpu")
    images = load_images(sample_photos, long_side=96)
    for count in (1, 2):
        scene = recon.reconstruct(images[list(range(count))], model=net)
        assert scene.cameras.K.shape == (count, 3, 3) and scene.depth.shape == (count, *images.rgb.shape[1:3])
        assert scene.depth.isfinite().all() and (scene.depth > 0).all()
        assert torch.allclose(scene.cameras.cam_to_world[0], torch.eye(4), atol=1e-4)
        assert set(scene.cameras.placed_by) == {"pointmap"}
        assert scene.metric == (name == "mast3r-metric")
        assert len(scene.gaussians) == int(scene.pointmaps.layer.sum())


def test_three_photos_with_given_cameras(sample_photos):
    torch.manual_seed(0)
    net = recon.load_model("dust3r-512-dpt", weights="random", params=small("dust3r-512-dpt"), device="cpu")
    images = load_images([*sample_photos, sample_photos[0]], long_side=96)
    height, width = images.rgb.shape[1:3]
    K = torch.tensor([[80.0, 0, width / 2], [0, 80, height / 2], [0, 0, 1]]).expand(3, 3, 3).clone()
    T = torch.eye(4).expand(3, 4, 4).clone()
    T[1, 0, 3] = 0.5
    T[2] = torch.nan
    scene = recon.reconstruct(images, model=net, cameras=recon.Cameras(K=K, cam_to_world=T, width=width, height=height))
    assert torch.allclose(scene.cameras.K, K, atol=1e-4) and torch.allclose(scene.cameras.cam_to_world[:2], T[:2])
    assert scene.cameras.placed_by == ("given", "given", "pointmap") and not scene.metric
    with pytest.raises(recon.ReconError, match="unknown alignment 'fast'; one of: optimise, closed-form"):
        net(images, alignment="fast")


@pytest.mark.parametrize("name", ["dust3r-224-linear", "mast3r-metric"])
def test_the_command_line_writes_all_files(name, tmp_path, sample_photos, monkeypatch):
    entry = replace(models.model_spec(name), params=small(name))
    monkeypatch.setitem(models.MODELS, name, partial(lambda entry: entry, entry))
    arguments = ["run", *map(str, sample_photos), "-o", str(tmp_path), "--model", name, "--weights", "random", "--resolution", "96"]
    torch.manual_seed(0)
    assert main([*arguments, "--formats", "ply,points.ply,glb,colmap,spz,npz"]) == 0
    record = json.loads((tmp_path / "report.json").read_text())
    assert len(record["views"]) == 2 and record["options"]["model"] == name and (tmp_path / "contact_sheet.png").is_file()
    assert record["metric"] == (name == "mast3r-metric")


def test_the_small_networks_square(sample_photos):
    images = load_images(sample_photos, long_side=160)
    grid = network_grid(images, 224)
    assert grid.rgb.shape == (2, 224, 224, 3) and grid.mask.float().mean() > 0.98
    inside = covered(grid, images)
    assert 0.8 < inside.float().mean() < 1 and inside[:, 72].any() and not inside[:, :, 0].any()  # the sides are cut off
    assert network_grid(images, 96).rgb.shape[2] == 96


def test_reciprocal_matches_find_a_known_shift():
    generator = torch.Generator().manual_seed(0)
    a = torch.nn.functional.normalize(torch.randn(40, 56, 24, generator=generator), dim=-1)
    b = torch.roll(a, (3, -5), (0, 1))
    everywhere = torch.ones(40, 56, dtype=torch.bool)
    xa, xb = reciprocal_matches(a, b, everywhere, everywhere, step=4)
    wanted = torch.stack([(xa[:, 0] - 5) % 56, (xa[:, 1] + 3) % 40], 1)
    assert len(xa) == 10 * 14 and torch.equal(xb, wanted)
    left = everywhere.clone()
    left[:, 28:] = False
    xa, xb = reciprocal_matches(a, b, left, everywhere, step=4)
    assert (xa[:, 0] < 28).all() and len(xa) == 10 * 7
    assert len(reciprocal_matches(a, b, ~everywhere, everywhere)[0]) == 0


def test_mast3r_gives_tracks_where_matches_fit_the_cameras(sample_photos):
    from recon.geometry import project, unproject
    from recon.models.dust3r.pairs import PairPoints
    from recon.models.dust3r.tracks import match_tracks
    from recon.scene import Pointmaps, Scene

    height, width = 48, 64
    images = recon.Images(rgb=torch.rand(2, height, width, 3))
    K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]).expand(2, 3, 3)
    T = torch.eye(4).expand(2, 4, 4).clone()
    T[1, 0, 3] = 0.5  # at depth 5 a shift by 6 pixels
    depth = torch.full((2, height, width), 5.0)
    points = unproject(depth, K, T)
    cameras = recon.Cameras(K=K, cam_to_world=T, width=width, height=height)
    scene = Scene(cameras=cameras, images=images, depth=depth, pointmaps=Pointmaps(points=points, confidence=depth, mask=depth > 0))
    a = torch.nn.functional.normalize(torch.randn(height, width, 24, generator=torch.Generator().manual_seed(0)), dim=-1)
    sure = torch.full((1, height, width), 2.0)
    pairs = PairPoints(index=torch.tensor([[0, 1]]), first=points[:1], second=points[1:], first_confidence=sure, second_confidence=sure,
                       descriptors=((a, torch.roll(a, -6, 1)),))  # fmt: skip
    tracks = match_tracks(scene, images, pairs)
    assert tracks is not None and 30 < len(tracks) <= 48 and tracks.error.max() < 1e-3
    for view in range(2):
        seen = tracks.view == view
        xy, _ = project(tracks.points[tracks.point[seen]], K[view], cameras.world_to_cam[view])
        assert torch.allclose(xy, tracks.xy[seen], atol=1e-3)
