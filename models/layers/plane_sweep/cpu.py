"""Contains the plane sweep for machines without a GPU: the specification's result by compiled loops on all cores (numba). No gradients.

The first call on a machine compiles (some seconds) and keeps the result on disk.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.models.layers.plane_sweep.arguments import Sweep, SweepArguments


def sweep_cpu(a: SweepArguments) -> Sweep:
    """The sweep of tensors in main memory. Raises ReconError where numba is missing."""
    try:
        from recon.models.layers.plane_sweep import cpu_loops
    except ImportError as error:
        raise ReconError(f"backend 'cpu' needs numba ({error}): pip install numba") from error
    references, each, height, width = a.reference.shape[0], a.source_index.shape[1], *a.reference.shape[-2:]
    empty = lambda dtype, *size: np.empty((*size, a.planes, height, width), dtype)
    sizes = (references, a.groups) if a.pooled else (references, each, a.groups)
    similarity, seen = empty(np.float32, *sizes), empty(np.bool_, references, each)
    best = empty(np.float32, *sizes) if a.pooled else None
    weights = _array(a.weights if a.weights is not None else torch.ones(()).expand(references, each, height, width))
    used, index = torch.unique(a.source_index, return_inverse=True)
    sources = a.sources if len(used) == len(a.sources) else a.sources[used]
    inputs = (
        _channels_last(a.reference), _channels_last(sources), index.numpy(), _array(a.matrix), _array(a.offset),
        _array(a.first.expand(-1, height, width)), _array(a.step.expand(-1, height, width)), a.groups,
    )  # fmt: skip
    if best is None:
        cpu_loops.sweep_each(*inputs, similarity, seen)
    else:
        cpu_loops.sweep_pooled(*inputs, weights, similarity, best, seen)
    return Sweep(torch.from_numpy(similarity), torch.from_numpy(seen), torch.from_numpy(best) if best is not None else None)


def _channels_last(features: Tensor) -> np.ndarray:
    return _array(features.permute(0, 2, 3, 1))


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().float().numpy())
