"""Contains the two ways to run cuda/scene.cu: on a GPU through NVRTC, and compiled for the host as its twin (any C++17 compiler)."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from recon.errors import ReconError
from recon.kernels import cache_folder, cuda_sources, launch, load
from recon.models.training.objects import PRIMITIVE_COLUMNS

SOURCE, THREADS = "scene.cu", 256


def draw_meshes(arguments: Sequence[Tensor | int], *, triangles: int, scenes: int, instances: int) -> None:
    """Runs the kernel of that name on the device of its tensors."""
    first = arguments[0]
    assert isinstance(first, Tensor)
    if first.is_cuda:
        launch(_on_gpu(first.get_device())["draw_meshes"], ((triangles * 32 + THREADS - 1) // THREADS, scenes * instances), THREADS, arguments)
    else:
        _call(_on_host().draw_meshes, arguments)


def shade_scenes(arguments: Sequence[Tensor | int], *, pixels: int, scenes: int, primitives: int) -> None:
    """Runs the kernel of that name on the device of its tensors; `pixels` of all views of one scene."""
    first = arguments[0]
    assert isinstance(first, Tensor)
    if first.is_cuda:
        shared = primitives * PRIMITIVE_COLUMNS * 4
        launch(_on_gpu(first.get_device())["shade_scenes"], ((pixels + THREADS - 1) // THREADS, scenes), THREADS, arguments, shared_bytes=shared)
    else:
        _call(_on_host().shade_scenes, arguments)


def _on_gpu(device: int) -> dict[str, Any]:
    return load(SOURCE, ("draw_meshes", "shade_scenes"), device=device, fast_math=True)


def _call(function: Any, arguments: Sequence[Tensor | int]) -> None:
    function(*(ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else ctypes.c_int(a) for a in arguments))


@lru_cache(maxsize=1)
def _on_host() -> ctypes.CDLL:
    """The source as a shared library, kept in the cache folder by its hash. ReconError without a compiler."""
    source = cuda_sources() / SOURCE
    library = cache_folder().parent / "host" / f"{hashlib.sha256(source.read_bytes()).hexdigest()[:24]}.so"
    if not library.is_file():
        library.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=library.parent)) / library.name
        compiler = os.environ.get("CXX", "c++")
        command = [compiler, "-std=c++17", "-O2", "-DRECON_HOST", "-x", "c++", "-shared", "-fPIC", "-o", str(part), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise ReconError(f"training scenes on the CPU need a C++ compiler: no {compiler} was found (set CXX)") from error
        except subprocess.CalledProcessError as error:
            raise ReconError(f"{SOURCE} did not compile for the host: {error.stderr.splitlines()[0]}") from error
        os.replace(part, library)
        part.parent.rmdir()
    return ctypes.CDLL(str(library))
