"""Photos to a 3D scene: writes the chosen formats, contact_sheet.png and report.json into one folder."""

from __future__ import annotations

import argparse
import glob
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.commands import UsageError
from recon.commands.network import add_network_arguments
from recon.commands.output import add_overwrite_argument, progress, say, told_warnings, writable_folder, write_json

if TYPE_CHECKING:
    from recon.io.guard import Guard
    from recon.scene import Cameras, Images, Scene

DEFAULT_FORMATS = "ply,points.ply,glb,colmap"
SHEET, REPORT = "contact_sheet.png", "report.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", help="photos, folders of photos, patterns, zip archives or videos")
    add_video_arguments(parser)
    add_output_arguments(parser)
    add_network_arguments(parser)
    add_knowledge_arguments(parser)


def add_video_arguments(parser: argparse.ArgumentParser) -> None:
    """--frames and --frame-step."""
    parser.add_argument("--frames", type=int, default=50, help="frames taken of a video, by sharpness and motion (default: %(default)s)")
    parser.add_argument("--frame-step", type=int, help="every so many frames of a video instead")


def add_knowledge_arguments(parser: argparse.ArgumentParser) -> None:
    """--cameras or --focal, --masks and --metric: what a user knows beside the photos."""
    lens = parser.add_mutually_exclusive_group()
    lens.add_argument("--cameras", help="a file of known cameras (COLMAP, transforms.json, cameras.json, npz), K alone or K and poses, by photo name")
    lens.add_argument("--focal", help="focal length of all photos: 28mm (on 36 x 24 mm film, as phones tell it) or 1200px")
    parser.add_argument("--masks", help="a folder with a picture for each photo, black where it is to be left out")
    parser.add_argument("--all-frames", action="store_true", help="every picture of an animation (WebP, PNG) instead of the first")
    parser.add_argument("--metric", action="store_true", help="the places in --cameras are in metres")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """-o, --formats and --max-gaussians: what is written, where, how large."""
    parser.add_argument("-o", "--output", default="out", help="folder for the files (default: %(default)s)")
    parser.add_argument("--formats", default=DEFAULT_FORMATS, help="comma-separated names of `recon convert --help` (default: %(default)s)")
    parser.add_argument("--max-gaussians", type=int, metavar="N", help="merge Gaussians until there are at most N (default: as many as there are)")
    add_overwrite_argument(parser)


def run(args: argparse.Namespace) -> int:
    refuse_missing(args.photos, "photo")
    with frames_as_photos(args.photos, args) as photos:
        return photos_to_files(photos, args)


def refuse_missing(sources: Sequence[str], what: str) -> None:
    """Raises UsageError for names, patterns apart, of nothing."""
    missing = [p for p in sources if not Path(p).exists() and not glob.has_magic(p)]
    if missing:
        raise UsageError(f"no such {what}: {', '.join(missing)}")


def frames_as_photos(sources: Sequence[str], args: argparse.Namespace) -> AbstractContextManager[list[str | Path]]:
    """The photos with frames in place of videos; where there are such, --pairs auto becomes sequence, for frames lie in order."""
    from recon.photos.video import is_video, videos_as_photos

    if args.pairs == "auto" and any(is_video(p) for p in sources):
        args.pairs = "sequence"
    return videos_as_photos(sources, count=args.frames, step=args.frame_step)


def photos_to_files(photos: Sequence[str | Path], args: argparse.Namespace) -> int:
    """The whole job, from files to files."""
    formats = parse_formats(args.formats)
    clock = Clock(progress(args))
    clock("imports", 0.0)
    from recon.errors import spelled_for_command_line
    from recon.io.views import picture_names
    from recon.reconstruct import check_resolution
    from recon.surfaces.budget import check_budget

    check_resolution(args.resolution)
    check_budget(args.max_gaussians)
    clock("photos", 0.0)
    with told_warnings() as warnings:
        images, cameras, guard = read_photos(photos, args)
        check_folder(Path(args.output), formats, guard, picture_names(images.names, images.files))  # before the work, and again before the files
        with writable_folder(Path(args.output)) as folder:
            scene = scene_of_photos(images, cameras, args, clock.part(0.05, 0.9), max_gaussians=args.max_gaussians)
            clock("files", 0.9)
            write_scene(scene, folder, formats, guard)
            clock("done", 1.0)
            warnings[:0] = map(spelled_for_command_line, scene.report["warnings"])
            files = [*map(str, guard.files), str(folder / REPORT)]
            record = {**facts(scene), **provenance(args), "seconds": clock.seconds(), "warnings": warnings, "files": files}
            write_json(record, folder / REPORT, guard)
    say(args, record, _lines(record))
    return 0


def read_photos(photos: Sequence[str | Path], args: argparse.Namespace) -> tuple[Images, Cameras | None, Guard]:
    """The photos, the cameras that are known of them, and the guard of all that was read. Tells the plan of the work, refuses too large ones."""
    from recon.cameras.known import told_cameras
    from recon.cameras.plan import fitting_plan
    from recon.io.guard import Guard
    from recon.photos.grid import load_images
    from recon.reconstruct import pick_device

    images = load_images(photos, long_side=args.resolution, masks=args.masks, all_frames=args.all_frames)
    plan = fitting_plan(len(images), args.pairs, pick_device(args.device))
    if len(images) > 1 and not (args.quiet or args.json):
        print(plan.line(), file=sys.stderr)
    cameras = told_cameras(images, focal=args.focal, file=args.cameras)
    inputs = [*(file.path for file in images.files), *(path for path in (args.cameras, args.masks) if path)]
    return images, cameras, Guard(inputs, overwrite=args.overwrite)


def scene_of_photos(
    images: Images, cameras: Cameras | None, args: argparse.Namespace, tell: Callable[[str, float], None], *, max_gaussians: int | None = None
) -> Scene:
    """The scene, by the options of every command that runs a network."""
    from recon.reconstruct import reconstruct

    return reconstruct(
        images, model=args.model, weights=args.weights, cameras=cameras, metric=args.metric, device=args.device, matches=args.matches,
        pairs=args.pairs, place=args.place, surfaces=args.surfaces, resolution=args.resolution, progress=tell, max_gaussians=max_gaussians,
        seed=args.seed,
    )  # fmt: skip


class Clock:
    """Progress that also takes the time of each stage."""

    def __init__(self, tell: Callable[[str, float], None]) -> None:
        self.tell, self.marks = tell, [("imports", time.perf_counter())]

    def __call__(self, text: str, share: float) -> None:
        self.tell(text, share)
        if text != self.marks[-1][0]:
            self.marks.append((text, time.perf_counter()))

    def part(self, start: float, end: float) -> Callable[[str, float], None]:
        """Progress of a piece of the work that lies between these shares of the whole."""
        return lambda text, share: self(text, start + (end - start) * share) if share < 1 else None

    def seconds(self) -> dict[str, float]:
        """Seconds a stage, and in all."""
        spent = {text: round(after - at, 3) for (text, at), (_, after) in zip(self.marks, self.marks[1:], strict=False)}
        return {**spent, "total": round(self.marks[-1][1] - self.marks[0][1], 3)}


def parse_formats(text: str) -> list[str]:
    """The formats of a comma-separated list; UsageError for an unknown one."""
    from recon import io

    known = io.formats()
    names = [part.strip().lower().strip("./") for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UsageError(f"unknown format {', '.join(unknown) or repr(text)}; any of: {', '.join(known)}")
    return list(dict.fromkeys(names))


def write_scene(scene: Scene, folder: Path, formats: Sequence[str], guard: Guard) -> None:
    """Writes into `folder` a file or folder a format, and contact_sheet.png. Raises FileError before the first where one may not be written."""
    from recon import io
    from recon.io.views import view_names
    from recon.render.contact_sheet import save_contact_sheet

    check_folder(folder, formats, guard, view_names(scene))
    for name in formats:
        io.save(scene, folder / io.file_name(name), guard=guard)
    save_contact_sheet(scene, folder / SHEET, guard)


def check_folder(folder: Path, formats: Sequence[str], guard: Guard, pictures: Sequence[str]) -> None:
    """Raises FileError where the files of these formats would touch what is not recon's; `pictures` are the names of the views' pictures."""
    from recon import io
    from recon.io.targets import check_targets

    check_targets([folder / io.file_name(name) for name in formats], guard, pictures)
    guard.check(folder, [SHEET, REPORT])


def facts(scene: Scene) -> dict[str, Any]:
    """What came out, as plain values."""
    cameras, images = scene.cameras, scene.images
    assert images is not None
    photo_cameras = cameras.for_photos()
    agreement = scene.report.get("agreement")
    views = [
        {
            "name": name, "placed_by": cameras.placed_by[v], "confidence": float(cameras.confidence[v]),
            "width": int(images.photo_width[v]), "height": int(images.photo_height[v]), "K": photo_cameras[v].K[0].tolist(),
            "cam_to_world": cameras.cam_to_world[v].tolist(), "exif_focal": bool(images.focal[v].isfinite()),
            "agreement": agreement[v] if agreement else None,
        }
        for v, name in enumerate(images.names)
    ]  # fmt: skip
    counts = {
        "points": int(scene.pointmaps.mask.sum()) if scene.pointmaps is not None else 0,
        "gaussians": len(scene.gaussians) if scene.gaussians is not None else 0,
        "tracks": len(scene.tracks) if scene.tracks is not None else 0,
    }
    error = float(scene.tracks.error.median()) if scene.tracks is not None and len(scene.tracks) else None
    grid = {"grid_width": cameras.width, "grid_height": cameras.height, "metric": scene.metric}
    return {**counts, "median_track_error_px": error, **grid, "views": views}


def provenance(args: argparse.Namespace) -> dict[str, Any]:
    """What made it: options, versions, and which weights."""
    import platform
    from importlib.metadata import version

    import recon
    from recon.models import fingerprint, second_stage_fingerprint

    weights = {"weights": fingerprint(args.model, args.weights)}
    if args.surfaces == "sweep" and (second := second_stage_fingerprint(args.model)):
        weights["sweep_weights"] = second
    options = {name: getattr(args, name) for name in ("model", "matches", "pairs", "place", "surfaces", "resolution", "max_gaussians", "seed")}
    packages = {name: version(name) for name in ("torch", "numpy", "scipy", "opencv-python-headless")}
    return {"options": options, **weights, "versions": {"recon": recon.__version__, "python": platform.python_version(), **packages}}


def _lines(record: dict[str, Any]) -> list[str]:
    views = record["views"]
    lines = [f"{v['name']}: placed by {v['placed_by']}, confidence {v['confidence']:.2f}, focal {v['K'][0][0]:.0f} px of {v['width']}" for v in views]
    lines += [f"warning: {text}" for text in record["warnings"]]
    lines.append(f"{record['points']:,} points, {record['tracks']:,} tracks, {record['seconds']['total']:.1f} s")
    return lines + record["files"]
