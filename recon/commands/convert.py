"""A file of one format to another: the ends of the names decide the formats, or --for names the program that shall open the result."""

from __future__ import annotations

import argparse
from pathlib import Path

from recon.commands import UsageError
from recon.commands.output import add_overwrite_argument, say, told_warnings, writable_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from recon.io import formats
    from recon.io.presets import PROGRAMS

    names = "\n".join(f"  {name:<16}{text}" for name, text in formats().items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"formats (the end of the target's name):\n{names}\n\nksplat is only read, USD only written."
    parser.add_argument("source", help="a file, or the folder of a COLMAP model, SOG or depth maps")
    parser.add_argument("target", nargs="?", help="a file name; with --for a folder (default: the source's)")
    parser.add_argument("--for", dest="program", choices=list(PROGRAMS), help="choose format, axes, units and harmonics for this program")
    parser.add_argument("--kind", choices=("splats", "mesh", "points"), help="what to write where the target could hold several")
    parser.add_argument("--axes", choices=("opencv", "y-up", "z-up", "unity", "unreal"), help="world of the target (default: its format's)")
    parser.add_argument("--source-axes", choices=("opencv", "y-up", "z-up"), help="world of the source (default: its format's)")
    parser.add_argument("--unit-scale", type=float, default=1.0, help="target units per source unit (100: metres to centimetres)")
    parser.add_argument("--sh-degree", type=int, choices=range(5), help="highest degree of spherical harmonics (default: 3)")
    parser.add_argument("--encoding", choices=("binary", "big-endian", "ascii"), default="binary", help="of PLY files (default: binary)")
    parser.add_argument("--drop-outliers", action="store_true", help="leave out what lies far from everything else")
    parser.add_argument("--undistort", action="store_true", help="photos beside the cameras and the cameras without the distortion of their lenses")
    add_overwrite_argument(parser)
    parser.add_argument("--repair", action="store_true", help="leave out what is not finite instead of stopping")


def run(args: argparse.Namespace) -> int:
    target: str | None = args.target
    if target is None and args.program is None:
        raise UsageError("a target is missing: recon convert SOURCE TARGET, or recon convert SOURCE --for PROGRAM")
    from recon import io
    from recon.cameras.undistort import undistorted_scene
    from recon.errors import FileError
    from recon.io.guard import Guard
    from recon.io.table import find
    from recon.io.writing import inputs_of

    if target is not None and args.program is None:
        try:
            find(Path(target))
        except FileError as error:
            raise UsageError(str(error)) from error
    source = Path(args.source)
    guard = Guard(inputs_of(source), overwrite=args.overwrite)
    with told_warnings() as warnings:
        scene = io.load(source, axes=args.source_axes, repair=args.repair, drop_outliers=args.drop_outliers)
        if args.undistort and scene.cameras.lenses:
            scene = undistorted_scene(scene, source)
            warnings += scene.images.remarks.splitlines() if scene.images is not None else []
        if target is None or args.program is not None:
            with writable_folder(Path(target) if target else source.parent / f"{source.name.split('.')[0]}_{args.program}") as folder:
                io.save_for(scene, folder, str(args.program), guard=guard)
        else:
            with writable_folder(Path(target).parent):
                options = {"kind": args.kind, "axes": args.axes, "unit_scale": args.unit_scale, "sh_degree": args.sh_degree}
                io.save(scene, target, guard=guard, encoding=args.encoding, **options)
    files = [str(path) for path in guard.files]
    say(args, {"files": files, "warnings": warnings}, [*files, *(f"warning: {text}" for text in warnings)])
    return 0
