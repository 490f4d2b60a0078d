"""Every CPU figure of the surfaces, one command: depth, stereo pairs, novel views, confidence, known scenes, merging, seconds and memory.

    PYTHONPATH=. python tests/bench/surfaces.py FOLDER [--parts depth,stereo,...] [--surfaces sweep pointmap] [--pictures DIR] [--output FILE]

FOLDER (or $RECON_EVAL_DATA) holds sets with cameras.json as `recon eval` takes them, and stereo_gt/ with stereo pairs; the parts known, seconds and
demo need none.
One row a set and part is printed as it is measured, with the bar that it is to meet; the exit code says whether all bars hold that were measured.
Seconds are the best of the repeats: other work on the machine makes a median say something about that work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from surface_costs import demo_cost, merging_figures, sweep_seconds  # noqa: E402  # pyright: ignore[reportMissingImports]
from surface_depth import Reconstruct, Row, depth_figures, stereo_figures  # noqa: E402  # pyright: ignore[reportMissingImports]
from surface_known import SCENES, known_figures  # noqa: E402  # pyright: ignore[reportMissingImports]
from surface_novel_views import novel_view_figures  # noqa: E402  # pyright: ignore[reportMissingImports]
from surface_pictures import Sheet  # noqa: E402  # pyright: ignore[reportMissingImports]

import recon  # noqa: E402
from recon.evaluate import PhotoSet, read_sets  # noqa: E402

LONG_SIDE = 512
FOUNTAIN, FOX, DTU, LEGO, ROOMS = "strecha_fountain_p11", "ngp_fox", "dtu_scan24", "nerf_lego", "sevenscenes_tsdf"
YCB = ("ycb_003_cracker_box", "ycb_004_sugar_box")
BARS: dict[str, dict[str, tuple[str, float, float]]] = {  # part -> set or its kind -> figure, bar, aim; a bar below its aim is to be exceeded
    "depth": {"ycb": ("absrel", 0.0035, 0.002), ROOMS: ("absrel", 0.075, 0.06)},
    "confidence": {"ycb": ("surer_over_others", 1 / 4, 1 / 8), ROOMS: ("surer_over_others", 1 / 4, 1 / 8)},
    "stereo": {"middlebury_cones": ("off", 0.065, 0.04), "middlebury_teddy": ("off", 0.045, 0.03)},
    "between": {FOUNTAIN: ("psnr", 26.5, 28), DTU: ("psnr", 17.5, 20), LEGO: ("psnr", 15.5, 19), "ycb": ("psnr", 17, 21), FOX: ("psnr", 19.5, 22)},
    "around": {FOUNTAIN: ("psnr", 27.5, 30), FOX: ("psnr", 20.5, 23), DTU: ("psnr", 19, 22)},
    "alone": {FOUNTAIN: ("psnr", 25, 27)},
    "coverage": {"": ("coverage", 0.95, 0.98)},
    "seconds": {"": ("best_s", 1.5, 0.8)},
    "demo": {"": ("best_s", 16, 10)},
    "memory": {"": ("peak_gb", 2.0, 2.0)},
    "merging": {"": ("share", 0.5, 0.35)},
    "known": {"": ("within", 0.95, 0.99)},
    "thickness": {"plane": ("thickness", 0.01, 0.005)},
}  # fmt: skip
JUDGED_BY = {"depth": ("depth", "confidence"), "between": ("between", "coverage"), "demo": ("demo", "memory"), "known": ("known", "thickness")}


def verdicts(part: str, name: str, row: Row) -> list[dict[str, Any]]:
    """What the row is to meet."""
    bars = [entry for judge in JUDGED_BY.get(part, (part,)) for kind, entry in BARS[judge].items() if name.startswith(kind)]
    out = []
    for figure, bar, aim in bars:
        if figure in row:
            holds, aim_met = (row[figure] >= limit if aim > bar else row[figure] <= limit for limit in (bar, aim))  # NaN meets nothing
            out.append({"figure": figure, "value": row[figure], "bar": bar, "aim": aim, "holds": holds, "aim_met": aim_met})
    return out


class Bench:
    """The parts, each a list of rows (set, work)."""

    def __init__(self, data: Path | None, surfaces: str, sheet: Sheet) -> None:
        self.data, self.surfaces, self.sheet = data, surfaces, sheet
        self.network = recon.load_model("recon-small", device="cpu")

    def reconstruct(self, images: recon.Images, cameras: recon.Cameras | None) -> recon.Scene:
        return recon.reconstruct(images, model=self.network, cameras=cameras, surfaces=self.surfaces)  # type: ignore[arg-type]

    @property
    def folder(self) -> Path:
        if self.data is None:
            raise SystemExit("this part needs the folder of sets: name it or set RECON_EVAL_DATA")
        return self.data

    def sets(self, *names: str) -> list[PhotoSet]:
        return read_sets(self.folder, names)

    def rows(self, part: str) -> Iterator[tuple[str, Callable[[], Row]]]:
        """What a part measures: the name of each row, and the work for it."""
        make: Reconstruct = self.reconstruct
        if part in ("between", "around", "alone"):
            sets = {"between": (FOUNTAIN, DTU, LEGO, *YCB, FOX), "around": (FOUNTAIN, FOX, DTU), "alone": (FOUNTAIN,)}[part]
            sources = 4 if part == "around" else 2
            for s in self.sets(*sets):
                yield s.name, lambda s=s: novel_view_figures(s, make, self.sheet, long_side=LONG_SIDE, sources=sources, given=part != "alone")
        elif part == "depth":
            for s in self.sets(*YCB, ROOMS):
                yield s.name, lambda s=s: depth_figures(s, make, self.sheet, long_side=LONG_SIDE)
        elif part == "stereo":
            for name in BARS["stereo"]:
                folder = self.folder / "stereo_gt" / name
                yield name, lambda folder=folder: stereo_figures(folder, make, self.sheet)
        elif part == "merging":
            for s in self.sets(FOUNTAIN, YCB[0]):
                for given in (True, False):
                    name = f"{s.name} {'given cameras' if given else 'photos alone'}"
                    yield name, lambda s=s, given=given: merging_figures(s, make, long_side=LONG_SIDE, given=given)
        elif part == "known":
            for name in SCENES:
                yield name, lambda name=name: known_figures(name, make, self.sheet)
        elif part == "seconds":
            yield "one view", sweep_seconds
        elif part == "demo":
            yield "two photos", lambda: demo_cost(self.surfaces)


PARTS = ("known", "depth", "stereo", "between", "around", "alone", "merging", "seconds", "demo")


def told(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def measure(bench: Bench, parts: list[str]) -> list[dict[str, Any]]:
    """All rows; one that fails says so and does not hide the others."""
    out = []
    for part in parts:
        for name, work in bench.rows(part):
            start = time.perf_counter()
            try:
                row = work()
            except Exception as error:
                traceback.print_exc()
                row = {"error": f"{type(error).__name__}: {error}"}
            judged = verdicts(part, name, row)
            took = time.perf_counter() - start
            out.append({"surfaces": bench.surfaces, "part": part, "set": name, **row, "bars": judged, "took_s": took})
            print(line(bench.surfaces, part, name, row, judged), f"[{took:.0f} s]", flush=True)
    return out


def line(surfaces: str, part: str, name: str, row: Row, judged: list[dict[str, Any]]) -> str:
    """A row to read while the rest is measured."""
    figures = ", ".join(f"{key} {told(value)}" for key, value in row.items())
    marks = ", ".join(f"{'PASS' if v['holds'] else 'FAIL'} {v['figure']} (bar {v['bar']:g}, aim {v['aim']:g})" for v in judged)
    return f"{surfaces:8s} {part:8s} {name:22s} {figures} | {marks}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=os.environ.get("RECON_EVAL_DATA"))
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated (default: all, %(default)s)")
    parser.add_argument("--surfaces", nargs="+", choices=("sweep", "pointmap"), default=["sweep"])
    parser.add_argument("--pictures", type=Path, help="folder for pictures side by side, in one folder for each kind of surfaces")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"unknown parts {', '.join(unknown)}; some of: {', '.join(PARTS)}")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    rows = []
    for surfaces in args.surfaces:
        sheet = Sheet(args.pictures and args.pictures / surfaces)
        rows += measure(Bench(args.data and Path(args.data), surfaces, sheet), parts)
    result = {"device": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "commit": commit, "rows": rows}
    if args.output:
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(v["holds"] for row in rows for v in row["bars"]) and not any("error" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
