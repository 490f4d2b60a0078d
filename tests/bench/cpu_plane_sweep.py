"""The plane sweep's figures without a GPU: one view of 512 x 384 with 3 sources, three stages, compiled loops beside the PyTorch form.

    PYTHONPATH=. python tests/bench/cpu_plane_sweep.py [--repeats 20] [--output plane_sweep_cpu.json]

Best and median of the repeats are both told: other work on the machine makes the median say something about that work.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from plane_sweep_draws import STAGES, stage  # noqa: E402  # pyright: ignore[reportMissingImports]

from recon.models.layers.plane_sweep import plane_sweep  # noqa: E402

FASTER, VIEW = 4.0, 3


def timed(drawn: dict[str, Any], backend: Any, repeats: int) -> dict[str, float]:
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        plane_sweep(**drawn, backend=backend)
        times.append(time.perf_counter() - begin)
    return {"best_ms": 1e3 * min(times[1:]), "median_ms": 1e3 * statistics.median(times[1:])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    result: dict[str, Any] = {"device": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "commit": commit}
    for name, sizes in STAGES.items():
        drawn = stage(*sizes)
        of_references = ("reference", "source_index", "matrix", "offset", "first", "step")
        drawn |= {key: drawn[key][VIEW : VIEW + 1] for key in of_references}
        result[name] = {backend: timed(drawn, backend, args.repeats if backend == "cpu" else 3) for backend in ("cpu", "torch")}
    sums = {backend: sum(result[name][backend]["best_ms"] for name in STAGES) for backend in ("cpu", "torch")}
    result["all stages"] = sums | {"speedup": sums["torch"] / sums["cpu"]}
    print(json.dumps(result, indent=1))
    if args.output:
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["all stages"]["speedup"] >= FASTER else 1


if __name__ == "__main__":
    sys.exit(main())
