"""The command `recon`. Heavy imports happen inside the functions, so that `recon --help` is instant.

Exit codes: 0 done, 1 the work failed, 2 the call is wrong. With --json the result goes to stdout as one JSON object; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.scene import Scene

FORMATS = ("ply", "splat", "spz", "glb", "obj", "npz", "colmap", "transforms.json")
SAMPLES = ("aloe_left.jpg", "aloe_right.jpg")


class UsageError(Exception):
    """The call is wrong: exit code 2."""


def progress_bar(quiet: bool) -> Callable[[str, float], None]:
    """A function (what is done, share done) that moves a bar on stderr."""
    if quiet:
        return lambda text, share: None
    from tqdm import tqdm

    bar = tqdm(total=100, bar_format="{desc:<10} {bar:30} {percentage:3.0f}% {elapsed}", file=sys.stderr, leave=False)

    def tell(text: str, share: float) -> None:
        bar.set_description_str(text)
        bar.update(round(100 * share) - bar.n)
        if share >= 1:
            bar.close()

    return tell


def say(result: dict[str, Any], as_json: bool, lines: Sequence[str]) -> None:
    """The result for a program or for a person."""
    print(json.dumps(result, indent=1, allow_nan=False, default=str) if as_json else "\n".join(lines))


def number(value: float) -> float | None:
    """A float that JSON can hold: None for NaN and infinity."""
    value = float(value)
    return round(value, 6) if math.isfinite(value) else None


def report(scene: Scene, seconds: float) -> dict[str, Any]:
    """What a person wants to know of a scene, as plain values."""
    cameras = scene.cameras
    K = cameras.K.tolist()
    views = [
        {
            "name": name, "placed_by": cameras.placed_by[i], "confidence": number(cameras.confidence[i]), "focal_px": number(K[i][0][0]),
            "cam_to_world": [[number(x) for x in row] for row in cameras.cam_to_world[i].tolist()],
        }
        for i, name in enumerate(scene.images.names)
    ]  # fmt: skip
    counts = {
        "points": int(scene.pointmaps.mask.sum()) if scene.pointmaps is not None else 0,
        "gaussians": len(scene.gaussians) if scene.gaussians is not None else 0,
        "tracks": len(scene.tracks.points) if scene.tracks is not None else 0,
    }
    return {"seconds": round(seconds, 2), "width": cameras.width, "height": cameras.height, "metric": bool(scene.metric), **counts, "views": views}


def write_scene(scene: Scene, folder: Path, formats: Sequence[str], record: dict[str, Any]) -> list[str]:
    """The files written into `folder`: one a format, contact_sheet.png and report.json."""
    from recon import io
    from recon.contact_sheet import save_contact_sheet

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in formats:
        path = folder / (name if name in ("colmap", "transforms.json") else f"scene.{name}")
        io.save(scene, path)
        written.append(str(path))
    sheet = folder / "contact_sheet.png"
    save_contact_sheet(scene, sheet)
    written.append(str(sheet))
    path = folder / "report.json"
    temporary = folder / ".report.json.tmp"
    temporary.write_text(json.dumps({**record, "files": written}, indent=1, allow_nan=False))
    temporary.replace(path)
    return [*written, str(path)]


def parse_formats(text: str) -> list[str]:
    """The formats of a comma-separated list; UsageError for an unknown one."""
    formats = [f.strip().lower().lstrip(".").rstrip("/") for f in text.split(",") if f.strip()]
    unknown = [f for f in formats if f not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"unknown format {', '.join(unknown) or repr(text)}; any of: {', '.join(FORMATS)}")
    return list(dict.fromkeys(formats))


def reconstruct_to(photos: Sequence[str | Path], args: argparse.Namespace) -> None:
    """Photos to files, as `run` and `demo` do it."""
    formats = parse_formats(args.formats)
    missing = [str(p) for p in photos if not Path(p).exists()]
    if missing:
        raise UsageError(f"no such photo: {', '.join(missing)}")
    from recon.reconstruct import reconstruct

    start = time.perf_counter()
    scene = reconstruct(
        photos, model=args.model, weights=args.weights, device=args.device, matches=args.matches, resolution=args.resolution,
        progress=progress_bar(args.quiet or args.json or not sys.stderr.isatty()), seed=args.seed,
    )  # fmt: skip
    record = report(scene, time.perf_counter() - start)
    files = write_scene(scene, Path(args.output), formats, record)
    lines = [f"{v['name']}: placed by {v['placed_by']}, confidence {v['confidence']}, focal {v['focal_px']:.0f} px" for v in record["views"]]
    lines += [f"{record['points']} points, {record['tracks']} tracks, {record['seconds']} s", *files]
    say({**record, "files": files}, args.json, lines)


def run(args: argparse.Namespace) -> int:
    reconstruct_to(args.photos, args)
    return 0


def demo(args: argparse.Namespace) -> int:
    from recon.weights import assets_folder

    photos = [assets_folder() / "photos" / name for name in SAMPLES]
    if not all(p.is_file() for p in photos):
        from recon.errors import ReconError

        raise ReconError(f"the sample photos are absent: {photos[0].parent}")
    reconstruct_to(photos, args)
    return 0


def models(args: argparse.Namespace) -> int:
    from recon.models import list_models

    table = list_models()
    yes = lambda x: "yes" if x else "no"
    lines = []
    for m in table:
        lines.append(f"{m['name']} ({m['family']}): {m['summary']}")
        facts = [f"{key.replace('_', ' ')}: {yes(m[key])}" for key in ("needs_cameras", "gives_gaussians", "metric", "commercial")]
        lines.append(f"  {', '.join(facts)}, licence: {m['licence']}")
    say({"models": table}, args.json, lines)
    return 0


def doctor(args: argparse.Namespace) -> int:
    """0 when everything that a reconstruction needs is here."""
    import importlib.metadata
    import platform

    from recon.errors import ReconError
    from recon.weights import assets_folder, packaged

    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    needed = ("torch", "numpy", "scipy", "opencv-python-headless", "safetensors", "pillow", "tqdm")
    for name in (*needed, "numba", "open3d", "gsplat", "gradio"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    problems = [f"{name} is not installed: pip install {name}" for name in needed if found[name] is None]
    if found["torch"]:
        import torch

        found["cuda"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
        found["threads"] = torch.get_num_threads()
    try:
        found["weights"] = str(packaged("recon-small.safetensors"))
    except ReconError as error:
        found["weights"] = None
        problems.append(str(error))
    found["samples"] = (assets_folder() / "photos").is_dir()
    say({**found, "problems": problems}, args.json, [*(f"{k:<24}{v if v is not None else '-'}" for k, v in found.items()), *problems, *(["all well"] if not problems else [])])
    return 1 if problems else 0


def evaluate(args: argparse.Namespace) -> int:
    if not Path(args.folder).is_dir():
        raise UsageError(f"no such folder: {args.folder}")
    from recon.evaluate import evaluate as measure
    from recon.models import load_model
    from recon.reconstruct import pick_device, reconstruct

    net = load_model(args.model, weights=args.weights, device=pick_device(args.device))
    once = lambda photos: reconstruct(photos, model=net, matches=args.matches, resolution=args.resolution, seed=args.seed)
    tell = None if args.quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    tables = measure(args.folder, once, sets=args.sets, lists=args.lists.split(","), limit=args.limit, views=args.views, progress=tell)
    lines = []
    for name, table in tables.items():
        lines.append(name)
        for row in [*table["sets"], table["mean"]]:
            lines.append("  " + "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items() if not isinstance(v, list | dict)))
    if args.output:
        Path(args.output).write_text(json.dumps(finite(tables), indent=1, default=str))
    say(finite(tables), args.json, lines)
    return 0


def finite(value: Any) -> Any:
    """The same nested value with None for NaN and infinity."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return number(value) if isinstance(value, float) else value


def convert(args: argparse.Namespace) -> int:
    if not Path(args.source).exists():
        raise UsageError(f"no such file: {args.source}")
    from recon import io

    io.save(io.load(args.source), args.target)
    say({"files": [args.target]}, args.json, [args.target])
    return 0


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="recon", description="Photos in, 3D out.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, work: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(work=work)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.add_argument("--quiet", action="store_true", help="no progress")
        return sub

    def network(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--model", default="recon-small", help="a name of `recon models`")
        sub.add_argument("--weights", help="a weights file instead of the default one, or `random`")
        sub.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda when there is one)")
        sub.add_argument("--matches", choices=("both", "own", "sift", "none"), default="both", help="what places the views")
        sub.add_argument("--resolution", type=int, default=512, help="long side of the result's pixel grid")
        sub.add_argument("--seed", type=int, default=0)

    for name, work, text in (("run", run, "Photos to a scene and its files."), ("demo", demo, "The same with the sample photos.")):
        sub = command(name, work, text)
        if name == "run":
            sub.add_argument("photos", nargs="+", help="photos or folders of photos")
        sub.add_argument("-o", "--output", default="out", help="folder for the files")
        sub.add_argument("--formats", default="ply,glb", help=f"comma-separated: {', '.join(FORMATS)}")
        network(sub)
    command("models", models, "The networks, what they need and their licences.")
    command("doctor", doctor, "What is installed and what is missing.")
    sub = command("eval", evaluate, "Figures on photos with known cameras.")
    sub.add_argument("folder", help="a folder with sets (cameras.json)")
    sub.add_argument("--sets", nargs="+", help="names of sets (default: all)")
    sub.add_argument("--lists", default="neighbours", help="comma-separated lists of pairs")
    sub.add_argument("--limit", type=int, default=12, help="pairs a list")
    sub.add_argument("--views", type=int, default=0, help="also the first N views at once")
    sub.add_argument("-o", "--output", help="write the tables to this JSON file")
    network(sub)
    sub = command("convert", convert, "A file of one format to another.")
    sub.add_argument("source")
    sub.add_argument("target")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command line."""
    args = parser().parse_args(arguments)
    try:
        return args.work(args)
    except UsageError as error:
        code, text = 2, str(error)
    except KeyboardInterrupt:
        code, text = 1, "interrupted"
    except Exception as error:
        from recon.errors import ReconError

        if not isinstance(error, ReconError | ValueError | OSError):
            raise
        code, text = 1, str(error)
    print(json.dumps({"error": text}) if args.json else f"recon: {text}", file=sys.stdout if args.json else sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
