"""DUSt3R, MVSplat and TriplaneGaussian on a GPU with random weights: how fast, how large, how near float32, and how long the first run takes.

    PYTHONPATH=. python tests/bench/gpu_networks.py [--repeats 50] [--only dust3r mvsplat triplane cost_volume] [--output FOLDER]

Needs torch, cuda-core and a GPU. "fast" is what `load_model` gives on a GPU (16-bit weights, recorded runs), "plain" the same network in float32.
The exit code says whether all bounds held. Figures go to networks_gpu.json in --output (default $OUT or .).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from gpu_verdicts import add_output_arguments, results, run_part, summary, verdict  # noqa: E402  # pyright: ignore[reportMissingImports]
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from recon.geometry import invert_K, invert_rigid  # noqa: E402
from recon.models import load_model  # noqa: E402
from recon.models.layers.acceleration import constant  # noqa: E402
from recon.models.mvsplat.cost_volume import correlation, inverse_depths  # noqa: E402
from recon.models.triplane_gaussian.model import VIEW  # noqa: E402

PAIR_MS, EIGHT_PAIRS_MS, SPLAT_MS, SPLAT_MIB, OBJECT_MS, NEAR = 9.0, 40.0, 7.0, 1200.0, 40.0, 1e-2
FASTER, SMALLER, EQUAL = 5.0, 10.0, 1e-3


def measure(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
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


def captured(work: Callable[[], Any]) -> Callable[[], None]:
    """The same work as a CUDA graph, as the networks run it: without the time that Python needs to start its kernels."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        work()
    return graph.replay


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


def run_plain(name: str, inputs: tuple[Tensor, ...], repeats: int) -> tuple[Any, dict[str, float]]:
    """Output, time and memory of the network in float32."""
    torch.manual_seed(0)
    net = load_model(name, weights="random", device="cuda", fast=False)
    ms, mib = measure(lambda: net(*inputs), max(5, repeats // 5))
    return net(*inputs), {"plain_ms": ms, "plain_mib": mib}


def run_both(
    name: str, inputs: tuple[Tensor, ...], outputs: Callable[[Any], list[Tensor]], repeats: int, *, record: bool = True
) -> dict[str, float]:
    """Times and memory of the plain and the fast network on the same input, their difference, and the fast one's first run in seconds."""
    out, row = run_plain(name, inputs, repeats)
    wanted = outputs(out)
    torch.cuda.empty_cache()
    torch.manual_seed(0)
    start = time.perf_counter()
    net = load_model(name, weights="random", device="cuda")
    row["load_s"], start = time.perf_counter() - start, time.perf_counter()
    forward = net.recorded("bench", net.forward) if record else net.forward

    def fast() -> Any:
        with torch.autocast("cuda", net.half):
            return forward(*inputs)

    got = outputs(fast())
    torch.cuda.synchronize()
    row["first_run_s"] = time.perf_counter() - start
    row["fast_ms"], row["fast_mib"] = measure(fast, repeats)
    row["recorded"] = float(record and all(x is not None for x in forward.recordings.values()))
    row["difference"] = max(difference(a, b) for a, b in zip(got, wanted, strict=True))
    return row


def tell(title: str, row: dict[str, float]) -> None:
    results[title] = row
    print(f"      {title}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)


def dust3r(repeats: int) -> None:
    """DUSt3R-512-dpt on pairs of 512 x 384."""
    for pairs, bound in ((1, PAIR_MS), (8, EIGHT_PAIRS_MS)):
        inputs = tuple(torch.rand(pairs, 3, 384, 512, device="cuda") * 2 - 1 for _ in range(2))
        row = run_both("dust3r-512-dpt", inputs, lambda out: [out[0].points, out[0].confidence, out[1].points, out[1].confidence], repeats)
        title = f"dust3r-512-dpt, {pairs} pair{'s' * (pairs > 1)} of 512 x 384"
        tell(title, row)
        verdict(row["fast_ms"] <= bound, f"{title}: {row['fast_ms']:.2f} ms, wanted {bound}")
        verdict(row["difference"] <= NEAR, f"{title}: within {row['difference']:.1e} of float32, wanted {NEAR}")


def cameras(views: int) -> tuple[Tensor, Tensor]:
    """K_normalized [1, V, 3, 3] and cam_to_world [1, V, 4, 4] of cameras in a row."""
    K = torch.tensor([[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]], device="cuda").repeat(1, views, 1, 1)
    T = torch.eye(4, device="cuda").repeat(1, views, 1, 1)
    T[0, :, 0, 3] = 0.2 * torch.arange(views, device="cuda")
    return K, T


def mvsplat(repeats: int) -> None:
    """MVSplat on two views of 256 x 256."""
    ends = (torch.ones(1, 2, device="cuda"), torch.full((1, 2), 100.0, device="cuda"))
    inputs = (torch.rand(1, 2, 3, 256, 256, device="cuda"), *cameras(2), *ends)
    row = run_both("mvsplat-re10k", inputs, lambda out: [1 / out.depth, out.opacities, out.sh], repeats)
    tell("mvsplat-re10k, 2 views of 256 x 256", row)
    verdict(row["fast_ms"] <= SPLAT_MS, f"MVSplat: {row['fast_ms']:.2f} ms, wanted {SPLAT_MS}")
    verdict(row["fast_mib"] < SPLAT_MIB, f"MVSplat: {row['fast_mib']:.0f} MiB beside its weights, wanted below {SPLAT_MIB:.0f}")
    verdict(row["difference"] <= NEAR, f"MVSplat: within {row['difference']:.1e} of float32, wanted {NEAR}")


def triplane(repeats: int) -> None:
    """TriplaneGaussian on a photo of 252 x 252."""
    K = torch.tensor([[[1.3737, 0, 0.5], [0, 1.3737, 0.5], [0, 0, 1]]], device="cuda")
    mask = torch.zeros(1, 1, 252, 252, device="cuda")
    mask[..., 50:200, 60:190] = 1
    inputs = (torch.rand(1, 3, 252, 252, device="cuda"), mask, K, torch.tensor([VIEW], device="cuda"))
    first_points = lambda out: [out.stages[0]]  # in later stages a pixel that shows another point moves points by more than rounding
    row = run_both("triplane-gaussian", inputs, first_points, repeats, record=False)
    tell("triplane-gaussian", row)
    verdict(row["fast_ms"] <= OBJECT_MS, f"TriplaneGaussian: {row['fast_ms']:.2f} ms, wanted {OBJECT_MS}")
    verdict(row["difference"] <= NEAR, f"TriplaneGaussian: first points within {row['difference']:.1e} of float32, wanted {NEAR}")


def written_out(features: Tensor, K: Tensor, T: Tensor, first: Tensor, step: Tensor, planes: int) -> Tensor:
    """The cost volume by grid_sample, with the warped features [V, V - 1, C, D, h, w] written out as the reference implementation does."""
    views, _, channels, height, width = features.shape
    size = constant(((width,), (height,), (1.0,)), features.device)
    y, x = torch.meshgrid(*(torch.arange(n, device=features.device).float() for n in (height, width)), indexing="ij")
    cells = torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)
    depth = 1 / (first[:, 0] + step[:, 0] * torch.arange(planes, device=features.device))  # [V, D]
    total = 0
    for shift in range(1, views):
        other = constant(tuple((i + shift) % views for i in range(views)), features.device)
        T_other = invert_rigid(T[0, other]) @ T[0]
        rays = T_other[:, :3, :3] @ invert_K(K[0] * size) @ cells
        points = (K[0, other] * size) @ (rays[:, :, None] * depth[:, None, :, None] + T_other[:, :3, 3:, None]).flatten(2)
        xy = points[:, :2] / points[:, 2:].clamp(min=1e-3)
        grid = torch.stack([2 * xy[:, 0] / (width - 1) - 1, 2 * xy[:, 1] / (height - 1) - 1], -1).unflatten(1, (planes, -1))
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN refuses the larger of the two; on the smaller it is no faster
            warped = F.grid_sample(features[other, 0], grid, align_corners=True).unflatten(3, (height, width))
        total = total + (features[:, 0, :, None] * warped).sum(1) / channels**0.5
    return total / (views - 1)


def cost_volume(repeats: int) -> None:
    """The fused cost volume beside its twin by grid_sample, for pictures at the network's features' stride of 4."""
    for views, side in ((2, 256), (8, 512)):
        torch.manual_seed(0)
        features = torch.randn(views, 1, 128, side // 4, side // 4, device="cuda")
        K, T = cameras(views)
        first, step = inverse_depths(torch.ones(1, views, device="cuda"), torch.full((1, views), 100.0, device="cuda"), 128)
        drawn = (features, K, T, first, step, 128)
        row: dict[str, float] = {"difference": difference(correlation(*drawn), written_out(*drawn))}
        for name, function in (("ours", correlation), ("twin", written_out)):
            work = lambda function=function, drawn=drawn: function(*drawn)
            row[f"{name}_call_ms"], row[f"{name}_mib"] = measure(work, max(5, repeats // 5))
            row[f"{name}_ms"], _ = measure(captured(work), repeats)
            torch.cuda.empty_cache()
        title = f"cost volume, {views} x {side} x {side}"
        tell(title, row)
        faster, smaller = row["twin_ms"] / row["ours_ms"], row["twin_mib"] / row["ours_mib"]
        verdict(faster >= FASTER and smaller >= SMALLER, f"{title}: {faster:.1f} times faster and {smaller:.1f} times smaller than grid_sample")
        verdict(row["difference"] <= EQUAL, f"{title}: equal to {row['difference']:.1e}, wanted {EQUAL}")


PARTS = {"cost_volume": cost_volume, "mvsplat": mvsplat, "triplane": triplane, "dust3r": dust3r}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    add_output_arguments(parser)
    args = parser.parse_args()
    print(f"      {torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    with torch.no_grad():
        for name in args.only:
            run_part(name, partial(PARTS[name], args.repeats), args.output / "networks_gpu.json", args.commit)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
