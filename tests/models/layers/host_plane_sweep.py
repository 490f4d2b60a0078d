"""Starts cuda/plane_sweep.cu compiled for the host (tests/host_cuda.h), as `recon.models.layers.plane_sweep.cuda` would on a GPU."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from recon import kernels
from recon.models.layers.plane_sweep import cuda

HOST_CUDA = Path(__file__).parent.parent.parent / "host_cuda.h"


def host_launch(folder: Path) -> cuda.Launch:
    """A launcher that compiles each set of definitions once, into the folder."""
    libraries: dict[tuple[tuple[str, int], ...], ctypes.CDLL] = {}

    def launch(name: str, defines: Mapping[str, int], blocks: int, arguments: Sequence[Any]) -> None:
        key = tuple(sorted(defines.items()))
        if key not in libraries:
            libraries[key] = _compile(folder / f"sweep_{len(libraries)}", defines)
        values = [
            ctypes.c_void_p(a.data_ptr() if a is not None else 0) if a is None or isinstance(a, torch.Tensor) else ctypes.c_int32(a)
            for a in arguments
        ]  # fmt: skip
        assert all(a.is_contiguous() for a in arguments if isinstance(a, torch.Tensor))
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        getattr(libraries[key], f"host_{name}")(blocks, cuda.BLOCK, pointers)

    return launch


def _compile(stem: Path, defines: Mapping[str, int]) -> ctypes.CDLL:
    wrappers = "".join(
        f'extern "C" void host_{n}(unsigned blocks, unsigned threads, void** values) {{ host::launch({n}, blocks, threads, values); }}\n'
        for n in cuda.NAMES
    )
    lines = "".join(f"#define {name} {value}\n" for name, value in defines.items())
    source, library = stem.with_suffix(".cpp"), stem.with_suffix(".so")
    source.write_text(f'#include "{HOST_CUDA}"\n{lines}{kernels.read_source(cuda.SOURCE)}\n{wrappers}')
    subprocess.run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-w", str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))
