"""Pictures or a video of a scene's Gaussians, along a path of cameras around the scene's own centre and up."""

from __future__ import annotations

import argparse
import logging
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.commands import UsageError
from recon.commands.output import add_overwrite_argument, progress, say, told_warnings

if TYPE_CHECKING:
    from recon.io.options import Axes
    from recon.scene import Cameras, Scene


log = logging.getLogger(__name__)
AXES = ("opencv", "y-up", "z-up")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", help="a file or folder with Gaussians (ply, splat, spz, sog, glb, npz ...)")
    path = parser.add_mutually_exclusive_group()
    path.add_argument("--orbit", action="store_const", dest="path", const="orbit", help="one turn around the scene (default without cameras)")
    path.add_argument("--spiral", action="store_const", dest="path", const="spiral", help="two turns that come closer and sink")
    path.add_argument("--wobble", action="store_const", dest="path", const="wobble", help="a small circle at the first camera (default with cameras)")
    path.add_argument("--input-cameras", action="store_const", dest="path", const="input", help="the scene's own cameras, smoothly with --frames")
    path.add_argument("--path", dest="cameras", metavar="FILE", help="cameras of a file: cameras.json, transforms.json, a COLMAP folder, npz")
    parser.add_argument("-o", "--output", default="render.mp4", help=".mp4, .mov, .gif, one .png, .jpg or .webp, or a folder (default: render.mp4)")
    parser.add_argument("--axes", choices=AXES, help="world of the scene's numbers (default: its format's)")
    parser.add_argument("--path-axes", choices=AXES, help="world of the numbers in --path (default: the scene's or its format's)")
    parser.add_argument("--size", help="WIDTHxHEIGHT (default: that of the cameras in --path, else 1280x720)")
    parser.add_argument("--drop-outliers", action="store_true", help="leave out what lies far from everything else")
    parser.add_argument("--repair", action="store_true", help="leave out what is not finite instead of stopping")
    parser.add_argument("--frames", type=int, help="pictures (default: 120; with --path or --input-cameras: as many as there are cameras)")
    parser.add_argument("--fps", type=float, default=30.0, help="pictures a second (default: 30)")
    parser.add_argument("--fov", type=float, default=50.0, help="degrees across the shorter side, for --orbit and --spiral (default: 50)")
    parser.add_argument("--distance", type=float, default=2.6, help="from the centre, in radii of the scene (default: 2.6)")
    parser.add_argument("--background", default="0,0,0", help="red,green,blue from 0 to 1, or transparent (default: 0,0,0)")
    parser.add_argument("--antialiased", action="store_true", help="the opacity that mip-splatting trains for")
    parser.add_argument("--surfels", action="store_true", help="draw the Gaussians as flat discs")
    add_overwrite_argument(parser)
    parser.add_argument("--backend", choices=("auto", "torch", "cpu", "gsplat", "cuda"), default="auto", help="the renderer (default: auto)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda when there is one)")


def run(args: argparse.Namespace) -> int:
    asked = _size(args.size) if args.size else None
    background = _background(args.background)
    if args.frames is not None and args.frames < 1:
        raise UsageError(f"--frames is {args.frames}, wanted at least 1")
    from recon import io
    from recon.io.guard import Guard
    from recon.reconstruct import pick_device
    from recon.render import Renderer, video

    target = Path(args.output)
    guard = Guard([args.scene, *([args.cameras] if args.cameras else [])], overwrite=args.overwrite)
    with told_warnings() as warnings:
        scene = io.load(Path(args.scene), axes=args.axes, repair=args.repair, drop_outliers=args.drop_outliers)
        path = _path_cameras(args, scene)
    if scene.gaussians is None or not len(scene.gaussians):
        from recon.errors import ReconError

        raise ReconError(f"{args.scene} holds no Gaussians to render")
    width, height = asked or ((path.width, path.height) if path is not None and args.cameras else (1280, 720))
    if args.frames is None and video.kind_of(target) == "picture":
        args.frames, path = 1, None if path is None else path[:1]
    cameras = _cameras(args, scene, path, width, height)
    video.check_target(target, width=width, height=height, frames=len(cameras), transparent=background is None, guard=guard)
    device = "cpu" if args.backend == "cpu" else pick_device(args.device)
    options: dict[str, Any] = {
        "width": width, "height": height, "backend": args.backend, "background": background or (0.0, 0.0, 0.0), "antialiased": args.antialiased,
        "primitive": "surfel" if args.surfels or scene.report.get("surfels") else "gaussian",
    }  # fmt: skip
    begin = time.perf_counter()
    tell = progress(args)
    renderer = Renderer(scene.gaussians.to(device), **options)
    pictures = renderer.pictures(cameras, transparent=background is None, progress=lambda share: tell("rendering", share))
    files = video.write(pictures, target, fps=args.fps, guard=guard)
    seconds = time.perf_counter() - begin
    result = {"files": [str(f) for f in files], "frames": len(cameras), "width": width, "height": height, "seconds": seconds}
    lines = [f"{target}: {len(cameras)} pictures of {width} x {height} in {seconds:.1f} s", *(f"warning: {text}" for text in warnings)]
    say(args, {**result, "warnings": warnings}, lines)
    return 0


def _path_cameras(args: argparse.Namespace, scene: Scene) -> Cameras | None:
    """The cameras of --path in the scene's world, or the scene's own for --input-cameras; None for the paths around it."""
    if not args.cameras:
        return scene.cameras if args.path == "input" else None
    return cameras_of_file(Path(args.cameras), scene, Path(args.scene), axes=args.path_axes)


def cameras_of_file(path: Path, scene: Scene, source: Path, *, axes: Axes | None = None, option: str = "path_axes") -> Cameras:
    """The cameras of a file as pinholes in the world of a scene that was loaded from `source`; `option` turns their numbers. Raises FileError."""
    from recon import io

    known = axes or ("opencv" if io.in_numbers_of_trainer(source, path) else None)
    if known and not axes:
        log.warning('%s is read in the world of its numbers, in which trainers make splats; %s="z-up" turns it', path, option)
    found = io.load(path, axes=known)
    cameras = moved_to(found.cameras, found.offset, scene.offset)
    if cameras.lenses:
        log.warning("%s: the distortion of its lenses is left out: pictures are drawn as pinholes see them", path)
    return cameras


def moved_to(cameras: Cameras, offset: tuple[float, float, float], other: tuple[float, float, float]) -> Cameras:
    """Cameras of a world with one offset in that with another."""
    import torch

    if offset == other:
        return cameras
    poses = cameras.cam_to_world.double().clone()
    poses[:, :3, 3] += torch.tensor(offset, dtype=torch.float64) - torch.tensor(other, dtype=torch.float64)
    return replace(cameras, cam_to_world=poses)


def _cameras(args: argparse.Namespace, scene: Scene, path: Cameras | None, width: int, height: int) -> Cameras:
    from recon.render import camera_paths

    place: dict[str, Any] = {"width": width, "height": height}
    if path is not None:
        return camera_paths.through(path, frames=args.frames or 0, **place)
    place["frames"] = args.frames or 120
    chosen = args.path or ("wobble" if "unplaced" not in scene.cameras.placed_by[:1] and len(scene.cameras) else "orbit")
    if chosen == "wobble":
        return camera_paths.wobble(scene, **place)
    around = {"orbit": camera_paths.orbit, "spiral": camera_paths.spiral}[chosen]
    return around(camera_paths.surroundings(scene), distance=args.distance, fov_degrees=args.fov, **place)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if not found or not int(found[1]) or not int(found[2]):
        raise UsageError(f"--size is {text!r}, wanted WIDTHxHEIGHT, for example 1280x720")
    return int(found[1]), int(found[2])


def _background(text: str) -> tuple[float, ...] | None:
    if text == "transparent":
        return None
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(0 <= v <= 1 for v in values):
        raise UsageError(f"--background is {text!r}, wanted red,green,blue from 0 to 1, or transparent")
    return values
