"""The README's picture of meshes, docs/meshes.jpg: a photo, the textured mesh from its camera and from the side, the same shaded; a row a set.

    PYTHONPATH=. python tests/bench/mesh_contact.py FOLDER TARGET.jpg [--meshes DIR]

From eight photos a set and nothing else. One line of figures a set is printed; --meshes keeps the GLB files.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mesh_pictures import draw, side_of  # noqa: E402  # pyright: ignore[reportMissingImports]
from meshes import PHOTOS, VIEWS  # noqa: E402  # pyright: ignore[reportMissingImports]

import recon  # noqa: E402
from recon.evaluate import read_sets  # noqa: E402
from recon.meshes.texture import draw_mesh  # noqa: E402

WIDTH, QUALITY = 310, 80


def row(scene: recon.Scene, mesh: recon.Mesh, view: int) -> np.ndarray:  # -> [h, 4 WIDTH, 3] 0..1
    """Photo, mesh from there, from the side, from the side shaded."""
    assert scene.images is not None
    c = scene.cameras
    height = round(WIDTH * c.height / c.width)
    K, T = c.K[[view]].float().clone(), c.cam_to_world[[view]].float()
    K[:, 0] *= WIDTH / c.width
    K[:, 1] *= height / c.height
    side = side_of(scene, view)
    cameras = recon.Cameras(K=K.expand(2, 3, 3).contiguous(), cam_to_world=torch.cat([T, side]), width=WIDTH, height=height)
    photo = cv2.resize(scene.images.rgb[view].numpy(), (WIDTH, height), interpolation=cv2.INTER_AREA)
    shown = draw_mesh(mesh, cameras, background=(1.0, 1.0, 1.0)).color.numpy()
    shaded = draw(mesh, K[0], side[0], WIDTH, height, shaded=True)
    return np.concatenate([photo, *shown, shaded], 1)


def brightness(scene: recon.Scene, mesh: recon.Mesh) -> tuple[float, float]:
    """Difference of mean brightness between the mesh and the splats at the input cameras: over all of them, and in the worst view."""
    assert scene.gaussians is not None
    good = [v for v, by in enumerate(scene.cameras.placed_by) if by != "unplaced"]
    cameras = replace(scene.cameras[good], lenses=())
    splats, drawn = recon.render(scene.gaussians, cameras, backend="cpu"), draw_mesh(mesh, cameras)
    both = (drawn.alpha > 0.99) & (splats.alpha > 0.9)
    off = lambda a, b, m: abs(float(a[m].mean() / b[m].mean()) - 1)
    shown = splats.color.clamp(0, 1)
    return off(drawn.color, shown, both), max(map(off, drawn.color, shown, both))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--meshes", type=Path, help="folder to keep the meshes in")
    args = parser.parse_args()
    rows = []
    for photos in sorted(read_sets(args.folder, PHOTOS), key=lambda photos: PHOTOS.index(photos.name)):
        start = time.process_time()
        scene = recon.reconstruct([v.photo for v in photos.views[:VIEWS]])
        made = time.process_time()
        mesh = recon.fuse(scene)
        done = time.process_time()
        rows.append(row(scene, mesh, len(scene) // 2))
        times = f"network {made - start:.1f} CPU s, mesh {done - made:.1f} CPU s"
        whole, worst = brightness(scene, mesh)
        print(f"{photos.name}: {len(mesh.faces):,} faces, {times}, brightness off by {whole:.2%}, worst view {worst:.2%}", flush=True)
        if args.meshes:
            args.meshes.mkdir(parents=True, exist_ok=True)
            recon.save(replace(scene, mesh=mesh), args.meshes / f"{photos.name}.glb", kind="mesh")
    picture = (np.concatenate(rows, 0)[..., ::-1].clip(0, 1) * 255).round().astype(np.uint8)
    cv2.imwrite(str(args.target), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 0


if __name__ == "__main__":
    sys.exit(main())
