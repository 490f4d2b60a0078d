"""Contains what makes networks fast on a GPU: matrices of 16 bits, fused kernels, constants that stay there, and recorded runs (CUDA graphs)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
WARM_UP = 3  # runs before the recording, in which libraries choose and load their kernels
LOGGER = logging.getLogger(__name__)


@lru_cache(maxsize=64)
def constant(values: tuple, device: torch.device) -> Tensor:
    """A tensor of numbers that is copied to its device once; nested tuples are rows. A copy within a recording would not be allowed."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


def exact(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The module's value in float32 whatever autocast says: for last layers, whose outputs are exponents."""
    with torch.autocast(x.device.type, enabled=False):
        return module(x.float())


def exact_pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:  # [B, C, H, W] -> [B, out, H, W]
    """`exact` of a 1 x 1 convolution, as a product of matrices: twice as fast where channels lie last."""
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.permute(0, 2, 3, 1).float(), layer.weight[:, :, 0, 0], layer.bias).permute(0, 3, 1, 2)


def halve(net: nn.Module, half: torch.dtype, keep: tuple[str, ...]) -> None:
    """Gives matrices and kernels 16-bit weights, but for the layers whose names end with one of `keep`. Run the network under autocast then."""
    for name, module in net.named_modules():
        if isinstance(module, MATRICES) and not name.endswith(keep):
            module.to(half)


@lru_cache(maxsize=1)
def can_compile() -> bool:
    """Whether torch.compile can make kernels here: it needs Triton, and Triton a C compiler."""
    return find_spec("triton") is not None and any(shutil.which(name) for name in ("cc", "gcc", "clang"))


class Accelerated(nn.Module):
    """A network that can keep recordings of its functions; before `accelerate` it runs as any other."""

    half: torch.dtype = torch.bfloat16
    exact_layers: tuple[str, ...] = ()  # ends of the names of layers that stay in float32
    any_size: bool | None = None  # whether fused kernels serve all sizes: None decides at the second size that it meets
    recordings: dict[str, Recorded] | None = None

    def compiled_parts(self) -> Iterable[nn.Module]:
        """The parts whose kernels torch.compile fuses; alike ones are compiled once."""
        return ()

    def accelerate(self, *, fuse: bool = True) -> None:
        """Takes 16-bit weights, channels last, fuses kernels, records what runs from now on. For networks on a GPU that are not trained."""
        halve(self, self.half, self.exact_layers)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in self.compiled_parts() if fuse and can_compile() else ():
            part.compile(dynamic=self.any_size)
        self.recordings = {}

    def recorded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or its recording under this name once the network is accelerated."""
        return function if self.recordings is None else self.recordings.setdefault(name, Recorded(function))


class Recorded:
    """A function of tensors of a GPU, recorded once for each set of shapes and then replayed without the cost of launching its kernels.

    What does not lie on a GPU, and what cannot be recorded, is run as it is. The result is a copy: it outlives the next call.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.recordings: dict[tuple, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Any] | None] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """The function's value; `inputs` are tensors."""
        if not inputs[0].is_cuda or torch.is_grad_enabled():
            return self.function(*inputs)
        key = tuple((tuple(x.shape), x.dtype) for x in inputs)
        if key not in self.recordings:
            self.recordings[key] = self._record(inputs)
        recording = self.recordings[key]
        if recording is None:
            return self.function(*inputs)
        graph, held, output = recording
        for place, value in zip(held, inputs, strict=True):
            place.copy_(value)
        graph.replay()
        return copied(output)

    def _record(self, inputs: tuple[Tensor, ...]) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Any] | None:
        """A recording with the tensors that it reads and writes; None where it cannot be made."""
        held = tuple(x.clone() for x in inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.function(*held)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                output = self.function(*held)
        except RuntimeError as error:
            LOGGER.warning("not recorded, runs slower: %s", str(error).splitlines()[0])
            return None
        return graph, held, output


def copied(output: Any) -> Any:
    """Nested tuples and lists of tensors, each tensor copied."""
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*(copied(x) for x in output))
    if isinstance(output, tuple | list):
        return type(output)(copied(x) for x in output)
    return output
