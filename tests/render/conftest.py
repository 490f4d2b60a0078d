"""What several of the renderer's tests share."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from recon import kernels
from recon.render import cuda_draw


@pytest.fixture(scope="session")
def host_launch(tmp_path_factory: pytest.TempPathFactory) -> cuda_draw.Launch:
    """The CUDA renderer's kernels compiled for the host and run thread by thread (tests/host_cuda.h): no GPU needed."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not here")
    folder = tmp_path_factory.mktemp("host")
    wrappers = "".join(
        f'extern "C" void host_{n}(unsigned blocks, unsigned threads, void** values) {{ host::launch({n}, blocks, threads, values); }}\n'
        for n in cuda_draw.NAMES
    )
    (folder / "render.cpp").write_text(f'#include "{Path(__file__).parents[1] / "host_cuda.h"}"\n{kernels.read_source("render.cu")}\n{wrappers}')
    library = folder / "render.so"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-ffp-contract=off", str(folder / "render.cpp"), "-o", str(library)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))

    def start(name: str, grid: int, args: Sequence[Any]) -> None:
        values = [
            ctypes.c_void_p(a.data_ptr() if a is not None else 0) if a is None or isinstance(a, torch.Tensor)
            else (ctypes.c_int32 if isinstance(a, int) else ctypes.c_float)(a)
            for a in args
        ]  # fmt: skip
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        getattr(loaded, f"host_{name}")(grid, cuda_draw.BLOCK, pointers)

    return start
