"""The sweep of 8 views of 512 x 384 with 3 sources each on a GPU, from descriptors to depth: milliseconds, memory, and the same on the CPU's terms.

    PYTHONPATH=. python tests/bench/gpu_sweep.py [--repeats 50] [--output FILE]

Needs torch, cuda-core and a GPU. Random photos and descriptors: the work does not depend on what they show. bf16 autocast, as the pipeline runs it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from recon.models.recon_mvs.network import PosedViews, ReconMVS
from recon.weights import load_into, packaged

VIEWS, SOURCES, HEIGHT, WIDTH = 8, 3, 384, 512


def posed_views(device: str) -> PosedViews:
    """A row of parallel cameras."""
    torch.manual_seed(0)
    unit = lambda c, s: torch.nn.functional.normalize(torch.randn(VIEWS, c, HEIGHT // s, WIDTH // s), dim=1).to(device)
    K = torch.tensor([[450.0, 0, WIDTH / 2], [0, 450.0, HEIGHT / 2], [0, 0, 1]]).repeat(VIEWS, 1, 1)
    T = torch.eye(4).repeat(VIEWS, 1, 1)
    T[:, 0, 3] = torch.arange(VIEWS) * 0.2
    ones = torch.ones(VIEWS, HEIGHT // 8, WIDTH // 8, device=device)
    return PosedViews(
        images=torch.rand(VIEWS, 3, HEIGHT, WIDTH, device=device), coarse=unit(128, 8), fine=unit(64, 4), scales=torch.full((2,), 20.0).to(device),
        K=K.to(device), cam_to_world=T.to(device), inverse_range=torch.tensor([[0.1, 1.0]], device=device).expand(VIEWS, 2), prior=ones * 0.4,
        prior_confidence=ones,
    )  # fmt: skip


@torch.inference_mode()
def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    net = ReconMVS()
    load_into(net, packaged("recon-mvs.safetensors"))
    net = net.eval().cuda()
    views = posed_views("cuda")
    references = torch.arange(VIEWS, device="cuda")
    sources = (references[:, None] + torch.arange(1, SOURCES + 1, device="cuda")) % VIEWS

    def sweep() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            net(views, net.describe(views.images), references, sources, gaussians=True)

    for _ in range(3):
        sweep()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = [torch.cuda.Event(enable_timing=True) for _ in range(args.repeats)]
    end = [torch.cuda.Event(enable_timing=True) for _ in range(args.repeats)]
    for a, b in zip(start, end, strict=True):
        a.record()
        sweep()
        b.record()
    torch.cuda.synchronize()
    times = [a.elapsed_time(b) for a, b in zip(start, end, strict=True)]
    record = {
        "device": torch.cuda.get_device_name(), "views": VIEWS, "sources": SOURCES, "width": WIDTH, "height": HEIGHT,
        "median_ms": round(statistics.median(times), 2), "least_ms": round(min(times), 2),
        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20),
    }  # fmt: skip
    print(json.dumps(record))
    if args.output:
        args.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
