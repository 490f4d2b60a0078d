"""What surfaces cost: seconds of the sweep, seconds and memory of the whole demo, and how much of many views is left after merging."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from surface_depth import Reconstruct, Row  # pyright: ignore[reportMissingImports]
from surface_known import SCENES, photograph  # pyright: ignore[reportMissingImports]
from surface_views import posed  # pyright: ignore[reportMissingImports]

from recon.evaluate import PhotoSet

ROOT = Path(__file__).resolve().parent.parent.parent
REPEATS = 7
MANY = 8


def sweep_seconds() -> Row:
    """One view at 512 x 384 against three others, from descriptors to depth: its detail features and the network's three stages."""
    from recon.models import load_model
    from recon.models.recon_mvs.sweep import describe, load_sweeper, posed_views
    from recon.models.recon_small.matches import own_descriptors
    from recon.models.recon_small.network import ReconSmall
    from recon.surfaces.depth_maps import DepthMaps

    images, cameras = photograph(SCENES["room"])
    small, net, cpu = load_model("recon-small", device="cpu"), load_sweeper("cpu"), torch.device("cpu")
    assert isinstance(small, ReconSmall)
    depth = torch.full(images.rgb.shape[:3], 3.0)
    prior = DepthMaps(depth=depth, relative_error=torch.full_like(depth, 0.1), valid=torch.ones_like(depth), seen=depth < 0)
    inverse_range = torch.tensor([[1 / 8, 1.0]]).expand(len(images), 2)
    reference, sources = torch.tensor([0]), torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        K, T = cameras.K.double(), cameras.cam_to_world.double()
        views = posed_views(images, own_descriptors(small, images), small.scales(), K, T, inverse_range, prior, cpu)
        detail = describe(net, views.images)

        def work() -> None:
            describe(net, views.images[:1])
            net(views, detail, reference, sources, gaussians=True)

        work()
        best, busy = float("inf"), float("inf")
        for _ in range(REPEATS):
            wall, processor = time.perf_counter(), time.process_time()
            work()
            best, busy = min(best, time.perf_counter() - wall), min(busy, time.process_time() - processor)
    return {"best_s": best, "processor_s": busy, "threads": torch.get_num_threads()}


def demo_cost(surfaces: str, repeats: int = 3) -> Row:
    """Two photos, from the program's start to the files: best seconds of all runs, and the largest memory that one held."""
    options = [] if surfaces == "sweep" else ["--surfaces", surfaces]  # what it does without being asked is what counts
    seconds, busy, peak_gb = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "recon.cli", "demo", "-o", folder, *options]
            start = time.perf_counter()
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert child.stderr is not None
            said = child.stderr.read()  # to its end
            _, status, usage = os.wait4(child.pid, 0)
            seconds.append(time.perf_counter() - start)
        if status:
            raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}: {said[-500:]}")
        busy.append(usage.ru_utime + usage.ru_stime)
        peak_gb.append(usage.ru_maxrss / 2**20)
    return {"best_s": min(seconds), "processor_s": min(busy), "peak_gb": max(peak_gb)}


def merging_figures(photos: PhotoSet, reconstruct: Reconstruct, *, long_side: int, given: bool) -> Row:
    """Gaussians of the first eight photos, as a share of one for each usable pixel of each view."""
    images, cameras = posed(photos.views[:MANY], long_side)
    start = time.perf_counter()
    scene = reconstruct(images, cameras if given else None)
    seconds = time.perf_counter() - start
    assert scene.gaussians is not None and scene.pointmaps is not None
    return {"share": len(scene.gaussians) / int(scene.pointmaps.mask.sum()), "gaussians": len(scene.gaussians), "seconds": seconds}
