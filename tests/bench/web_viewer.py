"""How long the page's viewer takes from the end of the work to the picture: packing and keeping the scene, first picture, all splats.

    python tests/bench/web_viewer.py [--splats 1000000] [--browsers 3] [--hardware] [-o FILE.json]

Each try has a browser that has shown nothing before and a process that has packed nothing before, as the first job of a visitor has; the page is
open before, as it is while a reconstruction runs. "first" and "all": the page has handed the picture to the renderer, "loaded": all splats have
come, "finished": the renderer is through with all of them, each from the beginning of the load; "pack_first" and "pack_all" from that of packing.
"later" are loads of the same page afterwards. All are milliseconds. Without --hardware Chromium draws on the CPU (SwiftShader), where one picture of
a million splats takes seconds by itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "app"))

from viewer_page import DESKTOP, FLAGS, Server, needs_browser, watch
from viewer_scene import known_scene

from recon.app.keeping import VIEW
from recon.app.worker import Worker

TESTS = Path(__file__).resolve().parent.parent
LATER = 2  # loads after the first one
WAIT_FOR_PIXELS = """() => {
    const { gl } = reconViewer.engine.device;
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return performance.now() - reconViewer.clock.began;
}"""


def packed(splats: int, folder: Path, *, tell: Any) -> float:
    """Milliseconds from a job's scene to its result on disk, in a process that has done what comes before: read photos and made a scene."""
    from recon.app.work import put_down
    from recon.photos.grid import load_images

    load_images(sorted((TESTS.parent / "assets" / "photos").glob("*.jpg")))
    scene = known_scene(size=(splats / 60_000) ** 0.5)
    folder.mkdir()
    start = time.perf_counter()
    put_down(scene, folder, scene.report)
    return 1000 * (time.perf_counter() - start)


def load(page: Any, name: str) -> dict[str, float]:
    """The viewer's own times of a load, and when the renderer was through with it."""
    page.evaluate("name => reconViewer.load(`/recon/scene/${name}/`)", name)
    page.wait_for_function("reconViewer.times.all")
    finished = page.evaluate(WAIT_FOR_PIXELS)
    return {**page.evaluate("reconViewer.times"), "finished": finished}


def measure(splats: int, browsers: int, hardware: bool) -> dict[str, Any]:
    """The times of each of the browsers, and their medians and worst."""
    from playwright.sync_api import sync_playwright

    server, tries, later, renderer = Server(), [], [], ""
    flags = ["--no-sandbox", "--ignore-gpu-blocklist"] if hardware else FLAGS
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for name in map(str, range(browsers)):
            server.scenes[name] = Path(folder) / name / VIEW
            browser = playwright.chromium.launch(executable_path=needs_browser(), headless=True, args=flags)
            page = watch(browser.new_page(**DESKTOP))
            page.set_default_timeout(600_000)
            page.goto(server.address)
            page.wait_for_function("window.mounted")
            worker = Worker("bench")
            pack = worker.run("web_viewer:packed", splats, Path(folder) / name)
            worker.close()
            first = load(page, name)
            tries.append({"pack": pack, **first, "pack_first": pack + first["first"], "pack_all": pack + first["all"]})
            later += [load(page, name) for _ in range(LATER)]
            renderer = page.evaluate("reconViewer.engine.device.unmaskedRenderer")
            assert not page.problems and not page.outside, (page.problems, page.outside)
            browser.close()
    server.stop()
    told = {f"{name}_{key}": call(one[key] for one in tries)
            for key in ("pack_first", "pack_all") for name, call in (("median", statistics.median), ("worst", max))}  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=TESTS).stdout.strip()
    return whole({"splats": splats, **told, "tries": tries, "later": later, "renderer": renderer, "commit": commit})


def whole(value: Any) -> Any:
    """The same with whole numbers: nothing here is known to less than a millisecond."""
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return round(value) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splats", type=int, default=1_000_000)
    parser.add_argument("--browsers", type=int, default=3)
    parser.add_argument("--hardware", action="store_true", help="let Chromium use this machine's graphics card")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    result = measure(args.splats, args.browsers, args.hardware)
    text = json.dumps(result, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
