"""The run-time compiler: every kernel for every architecture without a GPU, the cache on disk, and what a compiler error looks like."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from recon import kernels
from recon.errors import ReconError

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")
SIMPLE = """
extern "C" __global__ void add(float* x, float value, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) x[i] += value * SCALE;
}
"""

try:
    importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    missing = ""
except (ImportError, OSError, RuntimeError) as error:
    missing = f"NVRTC is not here: {error}"
needs_nvrtc = pytest.mark.skipif(bool(missing), reason=missing)


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", sorted(p.name for p in kernels.cuda_sources().glob("*.cu")))
def test_every_kernel_compiles(name: str, arch: str) -> None:
    cubin = kernels.compile_source(name, arch)
    assert cubin[:4] == b"\x7fELF" and len(cubin) > 1000


@needs_nvrtc
def test_defines_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_CACHE", str(tmp_path))
    first = kernels.cached_cubin(SIMPLE, "sm_90", defines={"SCALE": 2})
    monkeypatch.setattr(kernels, "compile_source", lambda *a, **k: pytest.fail("compiled twice"))
    assert kernels.cached_cubin(SIMPLE, "sm_90", defines={"SCALE": 2}) == first
    monkeypatch.undo()
    monkeypatch.setenv("RECON_CACHE", str(tmp_path))
    kernels.cached_cubin(SIMPLE, "sm_90", defines={"SCALE": 3})
    kernels.cached_cubin(SIMPLE, "sm_80", defines={"SCALE": 2})
    assert len(list((tmp_path / "cubins").iterdir())) == 3  # another value, another architecture: other files, nothing half-written


@needs_nvrtc
def test_compiler_error_is_told() -> None:
    with pytest.raises(ReconError, match=r"(?s)did not compile for sm_90.*source\(4\).*SCALE"):
        kernels.compile_source(SIMPLE, "sm_90")


def test_includes_are_put_in_once(tmp_path: Path) -> None:
    (tmp_path / "a.cuh").write_text("int a;\n")
    (tmp_path / "b.cuh").write_text('#include "a.cuh"\nint b;\n')
    (tmp_path / "c.cu").write_text('#include "a.cuh"\n#include "b.cuh"\nint c;\n')
    text = kernels.read_source(tmp_path / "c.cu")
    assert text.count("int a;") == 1 and text.index("int a;") < text.index("int b;") < text.index("int c;")
    assert '#include "' not in text and '#line 3 "c.cu"' in text


def test_missing_source_is_told() -> None:
    with pytest.raises(ReconError, match=r"nothing.cu cannot be read"):
        kernels.read_source("nothing.cu")


def test_no_python_hides_nvidias_namespace() -> None:
    assert not list(kernels.cuda_sources().rglob("*.py"))
