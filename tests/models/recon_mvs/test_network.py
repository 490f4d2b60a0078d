"""The network of recon-mvs with random weights: shapes, symmetries, and input at its limits."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.recon_mvs.network import PosedViews, ReconMVS, ReconMVSParams, SweptDepth, decide, pair_up, upsample, window

SMALL = ReconMVSParams(coarse_channels=16, fine_channels=16, coarse_widths=(16, 16), fine_widths=(16, 16), detail_widths=(16, 16))


@pytest.fixture(scope="module")
def net() -> ReconMVS:
    """Small, and with no layer left at zero."""
    torch.manual_seed(0)
    net = ReconMVS(SMALL)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return net.eval()


def posed_views(views: int = 5, height: int = 48, width: int = 64, params: ReconMVSParams = SMALL) -> PosedViews:
    """Views side by side before random pictures."""
    generator = torch.Generator().manual_seed(1)
    random = lambda *size: torch.rand(*size, generator=generator)
    K = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]).repeat(views, 1, 1)
    cam_to_world = torch.eye(4).repeat(views, 1, 1)
    cam_to_world[:, 0, 3] = torch.arange(views) * 0.1
    cam_to_world[:, 1, 3] = random(views) * 0.1
    cells = (views, height // 8, width // 8)
    return PosedViews(
        images=random(views, 3, height, width), coarse=F.normalize(random(views, params.coarse_channels, *cells[1:]) - 0.5, dim=1),
        fine=F.normalize(random(views, params.fine_channels, height // 4, width // 4) - 0.5, dim=1), scales=torch.tensor([10.0, 10.0]), K=K,
        cam_to_world=cam_to_world, inverse_range=torch.tensor([0.1, 1.0]).repeat(views, 1), prior=random(*cells) * 0.9 + 0.1,
        prior_confidence=random(*cells) + 0.1,
    )  # fmt: skip


def swept(net: ReconMVS, views: PosedViews, references: list[int], sources: list[list[int]], *, gaussians: bool = False) -> SweptDepth:
    with torch.no_grad():
        return net(views, net.describe(views.images), torch.tensor(references), torch.tensor(sources), gaussians=gaussians)


def maps(out: SweptDepth) -> Tensor:  # [3, M, H, W]
    return torch.stack([out.inverse_depth.log(), out.log_b, out.validity])


@pytest.mark.parametrize("sources", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (16, 112), (80, 16)])
def test_shapes(net: ReconMVS, sources: int, height: int, width: int) -> None:
    out = swept(net, posed_views(height=height, width=width), [0, 1], [[1, 2, 3, 4][:sources], [4, 3, 2, 0][:sources]], gaussians=True)
    for plane in (out.inverse_depth, out.log_b, out.validity):
        assert plane.shape == (2, height, width) and torch.isfinite(plane).all()
    assert out.gaussians is not None and out.gaussians.shape == (2, height, width, 13)
    for stage, planes, stride in zip(out.stages, (64, 24, 12), (8, 4, 2), strict=True):
        assert stage.logits.shape == (2, planes, height // stride, width // stride)
        assert stage.inverse_depth.shape == (2, 1, height // stride, width // stride)
    assert (out.inverse_depth > 0).all()


def test_the_committed_size_and_neutral_start() -> None:
    net = ReconMVS()
    assert sum(p.numel() for p in net.parameters()) <= 6_000_000
    out = swept(net, posed_views(2, params=net.params), [0], [[1]], gaussians=True)
    assert out.gaussians is not None and not out.gaussians.any() and not out.validity.any()


def test_without_being_asked_there_are_no_gaussians(net: ReconMVS) -> None:
    assert swept(net, posed_views(), [0], [[1]]).gaussians is None


def test_references_and_sources_may_come_in_any_order(net: ReconMVS) -> None:
    views = posed_views()
    one = maps(swept(net, views, [0, 3], [[1, 2, 4], [2, 0, 1]]))
    other = maps(swept(net, views, [3, 0], [[1, 2, 0], [4, 1, 2]]))
    assert torch.allclose(one, other.flip(1), atol=2e-4)


def test_the_order_of_the_views_does_not_matter(net: ReconMVS) -> None:
    views, order = posed_views(), torch.tensor([3, 0, 4, 1, 2])
    parts = {f.name: getattr(views, f.name)[order] for f in fields(PosedViews) if f.name != "scales"}
    place = order.argsort().tolist()
    one = maps(swept(net, views, [0], [[1, 2, 4]]))
    other = maps(swept(net, replace(views, **parts), [place[0]], [[place[1], place[2], place[4]]]))
    assert torch.allclose(one, other, atol=2e-4)


def test_an_absent_source_says_nothing(net: ReconMVS) -> None:
    views = posed_views()
    assert torch.allclose(maps(swept(net, views, [0], [[1, 2]])), maps(swept(net, views, [0], [[1, -1, 2, -1]])), atol=2e-4)
    assert torch.isfinite(maps(swept(net, views, [0], [[-1]]))).all()


def test_the_unit_of_length_does_not_matter(net: ReconMVS) -> None:
    views = posed_views()
    cam_to_world = views.cam_to_world.clone()
    cam_to_world[:, :3, 3] *= 1000
    large = replace(views, cam_to_world=cam_to_world, inverse_range=views.inverse_range / 1000, prior=views.prior / 1000)
    one, other = swept(net, views, [0], [[1, 2]]), swept(net, large, [0], [[1, 2]])
    assert torch.allclose(one.inverse_depth, other.inverse_depth * 1000, rtol=1e-3) and torch.allclose(one.log_b, other.log_b, atol=1e-3)


def test_planes_may_begin_at_infinity(net: ReconMVS) -> None:
    views = posed_views()
    out = swept(net, replace(views, inverse_range=torch.tensor([0.0, 1.0]).repeat(5, 1)), [0, 1], [[1, 2], [0, 2]])
    assert torch.isfinite(maps(out)).all() and (out.inverse_depth >= 1e-4).all()
    assert all((stage.inverse_depth >= 0).all() for stage in out.stages)


def test_cameras_in_one_place_give_finite_maps(net: ReconMVS) -> None:
    views = posed_views()
    together = replace(views, cam_to_world=torch.eye(4).repeat(5, 1, 1))
    behind = views.cam_to_world.clone()
    behind[1] = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))  # looks the other way: sees nothing
    for case in (together, replace(views, cam_to_world=behind)):
        assert torch.isfinite(maps(swept(net, case, [0], [[1, 2]]))).all()


def test_a_prior_without_confidence_is_not_read(net: ReconMVS) -> None:
    views = replace(posed_views(), prior_confidence=torch.zeros(5, 6, 8))
    other = replace(views, prior=torch.full_like(views.prior, float("nan")))
    one = maps(swept(net, views, [0], [[1, 2]]))
    assert torch.isfinite(one).all() and torch.equal(one, maps(swept(net, other, [0], [[1, 2]])))
    assert not torch.allclose(one, maps(swept(net, posed_views(), [0], [[1, 2]])), atol=1e-3)


def test_gradients_reach_every_parameter(net: ReconMVS) -> None:
    views = posed_views(3)
    out = net(views, net.describe(views.images), torch.tensor([0, 1]), torch.tensor([[1, 2], [2, 0]]), gaussians=True)
    stages = sum(stage.inverse_depth.sum() + stage.logits.square().mean() for stage in out.stages)
    (maps(out).sum() + out.gaussians.sum() + stages).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any(), name
    net.zero_grad()


def test_pairs_carry_a_point_to_where_the_source_sees_it() -> None:
    views = posed_views(3)
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.1, 0.2], [0.1, 0.0, -0.05], [-0.2, 0.05, 0.0]]))
    cam_to_world = views.cam_to_world.clone()
    cam_to_world[1, :3, :3] = turn
    pairs = pair_up(views.K, cam_to_world, torch.tensor([0]), torch.tensor([[2, 1]]), 48, 64)
    point = torch.tensor([0.3, -0.2, 2.5])  # in the axes of view 0
    world = cam_to_world[0, :3, :3] @ point + cam_to_world[0, :3, 3]
    size = torch.tensor([64.0, 48.0])
    x = (views.K[0] @ point / point[2])[:2] / size
    for k, source in enumerate((2, 1)):
        seen = views.K[source] @ cam_to_world[source, :3, :3].T @ (world - cam_to_world[source, :3, 3])
        found = pairs.matrix[0, k] @ torch.tensor([*x, 1.0]) + pairs.offset[0, k] / point[2]
        assert torch.allclose(found[:2] / found[2], seen[:2] / seen[2] / size, atol=1e-5)
    near, far = torch.full((1, 1, 1, 1), 1 / 2.5), torch.zeros(1, 1, 1, 1)
    moved = torch.hypot(*(cam_to_world[2] - cam_to_world[0])[:2, 3]) * 64 / 2.5  # pixels, between two parallel views
    assert torch.allclose(pairs.shift(far, near, 48, 64)[0, 0], moved.expand(48, 64), atol=1e-3)


def test_the_decision_follows_the_peak_and_not_a_second_one() -> None:
    logits = torch.full((1, 20, 1, 1), -10.0)
    logits[0, 4], logits[0, 5], logits[0, 15] = 2.0, 2.0, 1.9
    stage = decide(logits, torch.tensor(0.1).reshape(1, 1, 1, 1), torch.tensor(0.01).reshape(1, 1, 1, 1), 3)
    assert stage.inverse_depth.item() == pytest.approx(0.145, abs=1e-4)


def test_windows_keep_to_this_side_of_infinity() -> None:
    first, step = window(torch.tensor([0.5, 0.01]).reshape(1, 1, 1, 2), torch.full((1, 1, 1, 1), 0.02), 3.0, 24)
    assert torch.allclose(first.flatten(), torch.tensor([0.44, 0.0])) and step.item() == pytest.approx(0.12 / 23)


def test_upsampling_stays_between_the_neighbours() -> None:
    x = torch.rand(1, 1, 6, 5)
    up = upsample(x, torch.randn(1, 36, 6, 5))
    assert up.shape == (1, 1, 12, 10)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    high, low = F.max_pool2d(padded, 3, 1), -F.max_pool2d(-padded, 3, 1)
    double = lambda y: F.interpolate(y, scale_factor=2)
    assert (up <= double(high) + 1e-6).all() and (up >= double(low) - 1e-6).all()
