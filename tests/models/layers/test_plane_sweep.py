"""The plane sweep: a plane whose depth is known, gradients, every backend against the specification, and what is refused."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import max_pool2d

from recon import kernels
from recon.errors import ReconError, ShapeError
from recon.models.layers.plane_sweep import Sweep, _pick, cuda, plane_sweep
from recon.models.layers.plane_sweep.arguments import SweepArguments, checked


def _load(name: str, folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
draws, host = _load("plane_sweep_draws", HERE.parent.parent / "bench"), _load("host_plane_sweep", HERE)
Way = Callable[..., Sweep]
by_torch: Way = partial(plane_sweep, backend="torch")
by_numba: Way = partial(plane_sweep, backend="cpu")
HALVES = (torch.float16, torch.bfloat16)


def arguments(**drawn: Any) -> SweepArguments:
    """What the backends take, from the public arguments."""
    pooled = drawn.pop("reduce") == "mean"
    return checked(**drawn, pooled=pooled)


@pytest.fixture(scope="module")
def by_host_kernels(tmp_path_factory: pytest.TempPathFactory) -> Way:
    """The CUDA kernels, compiled for the host and run thread by thread."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not here")
    launch = host.host_launch(tmp_path_factory.mktemp("plane_sweep"))
    return lambda **drawn: cuda.sweep_by_kernels(arguments(**drawn), launch)


@pytest.fixture(params=["torch", "cpu", "host kernels"])
def way(request: pytest.FixtureRequest) -> Way:
    """Every way to sweep without a GPU, one after the other."""
    return request.getfixturevalue("by_host_kernels") if request.param == "host kernels" else partial(plane_sweep, backend=request.param)


def check(ours: Way, drawn: dict[str, Any], gradients: bool) -> None:
    """Equal to the specification on the same rounded features."""
    found = draws.differences(ours, by_torch, drawn, gradients)
    assert all(value <= draws.allowed(name, drawn["reference"].dtype) for name, value in found.items()), found


# ---- known answers --------------------------------------------------------------------------------------------------------------------------------


def textured_plane(height: int, width: int, inverse_depth: float) -> dict[str, Any]:
    """A plane that faces the reference, seen by three sources that are moved and turned; features are waves over the plane, of unit length."""
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.matrix_exp(torch.cross(torch.eye(3)[None], 0.05 * torch.randn(3, 1, 3, generator=generator).expand(3, 3, 3), dim=-1))
    K = torch.tensor([[1.2, 0, 0.5], [0, 1.5, 0.5], [0, 0, 1]])
    matrix = K @ turn @ torch.linalg.inv(K)
    offset = torch.tensor([[0.15, 0.02, 0.0], [-0.05, 0.1, 0.1], [-0.1, -0.05, -0.1]]) @ K.T
    waves, phases = 18 * torch.randn(24, 2, generator=generator), 6 * torch.rand(24, generator=generator)

    def features(to_reference: torch.Tensor) -> torch.Tensor:
        y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        p = torch.stack([x, y, torch.ones_like(x)], -1) @ to_reference.T
        return torch.nn.functional.normalize(torch.sin(p[..., :2] / p[..., 2:] @ waves.T + phases), dim=-1).permute(2, 0, 1)

    homographies = matrix + inverse_depth * offset[:, :, None] * torch.tensor([0.0, 0, 1])
    sources = torch.stack([features(torch.linalg.inv(h)) for h in homographies])
    return {
        "reference": features(torch.eye(3))[None], "sources": sources, "source_index": torch.arange(3)[None], "matrix": matrix[None],
        "offset": offset[None], "first": torch.zeros(1, 1, 1), "step": torch.full((1, 1, 1), 0.1), "planes": 16, "groups": 1, "weights": None,
    }  # fmt: skip


@pytest.mark.parametrize("plane", [0, 7, 13])  # the first is infinitely far
def test_a_textured_plane_peaks_at_its_depth(way: Way, plane: int) -> None:
    sweep = way(**textured_plane(36, 48, 0.1 * plane), reduce="mean")
    outside = 1 - sweep.seen[:, :, plane].all(1, keepdim=True).float()
    inside = max_pool2d(outside, 3, 1, 1)[:, 0] == 0  # of all sources, away from their edges, where zeros are mixed in
    assert inside.float().mean() > 0.3
    assert (sweep.similarity[:, 0].argmax(1)[inside] == plane).float().mean() > 0.99
    assert sweep.best is not None and sweep.best[:, 0, plane][inside].median() > 0.97


def test_the_same_picture_in_the_same_place_is_the_squared_length(way: Way) -> None:
    features = torch.randn(2, 12, 5, 7, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([[0], [1]])
    still = {"matrix": torch.eye(3).expand(2, 1, 3, 3), "offset": torch.zeros(2, 1, 3), "first": torch.ones(2, 1, 1), "step": torch.ones(2, 1, 1)}
    sweep = way(reference=features, sources=features, source_index=index, **still, planes=2, groups=3, weights=None, reduce="none")
    lengths = features.square().unflatten(1, (3, 4)).sum(2)
    torch.testing.assert_close(sweep.similarity, lengths[:, None, :, None].expand(2, 1, 3, 2, 5, 7))
    assert bool(sweep.seen.all()) and sweep.best is None


def test_what_no_source_sees(way: Way) -> None:
    drawn = draws.random_sweep(1)
    drawn["matrix"] = drawn["matrix"].clone()
    drawn["matrix"][:, :, 2] = torch.tensor([0.0, 0.0, -1.0])
    drawn["offset"] = torch.zeros_like(drawn["offset"])
    sweep = way(**drawn)
    assert not sweep.seen.any() and bool((sweep.similarity == 0).all()) and sweep.best is not None and bool((sweep.best == -1).all())


def test_negative_inverse_depth_is_infinity(way: Way) -> None:
    drawn = draws.random_sweep(2) | {"planes": 1}
    size = (len(drawn["reference"]), 1, 1)
    drawn["step"] = torch.zeros(size)
    near, far = (way(**(drawn | {"first": torch.full(size, value)})) for value in (-5.0, 0.0))
    assert torch.equal(near.similarity, far.similarity) and torch.equal(near.seen, far.seen)


# ---- gradients of the specification ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 4, 10, 12])
def test_gradients_are_slopes(seed: int) -> None:
    """Against central differences, which are exact for the features, in which the result is linear."""
    drawn = draws.random_sweep(seed)
    generator = torch.Generator().manual_seed(seed)
    for name in ("reference", "sources", "weights"):
        if drawn[name] is None:
            continue
        x, way = drawn[name].detach(), torch.randn(drawn[name].shape, generator=generator)
        x.requires_grad_()
        out = by_torch(**(drawn | {name: x})).similarity
        cotangent = torch.randn(out.shape, generator=generator)
        (slope,) = torch.autograd.grad((out * cotangent).sum(), x)
        size = 1e-3 if name == "weights" else 1.0
        with torch.no_grad():
            ends = [(by_torch(**(drawn | {name: x + sign * size * way})).similarity.double() * cotangent).sum() for sign in (1, -1)]
        assert float((slope.double() * way).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * size), rel=2e-2, abs=2e-2), name


# ---- backends against the specification -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(18))
def test_numba_equals_torch(seed: int) -> None:
    check(by_numba, draws.random_sweep(seed, (torch.float32, *HALVES)[seed % 3] if seed > 8 else torch.float32), gradients=False)


@pytest.mark.parametrize("seed", range(9))
def test_cuda_source_on_the_host_equals_torch(by_host_kernels: Way, seed: int) -> None:
    check(by_host_kernels, draws.random_sweep(seed), gradients=True)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", [1, 5])
def test_cuda_source_on_the_host_with_halves(by_host_kernels: Way, seed: int, dtype: torch.dtype) -> None:
    check(by_host_kernels, draws.random_sweep(seed, dtype), gradients=True)


def test_autocast_changes_nothing(by_host_kernels: Way) -> None:
    drawn = draws.random_sweep(4)
    plain = by_torch(**drawn)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(by_torch(**drawn).similarity, plain.similarity)
        check(by_host_kernels, drawn, gradients=True)


def test_only_what_is_asked_gets_a_gradient(by_host_kernels: Way) -> None:
    drawn = draws.random_sweep(1)
    drawn["sources"].requires_grad_()
    sweep = by_host_kernels(**drawn)
    assert sweep.best is not None and not sweep.seen.requires_grad
    sweep.best.sum().backward()  # nothing comes back through the mean
    got = drawn["sources"].grad.clone()
    drawn["sources"].grad = None
    wanted = by_torch(**drawn).best
    assert wanted is not None
    wanted.sum().backward()
    torch.testing.assert_close(got, drawn["sources"].grad, rtol=1e-4, atol=1e-5)
    assert drawn["reference"].grad is None and drawn["weights"].grad is None


def test_the_kernel_reads_no_source_that_is_not_there(tmp_path: Path, by_host_kernels: Way) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not here")
    a = arguments(**draws.random_sweep(3))
    astray = replace(a, source_index=torch.full_like(a.source_index, 10**9))
    assert not cuda.sweep_by_kernels(astray, host.host_launch(tmp_path)).seen.any()


def test_no_references_give_empty_results(way: Way) -> None:
    drawn = draws.random_sweep(1)
    nothing = {name: drawn[name][:0] for name in ("reference", "source_index", "matrix", "offset", "first", "step", "weights")}
    assert way(**(drawn | nothing)).similarity.shape[0] == 0


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("seed", range(9))
def test_cuda_equals_torch(seed: int, dtype: torch.dtype) -> None:
    check(partial(plane_sweep, backend="cuda"), draws.random_sweep(seed, dtype, "cuda"), gradients=True)


ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")


@pytest.mark.skipif(importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.core") is None, reason="cuda-core is not here")
@pytest.mark.parametrize(("arch", "element"), [*((a, 2) for a in ARCHITECTURES), ("sm_80", 0), ("sm_90", 0), ("sm_75", 1)])
def test_compiles_for_every_architecture(arch: str, element: int) -> None:
    defines = {"ELEMENT": element, "LANES": 4, "CHUNKS": 2, "SLOTS": 2}
    assert kernels.compile_source(cuda.SOURCE, arch, defines=defines, fast_math=True)[:4] == b"\x7fELF"


# ---- choice and refusal ---------------------------------------------------------------------------------------------------------------------------


def test_auto_takes_numba_without_gradients_and_torch_with() -> None:
    drawn = draws.random_sweep(1)
    assert _pick(arguments(**drawn)) == "cpu"
    drawn["weights"].requires_grad_()
    assert _pick(arguments(**drawn)) == "torch"
    with torch.no_grad():
        assert _pick(arguments(**drawn)) == "cpu"
        assert torch.equal(plane_sweep(**drawn).similarity, by_numba(**drawn).similarity)
    with pytest.raises(ReconError, match=r"'cpu' has no gradients; use 'torch'"):
        by_numba(**drawn)


WRONG = {
    "reference": (torch.zeros(2, 3, 4), r"reference must be floats \[M, C, h, w\]; got torch.float32 \[2, 3, 4\]"),
    "sources": (torch.zeros(2, 5, 4, 4), r"sources must be floats \[N, 24, H, W\], as many channels as reference; got .*\[2, 5, 4, 4\]"),
    "source_index": (torch.zeros(9, 2, dtype=torch.int64), r"source_index must be int64 \[\d, S\], a row for each reference; got .* \[9, 2\]"),
    "matrix": (torch.eye(3), r"matrix must be \[\d, \d, 3, 3\]; got torch.float32 \[3, 3\]"),
    "offset": (torch.zeros(3), r"offset must be \[\d, \d, 3\]; got"),
    "first": (torch.zeros(4), r"first must be \[\d, 1, 1\] or \[\d, \d+, \d+\]; got torch.float32 \[4\]"),
    "step": (torch.zeros(()), r"step must be .* got torch.float32 \[\]"),
    "weights": (torch.ones(1, 1, 1), r"weights must be \[\d, \d, \d+, \d+\]; got"),
    "planes": (0, r"planes must be at least 1, got 0"),
    "groups": (5, r"groups must divide the 24 channels, got 5"),
    "reduce": ("sum", r"unknown reduce 'sum'; one of: none, mean"),
    "backend": ("tpu", r"unknown backend 'tpu'; one of: auto, torch, cpu, cuda"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_told(name: str) -> None:
    value, message = WRONG[name]
    with pytest.raises(ReconError, match=message):
        plane_sweep(**(draws.random_sweep(10) | {name: value}))


def test_more_wrong_arguments_are_told() -> None:
    drawn = draws.random_sweep(10)
    with pytest.raises(ShapeError, match=r"source_index must name rows 0 to \d of sources, got \d to 7"):
        plane_sweep(**(drawn | {"source_index": torch.full_like(drawn["source_index"], 7)}))
    with pytest.raises(ShapeError, match=r'weights are of the mean over the sources: give reduce="mean"'):
        plane_sweep(**(drawn | {"reduce": "none"}))
    with pytest.raises(ReconError, match=r"backend 'cuda' takes tensors on cuda, these are on cpu"):
        plane_sweep(**drawn, backend="cuda")
    with pytest.raises(ShapeError, match=r"one device; got cpu, meta"):
        plane_sweep(**(drawn | {"sources": drawn["sources"].to("meta")}))
