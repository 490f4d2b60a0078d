"""The CPU renderer's figures: 100,000 Gaussians at 512 x 512 beside the PyTorch renderer, and a real scene at 1280 x 720 with its peak memory.

    PYTHONPATH=. python tests/bench/cpu_render.py [--scene splats/karangkidul/5_0] [--output render_cpu.json]

Best and median of the repeats are both told: other work on the machine makes the median say something about that work.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from render_scenes import filled_view, psnr  # noqa: E402  # pyright: ignore[reportMissingImports]

from recon.render import Renderer, render  # noqa: E402
from recon.render.camera_paths import orbit, surroundings  # noqa: E402


def timed(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return {"best_s": min(times), "median_s": statistics.median(times)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", help="a file or folder with Gaussians")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    result: dict[str, Any] = {"device": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "commit": commit}
    passed = True
    if args.scene:  # first, so that the peak memory is this scene's
        from recon import io

        scene = io.load(Path(args.scene))
        assert scene.gaussians is not None
        gaussians, view = scene.gaussians, orbit(surroundings(scene), width=1280, height=720, frames=8)[[1]]
        result["scene"] = timed(lambda: render(gaussians, view, backend="cpu"), 20)
        result["scene"] |= {"gaussians": len(gaussians), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        again = Renderer(gaussians, width=view.width, height=view.height, backend="cpu")
        result["scene_renderer"] = timed(lambda: again.render(view), 20)  # the first picture is not counted
        passed &= result["scene"]["best_s"] <= 3 and result["scene"]["peak_mb"] < 3000
    gaussians, view = filled_view(100_000, 512, 512)
    fast, slow = (lambda: render(gaussians, view, backend="cpu"), lambda: render(gaussians, view, backend="torch"))
    again_random = Renderer(gaussians, width=view.width, height=view.height, backend="cpu")
    random: dict[str, Any] = {"cpu": timed(fast, 20), "renderer": timed(lambda: again_random.render(view), 20), "torch": timed(slow, 3)}
    random["psnr"] = psnr(fast().color, slow().color)
    random["speedup"] = random["torch"]["best_s"] / random["cpu"]["best_s"]
    result["random"] = random
    passed &= result["random"]["cpu"]["best_s"] <= 0.5 and result["random"]["speedup"] >= 20 and result["random"]["psnr"] >= 50
    print(json.dumps(result, indent=1))
    if args.output:
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
