"""HiGS, the inference renderer of gsplat's main branch (1.6.0), built alone and measured beside `recon.Renderer` on the same scenes.

    PYTHONPATH=. python tests/bench/gpu_higs.py [--source .carry/gsplat-1.6.0.tar.gz] [--scenes FOLDER] [--output FOLDER] [--build-seconds 480]
        [--libraries FOLDER] [--build-only] [--quick]

Only the two extensions that it needs are built, one compiler a source file, all at once, each with its time and its messages in higs_build.log (its
own import would build everything). Nothing of it is kept here: Apache-2.0, measured, never copied. Figures go to higs.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import time
import traceback
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import gpu_timing as timing  # noqa: E402  # pyright: ignore[reportMissingImports]
import torch  # noqa: E402
from gpu_verdicts import failures, results, save, verdict  # noqa: E402  # pyright: ignore[reportMissingImports]
from render_scenes import psnr  # noqa: E402  # pyright: ignore[reportMissingImports]
from torch.utils import cpp_extension  # noqa: E402

from recon.render import Renderer, render  # noqa: E402
from recon.scene import Cameras, Gaussians  # noqa: E402

FILES = {"experimental/render/kernels": "csrc", "scene/kernels": "gsplat_scene_cuda"}  # folder in gsplat -> name of its library
NVCC_FLAGS = ["-D__CUDA_NO_HALF_OPERATORS__", "-D__CUDA_NO_HALF_CONVERSIONS__", "-D__CUDA_NO_BFLOAT16_CONVERSIONS__", "-D__CUDA_NO_HALF2_OPERATORS__"]


def parameters(package: Path, folder: str) -> Any:
    """gsplat's own build parameters of one extension, from its build.py."""
    spec = importlib.util.spec_from_file_location("higs_build", package / folder / "cuda" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_build_parameters()


def commands(package: Path, folder: str, name: str, work: Path) -> tuple[list[list[str]], list[str]]:
    """The compilers' commands of one extension, and the linker's."""
    found = parameters(package, folder)
    includes = [*found.extra_include_paths, str(package / folder / "cuda"), *cpp_extension.include_paths("cuda"), sysconfig.get_path("include")]
    shared = [f"-DTORCH_EXTENSION_NAME={name}", "-DTORCH_API_INCLUDE_EXTENSION_H", *(f"-I{p}" for p in includes)]
    major, minor = torch.cuda.get_device_capability()
    arch = f"-gencode=arch=compute_{major}{minor},code=sm_{major}{minor}"
    nvcc = str(Path(cpp_extension.CUDA_HOME or "/usr/local/cuda") / "bin" / "nvcc")
    compilers, objects = [], []
    for source in map(Path, found.sources):
        objects.append(str(work / f"{name}_{source.stem}{source.suffix[1:]}.o"))
        if source.suffix == ".cu":
            flags = [*NVCC_FLAGS, "--expt-relaxed-constexpr", *getattr(found, "extra_cuda_cflags", []), arch, "--compiler-options", "-fPIC"]
            compilers.append([nvcc, *shared, *flags, "-c", str(source), "-o", objects[-1]])
        else:
            compilers.append(["c++", *shared, "-fPIC", *found.extra_cflags, "-c", str(source), "-o", objects[-1]])
    libraries = [f"-L{cpp_extension.TORCH_LIB_PATH}", "-lc10", "-lc10_cuda", "-ltorch_cpu", "-ltorch_cuda", "-ltorch", "-ltorch_python"]
    cuda = f"-L{Path(nvcc).parent.parent / 'lib64'}"
    return compilers, ["c++", "-shared", "-fopenmp", "-s", *objects, *libraries, cuda, "-lcudart", "-o", str(work / f"{name}.so")]


def build(package: Path, output: Path, libraries: Path, seconds: float) -> bool:
    """Builds both extensions within the time, telling of each file how long it took; their libraries go to `libraries` and gsplat's folders."""
    work, log = Path("/tmp/higs_objects"), (output / "higs_build.log").open("w")
    work.mkdir(exist_ok=True)
    begin, running, links = time.monotonic(), [], []
    for folder, name in FILES.items():
        compilers, link = commands(package, folder, name, work)
        links.append((folder, name, link))
        for command in compilers:
            said = Path(command[-1] + ".log")
            running.append((command, said, subprocess.Popen(command, stdout=said.open("w"), stderr=subprocess.STDOUT)))
    done: set[int] = set()
    while len(done) < len(running) and time.monotonic() - begin < seconds:
        for number, (command, said, process) in enumerate(running):
            if number not in done and process.poll() is not None:
                done.add(number)
                text = f"{time.monotonic() - begin:6.1f} s  exit {process.returncode}  {Path(command[-3]).name}"
                print("      " + text, flush=True)
                log.write(f"{text}\n{' '.join(command)}\n{said.read_text(errors='replace')[-6000:]}\n")
                log.flush()
        time.sleep(0.5)
    for number, (command, _, process) in enumerate(running):
        if number not in done:
            process.kill()
            verdict(False, f"HiGS: {Path(command[-3]).name} was not compiled within {seconds:.0f} s")
    if any(process.returncode for _, _, process in running):
        return False
    for folder, name, link in links:
        linked = subprocess.run(link, capture_output=True, text=True)
        log.write(f"{' '.join(link)}\n{linked.stdout}{linked.stderr}\n")
        if linked.returncode:
            verdict(False, f"HiGS: {name} was not linked: {linked.stderr[-800:]}")
            return False
        place(package, folder, name, work / f"{name}.so")
        libraries.mkdir(parents=True, exist_ok=True)
        (libraries / f"higs_{name}.so").write_bytes((work / f"{name}.so").read_bytes())  # for another process or machine
    print(f"      HiGS is built after {time.monotonic() - begin:.0f} s", flush=True)
    return True


def place(package: Path, folder: str, name: str, library: Path) -> None:
    """Puts a library where gsplat's loader looks first: beside the kernels' package, or at the top of the path."""
    target = package / folder / f"{name}.so" if name == "csrc" else package.parent / f"{name}.so"
    target.write_bytes(library.read_bytes())


def higs(package: Path) -> Any:
    """gsplat.experimental, without what gsplat's own `__init__` would build."""
    stub = types.ModuleType("gsplat")
    stub.__path__ = [str(package)]
    sys.modules["gsplat"] = stub
    sys.path.insert(0, str(package.parent))
    import gsplat.experimental as experimental  # pyright: ignore[reportMissingImports]

    return experimental


def measure(experimental: Any, name: str, gaussians: Gaussians, cameras: Cameras, quick: bool) -> dict[str, Any]:
    """One scene by HiGS in each of its packings and tile sizes (`quick`: only tiles of 8, the faster ones, no kernels), by Renderer, plainly."""
    viewmat, K = cameras.world_to_cam[0].contiguous(), cameras.K[0].contiguous()
    degree = {1: 0, 4: 1, 9: 2, 16: 3}[gaussians.sh.shape[1]]
    row: dict[str, Any] = {"case": name}
    ours = Renderer(gaussians, width=cameras.width, height=cameras.height)
    works: dict[str, Callable[[], Any]] = {"renderer": lambda: ours.render(cameras), "plain": lambda: render(gaussians, cameras)}
    plain, quats = works["plain"]().color, torch.nn.functional.normalize(gaussians.quats, dim=-1)
    row["psnr_renderer"] = psnr(works["renderer"]().color, plain)
    rivals = []
    for compression in ("none", "32b", "16b") if degree == 3 else ("none",):
        for tile in (8,) if quick else (8, 16):
            key = f"higs {compression}, tiles of {tile}"
            try:
                scene = experimental.GaussianInferenceScene.from_gaussian_tensors(
                    gaussians.means, quats, gaussians.scales.clamp(min=1e-12), gaussians.opacities, gaussians.sh.contiguous(), degree, compression,
                    id="scene",
                )  # fmt: skip
                rivals.append(experimental.GaussianInferenceRenderer(scene, tile_size=tile))
                call = partial(rivals[-1].render, viewmat=viewmat, K=K, width=cameras.width, height=cameras.height)
                row[f"psnr_{key}"] = psnr(call().frame[..., :3].float().reshape(plain.shape), plain)
                works[key] = call
            except Exception as error:
                row[f"failed {key}"] = f"{type(error).__name__}: {error}"[:500]
                print(f"      {key}: {row[f'failed {key}']}", flush=True)
    row |= timing.from_start_and_in_a_row(works)
    row["kernels"] = {} if quick else {key: timing.profile(work) for key, work in works.items()}
    for rival in rivals:
        rival.release()
    print(f"      {name}", flush=True)
    for key in works:
        found, decibel = row[key], row.get(f"psnr_{key}", torch.inf)
        turns = f"turns {min(found['turns_ms']):.3f} to {max(found['turns_ms']):.3f}"
        kernels = row["kernels"].get(key, "")
        print(f"        {key}: {found['median_ms']:.3f} ms ({turns}), alone {found['latency_ms']:.3f}; {decibel:.1f} dB {kernels}", flush=True)
    good = [row[key] for key in works if key.startswith("higs") and row.get(f"psnr_{key}", -1) >= 50]
    ours, times, alone = row["renderer"], *(min((x[k] for x in good), default=torch.nan) for k in ("median_ms", "latency_ms"))
    verdict(ours["median_ms"] <= times, f"{name}: Renderer {times / ours['median_ms']:.2f} times HiGS of at least 50 dB, call after call")
    print(f"      {name}: one call alone {alone / ours['latency_ms']:.2f} times HiGS", flush=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=timing.CARRY / "gsplat-1.6.0.tar.gz")
    parser.add_argument("--scenes", type=Path, default=timing.CARRY / "scenes")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--build-seconds", type=float, default=480)
    parser.add_argument("--libraries", type=Path, default=timing.CARRY / "higs", help="where built ones are or go")
    parser.add_argument("--build-only", action="store_true", help="measure nothing: for the background")
    parser.add_argument("--quick", action="store_true", help="only its faster tiles, no times of kernels")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    timing.unpack_wheels()
    unpacked = Path("/tmp/higs_source")
    with tarfile.open(args.source) as archive:
        archive.extractall(unpacked, filter="data")
    package = unpacked / "gsplat"
    kept = [(folder, name, args.libraries / f"higs_{name}.so") for folder, name in FILES.items()]
    if all(file.is_file() for _, _, file in kept):
        for folder, name, file in kept:
            place(package, folder, name, file)
    elif not build(package, args.output, args.libraries, args.build_seconds):
        save(args.output / "higs.json")
        return 1
    if args.build_only:
        return 0
    try:
        experimental = higs(package)
        rows = results.setdefault("higs", [])
        for make in timing.cases(args.scenes):
            scene = make()  # tensors of inference mode count no writes, so that a check would wait for each call
            with torch.inference_mode():
                rows.append(measure(experimental, *scene, args.quick))
            save(args.output / "higs.json")
            torch.cuda.empty_cache()
    except Exception:
        traceback.print_exc()
        verdict(False, "HiGS broke off, see above")
    save(args.output / "higs.json")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
