"""How long the page's viewer takes from the end of the work to the picture: packing, first picture, all splats.

    python tests/bench/web_viewer.py [--splats 1000000] [--hardware] [-o FILE.json]

The page is open before, as it is while a reconstruction runs. "first" and "all": the page has handed the picture to the renderer, "loaded": all
splats have come, "finished": the renderer is through with all of them. Without --hardware Chromium draws on the CPU (SwiftShader), where one picture
of a million splats takes seconds by itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "app"))

from viewer_page import DESKTOP, FLAGS, Server, needs_browser, watch
from viewer_scene import known_scene

from recon.app.view_pack import write_view

REPEATS = 3
WAIT_FOR_PIXELS = """() => {
    const { gl } = reconViewer.engine.device;
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return performance.now() - reconViewer.clock.began;
}"""


def measure(splats: int, hardware: bool) -> dict[str, Any]:
    """Seconds to pack, and for each of REPEATS loads the viewer's own times in milliseconds."""
    from playwright.sync_api import sync_playwright

    scene, server = known_scene(size=(splats / 60_000) ** 0.5), Server()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        packs = []
        for repeat in range(REPEATS):
            start = time.perf_counter()
            write_view(scene, Path(folder) / str(repeat))
            packs.append(round(time.perf_counter() - start, 3))
            server.scenes[str(repeat)] = Path(folder) / str(repeat)
        flags = ["--no-sandbox", "--ignore-gpu-blocklist"] if hardware else FLAGS
        browser = playwright.chromium.launch(executable_path=needs_browser(), headless=True, args=flags)
        page = watch(browser.new_page(**DESKTOP))
        page.set_default_timeout(600_000)
        page.goto(server.address)
        page.wait_for_function("window.mounted")
        page.wait_for_timeout(2000)
        loads = []
        for repeat in range(REPEATS):
            page.evaluate("name => reconViewer.load(`/recon/scene/${name}/`)", str(repeat))
            page.wait_for_function("reconViewer.times.all")
            finished = page.evaluate(WAIT_FOR_PIXELS)
            loads.append({**{key: round(value) for key, value in page.evaluate("reconViewer.times").items()}, "finished": round(finished)})
        renderer = page.evaluate("reconViewer.engine.device.unmaskedRenderer")
        assert not page.problems and not page.outside, (page.problems, page.outside)
        browser.close()
    server.stop()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    return {"splats": len(scene.gaussians), "pack_seconds": packs, "loads_ms": loads, "renderer": renderer, "commit": commit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splats", type=int, default=1_000_000)
    parser.add_argument("--hardware", action="store_true", help="let Chromium use this machine's graphics card")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    result = measure(args.splats, args.hardware)
    text = json.dumps(result, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
