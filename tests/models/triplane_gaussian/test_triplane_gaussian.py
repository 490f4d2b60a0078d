"""TriplaneGaussian: its parts against their definitions, its files, and a photo to a Scene with small random networks."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import recon
from recon import models
from recon.cli import main
from recon.geometry import invert_rigid, project
from recon.models import parity, recipe
from recon.models.triplane_gaussian.dino import DinoParams
from recon.models.triplane_gaussian.model import VIEW, cut, square_around
from recon.models.triplane_gaussian.network import TriplaneGaussianParams
from recon.models.triplane_gaussian.planes import PointEncoder, cells, read_planes
from recon.models.triplane_gaussian.points import gather, neighbours
from recon.models.triplane_gaussian.projection import RADIUS, distance_outside, shown_features
from recon.photos.grid import load_images

SMALL = TriplaneGaussianParams(
    dino=DinoParams(64, 2, 1, 14, 5), side=56, width=64, depth=1, heads=1, points=64, plane=8, encoder_hidden=16, encoder_depth=2,
    renderer_hidden=32, sh_degree=1,
)  # fmt: skip
NAME = "triplane-gaussian"


def test_pixels_show_the_nearest_point_and_the_last_pixel_counts():
    side = 300  # a point's radius is 1.125 pixels: it can be shown by several
    torch.manual_seed(0)
    K = torch.tensor([[[400.0, 0, 150], [0, 400, 150], [0, 0, 1]]])
    T = torch.tensor([VIEW])
    points = (torch.rand(1, 400, 3) - 0.5) * 0.2
    maps = torch.arange(side * side).float().reshape(1, 1, side, side)
    got = shown_features(points, K, T, maps)
    xy, z = project(points[0], K[0], invert_rigid(T[0]))
    nearest = {}
    for n, ((x, y), depth) in enumerate(zip(xy.tolist(), z.tolist(), strict=True)):
        for row in range(int(y) - 3, int(y) + 4):
            for column in range(int(x) - 3, int(x) + 4):
                near = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= (RADIUS * side / 2) ** 2
                if near and depth < nearest.get((row, column), (np.inf, -1))[0]:
                    nearest[row, column] = (depth, n)
    wanted = {}
    for (row, column), (_, n) in sorted(nearest.items()):
        wanted[n] = row * side + column
    assert got.visible[0].nonzero()[:, 0].tolist() == sorted(wanted)
    assert all(got.features[0, n, 0] == pixel for n, pixel in wanted.items()) and 100 < len(wanted) < 400
    assert (got.features[0, ~got.visible[0]] == 0).all()


def test_the_distance_from_a_mask():
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 4, 4] = 1
    distance = distance_outside(mask)[0, 0] * 4.5
    assert distance[4, 4] == 0 and abs(distance[4, 6] - 2) < 0.1 and abs(distance[3, 3] - 2**0.5) < 0.1


def test_neighbours_and_cells():
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0]]])
    assert neighbours(points, 2)[0].tolist() == [[0, 1], [1, 0], [2, 1], [3, 2]]
    assert gather(points.transpose(1, 2), neighbours(points, 2))[0, 0].tolist() == [[0, 1], [1, 0], [3, 1], [7, 3]]
    place = torch.tensor([[[-0.6, 0.0, 0.59], [9.0, -9, 0]]])
    xy, xz, yz = cells(place, 0.6, 4)[:, 0].tolist()
    assert (xy, xz, yz) == ([0 + 4 * 2, 3], [0 + 4 * 3, 3 + 4 * 2], [2 + 4 * 3, 0 + 4 * 2])


def test_planes_hold_means_and_give_them_back():
    torch.manual_seed(0)
    encoder = PointEncoder(5, 4, 6, 2, 8, 0.6)
    points, features = (torch.rand(1, 50, 3) - 0.5) * 1.1, torch.rand(1, 50, 2)
    planes = encoder(points, features)
    assert planes.shape == (1, 3, 6, 8, 8)
    held = torch.zeros(8, 8, dtype=torch.bool).flatten()
    held[cells(points, 0.6, 8)[0, 0]] = True
    assert ((planes[0, 0] != 0).any(0).flatten() == held).all()
    flat = torch.full((1, 3, 2, 8, 8), 3.0)
    assert torch.allclose(read_planes(flat, points * 0.5, 0.6), torch.full((1, 50, 6), 3.0))


def test_the_object_is_cut_to_the_middle():
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:30, 40:74] = True
    left, top, size = square_around(mask)
    assert size == pytest.approx(34 / 0.85) and (left + size / 2, top + size / 2) == pytest.approx((57, 20))
    rgb = torch.zeros(60, 80, 3)
    picture, inside = cut(rgb, mask, left, top, size, 56)
    assert (picture[0, :, 28, 28] == 0).all() and (picture[0, :, 0, 0] == 1).all() and inside[0, 0, 28, 28] == 1
    assert inside.mean() == pytest.approx(34 * 20 / size**2, rel=0.05)


@pytest.fixture
def object_photo(tmp_path):
    """A grey ball on transparent ground."""
    y, x = np.mgrid[:96, :128]
    alpha = ((x - 64) ** 2 + (y - 48) ** 2 < 30**2) * 255
    picture = np.dstack([x + 60, y + 60, 0 * x + 120, alpha]).astype(np.uint8)
    Image.fromarray(picture, "RGBA").save(tmp_path / "ball.png")
    return tmp_path / "ball.png"


@pytest.fixture
def net():
    torch.manual_seed(0)
    return recon.load_model(NAME, weights="random", params=SMALL, device="cpu")


def test_a_photo_with_alpha_to_a_scene(net, object_photo):
    images = load_images([object_photo], long_side=128)
    scene = recon.reconstruct(images, model=net)
    assert scene.report["object"] == "alpha" and len(scene.gaussians) == 64 * 8 and scene.gaussians.sh.shape[1:] == (4, 3)
    assert torch.equal(scene.cameras.cam_to_world, torch.eye(4)[None])
    size = 60 / 0.85
    assert scene.cameras.K[0, 0, 0] == pytest.approx(0.5 / np.tan(np.radians(20)) * size, rel=0.03)
    assert scene.cameras.K[0, :2, 2].tolist() == pytest.approx([64, 48], abs=1)
    assert (scene.depth > 0).all() and not (scene.pointmaps.mask & ~images.mask).any()


def test_what_it_cannot_take(net, sample_photos):
    images = load_images(sample_photos, long_side=96)
    with pytest.raises(recon.ReconError, match="takes one photo of an object, got 2"):
        net(images)
    cameras = recon.Cameras(K=torch.eye(3)[None], cam_to_world=torch.eye(4)[None], width=96, height=80)
    with pytest.raises(recon.ReconError, match="takes its own camera for granted"):
        net(images[0], cameras=cameras)
    empty = replace(images[0], mask=torch.zeros_like(images[0].mask))
    with pytest.raises(recon.ReconError, match="alpha is 0 everywhere"):
        net(empty)


def test_the_command_line_writes_all_files(tmp_path, sample_photos, monkeypatch):
    entry = replace(models.model_spec(NAME), params=SMALL)
    monkeypatch.setitem(models.MODELS, NAME, partial(lambda entry: entry, entry))
    torch.manual_seed(0)
    arguments = ["run", str(sample_photos[0]), "-o", str(tmp_path), "--model", NAME, "--weights", "random", "--resolution", "96"]
    assert main([*arguments, "--formats", "ply,points.ply,glb,colmap,spz,npz"]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["gaussians"] == 512


def test_the_frozen_encoder_lies_outside_the_checkpoint(tmp_path, parity_fixture, monkeypatch):
    """A Lightning checkpoint, and DINOv2 in a folder beside it; without the folder it comes from the hub."""
    state = recipe.state_dict(parity_fixture["manifest"], parity_fixture)
    torch.save({"state_dict": state, "epoch": 3, "pytorch-lightning_version": "1.9"}, tmp_path / "model_lvis_rel.ckpt")
    (tmp_path / "dinov2-base").mkdir()
    frozen = {k: v for k, v in parity_fixture["frozen_dino_state_dict"].items() if "modulation" not in k}
    save_file(frozen, tmp_path / "dinov2-base" / "model.safetensors")
    assert models.detect(tmp_path / "model_lvis_rel.ckpt") == NAME
    net = models.load_model("auto", weights=tmp_path / "model_lvis_rel.ckpt", device="cpu")
    held = net.state_dict()
    assert torch.equal(held["point_generator.image_encoder.layers.1.value.weight"], frozen["encoder.layer.1.attention.attention.value.weight"])
    own = state["pointcloud_generator.image_tokenizer.modulations.3.linear2.weight"]
    assert torch.equal(held["point_generator.image_encoder.layers.1.modulation2.linear2.weight"], own)
    (tmp_path / "dinov2-base" / "model.safetensors").rename(tmp_path / "dinov2.safetensors")
    (tmp_path / "dinov2-base").rmdir()
    asked = []
    monkeypatch.setattr("recon.models.hub.hub_file", lambda *where: asked.append(where) or tmp_path / "dinov2.safetensors")
    models.load_model(NAME, weights=tmp_path / "model_lvis_rel.ckpt", device="cpu")
    assert asked == [("facebook/dinov2-base", "model.safetensors", None, None)]


@pytest.fixture
def parity_fixture(root):
    import os
    from pathlib import Path

    file = Path(os.environ.get("RECON_PARITY") or root.parent / "shared" / "parity") / "tgs_small.pt"
    if not file.is_file():
        pytest.skip(f"no recorded references: {file} is absent (RECON_PARITY names another folder)")
    return torch.load(file, weights_only=True)


def test_a_frozen_part_by_its_manifest(parity_fixture, tmp_path):
    """Full-size fixtures give the frozen part's manifest instead of its weights."""
    manifest = {k: {"shape": list(v.shape), "dtype": "float32"} for k, v in parity_fixture.pop("frozen_dino_state_dict").items()}
    path = tmp_path / "tgs_full.pt"
    torch.save(parity_fixture | {"frozen_dino_manifest": manifest}, path)
    net, entry = parity.network_of(torch.load(path, weights_only=True), path)
    wanted = recipe.entry("encoder.layer.0.norm1.weight", (48,))
    assert entry.name == NAME and np.array_equal(net.state_dict()["point_generator.image_encoder.layers.0.norm1.weight"].numpy(), wanted)
