"""A server that is killed in the middle of its work: nothing of it lives on, and the next one clears what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from ports import free_port

pytest.importorskip("gradio")
pytestmark = [pytest.mark.weights, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]


def begin(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A server whose temporary folder this is, and its address."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "recon.app", "--port", str(free_port()), "--json"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, json.loads(server.stdout.readline())["url"]


def until(true: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


def test_a_killed_server_leaves_nothing(tmp_path, sample_photos):
    first, url = begin(tmp_path)
    files = [("files", (photo.name, photo.read_bytes())) for photo in sample_photos]
    paths = httpx.post(f"{url}gradio_api/upload", files=files, timeout=60).json()
    photos = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    data = [photos, "recon-small", 512, "", None, None, False, 50]
    assert httpx.post(f"{url}gradio_api/call/reconstruct", json={"data": data}, timeout=60).status_code == 200
    until(lambda: list(tmp_path.glob("recon-app-*/server-*/scenes/*/input/aloe_left.jpg")), 60)
    workers = children(first.pid)
    assert workers
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers) if Path("/proc").exists() else True, 10)
    assert not list(tmp_path.glob("recon-app-*/server-*/scenes/*/about.json"))

    second, url = begin(tmp_path)
    assert httpx.get(url).status_code == 200
    assert len(list(tmp_path.glob("recon-app-*/server-*"))) == 1
    second.send_signal(signal.SIGTERM)
    said = second.communicate(timeout=20)[1]
    assert second.returncode == 0 and "Traceback" not in said
    assert not list(tmp_path.glob("recon-app-*/*"))
