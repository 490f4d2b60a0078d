"""Figures of the meshes, one command: known shapes, scanned objects from their true depth, scenes from photos, cost.

    PYTHONPATH=. python tests/bench/meshes.py FOLDER [--parts objects,photos,cost] [--pictures DIR] [--output FILE]

FOLDER (or $RECON_EVAL_DATA) holds the sets as `recon eval` takes them. One row a set and part is printed as it is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from mesh_figures import Row, compare  # noqa: E402  # pyright: ignore[reportMissingImports]
from mesh_pictures import sides  # noqa: E402  # pyright: ignore[reportMissingImports]
from surface_views import posed  # noqa: E402  # pyright: ignore[reportMissingImports]

import recon  # noqa: E402
from recon.evaluate import PhotoSet, align_sim3, read_sets  # noqa: E402

LONG_SIDE, VIEWS = 512, 8
YCB = ("ycb_003_cracker_box", "ycb_004_sugar_box")
PHOTOS = ("strecha_fountain_p11", "vork_mary_rose", "ycb_003_cracker_box", "sevenscenes_tsdf")
PARTS = ("objects", "photos", "cost")
BARS = {"objects": ("chamfer", 0.01), "cost": ("geometry_s", 35.0)}


def folder_of(photos: PhotoSet) -> Path:
    """Where the set lies."""
    return photos.views[0].photo.parent.parent


def true_scene(photos: PhotoSet) -> recon.Scene:
    """The photos with their true cameras and depth."""
    images, cameras = posed(photos.views, LONG_SIDE)
    depth = torch.from_numpy(np.stack([np.load(str(v.depth))["depth"] for v in photos.views])).float()
    return recon.Scene(cameras=cameras, images=images, depth=depth)


def object_row(photos: PhotoSet, method: str) -> Row:
    """The mesher alone: true depth in, distance to the true mesh out."""
    scene, truth = true_scene(photos), recon.load(folder_of(photos) / "mesh.obj", axes="opencv").mesh
    assert truth is not None
    start = time.process_time()
    mesh = recon.fuse(scene, method=method, texture=False)  # type: ignore[arg-type]
    seconds = time.process_time() - start
    return {**compare(mesh, truth), "faces": len(mesh.faces), "cpu_s": seconds}


def photo_row(photos: PhotoSet, pictures: Path | None) -> Row:
    """From photos alone; where there is a true mesh, the distance to it after aligning the cameras."""
    scene = recon.reconstruct([v.photo for v in photos.views[:VIEWS]])
    start = time.process_time()
    mesh = recon.fuse(scene, texture=False)
    row: Row = {"placed": sum(by != "unplaced" for by in scene.cameras.placed_by), "faces": len(mesh.faces), "cpu_s": time.process_time() - start}
    if pictures is not None:
        sides(mesh, scene, pictures / f"mesh_{photos.name}.jpg")
    if (folder_of(photos) / "mesh.obj").is_file():
        truth = recon.load(folder_of(photos) / "mesh.obj", axes="opencv").mesh
        assert truth is not None
        row |= compare(aligned(mesh, scene, photos), truth)
    return row


def aligned(mesh: recon.Mesh, scene: recon.Scene, photos: PhotoSet) -> recon.Mesh:
    """The mesh in the world of the true cameras."""
    good = [v for v, by in enumerate(scene.cameras.placed_by) if by != "unplaced"]
    found = scene.cameras.cam_to_world[good, :3, 3].double().numpy()
    scale, R, t = align_sim3(found, np.stack([photos.views[v].cam_to_world[:3, 3] for v in good]))
    vertices = scale * mesh.vertices.double().numpy() @ R.T + t
    return replace(mesh, vertices=torch.from_numpy(vertices).float())


def cost_row(photos: PhotoSet) -> Row:
    """Eight views at 512 px to 100,000 faces: CPU seconds without the network's, and the peak of memory."""
    scene = recon.reconstruct([v.photo for v in photos.views[:VIEWS]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    times: dict[str, float] = {}
    for name in ("first", "second"):
        start = time.process_time()
        mesh = recon.fuse(scene, texture=False)
        times[name] = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"geometry_s": times["first"], "again_s": times["second"], "faces": len(mesh.faces), "peak_gb": peak, "peak_before_gb": before}


def rows(part: str, folder: Path, pictures: Path | None) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The rows of a part and the work for each."""
    if part == "objects":
        for s in read_sets(folder, YCB):
            for method in ("tsdf", "poisson"):
                yield f"{s.name} {method}", lambda s=s, method=method: object_row(s, method)
    elif part == "photos":
        for s in read_sets(folder, PHOTOS):
            yield s.name, lambda s=s: photo_row(s, pictures)
    else:
        for s in read_sets(folder, PHOTOS[:1]):
            yield s.name, lambda s=s: cost_row(s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=os.environ.get("RECON_EVAL_DATA"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.folder is None:
        parser.error("the folder of sets is missing")
    out, good = [], True
    for part in args.parts.split(","):
        for name, work in rows(part, Path(args.folder), args.pictures):
            row = work()
            figure, bar = BARS.get(part, ("", 0.0))
            holds = not figure or row[figure] <= bar
            good &= holds
            out.append({"part": part, "set": name, **row, "holds": holds})
            print(part, name, {k: round(v, 5) for k, v in row.items()}, "" if holds else f"above the bar {bar}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(out, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
