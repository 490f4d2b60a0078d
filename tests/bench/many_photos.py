"""Times of many photos at once, from files to Scene without the sweep of the views, and how right the cameras are where the truth is known.

    python tests/bench/many_photos.py                                  the walks of the generator alone
    python tests/bench/many_photos.py --data DIR [FOLDER ...]          with fountain, nyu and sevenscenes of DIR, and any folders of photos
    python tests/bench/many_photos.py --device cuda --frames 8 100 300

Every row is a process of its own (the memory is its peak) that runs the job twice after one small one; the better time counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SETS = (("strecha_fountain_p11", 8), ("nyu_deepv2d_2", 8), ("sevenscenes_tsdf", 20))


def photos_of(folder: Path, count: int | None) -> list[Path]:
    inner = folder / "images" if (folder / "images").is_dir() else folder
    return sorted(p for p in inner.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))[:count]


def truth_of(folder: Path, count: int) -> np.ndarray | None:  # [V, 4, 4]
    for name in ("truth.npz", "cameras.json"):
        if (folder / name).is_file():
            if name.endswith("npz"):
                return np.load(folder / name)["cam_to_world"][:count]
            return np.array([r["T_world_from_cam"] for r in json.loads((folder / name).read_text())[:count]], float)
    return None


def measure(folder: Path, count: int | None, device: str, pairs: str) -> dict:
    """One row, in this process."""
    import torch

    from recon.models import load_model
    from recon.photos.grid import load_images
    from recon.reconstruct import reconstruct

    photos = photos_of(folder, count)
    net = load_model("recon-small", device=device)
    reconstruct(load_images(photos[:2]), model=net, surfaces="pointmap")
    row: dict = {"photos": len(photos), "name": folder.name, "seconds": float("inf")}
    for _ in range(2):
        marks: list[tuple[str, float]] = []
        start, cpu = time.perf_counter(), time.process_time()
        tell = lambda text, share, marks=marks: marks.append((text, time.perf_counter()))
        scene = reconstruct(load_images(photos), model=net, surfaces="pointmap", pairs=pairs, progress=tell)  # type: ignore[arg-type]
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        spent = time.perf_counter() - start
        if spent < row["seconds"]:
            first = {text: at for text, at in reversed(marks)}
            ends = [*list(first.values())[::-1], time.perf_counter()]
            stages = dict(zip(list(first)[::-1], np.diff(ends).round(2).tolist(), strict=False))
            row |= {"seconds": round(spent, 2), "cpu_seconds": round(time.process_time() - cpu, 2), "stages": stages}
    row["gigabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return row | accuracy(scene, truth_of(folder, len(photos)))


def accuracy(scene, truth: np.ndarray | None) -> dict:
    """Views placed; with a truth the largest error of centres by the extent and of rotations in degrees, after Sim(3)."""
    from recon.evaluate import align_sim3, camera_centre_errors, rotation_error_degrees

    T = scene.cameras.cam_to_world.double().cpu().numpy()
    good = np.isfinite(T).all((1, 2))
    out: dict = {"placed": int(good.sum())}
    if truth is not None and good.sum() >= 3:
        errors = camera_centre_errors(T, truth)[good]
        _, R, _ = align_sim3(T[good, :3, 3], truth[good, :3, 3])
        turns = [rotation_error_degrees(R @ a[:3, :3], b[:3, :3]) for a, b in zip(T[good], truth[good], strict=True)]
        out |= {"centre_mean": round(float(errors.mean()), 5), "centre_max": round(float(errors.max()), 5), "degrees_max": round(max(turns), 3)}
    return out


def make_walk(folder: Path, frames: int, textures: Path | None) -> Path:
    """A walk of so many frames on disk, with its truth."""
    sys.path.insert(0, str(Path(__file__).parent))
    from walks import walk_round

    target = folder / f"walk_{frames}"
    target.mkdir()
    walk = walk_round(frames, textures=textures)
    walk.write(target)
    np.savez(target / "truth.npz", K=walk.K, cam_to_world=walk.cam_to_world)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of photos, measured whole")
    parser.add_argument("--data", type=Path, help="the folder of `recon eval`, of which fountain, nyu and sevenscenes are taken")
    parser.add_argument("--frames", type=int, nargs="*", default=[50], help="lengths of walks of the generator")
    parser.add_argument("--textures", type=Path, help="a pack of textures for the walks (default: noise)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--row", nargs=3, metavar=("FOLDER", "COUNT", "PAIRS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        count = int(args.row[1]) or None
        print(json.dumps(measure(Path(args.row[0]), count, args.device, args.row[2])))
        return
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(f, 0, "auto") for f in args.folders]
        if args.data:
            there = {p.name: p for p in args.data.rglob("*") if p.is_dir()}
            jobs += [(there[name], count, "auto") for name, count in SETS if name in there]
        jobs += [(make_walk(Path(folder), n, args.textures), 0, "sequence") for n in args.frames]
        for job in jobs:
            command = [sys.executable, __file__, "--device", args.device, "--row", *map(str, job)]
            done = subprocess.run(command, capture_output=True, text=True)
            failed = f"{job[0].name}: {(done.stderr.strip() or 'no word').splitlines()[-1]}"
            print(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else failed, flush=True)


if __name__ == "__main__":
    main()
