"""Figures of mesh textures: pictures from known scenes, from views that gave no texture, seams, seconds and memory, brightness against the splats.

    PYTHONPATH=. python tests/bench/mesh_texture.py [FOLDER] [--parts known,held,seams,cost,brightness] [--pictures DIR] [--output FILE]

FOLDER (or $RECON_EVAL_DATA) holds objects_gt/ycb_*, which the parts held and brightness and a row of seams need. One row is printed as it is
measured, with its bar; the exit code says whether all bars hold. Seconds are of the CPU: other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "meshes"), str(HERE.parent.parent)]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from texture_scenes import around, inside, photographed, psnr, room, seam_steps, slanted, sphere  # noqa: E402  # pyright: ignore[reportMissingImports]

import recon.io as io  # noqa: E402
from recon.evaluate import read_set  # noqa: E402
from recon.io.gltf import to_linear, to_srgb  # noqa: E402
from recon.meshes.texture import draw_mesh, texture_mesh  # noqa: E402
from recon.photos.grid import load_images  # noqa: E402
from recon.scene import Cameras, Gaussians, Images, Mesh, Scene  # noqa: E402

PARTS = ("known", "held", "seams", "cost", "brightness")
BARS = {"known_db": 27, "held_db": 22, "seam_ratio": 1.5, "cpu_s": 20, "peak_gb": 4, "brightness_off": 0.03}  # dB at least, others at most
YCB, HELD = ("ycb_003_cracker_box", "ycb_004_sugar_box"), (1, 6, 11)  # of 16 views
STOPS = [-0.5, 0.3, 0.5, -0.2, 0.1, 0.4, -0.4, 0.0]
FACES, PHOTO, SIDE = 100_000, 3072, 512
Row = dict[str, Any]


def known(pictures: Path | None) -> Iterator[tuple[str, Row]]:
    """Re-rendered at the input cameras, in dB, the worst view."""
    scenes: dict[str, tuple[Mesh, Cameras]] = {
        "sphere": (sphere(5), around(8, 256)), "box room": (room(), inside(8, 256)), "bumpy object": (sphere(5, bumps=0.2), around(8, 256))
    }  # fmt: skip
    for name, (mesh, cameras) in scenes.items():
        scene = photographed(mesh, cameras, wavelength=0.4)
        out = texture_mesh(mesh, scene)
        show(pictures, name, scene, out)
        yield name, {"known_db": min(psnr(scene, draw_mesh(out, cameras))), "faces": len(out.faces), "texture": list(out.texture.shape[:2])}


def ycb(folder: Path, name: str, chosen: list[int]) -> tuple[Scene, Mesh]:
    """Some views of a scanned box with true depth and cameras, and its mesh without texture."""
    root = folder / "objects_gt" / name
    views = [read_set(root).views[i] for i in chosen]
    images = load_images([v.photo for v in views], long_side=512)
    height, width = images.rgb.shape[1:3]
    cameras = Cameras(K=np.stack([v.K for v in views]), cam_to_world=np.stack([v.cam_to_world for v in views]), width=width, height=height)
    depth = np.stack([np.load(v.depth)["depth"] for v in views if v.depth is not None])
    mesh = io.load(root / "mesh.obj", axes="opencv").mesh
    assert mesh is not None
    return Scene(cameras=cameras, images=images, depth=depth), Mesh(vertices=mesh.vertices, faces=mesh.faces)


def given_and_held(folder: Path, name: str) -> tuple[Scene, Scene, Mesh]:
    held, mesh = ycb(folder, name, list(HELD))
    return ycb(folder, name, [i for i in range(16) if i not in HELD])[0], held, mesh


def held(folder: Path, pictures: Path | None) -> Iterator[tuple[str, Row]]:
    """Views that gave no texture, in dB, the worst; and the other half of the views, which see the boxes from higher up: their lids are unknown."""
    for name in YCB:
        scene, other, mesh = given_and_held(folder, name)
        out = texture_mesh(mesh, scene)
        show(pictures, name, other, out)
        worst = min(psnr(other, draw_mesh(out, other.cameras)))
        low, high = (ycb(folder, name, list(range(start, 16, 2)))[0] for start in (0, 1))
        half = psnr(high, draw_mesh(texture_mesh(mesh, low), high.cameras))
        yield name, {"held_db": worst, "own_db": min(psnr(scene, draw_mesh(out, scene.cameras))), "without_lid_db": float(np.mean(half))}


def seams(folder: Path | None, pictures: Path | None) -> Iterator[tuple[str, Row]]:
    """Steps across borders over steps inside, one and four texels (beyond the feather) from the edges, photos a stop apart and slanted."""
    mesh, cameras = sphere(5, bumps=0.2), around(8, 256)
    scenes = {
        name: (mesh, photographed(mesh, cameras, wavelength=w, octaves=o, stops=slanted(STOPS, 256)))
        for name, w, o in (("smooth object", 1.0, 2), ("detailed object", 0.3, 5))
    }
    if folder is not None:
        scene, _, box = given_and_held(folder, YCB[0])
        assert scene.images is not None
        light = 2.0 ** torch.from_numpy(np.resize(np.array(STOPS), len(scene)))[:, None, None, None]
        rgb = torch.from_numpy(to_srgb((torch.from_numpy(to_linear(scene.images.rgb.numpy())) * light).clamp(max=1).numpy()))
        scenes[YCB[0]] = (box, replace(scene, images=replace(scene.images, rgb=(rgb * 255).round() / 255, photos=(), files=())))
    for name, (surface, scene) in scenes.items():
        out = texture_mesh(surface, scene)
        show(pictures, f"seams {name}", scene, out)
        near, far = (seam_steps(out, distance) for distance in (1.0, 4.0))
        row = {"border": near[0], "inside": near[1], "border_4": far[0], "inside_4": far[1]}
        yield name, {"seam_ratio": max(near[0] / near[1], far[0] / far[1]), **row}


def cost() -> Iterator[tuple[str, Row]]:
    """A rough surface of 100,000 faces with eight photos of 3072 x 3072, compiled before; memory is the whole process's peak."""
    import trimesh

    ball = trimesh.creation.uv_sphere(count=[160, 158])
    p = np.asarray(ball.vertices)
    bumps = 0.2 * np.sin(5 * p[:, :1]) * np.sin(4 * p[:, 1:2] + 1) * np.sin(6 * p[:, 2:] + 2)
    mesh = Mesh(vertices=p * (1 + bumps) + np.random.default_rng(0).normal(size=p.shape) * 0.002, faces=np.asarray(ball.faces))
    cameras = around(8, SIDE)
    small = photographed(mesh, cameras)
    assert small.images is not None
    photos = tuple(cv2.resize((x.numpy() * 255).astype(np.uint8), (PHOTO, PHOTO), interpolation=cv2.INTER_CUBIC) for x in small.images.rgb)
    sides, scale = torch.full((8,), PHOTO), torch.full((8, 2), SIDE / PHOTO)
    images = Images(rgb=small.images.rgb, mask=small.images.mask, photos=photos, photo_width=sides, photo_height=sides, grid_scale=scale)
    scene = Scene(cameras=cameras, images=images, depth=small.depth)
    texture_mesh(sphere(3), photographed(sphere(3), around(3, 64)))
    start, clock = time.process_time(), time.perf_counter()
    out = texture_mesh(mesh, scene)
    row = {"cpu_s": time.process_time() - start, "wall_s": time.perf_counter() - clock}
    row |= {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "faces": len(out.faces), "texture": list(out.texture.shape[:2])}
    yield f"{len(mesh.faces):,} faces", row


def brightness(folder: Path) -> Iterator[tuple[str, Row]]:
    """The GLB, loaded back, against `recon.render` of one Gaussian a pixel at the input cameras: the largest difference of mean brightness."""
    from recon.geometry import invert_K, pixel_grid
    from recon.render import render
    from recon.surfaces.pixel_gaussians import pixel_gaussians

    for name in YCB:
        scene, _, mesh = given_and_held(folder, name)
        assert scene.images is not None and scene.depth is not None
        c = scene.cameras
        xy = pixel_grid(c.height, c.width).reshape(-1, 2)
        rays = torch.cat([xy, torch.ones(len(xy), 1)], 1) @ invert_K(c.K).transpose(1, 2)
        points = rays.unflatten(1, (c.height, c.width)) * scene.depth[..., None]
        mask = scene.images.mask & (scene.depth > 0)
        parts = pixel_gaussians(points, scene.images.rgb, torch.full(mask.shape, 20.0), mask, c.K, c.cam_to_world)
        splats = render(Gaussians(**dict(zip(("means", "quats", "scales", "opacities", "sh"), parts, strict=True))), c, backend="cpu")
        with tempfile.TemporaryDirectory() as there:
            io.save(replace(scene, mesh=texture_mesh(mesh, scene)), Path(there) / "a.glb", kind="mesh")
            loaded = io.load(Path(there) / "a.glb").mesh
        assert loaded is not None
        drawn = draw_mesh(loaded, c)
        both = (drawn.alpha > 0.99) & (splats.alpha > 0.9)
        off = [float(a[m].mean() / b[m].mean() - 1) for a, b, m in zip(drawn.color, splats.color, both, strict=True)]
        yield name, {"brightness_off": max(map(abs, off)), "mean": float(np.mean(off))}


def show(folder: Path | None, name: str, scene: Scene, mesh: Mesh) -> None:
    """Writes photos above the mesh from the same places, and the atlas."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    assert scene.images is not None and mesh.texture is not None
    few = list(range(0, len(scene), max(1, len(scene) // 4)))[:4]
    drawn = draw_mesh(mesh, scene.cameras[few], background=(1.0, 1.0, 1.0)).color
    rows = [torch.cat(list(pictures), 1) for pictures in (scene.images.rgb[few], drawn)]
    for ending, picture in (("views", torch.cat(rows, 0)), ("atlas", mesh.texture)):
        cv2.imwrite(str(folder / f"{name} {ending}.png"), (picture.clamp(0, 1) * 255).round().byte().numpy()[..., ::-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=os.environ.get("RECON_EVAL_DATA"))
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated (default: all, %(default)s)")
    parser.add_argument("--pictures", type=Path, help="folder for pictures")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    data, parts = args.data and Path(args.data), args.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"unknown parts {', '.join(unknown)}; some of: {', '.join(PARTS)}")
    if data is None and {"held", "brightness"} & set(parts):
        parser.error("the parts held and brightness need FOLDER")
    works: dict[str, Callable[[], Iterator[tuple[str, Row]]]] = {
        "known": lambda: known(args.pictures), "held": lambda: held(data, args.pictures), "seams": lambda: seams(data, args.pictures), "cost": cost,
        "brightness": lambda: brightness(data),
    }  # fmt: skip
    rows, fine = [], True
    for part in parts:
        for name, row in works[part]():
            judged = {key: (row[key] >= bar if key.endswith("_db") else row[key] <= bar) for key, bar in BARS.items() if key in row}
            fine &= all(judged.values())
            told = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            marks = ", ".join(f"{'PASS' if ok else 'FAIL'} {key} (bar {BARS[key]})" for key, ok in judged.items())
            print(f"{part:10s} {name:20s} {told} | {marks}", flush=True)
            rows.append({"part": part, "name": name, **row})
    if args.output:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
        result = {"device": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "commit": commit, "rows": rows}
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
