"""The Gaussian head: what it is measured on, and that training it lowers the loss and touches nothing else."""

import torch

from recon.geometry import project
from recon.models.recon_small.network import ReconSmall, ReconSmallParams
from recon.models.training.assets import load_assets
from recon.models.training.correspondence import pixel_centres, unproject
from recon.models.training.gaussians import novel_view_loss, scene_cameras, seen_by_inputs, train_gaussian_head
from recon.models.training.generator import SceneGenerator
from recon.weights import load_into

SMALL = ReconSmallParams(width=64, heads=2, frame_blocks=1, joint_blocks=3, coarse_channels=32, fine_channels=16)


def test_cameras_and_visibility_agree_with_the_generator() -> None:
    views = SceneGenerator(load_assets("cpu", noise=12), seed=8, device="cpu").render(3, 3, 64, 96)
    x, y = pixel_centres(64, 96, torch.device("cpu"))
    cameras = scene_cameras(views.cameras[0], 64, 96)
    local = unproject(views.depth[:1], views.cameras[:1], x, y)[0, 2]
    world = local @ cameras.cam_to_world[2, :3, :3].T + cameras.cam_to_world[2, :3, 3]
    xy, z = project(world.flatten(0, 1), cameras.K[2], cameras.world_to_cam[2])
    there = views.depth[0, 2].flatten() > 0
    assert torch.allclose(xy[there], torch.stack([x, y], -1).flatten(0, 1)[there], atol=1e-2)
    assert torch.allclose(z[there], views.depth[0, 2].flatten()[there], rtol=1e-4)
    seen = seen_by_inputs(views)
    assert seen.shape == (3, 64, 96) and 0.05 < seen.float().mean() < 1
    assert (seen & (views.depth[:, 2] == 0)).float().mean() < 0.1  # cells at an outline hold some sky


def test_training_the_head_changes_the_head_alone(tmp_path) -> None:
    torch.manual_seed(0)
    net = ReconSmall(SMALL)
    torch.nn.init.normal_(net.local_head.out.weight, std=1e-2)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    generator = SceneGenerator(load_assets("cpu", noise=12), seed=5, device="cpu")
    files = {"save": tmp_path / "w.safetensors", "log": tmp_path / "log.jsonl"}
    train_gaussian_head(net, generator, minutes=0.1, scenes=1, height=32, width=48, lr=1e-2, **files)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"gaussian_out.weight", "gaussian_out.bias"}
    assert all(p.requires_grad for p in net.parameters())
    load_into(ReconSmall(SMALL), tmp_path / "w.safetensors")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) >= 2
    views = generator.render(2, 3, 32, 48)
    with torch.no_grad():
        loss, psnr = novel_view_loss(net, views, views.color)
    assert loss is None or (0 < loss < 1.1 and all(p > 0 for p in psnr))
