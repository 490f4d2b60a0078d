"""MVSplat: its parts against their definitions, its files, and photos to a Scene with small random networks."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import grid_sample

import recon
from recon import models
from recon.cli import main
from recon.models import recipe
from recon.models.layers.unet import UNetParams
from recon.models.mvsplat.backbone import from_windows, shift_mask, to_windows
from recon.models.mvsplat.cost_volume import correlation, inverse_depths
from recon.models.mvsplat.gaussians import turned_harmonics
from recon.models.mvsplat.model import network_grid
from recon.models.mvsplat.network import MVSplat, MVSplatParams
from recon.models.mvsplat.published import KEYS
from recon.photos.grid import load_images

SMALL = MVSplatParams(features=32, planes=8, cost=UNetParams(32, 2, (2,)), depth=UNetParams(32, 3, (4,)), sh_degree=1, side=64)


def rotation(seed: int) -> torch.Tensor:
    a = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.matrix_exp(a - a.T)


def by_grid_sample(features, K_normalized, cam_to_world, first, step, planes):
    """The cost volume as its definition says: cells at whole numbers, features that fade to nothing outside, the warped features written out."""
    views, _, channels, height, width = features.shape
    size = torch.tensor([[width], [height], [1.0]])
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    cells = torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)
    out = torch.zeros(views, planes, height, width)
    for i in range(views):
        depth = 1 / (first[i, 0, 0] + step[i, 0, 0] * torch.arange(planes))
        for j in range(views):
            if i == j:
                continue
            T = torch.linalg.inv(cam_to_world[0, j]) @ cam_to_world[0, i]
            rays = T[:3, :3] @ torch.linalg.inv(K_normalized[0, i] * size) @ cells
            points = (K_normalized[0, j] * size) @ (rays[:, None] * depth[:, None] + T[:3, 3:, None]).reshape(3, -1)
            xy = points[:2] / points[2].clamp(min=1e-3)
            grid = torch.stack([2 * xy[0] / (width - 1) - 1, 2 * xy[1] / (height - 1) - 1], -1).reshape(1, planes, -1, 2)
            warped = grid_sample(features[j], grid, align_corners=True).reshape(channels, planes, height, width)
            out[i] += (features[i, 0][:, None] * warped).sum(0) / channels**0.5 / (views - 1)
    return out


@pytest.mark.parametrize("backend", ["torch", "cpu"])
@pytest.mark.parametrize("views", [2, 3])
def test_the_cost_volume_is_its_definition(views, backend):
    torch.manual_seed(0)
    features = torch.randn(views, 1, 16, 12, 20)
    K = torch.tensor([[0.9, 0, 0.5], [0, 1.3, 0.52], [0, 0, 1]]).expand(1, views, 3, 3) + 0.02 * torch.randn(1, views, 1, 1) * torch.eye(3).mul(
        torch.tensor([1.0, 1, 0])
    )
    T = torch.eye(4).repeat(1, views, 1, 1)
    for v in range(views):
        T[0, v, :3, :3] = torch.linalg.matrix_exp(torch.tensor([[0, -0.02, 0.05], [0.02, 0, 0.01], [-0.05, -0.01, 0]]) * (v - 1))
        T[0, v, 0, 3] = 0.3 * v
    first, step = inverse_depths(torch.full((1, views), 0.8), torch.full((1, views), 50.0), 9)
    got = correlation(features, K, T, first, step, 9, backend)
    wanted = by_grid_sample(features, K, T, first, step, 9)
    assert (got - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_harmonics_turn_with_the_pole_at_y():
    R, Q = rotation(0), rotation(1)
    D = turned_harmonics(torch.stack([R, Q, R @ Q]), 4)
    assert torch.allclose(D[0, 1:4, 1:4], R, atol=1e-5)  # the first band is the vector itself: x, y, z
    assert torch.allclose(D[0] @ D[1], D[2], atol=1e-5)
    assert torch.allclose(D[0] @ D[0].T, torch.eye(25), atol=1e-5)


def test_windows():
    x = torch.arange(2 * 8 * 12 * 3.0).reshape(2, 8, 12, 3)
    windows = to_windows(x, 2)
    assert windows.shape == (2, 4, 24, 3) and torch.equal(windows[0, 1, 0], x[0, 0, 6]) and torch.equal(windows[0, 2, 7], x[0, 5, 1])
    assert torch.equal(from_windows(windows, 2, 8, 12), x)
    mask = shift_mask(8, 12, 2, torch.device("cpu"))
    assert (mask[0] == 0).all() and (mask[3] != 0).any() and torch.equal(mask, mask.transpose(1, 2))


def lightning_file(folder, params=SMALL):
    """A checkpoint as Lightning writes it, with recipe weights under published names."""
    back = {KEYS.own(key): key for key in published_names(params)}
    manifest = {back[key]: {"shape": list(value.shape), "dtype": "float32"} for key, value in MVSplat(params).state_dict().items()}
    state = {f"encoder.{key}": value for key, value in recipe.state_dict(manifest).items()} | {"losses.1.lpips.lin0.weight": torch.ones(2)}
    torch.save({"state_dict": state, "global_step": 300_000, "pytorch-lightning_version": "2.1.0", "loops": {}}, folder / "re10k.ckpt")
    return folder / "re10k.ckpt", state


def published_names(params) -> list[str]:
    ours = {
        "backbone.encoder.": "backbone.backbone.", "backbone.layers.": "backbone.transformer.layers.", "cost_in.": "depth_predictor.corr_refine_net.",
        "cost_net.": "depth_predictor.corr_refine_net.3.", "cost_out.": "depth_predictor.corr_refine_net.4.",
        "upsampler.": "depth_predictor.upsampler.",
        "cost_skip.": "depth_predictor.regressor_residual.", "plane_head.": "depth_predictor.depth_head_lowres.",
        "feature_in.": "depth_predictor.proj_feature.", "refine_in.": "depth_predictor.refine_unet.", "refine_net.": "depth_predictor.refine_unet.3.",
        "gaussian_head.": "depth_predictor.to_gaussians.", "depth_head.": "depth_predictor.to_disparity.",
    }  # fmt: skip
    names = []
    for key in MVSplat(params).state_dict():
        own = next(stem for stem in ours if key.startswith(stem))
        names.append(ours[own] + key.removeprefix(own).replace("downsample.", "downsample.0."))
    return names


def test_a_lightning_checkpoint_is_recognised_and_loaded(tmp_path):
    path, state = lightning_file(tmp_path)
    assert models.detect(path) == "mvsplat-re10k"
    net = models.load_model("auto", weights=path, device="cpu")
    assert (net.params.features, net.params.planes, net.params.cost, net.params.depth, net.params.sh_degree) == (32, 8, SMALL.cost, SMALL.depth, 1)
    key = "depth_predictor.to_disparity.2.weight"
    assert torch.equal(net.state_dict()[KEYS.own(key)], state[f"encoder.{key}"])
    with pytest.raises(recon.ReconError, match="holds mvsplat-re10k, not mvsplat-acid"):
        models.load_model("mvsplat-acid", weights=path, device="cpu", params=SMALL)
    with pytest.raises(recon.ReconError, match="does not belong to this network: missing"):
        models.load_model("dust3r-512-dpt", weights=path, device="cpu")
    with pytest.raises(recon.ReconError, match=r"fetch it from the Google Drive folder .* then give weights=PATH"):
        models.load_model("mvsplat-re10k", device="cpu")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return recon.load_model("mvsplat-re10k", weights="random", params=SMALL, device="cpu")


def given_cameras(images) -> recon.Cameras:
    views, height, width = images.rgb.shape[:3]
    K = torch.tensor([[80.0, 0, width / 2], [0, 80, height / 2], [0, 0, 1]]).repeat(views, 1, 1)
    T = torch.eye(4).repeat(views, 1, 1)
    T[:, 0, 3] = 0.4 * torch.arange(views)
    return recon.Cameras(K=K, cam_to_world=T, width=width, height=height)


@pytest.mark.parametrize("count", [2, 3])
def test_photos_with_cameras_to_gaussians(net, count, sample_photos):
    images = load_images([*sample_photos, sample_photos[0]][:count], long_side=96)
    cameras = given_cameras(images)
    scene = net(images, cameras=cameras, near=2.0, far=40.0)
    assert torch.equal(scene.cameras.K, cameras.K) and set(scene.cameras.placed_by) == {"given"}
    assert scene.gaussians.sh.shape[1:] == (4, 3) and scene.gaussians.means.isfinite().all()
    assert len(scene.gaussians) == int(network_grid(images, 64, 16).mask.sum())
    low, high = scene.report["depth_range"]
    assert low * (1 + 1e-5) >= 2.0 and high <= 40.0 * (1 + 1e-5)
    assert scene.depth.shape == images.rgb.shape[:3] and (scene.depth > 0).all()
    thrice = cameras.cam_to_world.clone()
    thrice[:, :3, 3] *= 3
    larger = net(images, cameras=replace(cameras, cam_to_world=thrice), near=6.0, far=120.0)
    assert torch.allclose(larger.depth[0], 3 * scene.depth[0], rtol=1e-3)  # scale carries over


def test_what_cannot_be_done(net, sample_photos):
    images = load_images(sample_photos, long_side=96)
    with pytest.raises(recon.ReconError, match="needs 2 or more photos, got 1"):
        net(images[0])
    with pytest.raises(recon.ReconError, match="wanted 0 < near < far"):
        net(images, cameras=given_cameras(images), near=5.0, far=2.0)


@pytest.mark.weights
def test_plain_photos_from_the_command_line(tmp_path, sample_photos, monkeypatch):
    """Without cameras the default model places the photos and says how far everything is."""
    entry = replace(models.model_spec("mvsplat-re10k"), params=SMALL)
    monkeypatch.setitem(models.MODELS, "mvsplat-re10k", partial(lambda entry: entry, entry))
    arguments = ["run", *map(str, sample_photos), "-o", str(tmp_path), "--model", "mvsplat-re10k", "--weights", "random", "--resolution", "96"]
    assert main([*arguments, "--formats", "ply,points.ply,glb,colmap,spz,npz"]) == 0
    record = json.loads((tmp_path / "report.json").read_text())
    assert [v["placed_by"] for v in record["views"]] == ["matches", "matches"] and record["gaussians"] > 5000
