"""Networks with 16-bit weights stay near those in float32, and recordings are transparent where there is no GPU."""

from __future__ import annotations

import copy

import pytest
import torch

from recon.models.dust3r.network import Dust3r, Dust3rParams
from recon.models.layers.acceleration import Recorded, constant, copied
from recon.models.layers.dpt import DptParams
from recon.models.layers.unet import UNetParams
from recon.models.mvsplat.network import MVSplat, MVSplatParams
from recon.models.triplane_gaussian.dino import DinoParams
from recon.models.triplane_gaussian.model import VIEW
from recon.models.triplane_gaussian.network import TriplaneGaussian, TriplaneGaussianParams

TOLERANCE = 2e-2  # of the largest value


def dust3r():
    sizes = {"encoder_width": 64, "encoder_depth": 2, "encoder_heads": 2, "decoder_width": 48, "decoder_depth": 4, "decoder_heads": 2}
    net = Dust3r(Dust3rParams(head="catmlp+dpt", dpt=DptParams((12, 24, 48, 64), 32, 16), local_hidden=64, **sizes))
    return net, (torch.rand(1, 3, 32, 48) * 2 - 1, torch.rand(1, 3, 32, 48) * 2 - 1), lambda out: [x for view in out for x in view]


def mvsplat():
    net = MVSplat(MVSplatParams(features=32, planes=8, cost=UNetParams(32, 2, (2,)), depth=UNetParams(32, 2, (2,)), sh_degree=1))
    K = torch.tensor([[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]).repeat(1, 2, 1, 1)
    T = torch.eye(4).repeat(1, 2, 1, 1)
    T[0, 1, 0, 3] = 0.3
    inputs = (torch.rand(1, 2, 3, 32, 32), K, T, torch.ones(1, 2), torch.full((1, 2), 20.0))
    return net, inputs, lambda out: [1 / out.depth, out.opacities, out.sh]


def triplane_gaussian():
    params = TriplaneGaussianParams(
        dino=DinoParams(64, 1, 1, 14, 5), width=64, depth=1, heads=1, points=64, plane=8, encoder_hidden=16, encoder_depth=2, renderer_hidden=32,
        sh_degree=1,
    )  # fmt: skip
    K = torch.tensor([[[1.37, 0, 0.5], [0, 1.37, 0.5], [0, 0, 1]]])
    return TriplaneGaussian(params), (torch.rand(1, 3, 56, 56), torch.ones(1, 1, 56, 56), K, torch.tensor([VIEW])), lambda out: out.stages


@pytest.mark.parametrize("make", [dust3r, mvsplat, triplane_gaussian])
def test_sixteen_bits_stay_near_float32(make):
    torch.manual_seed(0)
    net, inputs, outputs = make()
    net.eval().requires_grad_(False)
    fast = copy.deepcopy(net)
    fast.accelerate()
    kinds = {p.dtype for p in fast.parameters()}
    assert kinds == {torch.float32, net.half} and fast.exact_layers
    for name, module in fast.named_modules():
        if name.endswith(fast.exact_layers) and hasattr(module, "weight"):
            assert module.weight.dtype == torch.float32, name
    with torch.no_grad(), torch.autocast("cpu", net.half):
        got = fast.recorded("forward", fast.forward)(*inputs)
    with torch.no_grad():
        wanted = net(*inputs)
    for a, b in zip(outputs(got), outputs(wanted), strict=True):
        assert (a - b).abs().max() <= TOLERANCE * b.abs().max()


def test_recordings_without_a_gpu_run_as_they_are():
    calls = []
    record = Recorded(lambda x: calls.append(1) or x + 1)
    assert record(torch.ones(2)).tolist() == [2, 2] and record(torch.ones(2)).tolist() == [2, 2]
    assert len(calls) == 2 and record.recordings == {}


def test_copies_and_constants():
    pair = (torch.ones(2), [torch.zeros(1), None])
    twin = copied(pair)
    twin[0][0] = 5
    assert pair[0].tolist() == [1, 1] and twin[1][1] is None
    assert constant(((1.0, 2.0), (3.0, 4.0)), torch.device("cpu")) is constant(((1.0, 2.0), (3.0, 4.0)), torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("make", [dust3r, mvsplat])
def test_recordings_on_a_gpu(make):
    torch.manual_seed(0)
    net, inputs, outputs = make()
    net, inputs = net.eval().requires_grad_(False).cuda(), tuple(x.cuda() for x in inputs)
    record = Recorded(net.forward)
    with torch.no_grad():
        wanted = outputs(net(*inputs))
        for _ in range(2):
            got = outputs(record(*inputs))
            assert all((a - b).abs().max() <= 1e-3 * b.abs().max() for a, b in zip(got, wanted, strict=True))
    assert all(recording is not None for recording in record.recordings.values())
