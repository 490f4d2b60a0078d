"""Starts the server: Gradio's own launch with our gate before it and our routes beside it, and takes everything down again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recon.app.home import Home
from recon.app.limits import Limits, Refused

SWEEP_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE: dict[str, Any] = {  # of launch: nothing leaves this machine, nothing of it is shown
    "share": False, "quiet": True, "inbrowser": False, "prevent_thread_lock": True, "show_error": False, "ssr_mode": False, "pwa": False,
    "mcp_server": False, "enable_monitoring": False, "run_history": False, "strict_cors": True, "footer_links": ["api"],
}  # fmt: skip
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a server is started. `auth`: (user, password) pairs; `weights`: NAME=FILE of further networks; `origins`: what a proxy shows it as."""

    host: str = "127.0.0.1"
    port: int = 7860
    auth: Sequence[tuple[str, str]] = ()
    weights: Sequence[str] = ()
    origins: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    folder: Path | None = None  # where uploads and results are kept; the system's temporary folder


class Server:
    """A running server: `url`, and `close`."""

    def __init__(self, options: Options) -> None:
        os.environ.update(QUIET)
        self.home = Home(options.folder)
        os.environ["GRADIO_TEMP_DIR"] = str(self.home.uploads)  # read by Gradio when it builds the page
        try:
            self._start(options)
        except BaseException:
            self.home.close()
            raise

    def _start(self, options: Options) -> None:
        gr = _gradio()
        from starlette.middleware import Middleware

        from recon.app.choices import choices_of
        from recon.app.gate import Gate
        from recon.app.jobs import Jobs
        from recon.app.page import build
        from recon.app.routes import STATIC, add_routes

        choices = choices_of(options.weights)
        self.jobs = Jobs(self.home, options.limits, choices.models)
        gate = Middleware(Gate, limits=options.limits, home=self.home, local=options.host in LOOPBACK, origins=tuple(options.origins))
        self.blocks = build(self.jobs, choices)
        try:
            app, url, _ = self.blocks.launch(
                server_name=options.host, server_port=options.port, auth=list(options.auth) or None, max_threads=options.limits.waiting + 40,
                max_file_size=options.limits.file_mb * 1_000_000, blocked_paths=[str(self.home.scenes)],
                allowed_paths=[str(self.home.example)], theme=theme(gr),
                css_paths=[STATIC / "page.css"], app_kwargs={"middleware": [gate], "docs_url": None, "redoc_url": None, "openapi_url": None}, **PAGE,
            )  # fmt: skip
        except OSError as error:
            raise Refused(f"port {options.port} of {options.host} is in use or not allowed; choose another with --port") from error
        add_routes(app, self.jobs)
        self.app, self.url, self._over = app, url, threading.Event()
        self.jobs.worker.warm()
        threading.Thread(target=self._sweep, daemon=True, name="recon-sweep").start()

    def _sweep(self) -> None:
        while not self._over.wait(min(SWEEP_S, self.jobs.limits.stale_upload_s)):
            self.jobs.sweep()

    def wait(self) -> None:
        """Returns when the server was closed or the user pressed Ctrl-C."""
        self._over.wait()

    def close(self) -> None:
        """Ends the server, its work and everything it kept."""
        self._over.set()
        self.blocks.close(verbose=False)
        self.jobs.close()


def serve(options: Options, told: Callable[[str], None]) -> None:
    """Runs a server until Ctrl-C or SIGTERM; `told` gets its address. Raises ReconError where it cannot start."""
    import signal

    server = Server(options)
    signal.signal(signal.SIGTERM, lambda *_: server._over.set())
    try:
        told(server.url)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise Refused("the page needs the package gradio: pip install 'recon3d-feedforward[app]'") from error
    return gradio


def theme(gr: Any) -> Any:
    """Gradio's own look, with its whole bold font: of its semi-bold one it ships a few letters only."""
    return gr.themes.Default(font=(gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif"))
