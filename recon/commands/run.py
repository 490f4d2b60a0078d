"""Photos to a 3D scene: writes the chosen formats, contact_sheet.png and report.json into one folder."""

from __future__ import annotations

import argparse
import contextlib
import glob
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.commands import UsageError
from recon.commands.network import add_network_arguments
from recon.commands.output import progress, say, write_json

if TYPE_CHECKING:
    from recon.scene import Scene

DEFAULT_FORMATS = "ply,points.ply,glb,colmap"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", help="photos, folders of photos, patterns or zip archives")
    add_output_arguments(parser)
    add_network_arguments(parser)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """-o and --formats."""
    parser.add_argument("-o", "--output", default="out", help="folder for the files (default: %(default)s)")
    parser.add_argument("--formats", default=DEFAULT_FORMATS, help="comma-separated names of `recon convert --help` (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    missing = [p for p in args.photos if not Path(p).exists() and not glob.has_magic(p)]
    if missing:
        raise UsageError(f"no such photo: {', '.join(missing)}")
    return photos_to_files(args.photos, args)


def photos_to_files(photos: Sequence[str | Path], args: argparse.Namespace) -> int:
    """The whole job, from files to files."""
    formats = parse_formats(args.formats)
    clock = Clock(progress(args))
    clock("imports", 0.0)
    from recon.models import load_model
    from recon.photos.checks import photo_warnings, refuse_copies, refuse_strangers, scene_warnings
    from recon.photos.grid import load_images
    from recon.reconstruct import check_resolution, pick_device, reconstruct

    check_resolution(args.resolution)
    clock("photos", 0.0)
    images = load_images(photos, long_side=args.resolution)
    refuse_copies(images)
    with writable_folder(Path(args.output)) as folder:
        clock("weights", 0.05)
        net = load_model(args.model, weights=args.weights, device=pick_device(args.device))
        scene = reconstruct(images, model=net, matches=args.matches, progress=clock.part(0.1, 0.9), seed=args.seed)
        if args.matches != "none":
            refuse_strangers(scene)
        clock("files", 0.9)
        files = write_scene(scene, folder, formats)
        clock("done", 1.0)
        warnings = [*photo_warnings(images), *scene_warnings(scene)]
        record = {**facts(scene), **provenance(args), "seconds": clock.seconds(), "warnings": warnings, "files": files}
        write_json(record, folder / "report.json")
    say(args, record, _lines(record, [*files, str(folder / "report.json")]))
    return 0


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


@contextlib.contextmanager
def writable_folder(folder: Path) -> Iterator[Path]:
    """The folder, made when it is not there; OSError before the work rather than after it when nothing can be written into it.

    A folder that was made here goes away again when the work fails before anything is in it.
    """
    there = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield folder
    except BaseException:
        if not there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def write_scene(scene: Scene, folder: Path, formats: Sequence[str]) -> list[str]:
    """The files written into `folder`: one a format, and contact_sheet.png."""
    from recon import io
    from recon.render.contact_sheet import save_contact_sheet

    paths = [folder / io.file_name(name) for name in formats]
    for path in paths:
        io.save(scene, path)
    sheet = folder / "contact_sheet.png"
    save_contact_sheet(scene, sheet)
    return [str(p) for p in [*paths, sheet]]


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
    from recon.models import fingerprint

    weights = fingerprint(args.model, args.weights)
    options = {name: getattr(args, name) for name in ("model", "matches", "resolution", "seed")}
    packages = {name: version(name) for name in ("torch", "numpy", "scipy", "opencv-python-headless")}
    return {"options": options, "weights": weights, "versions": {"recon": recon.__version__, "python": platform.python_version(), **packages}}


def _lines(record: dict[str, Any], files: list[str]) -> list[str]:
    views = record["views"]
    lines = [f"{v['name']}: placed by {v['placed_by']}, confidence {v['confidence']:.2f}, focal {v['K'][0][0]:.0f} px of {v['width']}" for v in views]
    lines += [f"warning: {text}" for text in record["warnings"]]
    lines.append(f"{record['points']:,} points, {record['tracks']:,} tracks, {record['seconds']['total']:.1f} s")
    return lines + files
