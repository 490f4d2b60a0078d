"""A page with nothing but the viewer in a real browser: the server, Chromium, and the pixels of the canvas."""

from __future__ import annotations

import base64
import http.server
import io
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

STATIC = Path(__file__).resolve().parent.parent.parent / "app" / "static"
ENGINE = STATIC / "vendor" / "playcanvas.min.js"
# without a graphics card ANGLE draws on SwiftShader; no sandbox because tests may run as root in a container
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
DESKTOP: dict[str, Any] = {"viewport": {"width": 1400, "height": 900}}
SMALL: dict[str, Any] = {"viewport": {"width": 480, "height": 380}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
PAGE = b"""<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>body { margin: 0 } #host { height: 100vh }</style><div id="host"></div>
<script type="module">
import { mount } from '/recon/static/viewer.js';
window.mounted = await mount(document.getElementById('host'));
</script>"""


def needs_browser() -> str:
    """The path of Chromium; skips the test where it, Playwright or the engine is absent."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    found = os.environ.get("RECON_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium here: apt-get install chromium")
    needs_engine()
    return found


def needs_engine() -> None:
    """Skips the test where the viewer's engine could not be fetched."""
    if not ENGINE.is_file():
        pytest.skip("the 3D engine is absent: tools/fetch_viewer.py needs npm and a registry")


def launch(playwright: Any, *more: str, **options: Any) -> Any:
    """A headless Chromium that draws in software; skips the test where there is none."""
    return playwright.chromium.launch(executable_path=needs_browser(), headless=True, args=[*FLAGS, *more], **options)


class Server:
    """Serves the page, app/static and folders of scenes on a free port; notes what scale was posted."""

    def __init__(self) -> None:
        self.scenes: dict[str, Path] = {}
        self.posted: list[tuple[str, bytes]] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def translate_path(self, path: str) -> str:
                parts = path.partition("?")[0].strip("/").split("/")
                if parts[:2] == ["recon", "static"]:
                    return str(STATIC.joinpath(*parts[2:]))
                if parts[:2] == ["recon", "scene"] and parts[2] in outer.scenes:
                    return str(outer.scenes[parts[2]].joinpath(*parts[3:]))
                return str(STATIC / "absent")

            def do_GET(self) -> None:
                if self.path != "/":
                    return super().do_GET()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(PAGE)

            def do_POST(self) -> None:
                outer.posted.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def watch(page: Any) -> Any:
    """The page with lists of what went wrong (`problems`) and of requests that leave the machine (`outside`)."""
    page.set_default_timeout(60_000)
    page.problems, page.outside = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    local = ("http://127.0.0.1", "blob:", "data:", "file:")
    page.on("request", lambda request: page.outside.append(request.url) if not request.url.startswith(local) else None)
    return page


def show(page: Any, address: str, scene: str) -> None:
    """Opens the page where it is not open and waits for the whole scene."""
    if page.url != address:
        page.goto(address)
        page.wait_for_function("window.mounted")
    page.evaluate("name => reconViewer.load(`/recon/scene/${name}/`)", scene)


def picture(page: Any) -> np.ndarray:  # [h, w, 3] int
    """The canvas itself, when all is sorted and drawn."""
    png = page.evaluate("(async () => { await reconViewer.settled(); return reconViewer.picture().toDataURL('image/png'); })()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png.split(",")[1]))).convert("RGB")).astype(int)


def shown(pixels: np.ndarray) -> np.ndarray:  # [h, w] bool
    """Where the picture is not the background."""
    return np.abs(pixels - pixels[2, 2]).max(-1) > 12


def photo_part(page: Any, pixels: np.ndarray) -> np.ndarray:
    """The part of the canvas where the photo lies whose camera the view has."""
    frame, ratio = page.evaluate("reconViewer.camera.frame()"), pixels.shape[1] / page.evaluate("reconViewer.camera.width")
    left, top, width, height = (round(frame[key] * ratio) for key in ("left", "top", "width", "height"))
    return pixels[top : top + height, left : left + width]


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures of any sizes, seen small."""
    small = [np.asarray(Image.fromarray(p.astype(np.uint8)).resize((32, 24), Image.Resampling.BOX)).astype(float).ravel() for p in (a, b)]
    return float(np.corrcoef(*small)[0, 1])
