"""`Renderer` of several trees of recon beside each other on one GPU, turn by turn, each in a process of its own: what a change to the kernels brings.

    PYTHONPATH=. python tests/bench/gpu_trees.py [--scenes FOLDER] [--cases 0 5 6] [--json FILE] . .carry/before [...]

A tree is a folder with recon/ and cuda/ (`git archive COMMIT recon cuda | tar x -C .carry/before`). Milliseconds a call, call after call.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CALLS, WARM_UP = 200, 20


def work(scenes: Path, chosen: list[int]) -> None:
    """One tree, that of PYTHONPATH: tells of each case it is asked for on a line its time, or what its kernels took and its picture's file."""
    sys.path.insert(0, str(HERE))
    import torch
    from render_scenes import filled_view  # pyright: ignore[reportMissingImports]

    import recon
    from recon import io
    from recon.render import Renderer
    from recon.render.camera_paths import orbit, surroundings

    sizes = ((131_072, 256, 1.0), (262_144, 512, 1.0), (1_000_000, 1920, 1.0), (3_000_000, 1920, 1.0), (1_000_000, 1920, 3.0))
    made: dict[int, Any] = {}
    for case in chosen:
        if case < len(sizes):
            count, width, sigma = sizes[case]
            gaussians, cameras = filled_view(count, width, min(width, 1080), sigma=sigma, device="cuda")
        else:
            scene = io.load(scenes / ("karangkidul/5_0", "playbot")[case - len(sizes)] / "meta.json")
            assert scene.gaussians is not None
            gaussians = scene.gaussians.to("cuda")
            cameras = orbit(surroundings(scene), width=1920, height=1080, frames=8)[[1]].to("cuda")
        made[case] = Renderer(gaussians, width=cameras.width, height=cameras.height), cameras
    print(Path(recon.__file__).resolve().parent.parent, flush=True)
    for line in sys.stdin:
        case, file = int(line.split()[0]), line.split()[1:]
        renderer, cameras = made[case]
        with torch.inference_mode():
            for _ in range(WARM_UP):
                drawn = renderer.render(cameras)
            torch.cuda.synchronize()
            if file:
                torch.save(drawn.color.cpu(), file[0])
                with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
                    for _ in range(10):
                        renderer.render(cameras)
                    torch.cuda.synchronize()
                found = {r.key[:24]: round(r.self_device_time_total / 1e4, 4) for r in seen.key_averages() if r.self_device_time_total}
                print(json.dumps(dict(sorted(found.items(), key=lambda item: -item[1]))), flush=True)
                continue
            begin = time.perf_counter()
            for _ in range(CALLS):
                renderer.render(cameras)
            torch.cuda.synchronize()
            print((time.perf_counter() - begin) / CALLS * 1e3, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path)
    parser.add_argument("--scenes", type=Path, default=HERE.parent.parent / ".carry" / "scenes")
    parser.add_argument("--cases", nargs="+", type=int, default=[0, 1, 2, 4, 5, 6], choices=range(7))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.scenes, args.cases)
        return 0
    import torch

    command = [sys.executable, str(Path(__file__).resolve()), "--work", "--scenes", str(args.scenes.resolve()), "--cases", *map(str, args.cases)]
    running = []
    for tree in args.trees:
        path = os.pathsep.join([str(tree.resolve()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)[1:])])
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}))

    def ask(process: subprocess.Popen[str], text: str) -> str:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(text + "\n")
        process.stdin.flush()
        return process.stdout.readline()

    for process, tree in zip(running, args.trees, strict=True):
        assert process.stdout is not None
        ready = process.stdout.readline().strip()
        assert ready == str(tree.resolve()), (ready, tree)
    rows: list[dict[str, Any]] = []
    for case in args.cases:
        times: list[list[float]] = [[] for _ in running]
        for _ in range(args.turns):
            for process, found in zip(running, times, strict=True):
                found.append(float(ask(process, str(case))))
        files = [f"/tmp/tree_{number}.pt" for number in range(len(running))]
        kernels = [json.loads(ask(process, f"{case} {file}")) for process, file in zip(running, files, strict=True)]
        pictures = [torch.load(file) for file in files]
        for number, (tree, found, took) in enumerate(zip(args.trees, times, kernels, strict=True)):
            error = float((pictures[number] - pictures[0]).abs().max())
            rows.append({"case": case, "tree": str(tree), "ms": statistics.median(found), "turns": found, "kernels": took, "off": error})
            spread = f"{min(found):.4f} to {max(found):.4f}"
            print(f"case {case} {tree!s:24} {rows[-1]['ms']:.4f} ms ({spread}), colour off {error:.1e}; {took}", flush=True)
    for process in running:
        process.kill()
    if args.json:
        args.json.write_text(json.dumps({"device": torch.cuda.get_device_name(), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
