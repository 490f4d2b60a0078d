"""The plane sweep on a GPU, one script: equal to the specification, how fast and how small beside grid_sample, and clean under compute-sanitizer?

    PYTHONPATH=. python tests/bench/gpu_plane_sweep.py [--repeats 50] [--sanitize] [--output FOLDER]

Needs torch, cuda-core and a GPU. Times are those of 8 views of 512 x 384 with 3 sources each, at three stages; "grid_sample" writes out the warped
features in their own type and multiplies, as one would without a kernel. The exit code says whether all passed. Figures go to plane_sweep_gpu.json in
--output (default $OUT or .).
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from gpu_verdicts import add_output_arguments, failures, results, run_part, summary, verdict  # noqa: E402  # pyright: ignore[reportMissingImports]
from plane_sweep_draws import STAGES, allowed, differences, random_sweep, stage  # noqa: E402  # pyright: ignore[reportMissingImports]
from torch.nn.functional import grid_sample  # noqa: E402

from recon.models.layers.plane_sweep import Sweep, plane_sweep  # noqa: E402
from recon.models.layers.plane_sweep.arguments import checked  # noqa: E402
from recon.models.layers.plane_sweep.specification import pool, project  # noqa: E402

ours, specification = partial(plane_sweep, backend="cuda"), partial(plane_sweep, backend="torch")
TYPES = (torch.float32, torch.bfloat16)
FASTER, SMALLER, FASTER_WITH_GRADIENTS = 5.0, 10.0, 1.0


def check(count: int) -> None:
    """Values and gradients against the specification on random draws, a third of them in each type of features."""
    worst: dict[str, float] = {}
    for seed in range(count):
        dtype = (torch.float32, torch.bfloat16, torch.float16)[seed // 9 % 3]  # nine kinds of channels
        found = differences(ours, specification, random_sweep(seed, dtype, "cuda"))
        bad = {name: value for name, value in found.items() if not value <= allowed(name, dtype)}
        if bad:
            verdict(False, f"draw {seed} in {dtype} differs: {bad}")
        for name, value in found.items():
            key = f"{name} {dtype}".replace("torch.", "")
            worst[key] = max(worst.get(key, 0.0), value)
    results["check"] = {"draws": count, "worst": worst}
    largest = max(value for name, value in worst.items() if "float32" in name)
    verdict(not failures, f"{count} draws equal the specification (float32: greatest difference {largest:.1e} of the greatest value)")


def by_grid_sample(**drawn: Any) -> Sweep:
    """The same sweep without a kernel, in the features' own type."""
    pooled = drawn.pop("reduce") == "mean"
    a = checked(**drawn, pooled=pooled)
    places, seen = project(a)
    grid = (places * 2 - 1).flatten(0, 1).flatten(2, 3).to(a.sources.dtype)  # [M S, D, h w, 2]
    warped = grid_sample(a.sources[a.source_index.flatten()], grid, align_corners=False, padding_mode="zeros")
    reference = a.reference.flatten(2).repeat_interleave(a.source_index.shape[1], 0)
    similarity = torch.einsum("nck,ncdk->ndk", reference, warped).float().reshape(seen.shape) * seen
    return Sweep(*pool(similarity[:, :, None], seen, None)) if pooled else Sweep(similarity[:, :, None], seen, None)


def with_gradients(way: Callable[..., Sweep], drawn: dict[str, Any]) -> None:
    leaves = [drawn["reference"].requires_grad_(), drawn["sources"].requires_grad_()]
    sweep = way(**drawn)
    outputs = [x for x in (sweep.similarity, sweep.best) if x is not None]
    torch.autograd.grad(outputs, leaves, [torch.ones_like(x) for x in outputs])


def forward(way: Callable[..., Sweep], drawn: dict[str, Any]) -> None:
    with torch.no_grad():
        way(**drawn)


def measure(work: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Median milliseconds, and the peak of memory over what was there before in MiB."""
    for _ in range(5):
        work()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for begin, end in pairs:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(b.elapsed_time(e) for b, e in pairs), (torch.cuda.max_memory_allocated() - before) / 2**20


def bench(repeats: int) -> None:
    """Times and memory of the three stages, ours beside grid_sample in the same run."""
    print(f"{'':28} {'forward ms':>26} {'forward MiB':>24} {'with gradients ms':>26}")
    for name, sizes in STAGES.items():
        for dtype, reduce in itertools.product(TYPES, ("mean", "none")):
            drawn = stage(*sizes, dtype, "cuda") | {"reduce": reduce}
            row: dict[str, Any] = {"seen": float(plane_sweep(**drawn, backend="cuda").seen.float().mean())}
            for way, label in ((ours, "ours"), (by_grid_sample, "grid_sample")):
                row[f"{label}_ms"], row[f"{label}_mib"] = measure(partial(forward, way, drawn), repeats)
                row[f"{label}_gradients_ms"], row[f"{label}_gradients_mib"] = measure(partial(with_gradients, way, drawn), repeats)
            title = f"{name} {str(dtype)[6:]} {reduce}"
            ratios = [row[f"grid_sample_{k}"] / row[f"ours_{k}"] for k in ("ms", "mib", "gradients_ms")]
            cells = [f"{row[f'grid_sample_{k}']:9.2f} ->{row[f'ours_{k}']:8.3f}" for k in ("ms", "mib", "gradients_ms")]
            told = " ".join(f"{c} {r:5.1f}x" for c, r in zip(cells, ratios, strict=True))
            print(f"      {title:22} {told}  seen {row['seen']:.2f}", flush=True)
            results[title] = row | {"faster": ratios[0], "smaller": ratios[1], "faster_with_gradients": ratios[2]}
            good = ratios[0] >= FASTER and ratios[1] >= SMALLER and ratios[2] > FASTER_WITH_GRADIENTS
            verdict(good, f"{title}: {ratios[0]:.1f} times faster, {ratios[1]:.1f} times less memory, {ratios[2]:.1f} times faster with gradients")


def smoke() -> None:
    """A few sweeps with gradients by our kernels alone, to be run under compute-sanitizer."""
    for seed in (1, 2, 3, 4, 6, 10):
        for dtype in TYPES:
            drawn = random_sweep(seed, dtype, "cuda")
            leaves = [drawn["reference"].requires_grad_(), drawn["sources"].requires_grad_()]
            sweep = ours(**drawn)
            slopes = torch.autograd.grad(sweep.similarity.sum() + (sweep.best.sum() if sweep.best is not None else 0), leaves)
            verdict(all(bool(x.isfinite().all()) for x in slopes), f"sweep {seed} in {dtype} is finite")


def sanitize() -> None:
    """compute-sanitizer over the smoke sweeps."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    for check_name in ("memcheck", "racecheck", "synccheck"):
        # cuda-core asks the driver for things it may not have: failed questions are no memory errors
        quiet = ["--report-api-errors", "no"] if check_name == "memcheck" else []
        command = [tool, "--tool", check_name, *quiet, "--error-exitcode", "9", sys.executable, __file__, "--smoke"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=150)
            text = (done.stdout + done.stderr)[-1500:]
            clean = done.returncode == 0 and ("SUMMARY: 0" in text)
            verdict(clean, f"compute-sanitizer {check_name} is clean" if clean else f"compute-sanitizer {check_name}:\n{text}")
            results[f"sanitizer_{check_name}"] = clean
        except (subprocess.TimeoutExpired, OSError) as error:
            verdict(False, f"compute-sanitizer {check_name} did not finish: {error}"[:300])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="random sweeps to compare")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--sanitize", action="store_true", help="also run under compute-sanitizer")
    parser.add_argument("--smoke", action="store_true", help="a few sweeps only, for the sanitizer")
    add_output_arguments(parser)
    args = parser.parse_args()
    if args.smoke:
        smoke()
        return 1 if failures else 0
    print(f"      {torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    steps = [("check", partial(check, args.draws)), ("bench", partial(bench, args.repeats)), *([("sanitize", sanitize)] if args.sanitize else [])]
    for name, step in steps:
        run_part(name, step, args.output / "plane_sweep_gpu.json", args.commit)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
