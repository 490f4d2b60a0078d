"""The training loop end to end on the CPU, with a small network and noise textures."""

import json
from dataclasses import replace

import pytest
import torch

from recon.models.recon_small.network import ReconSmall, ReconSmallParams
from recon.models.training.assets import load_assets
from recon.models.training.generator import SceneGenerator
from recon.models.training.recon_small import ReconSmallTask
from recon.models.training.recon_small_losses import total_loss
from recon.models.training.train import TrainOptions, batch_shapes, learning_rate, train
from recon.weights import load_into

SMALL = ReconSmallParams(width=64, heads=2, frame_blocks=1, joint_blocks=3, coarse_channels=32, fine_channels=16)


@pytest.fixture(scope="module")
def generator() -> SceneGenerator:
    return SceneGenerator(load_assets("cpu", noise=8), seed=0, device="cpu")


@pytest.mark.parametrize("views", [1, 2, 3])
def test_every_parameter_has_a_finite_gradient(generator: SceneGenerator, views: int) -> None:
    torch.manual_seed(0)
    net = ReconSmall(SMALL)
    batch = generator.batch(2, views, 64, 96)
    loss, parts = total_loss(net, net(batch["images"]), batch)
    loss.backward()
    assert all(torch.isfinite(v) for v in parts.values())
    without = {n for n, p in net.named_parameters() if p.grad is None and "gaussian_out" not in n}  # that one is trained on its own
    matching = ("token_to_cell", "coarse_mix", "fine_mix", "log_scales")
    assert all(any(m in n for m in matching) for n in without) if views == 1 else not without
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_training_lowers_the_loss_and_leaves_weights_and_a_log(generator: SceneGenerator, tmp_path) -> None:
    torch.manual_seed(0)
    net = ReconSmall(SMALL)
    held_out = generator.batch(8, 2, 64, 64)
    with torch.no_grad():
        before = total_loss(net, net(held_out["images"]), held_out)[1]
    options = TrainOptions(minutes=0.35, sides=(64,), pixels=8 * 64 * 64, views=(2,), warmup=5, lr=2e-3, compile=False, ema_steps=20,
                           save=tmp_path / "w.safetensors", log=tmp_path / "log.jsonl")  # fmt: skip
    train(ReconSmallTask(net, generator), options)
    with torch.no_grad():
        after = total_loss(net, net(held_out["images"]), held_out)[1]
    assert after["local"] < before["local"] and after["coarse"] < before["coarse"]
    rows = [json.loads(line) for line in options.log.read_text().splitlines()]
    assert rows[0]["step"] == 0 and rows[0]["views"] == 2 and "hits" in rows[0]
    again = ReconSmall(SMALL)
    load_into(again, options.save)
    assert all(torch.allclose(a, b, atol=0.05) for a, b in zip(again.parameters(), net.parameters(), strict=True))


def test_shapes_keep_the_pixels_and_fit_the_patches() -> None:
    options = TrainOptions(minutes=1, sides=(224,), pixels=64 * 224 * 224)
    shapes = [s for s, _ in zip(batch_shapes(options), range(60), strict=False)]
    assert all(s.height % 16 == 0 and s.width % 16 == 0 for s in shapes)
    assert all(0.8 < s.scenes * s.views * s.height * s.width / options.pixels <= 1 for s in shapes)
    assert len({(s.height, s.width) for s in shapes}) >= 5 and {s.views for s in shapes} == {1, 2, 3, 4}
    assert shapes == [s for s, _ in zip(batch_shapes(options), range(60), strict=False)]


def test_the_learning_rate_runs_over_all_calls() -> None:
    options = TrainOptions(minutes=5, done_minutes=5, total_minutes=10, lr=1.0, warmup=1)
    assert learning_rate(options, 10, 0) == pytest.approx(0.51, abs=0.01)
    assert learning_rate(options, 10, 5) == pytest.approx(0.02, abs=1e-6)
    assert learning_rate(replace(options, warmup=100), 0, 0) == pytest.approx(0.0051, abs=1e-4)
