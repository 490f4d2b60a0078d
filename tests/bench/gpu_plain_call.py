"""How fast the CUDA renderer is: `recon.render` as a user calls it, `recon.Renderer`, and a graph captured by hand, beside gsplat 1.5.3 in one run.

    PYTHONPATH=. python tests/bench/gpu_plain_call.py [--parts tests sanitize bench batch large extras host profiles]
        [--scenes FOLDER] [--cases 0 1 ...] [--seconds 570]

Needs a GPU, torch and cuda-core; gsplat's wheel and those of what it imports in .carry/wheels (nvcc builds it), karangkidul/5_0 and playbot (SOG) in
FOLDER (default .carry/scenes). Each part writes what it found to plain_call.json in --output (default $OUT or .); one that breaks off prints its
traceback, and the next begins. Medians of 200 calls (large: 40), in milliseconds, by events on the stream.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import os
import pstats
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import gpu_timing as timing  # noqa: E402  # pyright: ignore[reportMissingImports]
import torch  # noqa: E402
from gpu_timing import HandCaptured, timed, waited  # noqa: E402  # pyright: ignore[reportMissingImports]
from gpu_verdicts import add_output_arguments, results, run_part, save, summary, verdict  # noqa: E402  # pyright: ignore[reportMissingImports]
from render_scenes import filled_view, psnr  # noqa: E402  # pyright: ignore[reportMissingImports]

from recon.render import Renderer, clear, cuda_draw, render, wants_gradient  # noqa: E402
from recon.render.options import RenderOptions  # noqa: E402
from recon.render.packed import pack  # noqa: E402
from recon.scene import Cameras, Gaussians  # noqa: E402

PLAIN_LEAST, RENDERER_LEAST, GRAPH_MOST = 2.5, 3.0, 1.15  # times gsplat; times the graph's time


def left(args: argparse.Namespace) -> float:
    return args.seconds - (time.monotonic() - args.start)


def tests(args: argparse.Namespace) -> None:
    """The GPU's own tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/render/test_cuda.py", "--durations=12", "-p", "no:cacheprovider"]
    running = []  # the long ones in processes of their own: they wait for one core each, not for the GPU
    for number, which in enumerate(("200_scenes and False", "200_scenes and True", "not 200_scenes")):
        log = args.output / f"tests_{number}.log"
        running.append((which, log, subprocess.Popen([*command, "-k", which], stdout=log.open("w"), stderr=subprocess.STDOUT, cwd=timing.ROOT)))
    for which, log, process in running:
        try:
            code = process.wait(timeout=max(30.0, min(280.0, left(args))))
        except subprocess.TimeoutExpired:
            process.kill()
            code = 124
        print(log.read_text()[-2500:])
        verdict(code == 0, f"tests/render/test_cuda.py ({which}): exit status {code}")


def one_case(name: str, gaussians: Gaussians, cameras: Cameras, turns: int = 10) -> dict[str, Any]:
    """One scene: the rival, the graph by hand, plain calls and the Renderer, with cameras on the GPU and in main memory."""
    clear()
    row: dict[str, Any] = {"case": name, "gaussians": len(gaussians)}
    captured = HandCaptured(gaussians, cameras, RenderOptions())
    row["pairs"] = captured.pairs
    for call in ("first", "second"):
        begin = time.perf_counter()
        plain = render(gaussians, cameras)
        torch.cuda.synchronize()
        row[f"{call}_call_ms"] = (time.perf_counter() - begin) * 1e3
    here = cameras.to("cpu")
    renderer = Renderer(gaussians, width=cameras.width, height=cameras.height)
    works: dict[str, Callable[[], Any]] = {
        "graph": captured, "plain": lambda: render(gaussians, cameras), "plain_unchecked": lambda: render(gaussians, cameras, check=False),
        "plain_cameras_in_main_memory": lambda: render(gaussians, here), "renderer": lambda: renderer.render(cameras),
        "renderer_cameras_in_main_memory": lambda: renderer.render(here),
    }  # fmt: skip
    source = pack(gaussians)
    if source is not None:
        works["packed_graph"] = HandCaptured(source, cameras, RenderOptions())
    try:
        rivals = {f"gsplat packed={packed}": timing.rival(gaussians, cameras, packed=packed) for packed in (False, True)}
        row["psnr_to_gsplat"] = psnr(plain.color, rivals["gsplat packed=False"]()[0])
        works |= rivals
    except Exception as error:
        verdict(False, f"{name}: gsplat failed: {error}"[:300])
    row |= timing.side_by_side(works, turns)
    row["plain_waited_ms"] = waited(works["plain"])
    row["plain_new_values_ms"] = waited(lambda: render(replace(gaussians, opacities=gaussians.opacities * 1.0), cameras))
    row["renderer_waited_ms"] = waited(works["renderer"])
    row["psnr_packed_to_plain"] = psnr(renderer.render(cameras).color, plain.color)
    if rate := results.get("copy_bytes_per_second"):
        row["floor"], row["floor_packed"] = (timing.floor(gaussians, cameras, len(gaussians), captured.pairs, rate, packed=p) for p in (False, True))
    told(row)
    return row


def told(row: dict[str, Any]) -> None:
    """The row as text, and whether it keeps the bounds."""
    ms = lambda key: row[key]["median_ms"] if key in row else float("nan")
    case, best = row["case"], min((row[key]["median_ms"] for key in row if key.startswith("gsplat ")), default=float("nan"))
    print(f"      {case}: {row['pairs']:,} pairs; gsplat at its fastest {best:.3f} ms")
    for key, found in row.items():
        if isinstance(found, dict) and "turns_ms" in found:
            turns = found["turns_ms"]
            spread = f"{found['low_ms']:.3f} to {found['high_ms']:.3f}; turns {min(turns):.3f} to {max(turns):.3f}"
            print(f"        {key}: {found['median_ms']:.3f} ms ({spread}; the host {found['host_ms']:.3f})")
    rest = {key: round(row[key], 3) for key in row if key.endswith("_ms")}
    print(f"        {rest | {key: row[key]['total'] for key in ('floor', 'floor_packed') if key in row}}", flush=True)
    verdict(row["psnr_packed_to_plain"] >= 50, f"{case}: packed {row['psnr_packed_to_plain']:.1f} dB")
    for call, graph in (("plain", "graph"), ("renderer", "packed_graph")):
        verdict(ms(call) <= GRAPH_MOST * ms(graph), f"{case}: {call} {ms(call) / ms(graph):.2f} times its graph's time")
    if "psnr_to_gsplat" in row:
        for call, least in (("plain", PLAIN_LEAST), ("renderer", RENDERER_LEAST)):
            row[f"speedup_{call}"] = best / ms(call)
            verdict(row[f"speedup_{call}"] >= least, f"{case}: {call} {row[f'speedup_{call}']:.2f} times gsplat")
        verdict(row["psnr_to_gsplat"] >= 45, f"{case}: {row['psnr_to_gsplat']:.1f} dB to gsplat")


def bench(args: argparse.Namespace) -> None:
    """The scenes of README's table."""
    rows = results.setdefault("bench", [])
    results["copy_bytes_per_second"] = timing.copy_rate()
    cases = timing.cases(args.scenes)
    for number in args.cases or range(len(cases)):
        if left(args) < 25:
            verdict(False, "bench: OUT OF TIME for the remaining scenes")
            return
        try:
            rows.append(one_case(*cases[number]()))
        except Exception:
            traceback.print_exc()
            verdict(False, "bench: a scene failed, see above")
        save(args.output / args.json, args.commit)
        torch.cuda.empty_cache()


def batch(args: argparse.Namespace) -> None:
    """32 cameras in one call against one by one."""
    gaussians, camera = filled_view(131_072, 256, 256, device="cuda")
    many = camera[[0] * 32]
    many.cam_to_world[:, 0, 3] += torch.linspace(-0.5, 0.5, 32, device="cuda")
    single = [many[c] for c in range(32)]
    renderer = Renderer(gaussians, width=256, height=256)
    found = {
        "plain_one_by_one": timed(lambda: [render(gaussians, c) for c in single])["median_ms"] / 32,
        "plain_together": timed(lambda: render(gaussians, many))["median_ms"] / 32,
        "renderer_one_by_one": timed(lambda: [renderer.render(c) for c in single])["median_ms"] / 32,
        "renderer_together": timed(lambda: renderer.render(many))["median_ms"] / 32,
    }
    try:
        found["gsplat_together"] = timed(timing.rival(gaussians, many, packed=False), 50)["median_ms"] / 32
    except Exception as error:
        print("      gsplat failed:", str(error)[:300])
    results["batch_32_ms_a_picture"] = found
    print(f"      ms a picture, 32 cameras at 256 x 256: {found}", flush=True)
    for kind in ("plain", "renderer"):
        ratio = found[f"{kind}_one_by_one"] / found[f"{kind}_together"]
        verdict(ratio >= 1.5, f"{kind}: 32 cameras together {ratio:.2f} times faster a picture than one by one")


def extras(args: argparse.Namespace) -> None:
    """Median depth and normals against colour alone; surfels."""
    table: dict[str, Any] = {}
    for make in [timing.cases(args.scenes)[k] for k in (0, 2, 3)] + timing.cases(args.scenes)[5:]:
        name, gaussians, cameras = make()
        row = table[name] = {}
        more: dict[str, Any]
        for kind, more in (("plain", {}), ("extras", {"extras": ("median_depth", "normals")})):
            row[kind] = timed(lambda more=more: render(gaussians, cameras, **more))["median_ms"]  # noqa: B023
            renderer = Renderer(gaussians, width=cameras.width, height=cameras.height, **more)
            row[f"renderer_{kind}"] = timed(lambda r=renderer: r.render(cameras))["median_ms"]  # noqa: B023
            row[f"surfels_{kind}"] = timed(lambda more=more: render(gaussians, cameras, primitive="surfel", **more))["median_ms"]  # noqa: B023
        print(f"      {name}: {row}", flush=True)
        for kind in ("", "renderer_"):
            ratio = row[f"{kind}extras"] / row[f"{kind}plain"]
            verdict(ratio <= 1.3, f"{name}: {kind or 'plain_'}median depth and normals take {ratio:.2f} times the colour's time")
        clear()
        torch.cuda.empty_cache()
    results["extras"] = table


def host(args: argparse.Namespace) -> None:
    """Where the host's time goes in a call of the smallest scene: microseconds of what it is made of, and Python's own profile (host.txt)."""
    from recon.render import cuda

    name, gaussians, cameras = timing.cases(args.scenes)[0]()
    renderer, here, device = Renderer(gaussians, width=cameras.width, height=cameras.height), cameras.to("cpu"), gaussians.means.device
    captured, event = HandCaptured(gaussians, cameras, RenderOptions()), torch.cuda.Event()
    values = (*cuda.tensors_of(gaussians), cameras.K, cameras.cam_to_world)
    works: dict[str, Callable[[], Any]] = {
        "plain": lambda: render(gaussians, cameras), "plain, unchecked": lambda: render(gaussians, cameras, check=False),
        "plain, cameras in main memory": lambda: render(gaussians, here), "renderer": lambda: renderer.render(cameras),
        "renderer, cameras in main memory": lambda: renderer.render(here),
        "three outputs": lambda: cuda.empty_picture(1, cameras.height, cameras.width, False, device),
        "one output": lambda: torch.empty(5 * cameras.height * cameras.width, device=device), "graph launch": captured, "event record": event.record,
        "event synchronize": event.synchronize, "event query": event.query, "current_device": cuda.current_device,
        "current_stream, handle": lambda: cuda.current_stream(0), "current_stream": torch.cuda.current_stream,
        "is_current_stream_capturing": torch.cuda.is_current_stream_capturing, "values known": lambda: cuda._right.are(values),
        "gradients": lambda: wants_gradient(gaussians, cameras), "nothing": lambda: None,
    }  # fmt: skip
    table = results["host_us"] = {key: timing.host_time(work) for key, work in works.items()}
    print(f"      {name}, the host's us: " + ", ".join(f"{key} {us:.1f}" for key, us in table.items()), flush=True)
    said = io.StringIO()
    for key in ("renderer", "plain", "renderer, cameras in main memory"):
        profiler = cProfile.Profile()
        for _ in range(100):
            torch.cuda.synchronize()
            profiler.enable()
            for _ in range(20):
                works[key]()
            profiler.disable()
        said.write(f"{key}: 2000 calls\n")
        pstats.Stats(profiler, stream=said).sort_stats("tottime").print_stats(25)
    (args.output / "host.txt").write_text(said.getvalue())


def profiles(args: argparse.Namespace) -> None:
    """Each kernel's time. In the end, for a profiler may slow down what comes after it."""
    table = results["kernels"] = {}
    extras = RenderOptions(extras=frozenset(("normals", "median_depth")))
    for make in timing.cases(args.scenes):
        name, gaussians, cameras = make()
        works: dict[str, Callable[[], Any]] = {
            "graph": HandCaptured(gaussians, cameras, RenderOptions()), "extras": HandCaptured(gaussians, cameras, extras),
            "surfels": HandCaptured(gaussians, cameras, RenderOptions(primitive="surfel")), "gsplat": timing.rival(gaussians, cameras, packed=False),
        }  # fmt: skip
        source = pack(gaussians)
        if source is not None:
            works["packed"] = HandCaptured(source, cameras, RenderOptions())
        table[name] = {key: timing.profile(work) for key, work in works.items()}
        for key, found in table[name].items():
            print(f"      {name}, {key}: {found}", flush=True)


def large(args: argparse.Namespace) -> None:
    """5 and 10 M Gaussians at 1080p and 4K."""
    rows = results.setdefault("large", [])
    for count in (5_000_000, 10_000_000):
        for width, height in ((1920, 1080), (3840, 2160)):
            if left(args) < 30:
                verdict(False, "large: OUT OF TIME for the remaining scenes")
                return
            try:
                gaussians, cameras = filled_view(count, width, height, device="cuda")
                torch.cuda.reset_peak_memory_stats()
                begin = torch.cuda.memory_allocated()
                rows.append(one_case(f"random {count:,} at {width}x{height}", gaussians, cameras, turns=2))
                rows[-1]["peak_gb"] = (torch.cuda.max_memory_allocated() - begin) / 1e9
            except Exception:
                traceback.print_exc()
                verdict(False, f"large: {count:,} at {width} x {height} failed, see above")
            save(args.output / args.json, args.commit)
            gaussians = None
            clear()
            torch.cuda.empty_cache()


def sanitize(args: argparse.Namespace) -> None:
    """compute-sanitizer over the smoke pictures of gpu_render.py."""
    limit, script = str(max(60.0, left(args))), str(HERE / "gpu_render.py")
    command = [sys.executable, script, "--parts", "sanitize", "--seconds", limit, "--output", str(args.output)]
    done = subprocess.run(command, capture_output=True, text=True)
    (args.output / "sanitize.log").write_text(done.stdout + done.stderr)
    print((done.stdout + done.stderr)[-3000:])
    verdict(done.returncode == 0, "compute-sanitizer (sanitize.log)")


PARTS = {
    "tests": tests, "sanitize": sanitize, "bench": bench, "batch": batch, "large": large, "extras": extras, "host": host, "profiles": profiles,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=["tests", "bench", "batch", "extras", "profiles"])
    parser.add_argument("--scenes", type=Path, default=timing.CARRY / "scenes", help="folder with the real scenes")
    parser.add_argument("--cases", type=int, nargs="*", help="numbers of the scenes of bench, default all")
    parser.add_argument("--seconds", type=float, default=570, help="time limit")
    parser.add_argument("--json", default="plain_call.json", help="name of the file with the figures")
    add_output_arguments(parser)
    args = parser.parse_args()
    args.start = time.monotonic()
    args.output.mkdir(parents=True, exist_ok=True)
    print(f"      {torch.cuda.get_device_name()}, torch {torch.__version__}, {os.cpu_count()} cores", flush=True)
    timing.unpack_wheels()
    log = args.output / "gsplat_build.log"
    needs_rival = bool(set(args.parts) & {"bench", "batch", "large", "profiles"})
    build = timing.start_gsplat_build(log) if needs_rival else None
    cuda_draw.device_launch(0)
    print(f"      our kernels are ready after {time.monotonic() - args.start:.1f} s", flush=True)
    waiting = needs_rival
    # what needs no quiet machine first, while the rival is built
    for name in [n for n in PARTS if n in args.parts]:
        if waiting and name not in ("tests", "sanitize"):
            timing.wait_for_gsplat(build, log, left(args) - 150, args.output)
            waiting = False
        run_part(name, partial(PARTS[name], args), args.output / args.json, args.commit)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
