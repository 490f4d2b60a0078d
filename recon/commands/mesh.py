"""Photos, or a scene of a file, to one textured mesh: upright, of a known size where that is told, in the format of a program."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.commands import UsageError
from recon.commands.network import add_network_arguments
from recon.commands.output import add_overwrite_argument, progress, say, told_warnings, writable_folder
from recon.commands.run import (
    Clock,
    add_knowledge_arguments,
    add_video_arguments,
    frames_as_photos,
    read_photos,
    refuse_missing,
    scene_of_photos,
)  # fmt: skip

if TYPE_CHECKING:
    from torch import Tensor

    from recon.io.guard import Guard
    from recon.scene import Mesh, Scene

METHODS = ("auto", "tsdf", "poisson", "grid")
NEGATIVE = re.compile(r"-(\d|\.\d|[xyz]$)")
AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
UP_HELP = "auto (by cameras and planes), keep (the world as it is), or a direction of the scene's world: -y, z, or X,Y,Z (default: keep with " \
          "--cameras, else auto)"  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from recon.io.presets import PROGRAMS

    parser._negative_number_matcher = NEGATIVE  # argparse takes -1,0,0 and -y for options of their own otherwise, and offers no other way
    parser.add_argument("sources", nargs="+", help="photos, folders, archives or videos; or one scene: Gaussians, points, depth maps with cameras")
    parser.add_argument("-o", "--output", help="a file: glb, gltf, obj, ply, usdz, usda, usdc (default: mesh.glb); with --for a folder (out)")
    parser.add_argument("--for", dest="program", choices=[p for p, wants in PROGRAMS.items() if "mesh" in wants], help="format and axes of a program")
    parser.add_argument("--method", choices=METHODS, default="auto", help="tsdf: fused depth; poisson: closed smoothly; grid: each view's pixels")
    parser.add_argument("--faces", type=int, default=100_000, help="at most so many (default: %(default)s)")
    parser.add_argument("--voxel-size", type=float, help="in the scene's unit (default: from the width of a pixel and the error of the depth)")
    parser.add_argument("--watertight", action="store_true", help="one closed solid, for printing and physics")
    parser.add_argument("--least-piece", type=float, default=0.01, help="pieces below this share of the largest one's area go (default: 0.01)")
    parser.add_argument("--largest-hole", type=float, default=0.03, help="holes are filled up to this length around, in diagonals (default: 0.03)")
    parser.add_argument("--no-texture", action="store_true", help="vertex colours alone")
    parser.add_argument("--texture-size", type=int, default=4096, help="pixels across the texture, at most (default: %(default)s)")
    parser.add_argument("--up", help=UP_HELP)
    parser.add_argument("--scale-ref", type=float, metavar="METRES", help="the known length between the two places of --between")
    parser.add_argument("--between", nargs=2, metavar=("P", "Q"), help="two places: VIEW:X,Y, a photo's name or number and its pixel; or X,Y,Z")
    parser.add_argument("--source-axes", choices=("opencv", "y-up", "z-up"), help="world of a scene's numbers (default: its format's)")
    add_video_arguments(parser)
    add_overwrite_argument(parser)
    add_network_arguments(parser)
    add_knowledge_arguments(parser)


def run(args: argparse.Namespace) -> int:
    check_call(args)
    from recon.errors import spelled_for_command_line
    from recon.io.targets import check_targets
    from recon.meshes.with_open3d import load_open3d

    clock = Clock(progress(args))
    clock("imports", 0.0)
    load_open3d()  # before the work, not after it
    target = Path(args.output or ("out" if args.program else "mesh.glb"))
    with told_warnings() as warnings, writable_folder(target if args.program else target.parent):
        scene, guard = read_scene(args, clock)
        if not args.program:
            check_targets([target], guard, textured=True)
        made = meshed(scene, args, clock)
        clock("files", 0.98)
        write(made, target, args.program, guard)
        clock("done", 1.0)
        warnings[:0] = map(spelled_for_command_line, scene.report.get("warnings", []))
    assert made.mesh is not None
    result = {**facts(made, args.up), "files": [str(f) for f in guard.files], "seconds": clock.seconds(), "warnings": warnings}
    say(args, result, lines(result))
    return 0


def check_call(args: argparse.Namespace) -> None:
    """Raises UsageError for options that fit nothing, before anything is read."""
    refuse_missing(args.sources, "photo or scene")
    if (args.scale_ref is None) != (args.between is None):
        raise UsageError("--scale-ref METRES and --between P Q belong together: the length and where it was measured")
    if args.faces < 4:
        raise UsageError(f"--faces is {args.faces}, wanted at least 4")
    if args.output and not args.program:
        from recon.errors import FileError
        from recon.io.table import find

        try:
            writers = find(Path(args.output)).writers
        except FileError as error:
            raise UsageError(str(error)) from error
        if "mesh" not in writers:
            raise UsageError(f"{args.output}: this format holds no mesh; wanted glb, gltf, obj, ply, usdz, usda or usdc")
    args.up = parse_up(args.up or ("keep" if args.cameras else "auto"))
    args.between = [parse_place(text) for text in args.between or ()]


def parse_up(text: str) -> str | tuple[float, ...]:
    """auto, keep, or a direction. Raises UsageError."""
    if text in ("auto", "keep"):
        return text
    if text.lstrip("+-") in AXES:
        return tuple(-v if text.startswith("-") else v for v in AXES[text.lstrip("+-")])
    return numbers(text, 3, f"--up is {text!r}, wanted auto, keep, x, -x, y, -y, z, -z or X,Y,Z")


def parse_place(text: str) -> tuple[str | None, tuple[float, ...]]:
    """VIEW:X,Y as (view, pixel), X,Y,Z as (None, place). Raises UsageError."""
    view, colon, rest = text.rpartition(":")
    wrong = f"--between has {text!r}, wanted VIEW:X,Y (a photo's name or number and its pixel) or X,Y,Z"
    return (view, numbers(rest, 2, wrong)) if colon and view else (None, numbers(text, 3, wrong))


def numbers(text: str, count: int, wrong: str) -> tuple[float, ...]:
    """So many finite numbers with commas between. Raises UsageError."""
    import math

    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise UsageError(wrong)
    return values


def read_scene(args: argparse.Namespace, clock: Clock) -> tuple[Scene, Guard]:
    """The scene of a file, or of photos by the network, and what was read."""
    if len(args.sources) == 1 and is_scene(Path(args.sources[0])):
        from recon import io
        from recon.io.guard import Guard
        from recon.io.writing import inputs_of

        clock("reading", 0.0)
        source = Path(args.sources[0])
        read = [*inputs_of(source), *([args.cameras] if args.cameras else [])]
        scene = io.load(source, axes=args.source_axes)
        return looked_at(scene, args) if args.cameras else scene, Guard(read, overwrite=args.overwrite)
    from recon.reconstruct import check_resolution

    check_resolution(args.resolution)
    clock("photos", 0.0)
    with frames_as_photos(args.sources, args) as photos:
        images, cameras, guard = read_photos(photos, args)
        return scene_of_photos(images, cameras, args, clock.part(0.02, 0.6)), guard


def looked_at(scene: Scene, args: argparse.Namespace) -> Scene:
    """The scene's Gaussians with the cameras of --cameras in place of its own. Raises ReconError for a scene without Gaussians."""
    from recon.commands.render import cameras_of_file
    from recon.errors import ReconError
    from recon.scene import Scene

    source = Path(args.sources[0])
    if scene.gaussians is None:
        raise ReconError(f"--cameras look at Gaussians, and {source} holds none: its own cameras are taken")
    cameras = cameras_of_file(Path(args.cameras), scene, source, axes=args.source_axes, option="source_axes")
    return Scene(cameras=cameras, gaussians=scene.gaussians, metric=scene.metric, offset=scene.offset)


def is_scene(path: Path) -> bool:
    """Whether a file or folder holds a scene rather than photos."""
    from recon.errors import FileError
    from recon.io.reading import find_for_reading

    try:
        find_for_reading(path)
    except FileError:
        return False
    return True


def meshed(scene: Scene, args: argparse.Namespace, clock: Clock) -> Scene:
    """A scene of nothing but the mesh: of the size that is told, and upright."""
    import torch

    from recon.meshes.cleanup import CleanUp
    from recon.meshes.fusion import fuse
    from recon.meshes.measure import scaled_to
    from recon.meshes.upright import find_up, mesh_alone

    if args.between:
        scene = scaled_to(scene, args.scale_ref, *(place_of(scene, *place) for place in args.between))
    cleanup = CleanUp(least_piece=args.least_piece, largest_hole=args.largest_hole)
    mesh: Mesh = fuse(
        scene, method=args.method, faces=args.faces, voxel_size=args.voxel_size, watertight=args.watertight, texture=not args.no_texture,
        texture_size=args.texture_size, cleanup=cleanup, progress=clock.part(0.6, 0.98),
    )  # fmt: skip
    up = None if args.up == "keep" else find_up(scene, mesh) if args.up == "auto" else torch.tensor(args.up, dtype=torch.float64)
    return mesh_alone(scene, mesh, up)


def place_of(scene: Scene, view: str | None, values: tuple[float, ...]) -> Tensor:  # -> [3]
    """The place in the world that --between names. Raises ReconError for an unknown photo."""
    import torch

    from recon.errors import ReconError, listed
    from recon.meshes.measure import point_in_photo

    if view is None:
        return torch.tensor(values, dtype=torch.float64) - torch.tensor(scene.offset, dtype=torch.float64)
    names = list(scene.images.names) if scene.images is not None else []
    stems = [Path(name).stem for name in names]
    found = names.index(view) if view in names else stems.index(view) if stems.count(view) == 1 else int(view) if view.isdecimal() else None
    if found is None:
        raise ReconError(f"there is no photo {view!r} in the scene; one of: {listed(names) or 'the numbers of its views'}")
    return point_in_photo(scene, found, values[0], values[1])


def write(made: Scene, target: Path, program: str | None, guard: Guard) -> None:
    """The mesh in the format of the name, or as a program wants it."""
    from recon import io

    if program:
        io.save_for(made, target, program, stem="mesh", guard=guard)
    else:
        io.save(made, target, kind="mesh", guard=guard)


def facts(made: Scene, up: Any) -> dict[str, Any]:
    """What came out, as plain values."""
    assert made.mesh is not None
    size = (made.mesh.vertices.amax(0) - made.mesh.vertices.amin(0)).tolist()
    texture = None if made.mesh.texture is None else list(made.mesh.texture.shape[:2])
    return {"vertices": len(made.mesh.vertices), "faces": len(made.mesh.faces), "texture": texture, "size": size, "metric": made.metric, "up": up}


def lines(result: dict[str, Any]) -> list[str]:
    """The result for a person."""
    unit = "m" if result["metric"] else "units of the scene (no known length: --scale-ref)"
    size = " x ".join(f"{v:.3g}" for v in result["size"])
    texture = f"texture {result['texture'][1]} x {result['texture'][0]}" if result["texture"] else "vertex colours"
    first = f"{result['faces']:,} faces, {texture}, {size} {unit}, {result['seconds']['total']:.1f} s"
    return [first, *(f"warning: {text}" for text in result["warnings"]), *result["files"]]
