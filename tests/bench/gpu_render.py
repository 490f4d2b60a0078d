"""The renderers on a GPU: is every backend equal to the specification, gradients too, and is compute-sanitizer content with our kernels?

    PYTHONPATH=. python tests/bench/gpu_render.py [--parts check gradients sanitize] [--seconds 540] [--output FOLDER]

Needs torch, cuda-core and a GPU; gsplat (with nvcc for its own build) for the comparison. One part that fails does not hide the others; the exit code
says whether all passed. Figures go to render_gpu.json in --output (default $OUT or .). How fast they are: gpu_plain_call.py.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from gpu_timing import start_gsplat_build, unpack_wheels, wait_for_gsplat  # noqa: E402  # pyright: ignore[reportMissingImports]
from gpu_verdicts import add_output_arguments, results, run_part, summary, verdict  # noqa: E402  # pyright: ignore[reportMissingImports]
from render_scenes import filled_view, off_depths, psnr, random_scene  # noqa: E402  # pyright: ignore[reportMissingImports]

from recon import kernels  # noqa: E402
from recon.render import Renderer, cuda_draw, render  # noqa: E402
from recon.render.cuda_plans import PLANS  # noqa: E402
from recon.scene import Cameras, Rendering  # noqa: E402

BACKGROUND = (0.1, 0.4, 0.7)


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
    """Several cameras at once, as first, second and third call."""
    gaussians, cameras = filled_view(50_000, 400, 300, device="cuda")
    three = Cameras(K=cameras.K.repeat(3, 1, 1), cam_to_world=cameras.cam_to_world.repeat(3, 1, 1), width=400, height=300)
    three.cam_to_world[1, 0, 3], three.cam_to_world[2, 2, 3] = 0.5, -1.0
    wanted = render(gaussians, three, backend="torch").color
    pictures = [render(gaussians, three, backend="cuda").color for _ in range(3)]
    verdict(all(psnr(p, wanted) > 50 for p in pictures) and len(PLANS) > 0, "cuda: three cameras at once equal torch, as launches and as a graph")
    verdict(torch.equal(pictures[0], pictures[2]), "cuda: the same picture bit for bit as a graph")


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


# ---- the rest -------------------------------------------------------------------------------------------------------------------------------------


def smoke(args: argparse.Namespace) -> None:
    """A few pictures by our kernels alone, to be run under compute-sanitizer: launch by launch, as graphs, packed, surfels, without room."""
    for seed in (0, 2, 5, 9):
        _, gaussians, cameras = random_scene(seed)
        place: dict[str, Any] = {"width": cameras.width, "height": cameras.height}
        gaussians, both = gaussians.to("cuda"), cameras[[0, 0]].to("cuda")
        for primitive in ("gaussian", "surfel"):
            options: dict[str, Any] = {"primitive": primitive, "extras": ("normals",) if seed % 2 else ()}
            renderer = Renderer(gaussians, **options, **place)
            for _ in range(3):
                render(gaussians, both, backend="cuda", **options)
                renderer.render(both)
    gaussians, cameras = filled_view(40_000, 320, 240, sigma=5.0)
    gaussians = gaussians.to("cuda")
    far = Cameras(K=cameras.K * torch.tensor([0.05, 0.05, 1.0])[:, None], cam_to_world=cameras.cam_to_world, width=320, height=240)
    for view in (far, far, far, cameras):  # the last has many times the pairs that there is room for
        picture = render(gaussians, view, backend="cuda")
    gaussians, cameras = filled_view(30_000, 70, 40, sigma=3.0)  # long lists, taken first
    gaussians.opacities[1::2] *= 0.1
    for primitive in ("gaussian", "surfel"):
        for _ in range(3):
            render(gaussians.to("cuda"), cameras, backend="cuda", primitive=primitive, extras=("normals",) if primitive == "surfel" else ())
    verdict(bool(picture.color.isfinite().all()), "smoke pictures are finite")


def sanitize(args: argparse.Namespace) -> None:
    """compute-sanitizer over the smoke pictures, its tools side by side."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"

    def run(check_name: str) -> None:
        # cuda-core asks the driver for things it may not have: failed questions are no memory errors
        quiet = ["--report-api-errors", "no"] if check_name == "memcheck" else []
        ours = [sys.executable, __file__, "--parts", "smoke", "--output", str(args.output)]
        command = [tool, "--tool", check_name, *quiet, "--error-exitcode", "9", *ours]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(30.0, min(150.0, left(args))))
            text = (done.stdout + done.stderr)[-1500:]
            verdict(done.returncode == 0 and "SUMMARY: 0" in text, f"compute-sanitizer {check_name} is clean")
            if done.returncode:
                print(text)
        except (subprocess.TimeoutExpired, OSError) as error:
            verdict(False, f"compute-sanitizer {check_name} did not finish: {error}"[:300])

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, ("memcheck", "racecheck", "synccheck")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"smoke": smoke, "check": check, "gradients": gradients, "sanitize": sanitize}
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=["check", "gradients"])
    parser.add_argument("--count", type=int, default=200, help="random scenes")
    parser.add_argument("--seconds", type=float, default=540, help="time limit")
    add_output_arguments(parser)
    args = parser.parse_args()
    args.start = time.monotonic()
    args.output.mkdir(parents=True, exist_ok=True)
    print(f"      {torch.cuda.get_device_name()}, torch {torch.__version__}, kernels in {kernels.cuda_sources()}", flush=True)
    unpack_wheels()
    log = args.output / "gsplat_build.log"
    rivals = bool(set(args.parts) & {"check", "gradients"})
    build = start_gsplat_build(log) if rivals else None
    if rivals:
        cuda_draw.device_launch(0)  # ours compiles meanwhile
        print(f"      our kernels are ready after {time.monotonic() - args.start:.1f} s", flush=True)
        more_checks(args)
        wait_for_gsplat(build, log, left(args) - 120, args.output)
    for name in [n for n in parts if n in args.parts]:
        run_part(name, partial(parts[name], args), args.output / "render_gpu.json", args.commit)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
