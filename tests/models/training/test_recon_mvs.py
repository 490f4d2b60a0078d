"""Training of recon-mvs on the CPU: what its batches hold, its losses, and that they fall."""

import json
import math

import pytest
import torch

from recon.models.recon_mvs.network import ReconMVS, ReconMVSParams, Stage
from recon.models.recon_small.network import ReconSmall, ReconSmallParams
from recon.models.training.assets import load_assets
from recon.models.training.dice import Dice
from recon.models.training.generator import SceneGenerator
from recon.models.training.recon_mvs import DepthBatch, ReconMVSTask, draw_prior, draw_ranges, draw_solved, draw_sources
from recon.models.training.recon_mvs_losses import slope_loss, stage_loss, stage_target
from recon.models.training.train import BatchShape, TrainOptions, train
from recon.models.training.viewpoints import camera_matrices
from recon.weights import load_into

SMALL = ReconSmallParams(width=64, heads=2, frame_blocks=1, joint_blocks=3)
MVS = ReconMVSParams(coarse_widths=(32, 32), fine_widths=(16, 16), detail_widths=(16, 16))
SHAPE = BatchShape(scenes=2, views=3, height=48, width=64)


@pytest.fixture(scope="module")
def task() -> ReconMVSTask:
    torch.manual_seed(0)
    return ReconMVSTask(ReconMVS(MVS), ReconSmall(SMALL), SceneGenerator(load_assets("cpu", noise=8), seed=3, device="cpu"))


@pytest.fixture(scope="module")
def batch(task: ReconMVSTask) -> DepthBatch:
    with torch.no_grad():
        return task.batch(SHAPE)


def test_a_fixed_batch_is_learnt(task: ReconMVSTask, batch: DepthBatch) -> None:
    optimizers = task.optimizers(3e-3)
    history = []
    for _ in range(6):
        loss, parts = task.loss(task.forward(batch), batch)
        assert all(torch.isfinite(v) for v in parts.values()), parts
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        history.append(parts)
        without = {name for name, p in task.net.named_parameters() if p.grad is None}
        assert without == {name for name, _ in task.net.named_parameters() if name.startswith("gaussians.")}
        assert all(torch.isfinite(p.grad).all() for p in task.net.parameters() if p.grad is not None)
        for optimizer in optimizers:
            optimizer.step()
    assert history[-1]["loss"] < 0.9 * history[0]["loss"] and history[-1]["l1"] < history[0]["l1"]
    assert all(p.grad is None for p in task.small.parameters())


def test_the_loop_trains_it_and_leaves_weights_and_a_log(task: ReconMVSTask, tmp_path) -> None:
    files = {"save": tmp_path / "w.safetensors", "log": tmp_path / "log.jsonl"}
    options = TrainOptions(minutes=0.01, sides=(48,), pixels=2 * 48 * 48, views=(2,), compile=False, **files)
    train(task, options)
    row = json.loads(options.log.read_text().splitlines()[0])
    assert row["step"] == 0 and {"l1", "off5", "hits8", "hits4", "hits2", "validity"} <= row.keys()
    again = ReconMVS(MVS)
    load_into(again, options.save)
    assert all(torch.allclose(a, b, atol=0.05) for a, b in zip(again.parameters(), task.net.parameters(), strict=True))


def test_a_batch_holds_its_own_scenes(batch: DepthBatch) -> None:
    assert torch.equal(batch.references, torch.arange(6)) and batch.sources.shape == (6, 2)
    for view, row in zip(batch.references.tolist(), batch.sources.tolist(), strict=True):
        named = [s for s in row if s >= 0]
        assert named and len(set(named)) == len(named) and view not in named and all(s // 3 == view // 3 for s in named)
    assert batch.depth.shape == (6, 48, 64) and not (batch.mask & batch.sky).any()
    assert batch.views.prior.shape == batch.views.prior_confidence.shape == (6, 6, 8)
    assert (batch.views.inverse_range[:, 0] >= 0).all() and (batch.views.inverse_range[:, 1] > batch.views.inverse_range[:, 0]).all()


def test_sources_come_in_any_number() -> None:
    references, sources = draw_sources(Dice(0, "cpu"), 200, 6)
    assert len(references) == 1200 and sources.shape == (1200, 4)
    count = (sources >= 0).sum(1)
    assert set(count.tolist()) == {1, 2, 3, 4} and 0.6 < (count == 4).float().mean() < 0.85
    assert ((sources[:, 1:] < 0) | (sources[:, :-1] >= 0)).all()  # the missing ones come last


def test_ranges_hold_the_scene_or_are_cut_by_less_than_a_third() -> None:
    depth = torch.rand(300, 2, 8, 8) * 9 + 1
    mask = torch.rand(300, 2, 8, 8) > 0.1
    low, high = draw_ranges(Dice(0, "cpu"), depth, mask).unbind(-1)
    far, near = depth.where(mask, -math.inf).amax((2, 3)), depth.where(mask, math.inf).amin((2, 3))
    assert 0.15 < (low == 0).float().mean() < 0.35
    assert (low * far <= 1.3001).all() and (high * near >= 1 / 1.3001).all() and (high > low).all()
    assert 0.6 < (low * far <= 1).float().mean() < 0.95 and 0.6 < (high * near >= 1).float().mean() < 0.9


def test_a_solver_leaves_small_errors() -> None:
    rows = torch.zeros(64, 3, 16)
    rows[..., :9] = torch.eye(3).flatten()
    rows[..., 9:12] = torch.randn(64, 3, 3)
    rows[..., 12:] = torch.tensor([80.0, 80.0, 48.0, 32.0])
    K, cam_to_world = camera_matrices(rows)
    K2, noisy = draw_solved(Dice(0, "cpu"), K, cam_to_world)
    turn = ((noisy[..., :3, :3].diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos().rad2deg()
    assert turn.max() < 0.6 and 0.3 < (turn.amax(1) < 0.001).float().mean() < 0.7
    assert torch.allclose(K2[..., 0, 0], K2[:, :1, 0, 0].expand(-1, 3)) and (K2[..., 0, 0] / 80 - 1).abs().max() < 0.06
    assert torch.equal(K2[..., :2, 2], K[..., :2, 2])


def test_the_prior_is_at_the_scale_of_the_truth() -> None:
    depth = torch.rand(40, 2, 32, 32) * 3 + 1
    prior, confidence = draw_prior(Dice(0, "cpu"), depth * 7, torch.full_like(depth, 3.0), depth, torch.ones_like(depth, dtype=torch.bool))
    assert prior.shape == (40, 2, 4, 4) and 0.02 < (confidence == 0).float().mean() < 0.3
    truth = torch.nn.functional.avg_pool2d(1 / depth, 8)
    assert (prior / truth).log().abs().median() < 0.1


def test_the_target_lies_at_the_cells_centre() -> None:
    x = torch.arange(32) + 0.5
    inverse = (0.5 + 0.002 * x).expand(1, 32, 32)  # a plane: its inverse depth is linear in the picture
    for stride in (8, 4, 2):
        target, known = stage_target(1 / inverse, torch.ones(1, 32, 32, dtype=torch.bool), stride)
        centres = torch.arange(stride / 2, 32, stride)
        assert known.all() and torch.allclose(target[0, 0], (0.5 + 0.002 * centres).expand(32 // stride, -1), rtol=1e-5)


def test_the_loss_of_a_stage_is_least_at_the_truth() -> None:
    first, step = torch.full((1, 1, 1, 1), 0.1), torch.full((1, 1, 1, 1), 0.05)
    target = torch.tensor([0.2, 0.3125, 5.0]).reshape(1, 1, 1, 3)  # on a plane, a quarter past a plane, outside
    logits = torch.full((1, 8, 1, 3), -20.0)
    logits[0, 2, 0, 0] = 20
    logits[0, 4, 0, 1], logits[0, 5, 0, 1] = 20 + math.log(0.75), 20 + math.log(0.25)
    known = torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    stage = Stage(logits=logits, first=first, step=step, inverse_depth=target)
    loss, hits = stage_loss(stage, target, known)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert hits == 1 and loss.item() == pytest.approx(entropy / 2, abs=1e-4)
    worse, _ = stage_loss(Stage(logits=logits.roll(1, 1), first=first, step=step, inverse_depth=target + 0.05), target, known)
    assert worse > loss + 5


def test_slopes_count_within_surfaces_alone() -> None:
    truth = torch.zeros(1, 16, 16)
    truth[..., 8:] = 1  # an edge
    everywhere = torch.ones(1, 16, 16, dtype=torch.bool)
    moved = truth.clone()
    moved[..., 8:] += 0.3  # the farther surface as a whole: no slope is wrong
    assert slope_loss(moved, truth, everywhere) == 0
    assert slope_loss(moved + torch.arange(16) * 0.01, truth, everywhere) == pytest.approx(0.05, rel=1e-3)
