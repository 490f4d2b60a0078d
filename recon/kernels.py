"""CUDA C++ from the folder `cuda`, compiled at run time by NVRTC (no nvcc, no host compiler) and launched on torch's stream.

Cubins are kept on disk under a name that holds the hash of everything that went in, so that a second process compiles nothing. Compiling needs no
GPU; `load` and `launch` do. Everything goes through NVIDIA's `cuda-core` wheel, versions 0.3 to 1.x.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError

if TYPE_CHECKING:
    import torch

INSTALL = "pip install 'cuda-core[cu13]' nvidia-cuda-nvrtc"
LOCAL_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"[^\n]*$', re.MULTILINE)
LEGACY_STREAM = 1  # the driver's name for the default stream, whose own handle 0 cuda-core takes for "none"


def cuda_sources() -> Path:
    """The folder of CUDA sources: inside the package in a wheel, beside it in a checkout. Raises ReconError."""
    inside = Path(__file__).parent / "cuda"
    folder = inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "cuda"
    if not folder.is_dir():
        raise ReconError(f"the CUDA sources are missing: neither {inside} nor {folder} is a folder; install recon again")
    return folder


def read_source(path: str | Path) -> str:
    """The text of a CUDA source with its `#include "x.cuh"` put in (each file once), so that one text is the whole input. Raises ReconError.

    `path` is a name in `cuda_sources()` or a path of its own.
    """
    seen: set[Path] = set()

    def expand(file: Path) -> str:
        if file in seen:
            return ""
        seen.add(file)
        try:
            text = file.read_text()
        except OSError as error:
            raise ReconError(f"the CUDA source {file} cannot be read: {error}") from error

        def put_in(found: re.Match[str]) -> str:
            line = text.count("\n", 0, found.end()) + 2
            return f'#line 1 "{found[1]}"\n{expand(file.parent / found[1])}\n#line {line} "{file.name}"'

        return LOCAL_INCLUDE.sub(put_in, text)

    top = Path(path)
    return expand(top if top.is_absolute() else cuda_sources() / top)


def _cuda_core() -> ModuleType:
    try:
        core = importlib.import_module("cuda.core")
        return core if hasattr(core, "Program") else importlib.import_module("cuda.core.experimental")  # where it was up to 0.4
    except ImportError as error:
        raise ReconError(f"the CUDA kernels need cuda-core ({error}): {INSTALL}") from error


def compile_source(source: str | Path, arch: str, *, defines: Mapping[str, int | float | str] | None = None, fast_math: bool = False,
                   max_registers: int | None = None) -> bytes:  # fmt: skip
    """The cubin of a source for one architecture ("sm_90"); needs NVRTC but no GPU.

    `source`: a path, the name of a file in `cuda_sources()` ("render.cu"), or the text itself (anything that holds a line break). `defines` become
    `#define` lines before it. Raises ReconError with the compiler's messages.
    """
    text = _full_text(source, defines)
    core = _cuda_core()
    try:
        options = core.ProgramOptions(arch=arch, std="c++17", use_fast_math=fast_math or None, max_register_count=max_registers, lineinfo=True)
        return bytes(core.Program(text, "c++", options=options).compile("cubin").code)
    except Exception as error:  # the binding's exceptions share no base with each other over the versions
        name = "the text given" if "\n" in str(source) else str(source)
        told = str(error).strip("\0 \n")
        missing = "" if "NVRTC_ERROR" in told else f" (is the compiler there? {INSTALL})"
        raise ReconError(f"{name} did not compile for {arch}: {told}{missing}") from error


def _full_text(source: str | Path, defines: Mapping[str, int | float | str] | None) -> str:
    body = source if isinstance(source, str) and "\n" in source else read_source(source)
    return "".join(f"#define {name} {value}\n" for name, value in (defines or {}).items()) + '#line 1 "source"\n' + body


def cache_folder() -> Path:
    """Where cubins lie: $RECON_CACHE, or recon/ in the user's cache folder."""
    base = os.environ.get("RECON_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recon"
    return Path(base) / "cubins"


def cached_cubin(source: str | Path, arch: str, *, defines: Mapping[str, int | float | str] | None = None, fast_math: bool = False,
                 max_registers: int | None = None) -> bytes:  # fmt: skip
    """`compile_source`, from disk when the same text was compiled before with the same options and compiler."""
    try:
        compiler = importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        compiler = "system"
    key = "\0".join((_full_text(source, defines), arch, str(fast_math), str(max_registers), compiler))
    file = cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.{arch}.cubin"
    if file.is_file():
        return file.read_bytes()
    cubin = compile_source(source, arch, defines=defines, fast_math=fast_math, max_registers=max_registers)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
            part.write(cubin)
        os.replace(part.name, file)
    except OSError:  # a read-only home costs a compilation a process, nothing more
        pass
    return cubin


def architecture(device: int) -> str:
    """The architecture of torch's CUDA device, for example "sm_90"."""
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def load(source: str | Path, names: Sequence[str], *, device: int = 0, defines: Mapping[str, int | float | str] | None = None,
         fast_math: bool = False, max_registers: int | None = None) -> dict[str, Any]:  # fmt: skip
    """The kernels `names` (extern "C") of a source on one CUDA device, ready for `launch`. Remembered within the process. Raises ReconError."""
    return dict(_load(source, tuple(names), device, tuple((defines or {}).items()), fast_math, max_registers))


@lru_cache(maxsize=64)
def _load(source: str | Path, names: tuple[str, ...], device: int, defines: tuple[tuple[str, int | float | str], ...], fast_math: bool,
          max_registers: int | None) -> tuple[tuple[str, Any], ...]:  # fmt: skip
    import torch

    torch.cuda.synchronize(device)  # makes torch's context, which the kernels are to live in
    core = _cuda_core()
    core.Device(device).set_current()
    cubin = cached_cubin(source, architecture(device), defines=dict(defines), fast_math=fast_math, max_registers=max_registers)
    code = core.ObjectCode.from_cubin(cubin)
    return tuple((name, code.get_kernel(name)) for name in names)


def launch(kernel: Any, grid: int | tuple[int, ...], block: int | tuple[int, ...], args: Sequence[Any], *, shared_bytes: int = 0,
           stream: torch.cuda.Stream | None = None) -> None:  # fmt: skip
    """Starts a kernel on torch's current stream (or `stream`) and returns at once.

    Arguments by their Python type: a CUDA or page-locked tensor (its address), None (a null pointer), int (32 bits), float (32 bits), numpy scalars
    (their own type). The caller keeps tensors alive, as torch's allocator does for work on its own stream. The current device must be the kernel's.
    """
    import torch

    core = _cuda_core()
    handle = (stream or torch.cuda.current_stream()).cuda_stream
    config = core.LaunchConfig(grid=grid, block=block, shmem_size=shared_bytes)
    core.launch(_stream(handle or LEGACY_STREAM), config, kernel, *(_argument(value) for value in args))


@lru_cache(maxsize=64)
def _stream(handle: int) -> Any:
    core = _cuda_core()
    if handle == LEGACY_STREAM and hasattr(core, "LEGACY_DEFAULT_STREAM"):
        return core.LEGACY_DEFAULT_STREAM
    return core.Stream.from_handle(handle)


def _argument(value: Any) -> Any:
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        if not (value.is_cuda or value.is_pinned()) or not value.is_contiguous():
            raise ReconError(f"a kernel takes contiguous tensors, on a GPU or page-locked, got one on {value.device}, strides {value.stride()}")
        return value.data_ptr()  # cuda-core takes a Python int for an address
    if value is None:
        return 0
    if isinstance(value, bool | np.generic):
        return value
    return np.int32(value) if isinstance(value, int) else np.float32(value)
