"""Contains the plane sweep: features of reference views compared with features of source views at a series of inverse depths.

`plane_sweep` checks its input and hands it to one of three backends that give the same result: "torch" is the specification (any device,
differentiable), "cpu" compiled loops without gradients (numba), "cuda" this project's kernels with gradients. The kernels never write out the warped
features, which are S x D times as large as the reference's.
"""

from __future__ import annotations

import importlib.util
from typing import Literal, get_args

from torch import Tensor

from recon.errors import ReconError
from recon.models.layers.plane_sweep.arguments import Sweep, SweepArguments, checked
from recon.models.layers.plane_sweep.specification import sweep_torch

__all__ = ["Backend", "Reduce", "Sweep", "plane_sweep"]

Backend = Literal["auto", "torch", "cpu", "cuda"]
Reduce = Literal["none", "mean"]


def plane_sweep(
    reference: Tensor,  # [M, C, h, w]
    sources: Tensor,  # [N, C, H, W]
    source_index: Tensor,  # [M, S] int64, rows of sources
    matrix: Tensor,  # [M, S, 3, 3]
    offset: Tensor,  # [M, S, 3]
    first: Tensor,  # [M, 1, 1] or [M, h, w]
    step: Tensor,  # [M, 1, 1] or [M, h, w]
    planes: int,
    *,
    groups: int = 1,
    weights: Tensor | None = None,  # [M, S, h, w]
    reduce: Reduce = "none",
    backend: Backend = "auto",
) -> Sweep:
    """Similarity of each reference cell with its sources, were it at inverse depth first + d step, d = 0 .. planes - 1.

    A point at inverse depth w seen at x = (u, v, 1) in the reference lies at p = matrix x + w offset in the source, both homogeneous and 0..1 across
    the picture: cell (row i, column j) has its centre at ((j + .5) / w, (i + .5) / h). Inverse depths below 0 count as 0, infinitely far. A source
    sees a hypothesis where p_z > 1e-4 and p lies inside its picture.
    The similarity is the dot product of the reference's features with the source's, interpolated bilinearly with zeros outside, for each of `groups`
    equal parts of the channels (Guo et al., Group-wise Correlation Stereo Network, 2019); 0 where the source does not see. `reduce="mean"`: the mean
    over the sources that see, weighted by `weights` >= 0 (sum of weights at least 1e-6), and the greatest.

    Features may be any floats; products are summed in float32. Gradients go to reference, sources and weights (backend "cpu": none), not to the
    geometry. "auto" takes "cuda" on a GPU with cuda-core, "cpu" in main memory without gradients, else "torch". On a GPU a source_index outside of
    sources is not looked for; the kernel takes it for a source that sees nothing.
    Raises ShapeError (a ValueError) where shapes do not fit and ReconError where a backend cannot do what is asked.
    """
    if backend not in get_args(Backend):
        raise ReconError(f"unknown backend {backend!r}; one of: {', '.join(get_args(Backend))}")
    if reduce not in get_args(Reduce):
        raise ReconError(f"unknown reduce {reduce!r}; one of: {', '.join(get_args(Reduce))}")
    arguments = checked(reference, sources, source_index, matrix, offset, first, step, planes, groups, weights, reduce == "mean")
    chosen = _pick(arguments) if backend == "auto" else backend
    _refuse(chosen, arguments)
    if chosen == "cuda":
        from recon.models.layers.plane_sweep.cuda import sweep_cuda

        return sweep_cuda(arguments)
    if chosen == "cpu":
        from recon.models.layers.plane_sweep.cpu import sweep_cpu

        return sweep_cpu(arguments)
    return sweep_torch(arguments)


def _pick(a: SweepArguments) -> Backend:
    """The fastest backend here that can do what is asked."""
    if a.reference.is_cuda:
        return "cuda" if importlib.util.find_spec("cuda") and importlib.util.find_spec("cuda.core") else "torch"
    if a.reference.device.type == "cpu" and not a.wants_gradient and importlib.util.find_spec("numba") is not None:
        return "cpu"
    return "torch"


def _refuse(backend: Backend, a: SweepArguments) -> None:
    if backend in ("cpu", "cuda") and a.reference.device.type != backend:
        raise ReconError(f"backend {backend!r} takes tensors on {backend}, these are on {a.reference.device}; use backend 'torch' or move them")
    if backend == "cpu" and a.wants_gradient:
        raise ReconError("backend 'cpu' has no gradients; use 'torch', or sweep inside torch.no_grad()")
