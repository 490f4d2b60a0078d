"""Contains the plane sweep on NVIDIA GPUs: drives the two kernels of cuda/plane_sweep.cu (compiled at run time), with gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from recon import kernels
from recon.errors import ShapeError
from recon.models.layers.plane_sweep.arguments import LEAST_WEIGHT, Sweep, SweepArguments

SOURCE, BLOCK, CHUNK_BYTES = "plane_sweep.cu", 256, 16
VALUES_OF_A_LANE = 16  # of the reference's features that a thread keeps in registers
PLANES_OF_A_TEAM = 8  # or as many as it has threads
MOST_TEAMS = 2**31 - 1
NAMES = ("plane_sweep_forward", "plane_sweep_backward")
ELEMENTS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}

Launch = Callable[[str, Mapping[str, int], int, Sequence[Any]], None]  # kernel, definitions, blocks of BLOCK threads, arguments


def sweep_cuda(a: SweepArguments) -> Sweep:
    """The sweep of tensors on a CUDA device."""
    device = a.reference.device
    with torch.cuda.device(device):
        return sweep_by_kernels(a, device_launch(device.index))


@lru_cache(maxsize=16)
def device_launch(device: int) -> Launch:
    """Starts the kernels on one device's current stream."""

    def launch(name: str, defines: Mapping[str, int], blocks: int, arguments: Sequence[Any]) -> None:
        functions = kernels.load(SOURCE, NAMES, device=device, defines=defines, fast_math=True)
        kernels.launch(functions[name], blocks, BLOCK, arguments)

    return launch


def sweep_by_kernels(a: SweepArguments, launch: Launch) -> Sweep:
    """The sweep by whatever starts the kernels; differentiable in reference, sources and weights."""
    similarity, seen, best = _KernelSweep.apply(a.reference, a.sources, a.weights, a, launch)
    return Sweep(similarity, seen, best)


class _KernelSweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reference: Tensor, sources: Tensor, weights: Tensor | None, a: SweepArguments, launch: Launch) -> Any:
        dtype = torch.promote_types(reference.dtype, sources.dtype)
        packed = [_pack(x, a.groups, dtype if dtype in ELEMENTS else torch.float32) for x in (reference, sources)]
        height, width = reference.shape[-2:]
        spread = lambda x: x.expand(-1, height, width).contiguous()
        geometry = [a.source_index.contiguous(), a.matrix.contiguous(), a.offset.contiguous(), spread(a.first), spread(a.step)]
        inputs = [*packed, *geometry, weights.contiguous() if weights is not None else None]
        outputs = _Outputs(a)
        _start(launch, "plane_sweep_forward", a, inputs, (outputs.similarity, outputs.best, outputs.best_source, outputs.seen))
        ctx.save_for_backward(*inputs, outputs.seen, outputs.best_source, outputs.similarity if a.pooled else None)
        ctx.arguments, ctx.launch = a, launch
        ctx.mark_non_differentiable(outputs.seen)
        ctx.set_materialize_grads(False)
        return outputs.similarity, outputs.seen, outputs.best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor | None, _: Any, best_slope: Tensor | None) -> Any:
        a: SweepArguments = ctx.arguments
        *inputs, seen, best_source, mean = ctx.saved_tensors
        packed, weights = inputs[:2], inputs[-1]
        pull = None
        if a.pooled and slope is not None:
            total = _weight_sum(seen, weights)
            slope = slope / total.clamp(min=LEAST_WEIGHT)[:, None]
            if ctx.needs_input_grad[2]:
                pull = slope * mean * (total > LEAST_WEIGHT)[:, None]
        wanted = [torch.zeros(x.shape, dtype=torch.float32, device=x.device) if needed else None
                  for x, needed in zip(packed, ctx.needs_input_grad, strict=False)]  # fmt: skip
        references, each, height, width = a.reference.shape[0], a.source_index.shape[1], *a.reference.shape[-2:]
        weight_slope = seen.new_zeros(references, each, a.groups, height, width, dtype=torch.float32) if pull is not None else None
        straight = lambda x: x.contiguous() if x is not None else None
        ends = (straight(slope), int(not a.pooled), straight(best_slope), best_source, straight(pull), *wanted, weight_slope)
        _start(ctx.launch, "plane_sweep_backward", a, inputs, ends)
        of_features = (_unpack(x, like, a.groups) for x, like in zip(wanted, (a.reference, a.sources), strict=True))
        return *of_features, weight_slope.sum(2) if weight_slope is not None else None, None, None


class _Outputs:
    """What the forward kernel fills."""

    def __init__(self, a: SweepArguments) -> None:
        references, each, height, width = a.reference.shape[0], a.source_index.shape[1], *a.reference.shape[-2:]
        empty = lambda dtype, *size: torch.empty(*size, a.planes, height, width, dtype=dtype, device=a.reference.device)
        sizes = (references, a.groups) if a.pooled else (references, each, a.groups)
        self.similarity, self.seen = empty(torch.float32, *sizes), empty(torch.bool, references, each)
        self.best = empty(torch.float32, *sizes) if a.pooled else None
        self.best_source = empty(torch.int8, *sizes) if a.pooled else None


def _start(launch: Launch, name: str, a: SweepArguments, inputs: Sequence[Tensor | None], ends: Sequence[Any]) -> None:
    """Starts a kernel on enough blocks, with the definitions that fit the number of channels."""
    packed = inputs[0]
    assert packed is not None
    references, height, width, channels = packed.shape
    chunks = channels // a.groups * packed.element_size() // CHUNK_BYTES
    lanes = min(32, 1 << (-(-(channels // a.groups) // VALUES_OF_A_LANE) - 1).bit_length())
    parts = -(-a.planes // max(PLANES_OF_A_TEAM, lanes))
    slots = -(-a.planes // (parts * lanes))
    defines = {"ELEMENT": ELEMENTS[packed.dtype], "LANES": lanes, "CHUNKS": -(-chunks // lanes), "SLOTS": slots}
    parts = -(-a.planes // (slots * lanes)) if name == "plane_sweep_forward" else 1
    teams = references * height * width * a.groups * parts
    if not teams:
        return
    if teams > MOST_TEAMS:
        raise ShapeError(f"{references} references of {width} x {height} cells with {a.planes} hypotheses are too many for one sweep; take fewer")
    sizes = (references, a.source_index.shape[1], len(a.sources), a.groups, chunks, a.planes, height, width, *a.sources.shape[-2:])
    launch(name, defines, -(-teams * lanes // BLOCK), (*inputs, *sizes, *ends))


def _weight_sum(seen: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of the weights of the sources that see [M, D, h, w]."""
    if weights is None:
        return seen.sum(1, dtype=torch.float32)
    total = seen.new_zeros(seen[:, 0].shape, dtype=torch.float32)
    for s in range(seen.shape[1]):  # one source at a time: the product of all is as large as the similarities
        total.addcmul_(seen[:, s].float(), weights[:, s, None])
    return total


def _pack(features: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """[N, C, H, W] -> [N, H, W, G C'], each group filled with zeros up to whole chunks of 16 bytes."""
    last = features.detach().to(dtype).permute(0, 2, 3, 1)
    spare = -(last.shape[-1] // groups) % (CHUNK_BYTES // last.element_size())
    if spare:
        last = pad(last.unflatten(-1, (groups, -1)), (0, spare)).flatten(-2)
    last = last.contiguous()
    return last if last.data_ptr() % CHUNK_BYTES == 0 else last.clone()


def _unpack(slope: Tensor | None, like: Tensor, groups: int) -> Tensor | None:
    """The way back, in the type of the features that were given."""
    if slope is None:
        return None
    channels = like.shape[1] // groups
    return slope.unflatten(-1, (groups, -1))[..., :channels].flatten(-2).permute(0, 3, 1, 2).to(like.dtype)
