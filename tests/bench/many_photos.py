"""Times of many photos at once, from files to Scene without the sweep of the views, and how right the cameras are where the truth is known.

    python tests/bench/many_photos.py                                  a walk of 50 frames of the generator alone
    python tests/bench/many_photos.py --data DIR [FOLDER ...]          with fountain, nyu and sevenscenes of DIR, and any folders of photos
    python tests/bench/many_photos.py --data DIR --parts nyu walks     in parts, each of them short
    python tests/bench/many_photos.py --data DIR --device cuda --frames 8 20 100 300 --output rows.jsonl

Every row is a process of its own (the memory is its peak) that runs the job twice after one small one; the better time counts. A job that takes
longer than a minute runs once. The stages are those of report.json, with seconds by the clock and of the processor; `warm_up_seconds` are those of
the small job, with what is compiled and set up but once. --profile DIR: what the main thread of one more run did, in DIR/NAME_COUNT.txt. A row that
fails shows its traceback, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

if TYPE_CHECKING:
    from recon.scene import Scene

PARTS = ("fountain", "nyu", "sevenscenes", "walks", "agreement")
FOUNTAIN, NYU, SEVENSCENES = "strecha_fountain_p11", "nyu_deepv2d_2", "sevenscenes_tsdf"
SETS = {"fountain": ((FOUNTAIN, 2), (FOUNTAIN, 8)), "nyu": ((NYU, 8),), "sevenscenes": ((SEVENSCENES, 20),), "agreement": ((FOUNTAIN, 8),)}
LONG_SECONDS = 60.0  # a job that takes longer runs once


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    folder: Path
    count: int = 0  # of the first photos; 0 for all
    pairs: str = "auto"
    agreement: bool = False  # the device beside the CPU, in place of times

    def arguments(self) -> list[str]:
        """For the process that measures it."""
        return ["--row", str(self.folder), str(self.count), self.pairs, *(["--agreement"] if self.agreement else [])]


def photos_of(folder: Path, count: int) -> list[Path]:
    """The first photos of a folder or of its images/; all for 0."""
    inner = folder / "images" if (folder / "images").is_dir() else folder
    return sorted(p for p in inner.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))[: count or None]


def truth_of(folder: Path, photos: list[Path]) -> np.ndarray | None:  # [V, 4, 4]
    """The cameras of the photos where they are known."""
    if (folder / "truth.npz").is_file():
        return np.load(folder / "truth.npz")["cam_to_world"][: len(photos)]
    if (folder / "cameras.json").is_file():
        known = {Path(r["image"]).name: r["T_world_from_cam"] for r in json.loads((folder / "cameras.json").read_text())}
        return np.array([known[p.name] for p in photos], float)
    return None


def say(text: str) -> None:
    """One word of what is under way; a row that is cut off shows where it was."""
    print(text, end=" ", file=sys.stderr, flush=True)


def measure(row: Row, device: str, profiles: Path | None) -> dict:
    """Times, memory and errors of one row, in this process."""
    import torch

    from recon.models import load_model
    from recon.photos.grid import load_images

    photos = photos_of(row.folder, row.count)
    net = load_model("recon-small", device=device)
    say(f"{row.folder.name} {len(photos)}: warm-up;")
    begun = time.perf_counter()
    scene_of(photos[:2], net, "auto")
    warm_up = round(time.perf_counter() - begun, 2)
    out: dict = {"name": row.folder.name, "photos": len(photos), "device": device, "seconds": float("inf"), "warm_up_seconds": warm_up}
    scene = None
    for _ in range(2):
        if out["seconds"] > LONG_SECONDS and scene is not None:
            break
        start, cpu = time.perf_counter(), time.process_time()
        scene, stages, cpu_stages = scene_of(photos, net, row.pairs)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        spent = time.perf_counter() - start
        say(f"{spent:.1f} s;")
        if spent < out["seconds"]:
            out |= {"seconds": round(spent, 2), "cpu_seconds": round(time.process_time() - cpu, 2), "stages": stages, "cpu_stages": cpu_stages}
    assert scene is not None
    out["gigabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    if device.startswith("cuda"):
        out |= {"card": torch.cuda.get_device_name(device), "card_gigabytes": round(torch.cuda.max_memory_allocated(device) / 2**30, 2)}
    if profiles:
        profile(photos, net, row.pairs, profiles / f"{row.folder.name}_{len(photos)}.txt")
    say("done\n")
    grid = load_images(photos[:1]).rgb.shape
    return out | {"grid": f"{grid[2]}x{grid[1]}"} | accuracy(scene, truth_of(row.folder, photos))


def profile(photos: list[Path], net, pairs: str, file: Path) -> None:
    """What the main thread of one more run was in, the longest first."""
    watch = cProfile.Profile()
    watch.runcall(scene_of, photos, net, pairs)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        for order in ("tottime", "cumulative"):
            pstats.Stats(watch, stream=stream).sort_stats(order).print_stats(60)


def scene_of(photos: list[Path], net, pairs: str) -> tuple[Scene, dict[str, float], dict[str, float]]:
    """The scene, and the seconds of each stage as report.json has them, by the clock and of the processor."""
    from recon.commands.run import Clock
    from recon.photos.grid import load_images
    from recon.reconstruct import reconstruct

    clock, spent = Clock(lambda text, share: None), [time.process_time()] * 2
    clock("photos", 0.0)
    images = load_images(photos)

    def tell(text: str, share: float) -> None:
        if text != clock.marks[-1][0]:
            say(text + ",")
            spent.append(time.process_time())
        clock(text, share)

    scene = reconstruct(images, model=net, surfaces="pointmap", pairs=pairs, progress=tell)  # type: ignore[arg-type]
    cpu = {text: round(b - a, 2) for (text, _), a, b in zip(clock.marks, spent, spent[1:], strict=False)}
    return scene, clock.seconds(), cpu


def accuracy(scene: Scene, truth: np.ndarray | None) -> dict:
    """Views placed; with a truth the errors of their centres by the extent and of rotations in degrees, after Sim(3)."""
    from recon.evaluate import align_sim3, camera_centre_errors, rotation_error_degrees

    held = np.array([by != "unplaced" for by in scene.cameras.placed_by])
    T = scene.cameras.cam_to_world.double().cpu().numpy()
    out: dict = {"placed": int(held.sum())}
    if truth is not None and held.sum() >= 3:
        T, truth = T[held], truth[held]
        errors = camera_centre_errors(T, truth)
        _, R, _ = align_sim3(T[:, :3, 3], truth[:, :3, 3])
        turns = [rotation_error_degrees(R @ a[:3, :3], b[:3, :3]) for a, b in zip(T, truth, strict=True)]
        out |= {"centre_mean": round(float(errors.mean()), 5), "centre_max": round(float(errors.max()), 5), "degrees_max": round(max(turns), 3)}
    return out


def agree(row: Row, device: str) -> dict:
    """The largest difference of the rotations between views, and of log focals, that two devices give (the CPU and `device`)."""
    from recon.evaluate import rotation_error_degrees
    from recon.models import load_model

    photos = photos_of(row.folder, row.count)
    scenes = [scene_of(photos, load_model("recon-small", device=d), row.pairs)[0] for d in ("cpu", device)]
    say("done\n")
    a, b = (s.cameras.cam_to_world.double().cpu().numpy()[:, :3, :3] for s in scenes)
    turns = [rotation_error_degrees(a[i].T @ a[j], b[i].T @ b[j]) for i in range(len(a)) for j in range(i)]
    focal = [s.cameras.K[:, 0, 0].double().cpu().log() for s in scenes]
    facts = {"degrees_apart": round(max(turns), 4), "log_focal_apart": round(float((focal[0] - focal[1]).abs().max()), 6)}
    return {"name": row.folder.name, "photos": len(photos), "device": f"cpu beside {device}", **facts}


def rows_of(args: argparse.Namespace, folder: Path) -> Iterator[Row | None]:
    """The rows of the parts wanted, None for one that cannot be had; walks are made when their turn comes."""
    yield from (Row(folder=f) for f in args.folders)
    there = {p.name: p for p in args.data.rglob("*") if p.is_dir()} if args.data else {}
    for part in args.parts:
        if part == "agreement" and args.device == "cpu":
            continue
        for name, count in SETS.get(part, ()) if args.data else ():
            if name in there:
                yield Row(folder=there[name], count=count, agreement=part == "agreement")
            else:
                print(f"{name}: not under {args.data}", flush=True)
                yield None
    for frames in args.frames if "walks" in args.parts else ():
        try:
            yield Row(folder=there.get(f"walk_{frames}") or make_walk(folder, frames, args.textures), pairs="sequence")
        except Exception:
            traceback.print_exc()
            print(f"walk_{frames}: could not be made", flush=True)
            yield None


def make_walk(folder: Path, frames: int, textures: Path | None) -> Path:
    """A walk of so many frames on disk, with its truth."""
    from walks import walk_round

    target = folder / f"walk_{frames}"
    target.mkdir()
    walk = walk_round(frames, textures=textures)
    walk.write(target)
    np.savez(target / "truth.npz", K=walk.K, cam_to_world=walk.cam_to_world)
    return target


def run_row(row: Row, device: str, limit: float, profiles: Path | None) -> str | None:
    """The row as a line of JSON; None where it failed, which the process itself has shown."""
    command = [sys.executable, __file__, "--device", device, *row.arguments(), *(["--profile", str(profiles)] if profiles else [])]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        print(f"{row.folder.name}: cut off after {limit:.0f} s", flush=True)
        return None
    if done.returncode or not done.stdout.strip():
        print(f"{row.folder.name}: failed with status {done.returncode}", flush=True)
        return None
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    """Prints a line of JSON a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of photos, measured whole")
    parser.add_argument("--data", type=Path, help="the folder of `recon eval`, of which fountain, nyu and sevenscenes are taken")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which rows (agreement: where --device is a GPU)")
    parser.add_argument("--frames", type=int, nargs="*", default=[50], help="lengths of walks of the generator, or walk_N of --data")
    parser.add_argument("--textures", type=Path, help="a pack of textures for the walks (default: noise)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a row is cut off")
    parser.add_argument("--output", type=Path, help="a file for the rows too, written as they come")
    parser.add_argument("--profile", type=Path, help="a folder for profiles")
    parser.add_argument("--row", nargs=3, metavar=("FOLDER", "COUNT", "PAIRS"), help=argparse.SUPPRESS)
    parser.add_argument("--agreement", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        row = Row(folder=Path(args.row[0]), count=int(args.row[1]), pairs=args.row[2], agreement=args.agreement)
        print(json.dumps(agree(row, args.device) if row.agreement else measure(row, args.device, args.profile)))
        return
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for row in rows_of(args, Path(folder)):
            line = row and run_row(row, args.device, args.limit, args.profile)
            failed |= line is None
            if line is not None:
                print(line, flush=True)
                if args.output:
                    with args.output.open("a") as stream:
                        stream.write(line + "\n")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
