"""The CUDA renderer on a GPU, one script: is every backend equal to the specification, and how fast is ours beside gsplat 1.5.3?

    PYTHONPATH=. python tests/bench/gpu_render.py [--parts check gradients bench sanitize] [--scenes FOLDER] [--seconds 540] [--output FOLDER]

Needs torch, cuda-core and a GPU; gsplat (with nvcc for its own build) for the comparison. FOLDER may hold karangkidul/5_0 and playbot (SOG planes).
One part that fails does not hide the others; the exit code says whether all passed. Figures go to render_gpu.json in --output (default $OUT or .).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from render_scenes import filled_view, off_depths, psnr, random_scene  # noqa: E402  # pyright: ignore[reportMissingImports]

from recon import kernels  # noqa: E402
from recon.render import cuda, render  # noqa: E402
from recon.render.camera_paths import orbit, surroundings  # noqa: E402
from recon.render.options import RenderOptions  # noqa: E402
from recon.scene import Cameras, Gaussians, Rendering  # noqa: E402

Case = tuple[str, Gaussians, Cameras]
BACKGROUND = (0.1, 0.4, 0.7)
COPY_BYTES_PER_SECOND = 4.3e12  # measured on an H200: read plus written
SIZES = ((131_072, 256, 256, 1.0), (262_144, 512, 512, 1.0), (1_000_000, 1920, 1080, 1.0), (3_000_000, 1920, 1080, 1.0), (1_000_000, 1920, 1080, 3.0))
results: dict[str, Any] = {}
failures: list[str] = []


def verdict(passed: bool, text: str) -> None:
    """One PASS or FAIL line."""
    print(f"{'PASS' if passed else 'FAIL'}  {text}", flush=True)
    if not passed:
        failures.append(text)


def left(args: argparse.Namespace) -> float:
    return args.seconds - (time.monotonic() - args.start)


# ---- equality -------------------------------------------------------------------------------------------------------------------------------------


def check(args: argparse.Namespace) -> None:
    """Every backend against torch on seeded random scenes; single pictures are told where they fail."""
    rows: dict[str, list[dict[str, Any]]] = {b + mode: [] for b in ("cuda", "gsplat") for mode in ("", " antialiased")}
    for seed in range(args.count):
        if left(args) < 60:
            verdict(False, f"check ran OUT OF TIME at scene {seed} of {args.count}")
            break
        for key in rows:
            rows[key].append(one_scene(key.split()[0], seed, "antialiased" in key))
    for key, found in rows.items():
        bad = [r for r in found if not (r["psnr"] >= 50 and r["depth_off"] <= 5e-3 and r["normals_off"] <= 2e-2)]
        for r in bad[:8]:
            print(f"      {key} {r}")
        worst, off = min(r["psnr"] for r in found), statistics.fmean(r["depth_off"] for r in found)
        text = f"{key}: {len(found) - len(bad)} of {len(found)} scenes equal torch (worst {worst:.1f} dB)"
        verdict(not bad, text + f", depths off by over 1e-3 on {off:.1e} of pixels")
        results[f"check_{key}"] = {"scenes": len(found), "bad": bad, "worst_psnr": worst, "depth_off": off}


@lru_cache(maxsize=8)
def specification(seed: int, antialiased: bool) -> Rendering:
    _, gaussians, cameras = random_scene(seed)
    options: dict[str, Any] = {"background": BACKGROUND, "antialiased": antialiased, "extras": ("median_depth", "normals")}
    with torch.no_grad():
        return render(gaussians.to("cuda"), cameras.to("cuda"), backend="torch", **options)


def one_scene(backend: str, seed: int, antialiased: bool) -> dict[str, Any]:
    kind, gaussians, cameras = random_scene(seed)
    extras = ("median_depth", "normals") if backend == "cuda" and seed % 4 == 0 else ()
    row = {"seed": seed, "kind": kind, "psnr": -1.0, "depth_off": 1.0, "normals_off": 0.0}
    wanted = specification(seed, antialiased)
    try:
        with torch.no_grad():
            options: dict[str, Any] = {"background": BACKGROUND, "antialiased": antialiased, "extras": extras, "backend": backend}
            got = render(gaussians.to("cuda"), cameras.to("cuda"), **options)
    except Exception as error:
        return row | {"error": str(error)[:300]}
    row |= {"psnr": psnr(got.color, wanted.color), "alpha": float((got.alpha - wanted.alpha).abs().max())}
    row["depth_off"] = off_depths(got.depth, wanted.depth, wanted.alpha)
    if got.normals is not None and wanted.normals is not None:
        wrong = ((got.normals - wanted.normals).norm(dim=-1) > 0.02)[wanted.alpha > 0.05]
        row["normals_off"] = float(wrong.double().mean()) if wrong.numel() else 0.0
    return row


def more_checks(args: argparse.Namespace) -> None:
    """Several cameras at once, too little room, and the captured graph."""
    gaussians, cameras = filled_view(50_000, 400, 300, device="cuda")
    three = Cameras(K=cameras.K.repeat(3, 1, 1), cam_to_world=cameras.cam_to_world.repeat(3, 1, 1), width=400, height=300)
    three.cam_to_world[1, 0, 3], three.cam_to_world[2, 2, 3] = 0.5, -1.0
    options = RenderOptions()
    wanted = render(gaussians, three, backend="torch").color
    verdict(psnr(render(gaussians, three, backend="cuda").color, wanted) > 50, "cuda: three cameras in one call equal torch")
    cuda._pairs_seen.clear()
    first_room, cuda.first_room = cuda.first_room, lambda *size: 1000
    verdict(psnr(render(gaussians, three, backend="cuda").color, wanted) > 50, "cuda: room for 1000 pairs only, a second try gives the same picture")
    cuda.first_room = first_room
    captured = cuda.CapturedRenderer(gaussians, three, options)
    pictures = [captured(three).color.clone() for _ in range(3)]
    verdict(captured.complete() and psnr(pictures[2], wanted) > 50, "cuda: the captured graph gives the same picture")
    verdict(torch.equal(pictures[0], pictures[2]), "cuda: the same picture bit for bit when drawn again")


def gradients(args: argparse.Namespace) -> None:
    """Gradients of torch against gsplat's."""
    worst: dict[str, float] = {}
    for seed in (0, 3, 6, 8, 12, 27, 36, 48):
        _, gaussians, cameras = random_scene(seed)
        gaussians, cameras = gaussians.to("cuda"), cameras.to("cuda")
        names = ("means", "quats", "scales", "opacities", "sh")
        found = []
        for backend in ("torch", "gsplat"):
            leaves = {n: getattr(gaussians, n).clone().requires_grad_() for n in names}
            out = render(replace(gaussians, **leaves), cameras, backend=backend)  # type: ignore[arg-type]
            weight = torch.linspace(0.2, 1, out.color.numel(), device="cuda").reshape(out.color.shape)
            ((out.color * weight).sum() + 0.1 * (out.alpha * weight[..., 0]).sum()).backward()
            found.append({n: leaves[n].grad for n in names})
        for n in names:
            a, b = found[0][n], found[1][n]
            # one splat across a threshold in one of them only must not decide: leave out the worst thousandth
            error = (a - b).flatten(1).norm(dim=1) if a.dim() > 1 else (a - b).abs()
            kept = error.sort().values[: max(1, int(0.999 * len(error)))]
            worst[n] = max(worst.get(n, 0.0), float(kept.norm() / b.norm().clamp(min=1e-12)))
    results["gradients"] = worst
    verdict(
        max(worst.values()) < 1e-2, "gradients of torch equal gsplat's: relative difference " + ", ".join(f"{n} {v:.1e}" for n, v in worst.items())
    )


# ---- time -----------------------------------------------------------------------------------------------------------------------------------------


def timed(work: Callable[[], Any], repeats: int = 60) -> dict[str, float]:
    """Milliseconds by events around each call, and by the wall clock over all calls."""
    for _ in range(5):
        work()
    torch.cuda.synchronize()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    begin = time.perf_counter()
    for a, b in events:
        a.record()
        work()
        b.record()
    torch.cuda.synchronize()
    wall = (time.perf_counter() - begin) / repeats * 1e3
    times = sorted(a.elapsed_time(b) for a, b in events)
    return {"median_ms": times[repeats // 2], "low_ms": times[repeats // 20], "high_ms": times[-repeats // 20], "wall_ms": wall}


def stages(launch: cuda.Launch, work: Callable[[cuda.Launch], Any], repeats: int = 20) -> dict[str, float]:
    """Median milliseconds of each kernel, summed over its launches in one picture."""
    runs: list[dict[str, float]] = []
    for _ in range(repeats + 3):
        marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

        def watched(name: str, grid: int, values: Sequence[Any], marks: list[Any] = marks) -> None:
            pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            pair[0].record()
            launch(name, grid, values)
            pair[1].record()
            marks.append((name, *pair))

        work(watched)
        torch.cuda.synchronize()
        sums: dict[str, float] = {}
        for name, a, b in marks:
            sums[name] = sums.get(name, 0.0) + a.elapsed_time(b)
        runs.append(sums)
    return {name: round(statistics.median(r[name] for r in runs[3:]), 4) for name in runs[-1]}


def profile(work: Callable[[], Any], repeats: int = 10) -> dict[str, float]:
    """Device milliseconds by kernel in one call, from torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
    rows = sorted(seen.key_averages(), key=lambda r: -r.self_device_time_total)
    return {r.key[:60]: round(r.self_device_time_total / 1e3 / repeats, 4) for r in rows[:14]}


def floor(gaussians: Gaussians, cameras: Cameras, visible: int, pairs: int) -> dict[str, float]:
    """Milliseconds that moving the bytes alone would take: what each stage must read and write, over the copy rate."""
    count, bases = len(gaussians), gaussians.sh.shape[1]
    passes = 1 if cameras.width * cameras.height <= 65_536 else 2
    moved = {
        "project": count * (44 + 4) + visible * (12 * bases + 32), "depth_sort": count * (4 + 4 * 16 - 8), "expand": visible * (4 + 32) + pairs * 8,
        "tile_sort": pairs * (4 + 16 * passes + 4), "blend": pairs * 36 + cameras.width * cameras.height * 20,
    }  # fmt: skip
    return {k: round(v / COPY_BYTES_PER_SECOND * 1e3, 4) for k, v in moved.items()} | {
        "total": round(sum(moved.values()) / COPY_BYTES_PER_SECOND * 1e3, 4)
    }


def cases(args: argparse.Namespace) -> list[Callable[[], Case]]:
    made: list[Callable[[], Case]] = []
    for count, width, height, sigma in SIZES:
        name = f"random {count:,} at {width}x{height}" + ("" if sigma == 1 else f", {sigma:g} times larger splats")
        made.append(lambda n=name, c=count, w=width, h=height, s=sigma: (n, *filled_view(c, w, h, sigma=s, device="cuda")))
    for name in ("karangkidul/5_0", "playbot"):
        folder = Path(args.scenes or "/nowhere") / name
        if folder.is_dir():
            made.append(lambda n=name, f=folder: real_case(n, f))
        else:
            print(f"      no {folder}: not measured")
    return made


def real_case(name: str, folder: Path) -> Case:
    from recon import io

    scene = io.load(folder / "meta.json")
    assert scene.gaussians is not None
    cameras = orbit(surroundings(scene), width=1920, height=1080, frames=8)[[1]]
    return f"{name} at 1920x1080", scene.gaussians.to("cuda"), cameras.to("cuda")


def bench(args: argparse.Namespace) -> None:
    rows = results.setdefault("bench", [])
    for make in cases(args):
        if left(args) < 45:
            verdict(False, "OUT OF TIME for the remaining sizes")
            return
        try:
            rows.append(bench_case(*make()))
            save(args)
        except Exception:
            traceback.print_exc()
            verdict(False, "a size failed, see above")
        torch.cuda.empty_cache()


def bench_case(name: str, gaussians: Gaussians, cameras: Cameras) -> dict[str, Any]:
    options, launch = RenderOptions(), cuda.device_launch(0)
    ours = cuda.render_cuda(gaussians, cameras, options)
    captured = cuda.CapturedRenderer(gaussians, cameras, options)
    row: dict[str, Any] = {"case": name, "gaussians": len(gaussians)}
    row["graph"] = timed(captured)
    row["pairs"] = pairs = int(captured.pairs.max())  # known once the graph has run
    row["launches"] = timed(lambda: cuda.draw(launch, gaussians, cameras, options, captured.room))
    row["render_cuda"] = timed(lambda: cuda.render_cuda(gaussians, cameras, options))
    row["render_checked"] = timed(lambda: render(gaussians, cameras, backend="cuda"), 50)
    row["stages"] = stages(launch, lambda watched: cuda.draw(watched, gaussians, cameras, options, captured.room))
    row["floor"] = floor(gaussians, cameras, len(gaussians), pairs)
    for key, call in (("profile", captured), ("profile_gsplat", None)):
        try:
            row[key] = profile(call or rival(gaussians, cameras, packed=False))
        except Exception as error:
            row[key] = {"failed": str(error)[:200]}
    try:
        row["gsplat"] = {str(p): timed(rival(gaussians, cameras, packed=p)) for p in (False, True)}
        row["psnr_to_gsplat"] = psnr(ours.color, rival(gaussians, cameras, packed=False)()[0])
    except Exception as error:
        print("      gsplat failed:", str(error)[:300])
    best = min((t["median_ms"] for t in row.get("gsplat", {}).values()), default=float("nan"))
    row["speedup_graph"], row["speedup_render_cuda"] = best / row["graph"]["median_ms"], best / row["render_cuda"]["median_ms"]
    print(
        f"      {name}: graph {row['graph']['median_ms']:.3f} ms, launches {row['launches']['median_ms']:.3f}, render_cuda "
        f"{row['render_cuda']['median_ms']:.3f}, checked {row['render_checked']['median_ms']:.3f}; gsplat {best:.3f}; pairs {pairs:,}; floor "
        f"{row['floor']['total']:.3f}\n      stages {row['stages']}\n      profile {row['profile']}\n      gsplat  {row['profile_gsplat']}"
    )  # fmt: skip
    verdict(
        row["speedup_graph"] >= 2,
        f"{name}: {row['speedup_graph']:.2f} times gsplat as a graph, {row['speedup_render_cuda']:.2f} times as render_cuda",
    )
    verdict(row.get("psnr_to_gsplat", 0) >= 45, f"{name}: {row.get('psnr_to_gsplat', 0):.1f} dB to gsplat")
    return row


def rival(gaussians: Gaussians, cameras: Cameras, packed: bool) -> Callable[[], Any]:
    """gsplat's forward pass, colour only, as its documentation calls it."""
    from gsplat import rasterization  # pyright: ignore[reportMissingImports]

    viewmats, K, degree = cameras.world_to_cam.contiguous(), cameras.K.contiguous(), {1: 0, 4: 1, 9: 2, 16: 3, 25: 4}[gaussians.sh.shape[1]]
    g = gaussians

    def call() -> Any:
        with torch.no_grad():
            return rasterization(
                g.means, g.quats, g.scales, g.opacities, g.sh, viewmats, K, cameras.width, cameras.height, sh_degree=degree, packed=packed
            )

    return call


# ---- the rest -------------------------------------------------------------------------------------------------------------------------------------


def smoke(args: argparse.Namespace) -> None:
    """A few pictures by our kernels alone, to be run under compute-sanitizer."""
    for seed in (0, 1, 2, 4, 5, 6, 8):
        _, gaussians, cameras = random_scene(seed)
        render(gaussians.to("cuda"), cameras.to("cuda"), backend="cuda", extras=("normals",) if seed % 2 else (), check=False)
    gaussians, cameras = filled_view(40_000, 320, 240)
    picture = render(gaussians.to("cuda"), cameras.to("cuda"), backend="cuda", check=False)
    verdict(bool(picture.color.isfinite().all()), "smoke pictures are finite")


def sanitize(args: argparse.Namespace) -> None:
    """compute-sanitizer over the smoke pictures."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    for check_name in ("memcheck", "racecheck", "synccheck"):
        # cuda-core asks the driver for things it may not have: failed questions are no memory errors
        quiet = ["--report-api-errors", "no"] if check_name == "memcheck" else []
        ours = [sys.executable, __file__, "--parts", "smoke", "--output", str(args.output)]
        command = [tool, "--tool", check_name, *quiet, "--error-exitcode", "9", *ours]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(30.0, min(150.0, left(args) - 20)))
            text = (done.stdout + done.stderr)[-1500:]
            verdict(done.returncode == 0 and "SUMMARY: 0" in text, f"compute-sanitizer {check_name} is clean")
            if done.returncode:
                print(text)
        except (subprocess.TimeoutExpired, OSError) as error:
            verdict(False, f"compute-sanitizer {check_name} did not finish: {error}"[:300])


def start_gsplat_build() -> subprocess.Popen[str] | None:
    """gsplat compiles itself at its first use (minutes): begin now, beside our own checks."""
    major, minor = torch.cuda.get_device_capability()
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", f"{major}.{minor}")
    os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 8))
    command = [sys.executable, "-c", "from gsplat.cuda._backend import _C; assert _C is not None; print(_C.__file__)"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_gsplat(build: subprocess.Popen[str], args: argparse.Namespace) -> None:
    try:
        said, _ = build.communicate(timeout=max(10.0, left(args) - 120))
        verdict(build.returncode == 0, f"gsplat is built: {said.strip()[-200:] if build.returncode == 0 else said[-1500:]}")
        library = Path(said.strip().splitlines()[-1].strip()) if build.returncode == 0 else None
        if library and library.is_file() and library.stat().st_size < 16 * 2**20:
            shutil.copy(library, args.output)  # so that the next machine need not build it
    except subprocess.TimeoutExpired:
        build.kill()
        verdict(False, "gsplat was not built in time")


def save(args: argparse.Namespace) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    about = {"device": torch.cuda.get_device_name(), "commit": commit or args.commit, "torch": torch.__version__, "failures": failures}
    (args.output / "render_gpu.json").write_text(json.dumps(about | results, indent=1, default=str))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"smoke": [smoke], "check": [check], "gradients": [gradients], "bench": [bench], "sanitize": [sanitize]}
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=["check", "gradients", "bench"])
    parser.add_argument("--count", type=int, default=200, help="random scenes")
    parser.add_argument("--scenes", help="folder with real scenes")
    parser.add_argument("--seconds", type=float, default=540, help="time limit")
    parser.add_argument("--commit", default="", help="what to write where there is no git")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", ".")))
    args = parser.parse_args()
    args.start = time.monotonic()
    args.output.mkdir(parents=True, exist_ok=True)
    print(f"      {torch.cuda.get_device_name()}, torch {torch.__version__}, kernels in {kernels.cuda_sources()}", flush=True)
    build = start_gsplat_build() if set(args.parts) & {"check", "gradients", "bench"} else None
    chosen = [(name, step) for name in ("smoke", "check", "gradients", "bench", "sanitize") if name in args.parts for step in parts[name]]
    for name, step in chosen:
        begin = time.monotonic()
        try:
            if build is not None and step is not smoke:
                cuda.device_launch(0)  # ours compiles meanwhile
                print(f"      our kernels are ready after {time.monotonic() - args.start:.1f} s", flush=True)
                smoke(args)
                more_checks(args)
                wait_for_gsplat(build, args)
                build = None
            step(args)
        except Exception:
            traceback.print_exc()
            verdict(False, f"{name} broke off, see above")
        print(f"      {name}: {time.monotonic() - begin:.1f} s", flush=True)
        save(args)
    print("all passed" if not failures else f"{len(failures)} FAILED: " + "; ".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
