"""Servers for the tests of the page: a quick one whose work is played, and a real one with the network and its processes."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # worker_jobs, also for the processes that the tests start

from ports import free_port


class PlayedWorker:
    """Stands for the worker's process: counts, waits `seconds` under the stop flag, and writes the smallest result there is."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.at_once, self.most_at_once, self.done, self.refuse = seconds, 0, 0, list[Path](), ""
        self._lock = threading.Lock()

    def run(self, function: str, *args: Any, tell: Any = None, stop: Any = None, limit_s: float = 0.0) -> Any:
        from recon.app.limits import Refused
        from recon.app.worker import Stopped

        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.refuse:
                raise Refused(self.refuse)
            end = time.monotonic() + self.seconds
            while True:
                if tell is not None:
                    tell("depth", 0.5)
                if stop is not None and stop.wait(0.02):
                    raise Stopped
                if time.monotonic() >= end:
                    break
            job, folder = args
            (folder / "view").mkdir()
            (folder / "view" / "view.json").write_text("{}")
            (folder / "secret.txt").write_text("not served")
            about = {"headline": f"{len(job.photos)} photos", "downloads": [], "photos": [], "report": {"metric": False, "warnings": []}}
            (folder / "about.json").write_text(json.dumps({**about, "reproduce": {"python": "", "shell": ""}}))
            self.done.append(folder)
            return f"{len(job.photos)} photos"
        finally:
            with self._lock:
                self.at_once -= 1

    def warm(self) -> None: ...

    def close(self) -> None: ...


class InProcess:
    """Stands for the processes that look and make: runs its functions here."""

    def run(self, function: str, *args: Any, tell: Any = None, stop: Any = None, limit_s: float = 0.0) -> Any:
        from importlib import import_module

        from recon.app.limits import Refused, nameless
        from recon.errors import ReconError

        module, _, name = function.partition(":")
        try:
            return getattr(import_module(module), name)(*args, tell=tell or (lambda text, share: None))
        except ReconError as error:
            raise Refused(nameless(str(error))) from error

    def warm(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Starts servers on free ports that end with the tests; `played=False`: with their own processes."""
    pytest.importorskip("gradio", reason="the page needs gradio")
    from recon.app.limits import Limits
    from recon.app.server import Options, Server

    servers = []

    def begin(*, played: bool = True, seconds: float = 0.0, limits: dict[str, Any] | None = None, **options: Any) -> Any:
        patch = pytest.MonkeyPatch()
        if played:
            patch.setattr("recon.app.worker.Worker.warm", lambda self: None)
        folder = tmp_path_factory.mktemp("app")
        chosen = Options(port=free_port(), folder=folder, limits=replace(Limits(), **(limits or {})), **options)
        server = Server(chosen)
        patch.undo()
        if played:
            server.jobs.worker = PlayedWorker(seconds)  # type: ignore[assignment]
            server.jobs.looker = server.jobs.maker = InProcess()  # type: ignore[assignment]
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def played(start: Callable[..., Any]) -> Any:
    """A server whose work is done at once."""
    return start()


@pytest.fixture(scope="session")
def real(start: Callable[..., Any]) -> Any:
    """A server with the real network in its own process."""
    return start(played=False)


SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1400, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


@pytest.fixture(autouse=True)
def uploads_of_this_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio knows one folder of uploads a process, several servers live in this one: for the test it is that of the server it asks for."""
    for name in ("played", "real"):
        if name in request.fixturenames:
            monkeypatch.setenv("GRADIO_TEMP_DIR", str(request.getfixturevalue(name).home.uploads))


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page of a server in a session of its own; errors of its scripts and requests to other machines fail the test."""
    contexts, problems = [], list[str]()

    def begin(server: Any, size: str = "desktop", **options: Any) -> Any:
        context = browser.new_context(**SIZES[size], **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith((server.url, "blob:", "data:")) else problems.append(request.url))
        page.goto(server.url)
        page.wait_for_selector("#recon-run")
        page.wait_for_function("window.reconViewer || document.querySelector('.recon-host')?.textContent")
        return page

    yield begin
    for context in contexts:
        context.close()
    assert problems == []
