"""What the renderer's benchmarks on a GPU share: timing by events, the rival's build and call, a hand-captured graph of ours."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import torch  # noqa: E402
from gpu_verdicts import verdict  # noqa: E402  # pyright: ignore[reportMissingImports]
from render_scenes import filled_view  # noqa: E402  # pyright: ignore[reportMissingImports]

from recon.render import cuda_draw  # noqa: E402
from recon.render.camera_paths import orbit, surroundings  # noqa: E402
from recon.render.cuda import task_of  # noqa: E402
from recon.render.cuda_draw import Buffers, Launch  # noqa: E402
from recon.render.cuda_plans import read_status  # noqa: E402
from recon.render.cuda_table import Inputs, Packed, empty_picture, fill_table, table_words  # noqa: E402
from recon.render.options import RenderOptions  # noqa: E402
from recon.scene import Cameras, Gaussians  # noqa: E402

Case = tuple[str, Gaussians, Cameras]
CARRY = ROOT / ".carry"  # wheels of the rival and scenes that travel with the tree
SIZES = ((131_072, 256, 256, 1.0), (262_144, 512, 512, 1.0), (1_000_000, 1920, 1080, 1.0), (3_000_000, 1920, 1080, 1.0), (1_000_000, 1920, 1080, 3.0))


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


def waited(work: Callable[[], Any], repeats: int = 60) -> float:
    """Median milliseconds of a call and of waiting for its picture, by the wall clock."""
    times = []
    for _ in range(repeats + 5):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times[5:])


def side_by_side(works: Mapping[str, Callable[[], Any]], turns: int = 10, calls: int = 20) -> dict[str, dict[str, Any]]:
    """Milliseconds by events of `turns` x `calls` calls of each, in turn, so that a machine that is busy for a while is so for all of them.

    `turns_ms`: the median of each turn, its spread; `host_ms`: the median time until a call returns. Three calls of each turn are not counted.
    """
    times, host = {name: [] for name in works}, {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            torch.cuda.synchronize()
            for _ in range(3):
                work()
            events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(calls)]
            for a, b in events:
                a.record()
                begin = time.perf_counter()
                work()
                host[name].append((time.perf_counter() - begin) * 1e3)
                b.record()
            torch.cuda.synchronize()
            times[name].append([a.elapsed_time(b) for a, b in events])
    found = {}
    for name, by_turn in times.items():
        everything = sorted(t for turn in by_turn for t in turn)
        low, median, high = (everything[int(len(everything) * share)] for share in (0.05, 0.5, 0.95))
        found[name] = {"median_ms": median, "low_ms": low, "high_ms": high, "calls": len(everything), "host_ms": statistics.median(host[name])}
        found[name]["turns_ms"] = [round(statistics.median(turn), 4) for turn in by_turn]
    return found


def host_time(work: Callable[[], Any]) -> float:
    """Median microseconds until a call returns, the GPU having nothing else to do for long: it is waited for after each 20 of 1000."""
    times = []
    for _ in range(50):
        torch.cuda.synchronize()
        for _ in range(20):
            begin = time.perf_counter()
            work()
            times.append((time.perf_counter() - begin) * 1e6)
    return statistics.median(times)


def from_start_and_in_a_row(works: Mapping[str, Callable[[], Any]], turns: int = 5, calls: int = 200) -> dict[str, dict[str, Any]]:
    """Milliseconds a call by the wall clock, of all works in turn, in both ways in which renderers are used.

    `median_ms`: of as many calls as wanted one after the other (`calls` a turn), waited for at their end: a video; the median turn, beside all
    (`turns_ms`). `latency_ms`: of one call alone, from a GPU that stands still to the finished picture (a tenth of `calls` a turn): a page.
    """
    rows, single = {name: [] for name in works}, {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            for _ in range(5):
                work()
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(calls):
                work()
            torch.cuda.synchronize()
            rows[name].append((time.perf_counter() - begin) / calls * 1e3)
            for _ in range(calls // 10):
                begin = time.perf_counter()
                work()
                torch.cuda.synchronize()
                single[name].append((time.perf_counter() - begin) * 1e3)
    middle = statistics.median
    return {
        name: {"median_ms": middle(rows[name]), "turns_ms": [round(t, 4) for t in rows[name]], "latency_ms": middle(single[name])} for name in works
    }  # fmt: skip


def copy_rate() -> float:
    """Bytes a second that a copy within the device moves, read plus written."""
    a = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() / (timed(lambda: b.copy_(a), 20)["median_ms"] * 1e-3)


class HandCaptured:
    """Our launches as one graph, as a user could capture them by hand: one scene, one camera, pictures overwritten by the next replay."""

    def __init__(self, source: Gaussians | Packed, cameras: Cameras, options: RenderOptions, launch: Launch | None = None) -> None:
        device = torch.device("cuda", torch.cuda.current_device())
        self.task, self.launch = task_of(source, cameras, options), launch or cuda_draw.device_launch(device.index)
        inputs = Inputs.of(source, cameras, options)
        self.inputs, self.picture = inputs, empty_picture(len(cameras), cameras.height, cameras.width, self.task.extras, device)
        host = torch.zeros(table_words(len(cameras)), dtype=torch.int64)
        self.table = torch.zeros_like(host, device=device)
        fill_table(host.numpy(), self.table.data_ptr(), inputs, self.picture, options)
        self.table.copy_(host)
        self.buffers = Buffers(self.task, self.task.first_room, device)
        cuda_draw.draw(self.launch, self.task, self.buffers, self.table)
        self.pairs = read_status(self.buffers.status.cpu().numpy())[0]
        self.buffers = Buffers(self.task, max(self.pairs * 3 // 2, 2**16), device)
        self.draw(self.launch)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.draw(self.launch)

    def draw(self, launch: Launch) -> None:
        cuda_draw.draw(launch, self.task, self.buffers, self.table)

    def __call__(self) -> None:
        self.graph.replay()


def profile(work: Callable[[], Any], repeats: int = 10) -> dict[str, float]:
    """Device milliseconds by kernel in one call, from torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
    rows = sorted(seen.key_averages(), key=lambda r: -r.self_device_time_total)
    return {r.key[:60]: round(r.self_device_time_total / 1e3 / repeats, 4) for r in rows[:14] if r.self_device_time_total}


def floor(gaussians: Gaussians, cameras: Cameras, visible: int, pairs: int, rate: float, packed: bool) -> dict[str, float]:
    """Milliseconds that moving the bytes alone would take: what each stage must read and write, over the copy rate (bytes a second)."""
    count, bases = len(gaussians), gaussians.sh.shape[1]
    tiles = -(-cameras.width // 16) * -(-cameras.height // 16)
    passes = -(-max(1, (tiles - 1).bit_length()) // 8)
    read, color = (32, 6) if packed else (44, 12)
    moved = {
        "project": count * (read + 4) + visible * (color * bases + 32), "depth_sort": count * (4 + 3 * 16 - 8), "expand": visible * 36 + pairs * 8,
        "tile_sort": pairs * (4 + 16 * passes + 4), "blend": pairs * 36 + cameras.width * cameras.height * 20,
    }  # fmt: skip
    return {k: round(v / rate * 1e3, 4) for k, v in (moved | {"total": sum(moved.values())}).items()}


def cases(scenes: Path, sizes: Sequence[tuple[int, int, int, float]] = SIZES) -> list[Callable[[], Case]]:
    """The six scenes of README's table and one with larger splats, each made when it is called."""
    made: list[Callable[[], Case]] = []
    for count, width, height, sigma in sizes:
        name = f"random {count:,} at {width}x{height}" + ("" if sigma == 1 else f", {sigma:g} times larger splats")
        made.append(lambda n=name, c=count, w=width, h=height, s=sigma: (n, *filled_view(c, w, h, sigma=s, device="cuda")))
    for name in ("karangkidul/5_0", "playbot"):
        if (scenes / name).is_dir():
            made.append(lambda n=name: real_case(n, scenes / n))
        else:
            print(f"      no {scenes / name}: not measured")
    return made


def real_case(name: str, folder: Path) -> Case:
    from recon import io

    scene = io.load(folder / "meta.json")
    assert scene.gaussians is not None
    cameras = orbit(surroundings(scene), width=1920, height=1080, frames=8)[[1]]
    return f"{name} at 1920x1080", scene.gaussians.to("cuda"), cameras.to("cuda")


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


def unpack_wheels() -> Path:
    """Lays the wheels of .carry/wheels out in one folder (no installer needed) and puts it last on the path of this and of started processes."""
    site = CARRY / "site"
    for wheel in sorted((CARRY / "wheels").glob("*.whl")):
        if not (site / f".{wheel.stem}").exists():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            (site / f".{wheel.stem}").touch()
    sys.path.append(str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(site)])
    return site


def start_gsplat_build(log: Path) -> subprocess.Popen[bytes] | None:
    """gsplat compiles itself at its first use (minutes): begins now, in the background, on all cores; None with an earlier machine's library."""
    if (CARRY / "gsplat_cuda.so").is_file():
        return None
    major, minor = torch.cuda.get_device_capability()
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", f"{major}.{minor}")
    os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 8))
    code = "from gsplat.cuda._backend import _C; assert _C is not None; print(_C.__file__)"
    return subprocess.Popen([sys.executable, "-c", code], stdout=log.open("wb"), stderr=subprocess.STDOUT, env=os.environ | {"VERBOSE": "1"})


def wait_for_gsplat(build: subprocess.Popen[bytes] | None, log: Path, seconds: float, output: Path) -> None:
    """Until the rival is there; its library goes to `output` (if small enough to travel), so that the next machine need not build it."""
    if build is None:
        use_kept_gsplat()
        return
    begin = time.monotonic()
    try:
        build.wait(timeout=max(10.0, seconds))
    except subprocess.TimeoutExpired:
        build.kill()
    said = log.read_text(errors="replace").strip()
    verdict(build.returncode == 0, f"gsplat is built (waited {time.monotonic() - begin:.0f} s){'' if build.returncode == 0 else ': ' + said[-1500:]}")
    library = Path(said.splitlines()[-1].strip()) if build.returncode == 0 else None
    if library and library.is_file():
        small = output / "gsplat_cuda.so"
        shutil.copy(library, small)
        subprocess.run(["strip", str(small)], check=False)
        if small.stat().st_size > 15 * 2**20:
            print(f"      gsplat's library is too large to travel: {small.stat().st_size / 2**20:.1f} MiB")
            small.unlink()


def use_kept_gsplat() -> None:
    """Lets gsplat find the library of an earlier machine as its own compiled module."""
    kept = CARRY / "gsplat_cuda.so"
    if kept.is_file() and "gsplat.csrc" not in sys.modules:
        import importlib.util

        spec = importlib.util.spec_from_file_location("gsplat_cuda", kept)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["gsplat.csrc"] = module
