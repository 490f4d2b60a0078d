"""Damages small files of every format and reads them: only a scene or a FileError may come of it. Run by hand for long, by CI for short:

    python tests/io/fuzz.py --count 1000000 --seed 0 --log fuzz.log
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import logging
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import recon.io as io
from recon.errors import FileError
from recon.io.inspect import inspect

HANG_SECONDS = 5
WORDS = [
    b"-1", b"0", b"4294967295", b"99999999999999", b"1e400", b"nan", b"inf", b"1.5", b"x", b"", b"[]", b"{}", b'"a"', b"null", b"true", b"\0",
    b"\xff",
]  # fmt: skip


def corpus(folder: Path) -> dict[str, list[Path]]:
    """Format -> the files that are damaged, the first of them the one that is read (of folders: the folder and then its files)."""
    spec = importlib.util.spec_from_file_location("io_scenes", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    scenes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scenes)
    splats, views = scenes.splat_scene(6, degree=1), scenes.view_scene(2, 8, 6, with_tracks=True)
    sphere, textured = (scenes.Scene(cameras=scenes.no_cameras(), mesh=mesh) for mesh in (scenes.sphere_mesh(3), scenes.textured_mesh(3)))
    files = {
        "a.ply": splats, "b.compressed.ply": splats, "c.splat": splats, "d.spz": splats, "e.sog": splats, "f.points.ply": views, "g.mesh.ply": sphere,
        "h.glb": splats, "i.glb": sphere, "j.gltf": textured, "k.points.glb": views, "l.obj": textured, "m.npz": views, "n.cameras.json": views,
        "o/transforms.json": views, "p_colmap": views, "q_colmap_binary": views, "r_depth_npy": views,
    }  # fmt: skip
    out = {}
    for name, scene in files.items():
        path = folder / name[0] / name.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        io.save(scene, path, **({"encoding": "ascii"} if name == "g.mesh.ply" else {}))
        inner = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in (".txt", ".bin", ".json", ".npy") and p.name != ".recon")
        out[name] = [path, *(inner if path.is_dir() else [p for p in path.parent.iterdir() if p.suffix in (".mtl", ".png") or p.name == path.name])]
    for name, content in strangers().items():
        path = folder / "s" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        out[name] = [path, path]
    return out


def strangers() -> dict[str, bytes]:
    """Small files of kinds that recon does not write."""
    import json
    import struct

    ksplat = bytearray(4096 + 1024 + 44)
    ksplat[1] = 1
    struct.pack_into("<4I", ksplat, 4, 1, 1, 1, 1)
    struct.pack_into("<4I", ksplat, 4096, 1, 1, 0, 0)
    ksplat[-44:] = struct.pack("<3f3f4f4B", 0, 0, 4, 0.1, 0.1, 0.1, 1, 0, 0, 0, 200, 100, 50, 255)
    camera = {"camera_to_world": np.eye(4).flatten().tolist(), "fov": 60}
    path = {"camera_type": "perspective", "render_width": 8, "render_height": 6, "camera_path": [camera]}
    lens = {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.0, "fl_x": 5, "w": 8, "h": 6, "frames": [{"transform_matrix": np.eye(4).tolist()}]}
    sparse = {
        "asset": {"version": "2.0"}, "nodes": [{"mesh": 0}],
        "buffers": [{"byteLength": 28, "uri": "data:application/octet-stream;base64," + base64.b64encode(bytes(28)).decode()}],
        "bufferViews": [{"buffer": 0, "byteLength": 4}, {"buffer": 0, "byteOffset": 4, "byteLength": 24}],
        "accessors": [{"componentType": 5126, "count": 4, "type": "VEC3", "sparse": {
            "count": 2, "indices": {"bufferView": 0, "componentType": 5123}, "values": {"bufferView": 1}}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}],
    }  # fmt: skip
    strips = b"ply\nformat ascii 1.0\nelement vertex 4\nproperty double x\nproperty double y\nproperty double z\nelement tristrips 1\n"
    strips += b"property list int int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n6 0 1 2 -1 1 2\n"
    concave = b"v 0 0 0\nv 4 0 0\nv 4 4 0\nv 2 1 0\nv 0 4 0\nf 1 2 3 4 5\n"
    return {
        "a.ksplat": bytes(ksplat), "camera_path.json": json.dumps(path).encode(), "fisheye.json": json.dumps(lens).encode(),
        "sparse.gltf": json.dumps(sparse).encode(), "strips.ply": strips, "concave.obj": concave,
    }  # fmt: skip


def damaged(content: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """A few changes: bytes, runs, words for numbers, copies, cuts, and pieces of other files."""
    out = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 8])):
        size = len(out)
        at, kind = draw.randrange(size + 1), draw.randrange(8)
        if kind == 0 and size:
            out[min(at, size - 1)] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256)])
        elif kind == 1:
            out[at : at + draw.randrange(9)] = draw.randbytes(draw.randrange(9))
        elif kind == 2:
            out[at:at] = draw.choice(WORDS)
        elif kind == 3:
            end = at
            while end < size and chr(out[end]) in "0123456789.+-eE":
                end += 1
            out[at:end] = draw.choice(WORDS)
        elif kind == 4:
            del out[at : at + draw.choice([1, 4, 40, size])]
        elif kind == 5:
            out[at:at] = out[at : at + draw.choice([4, 16, 64])] * draw.choice([1, 2, 20])
        elif kind == 6 and size >= 4:
            place = min(at, size - 4)
            out[place : place + 4] = draw.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, draw.randrange(1 << 32)]).to_bytes(4, "little")
        else:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            out[at : at + draw.randrange(64)] = other[start : start + 64]
    return bytes(out)


def fuzz(count: int, seed: int, log: Callable[[str], None] = print) -> int:
    """How many of `count` damaged files gave anything but a scene or a FileError; each is told with its number, which makes it again."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="recon-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    outcome, crashes, slowest = Counter(), 0, 0.0
    signal.signal(signal.SIGALRM, _hang)
    try:
        files = corpus(folder)
        names, contents = list(files), {path: path.read_bytes() for paths in files.values() for path in paths if path.is_file()}
        others = list(contents.values())
        began = time.perf_counter()
        for number in range(count):
            draw = random.Random(f"{seed} {number}")
            name = names[number % len(names)]
            target, *inner = files[name]
            victim = draw.choice(inner)
            victim.write_bytes(damaged(contents[victim], draw, others))
            start = time.perf_counter()
            signal.alarm(HANG_SECONDS)
            try:
                inspect(target) if draw.random() < 0.2 else io.load(target, repair=draw.random() < 0.5)
                outcome["read"] += 1
            except FileError as error:
                outcome["refused"] += 1
                if "\n" in str(error) or re.search(r"<_io|\bNone\b|\b[A-Z]\w+Error\b|dtype", str(error)):
                    crashes += 1
                    log(f"{seed} {number} {name}: the message {str(error)!r}")
            except BaseException as error:
                crashes += 1
                log(f"{seed} {number} {name} ({victim.name}): {type(error).__name__}: {error}")
                if isinstance(error, KeyboardInterrupt):
                    raise
            finally:
                signal.alarm(0)
                victim.write_bytes(contents[victim])
            slowest = max(slowest, time.perf_counter() - start)
            if (number + 1) % 50_000 == 0:
                log(f"{number + 1} inputs in {time.perf_counter() - began:.0f} s: {dict(outcome)}, {crashes} crashes, slowest {slowest:.2f} s")
        log(f"seed {seed}: {count} inputs over {len(names)} kinds of files: {dict(outcome)}, {crashes} crashes, slowest {slowest:.2f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        logging.disable(logging.NOTSET)
    return crashes


def _hang(*_: object) -> None:
    raise TimeoutError(f"longer than {HANG_SECONDS} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    args = parser.parse_args()

    def write(line: str) -> None:
        print(line, flush=True)
        if args.log:
            with open(args.log, "a") as file:
                file.write(line + "\n")

    sys.exit(1 if fuzz(args.count, args.seed, write) else 0)
