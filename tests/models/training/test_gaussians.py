"""Training of the Gaussian head: what it is compared by, that the loss falls, and that nothing but the head changes."""

import json
from dataclasses import replace

import pytest
import torch

from recon.models.recon_mvs.network import ReconMVS, ReconMVSParams
from recon.models.recon_small.network import ReconSmall, ReconSmallParams
from recon.models.training.assets import load_assets
from recon.models.training.gaussian_losses import picture_loss, psnr, ssim
from recon.models.training.gaussians import GaussianTask, NovelViews, draw, merged, seen_by, split_views
from recon.models.training.generator import SceneGenerator
from recon.models.training.train import Average, BatchShape, record, save_average
from recon.weights import load_into, pack

SMALL = ReconSmallParams(width=64, heads=2, frame_blocks=1, joint_blocks=3)
MVS = ReconMVSParams(coarse_widths=(32, 32), fine_widths=(16, 16), detail_widths=(16, 16))
SHAPE = BatchShape(scenes=2, views=4, height=32, width=32)


@pytest.fixture(scope="module")
def task() -> GaussianTask:
    torch.manual_seed(0)
    net = ReconMVS(MVS)
    torch.nn.init.constant_(net.log_b[2].get_parameter("bias"), -3.0)  # sure of itself and
    torch.nn.init.constant_(net.validity[2].get_parameter("bias"), 1.0)  # of what is there, else no pixel is drawn
    return GaussianTask(net, ReconSmall(SMALL), SceneGenerator(load_assets("cpu", noise=8), seed=5, device="cpu"))


@pytest.fixture(scope="module")
def batch(task: GaussianTask) -> NovelViews:
    with torch.no_grad():
        return next(b for b in (task.batch(SHAPE) for _ in range(20)) if b.seen.float().mean((1, 2, 3)).min() > 0.5)


def test_the_head_alone_learns_and_the_rest_is_saved_as_it_was(task: GaussianTask, tmp_path) -> None:
    drawn = (task.batch(replace(SHAPE, scenes=1)) for _ in range(20))
    batch = next(b for b in drawn if b.seen.float().mean() > 0.5)
    first, begin = tmp_path / "log.jsonl", tmp_path / "begin.safetensors"
    pack(task.net.state_dict(), begin)
    load_into(task.net, begin)
    before = {k: v.clone() for k, v in task.net.state_dict().items()}
    (optimizer,) = task.optimizers(5e-4)
    average = Average(task.net, 2)
    task.steps, losses = 0, []
    for step in range(3):
        loss, parts = task.loss(task.forward(batch), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update()
        losses.append(loss.item())
        record(first, step, 0.0, 5e-4, 0, loss.detach(), SHAPE, parts)
    assert losses[-1] < 0.97 * losses[0], losses
    changed = {k for k, v in task.net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {f"gaussians.{k}" for k in task.net.gaussians.state_dict()}
    row = json.loads(first.read_text().splitlines()[0])
    assert row["psnr"] == pytest.approx(row["psnr_without"], abs=1e-3) and row["psnr"] > 3  # without a step made, no corrections
    save_average(task.net, average, tmp_path / "w.safetensors")
    saved = ReconMVS(MVS)
    load_into(saved, tmp_path / "w.safetensors")
    assert {k for k, v in saved.state_dict().items() if not torch.equal(v, before[k])} == changed


def test_each_scene_is_drawn_from_its_own_targets(task: GaussianTask, batch: NovelViews) -> None:
    with torch.no_grad():
        pictures = draw(*merged(task.forward(batch), batch), None, batch)
    own, other = (torch.stack([psnr(p.color, batch.color[s ^ swap], batch.seen[s]).mean() for s, p in enumerate(pictures)]) for swap in (0, 1))
    assert len(pictures) == 2 and (own > other + 1).all(), (own, other)


def test_a_batch_without_anything_to_draw_has_a_loss(task: GaussianTask, batch: NovelViews) -> None:
    out = task.forward(batch)
    nothing = replace(out, validity=torch.full_like(out.validity, -9.0))
    loss, parts = task.loss(nothing, batch)
    loss.backward()
    assert torch.isfinite(loss) and parts["layer"] == 0


def test_targets_lie_between_inputs() -> None:
    assert [split_views(v) for v in (4, 5, 6)] == [([0, 3], [1, 2]), ([0, 2, 4], [1, 3]), ([0, 2, 3, 5], [1, 4])]
    with pytest.raises(ValueError, match="3 views, wanted at least 4"):
        split_views(3)


def test_what_an_input_sees(batch: NovelViews) -> None:
    """A wall with a box before it: the box hides a part of the wall from the input, and the wall beyond the picture is not seen."""
    K = torch.tensor([[20.0, 0, 16], [0, 20.0, 16], [0, 0, 1]]).expand(1, 1, 3, 3)
    here, aside = torch.eye(4).repeat(1, 1, 1, 1), torch.eye(4).repeat(1, 1, 1, 1)
    aside[..., 0, 3] = 1.0
    wall = torch.full((1, 1, 32, 32), 4.0)  # at depth 4 a shift by 1 is 5 pixels
    boxed = wall.clone()
    boxed[..., 8:24, 12:20] = 2.0
    seen = seen_by(boxed, K, here, wall, K, aside)[0, 0]
    assert not seen[:, 27:].any() and not seen[8:24, 7:15].any()
    seen[8:24, 7:15] = True
    assert seen[:, :27].all()
    assert not (batch.seen & batch.empty).any() and 0.05 < batch.seen.float().mean() < 1


def test_similarity_is_that_of_the_paper() -> None:
    torch.manual_seed(1)
    a = torch.rand(1, 24, 30, 3)
    b = (a + 0.1 * torch.randn_like(a)).clamp(0, 1)
    x = torch.arange(-5, 6)
    bell = torch.exp(-0.5 * (x / 1.5) ** 2)
    window = (bell[:, None] * bell / bell.sum() ** 2)[..., None]
    p, q = a[0, 7:18, 9:20], b[0, 7:18, 9:20]
    mean = lambda v: (window * v).sum((0, 1))
    mp, mq = mean(p), mean(q)
    vp, vq, c = mean((p - mp) ** 2), mean((q - mq) ** 2), mean((p - mp) * (q - mq))
    wanted = ((2 * mp * mq + 1e-4) * (2 * c + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))).mean()
    assert ssim(a, b)[0, 12, 14] == pytest.approx(wanted.item(), abs=1e-4)
    assert torch.allclose(ssim(a, a), torch.ones(1, 24, 30), atol=1e-4)


def test_the_loss_looks_where_it_should() -> None:
    truth = torch.rand(2, 16, 16, 3)
    color, alpha, seen = truth.clone(), torch.ones(2, 16, 16), torch.ones(2, 16, 16, dtype=torch.bool)
    seen[:, :4] = False
    color[:, :4] = 0.5
    assert picture_loss(color, alpha * seen, truth, seen, ~seen).abs().max() < 1e-4
    assert torch.allclose(picture_loss(color, alpha, truth, seen, ~seen), torch.full((2,), 0.05 * 0.25), atol=1e-4)
    assert torch.allclose(psnr((truth + 0.1).where(seen[..., None], color), truth, seen), torch.full((2,), 20.0), atol=0.01)
