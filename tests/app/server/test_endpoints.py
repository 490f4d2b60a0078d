"""Every address and every function of the server, one after the other: none hands out or uses a file of the server, and the log holds no secrets."""

from __future__ import annotations

import io
import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

SECRET = "not-for-visitors-" + "x" * 40


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture on the server that nobody uploaded, with a text inside that would be known again."""
    path = tmp_path_factory.mktemp("server") / "private.jpg"
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(stream, "JPEG", comment=SECRET.encode())
    path.write_bytes(stream.getvalue())
    return path


def file_of(path: str) -> dict[str, Any]:
    return {"path": path, "orig_name": "a.jpg", "meta": {"_type": "gradio.FileData"}}


def called(url: str, number: int, data: list[Any], trigger: int | None) -> str:
    """What the queue tells of one call of one function, all of it."""
    session = secrets.token_hex(6)
    body = {"data": data, "fn_index": number, "session_hash": session, "trigger_id": trigger, "event_data": {"action": "remove", "file": 0}}
    answer = httpx.post(f"{url}gradio_api/queue/join", json=body, timeout=30)
    if answer.status_code != 200:
        return f"refused {answer.status_code}"
    told = ""
    with httpx.stream("GET", f"{url}gradio_api/queue/data", params={"session_hash": session}, timeout=30) as events:
        for line in events.iter_lines():
            told += line
            if "process_completed" in line or "close_stream" in line:
                break
    return told


def test_no_function_takes_a_file_of_the_server(played, outside):
    """Each function of the page, private ones too, with exactly the arguments that it wants, files being paths of the server."""
    config = httpx.get(played.url + "config").json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    values = {"dropdown": "recon-small", "radio": 512, "slider": 50, "textbox": "", "checkbox": False}
    before, tried = len(played.jobs.worker.done), 0
    for dependency in config["dependencies"]:
        types = [kinds[number] for number in dependency["inputs"]]
        if "file" not in types or not dependency["backend_fn"]:
            continue
        for path in (str(outside), f"/proc/self/root{outside}", f"{played.home.uploads}/../../../../../../../..{outside}", outside.as_uri()):
            data = [[file_of(path)] if kind == "file" else values.get(kind) for kind in types]
            told = called(played.url, dependency["id"], data, dependency["targets"][0][0] if dependency["targets"] else None)
            assert '"success":false' in told.replace(" ", "") or told.startswith("refused"), (dependency["id"], types, told[:500])
            assert SECRET not in told and "data:image" not in told
            tried += 1
    assert tried >= 4 * 3  # the work, the example's work, the look, the change of the order
    assert len(played.jobs.worker.done) == before
    assert not [p for p in played.home.folder.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


def every_path(routes: Any) -> set[str]:
    """The paths of all routes, those of routers inside as well."""
    found = set()
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if hasattr(route, "path"):
            found.add(route.path)
        if hasattr(inner, "routes"):
            prefix = getattr(getattr(route, "include_context", None), "prefix", "") or getattr(route, "path", "")
            found |= {prefix + path if not path.startswith(prefix) else path for path in every_path(inner.routes)}
    return found


def test_no_address_hands_out_a_file_of_the_server(played, outside, root):
    """All routes, with the path wherever one takes something."""
    up = "../" * 8
    paths = [str(outside), str(outside).lstrip("/"), up + str(outside)[1:], (up + str(outside)[1:]).replace("/", "%2f")]
    routes = every_path(played.app.routes)
    assert {"/gradio_api/file={path_or_url:path}", "/gradio_api/upload", "/recon/scene/{token}/{name:path}"} <= routes
    assert len(routes) > 40
    for route in sorted(routes):
        for path in paths:
            address = route
            while "{" in address:
                start, end = address.index("{"), address.index("}")
                address = address[:start] + path + address[end + 1 :]
            address = address if address != route or "*" in address else f"{address.rstrip('/')}/{path}"
            for query in ({}, {"path": path, "url": path, "file": path, "session_hash": "x"}):
                try:
                    with httpx.stream("GET", f"{played.url.rstrip('/')}{address}", params=query, timeout=5) as answer:
                        content = b"" if "event-stream" in answer.headers.get("content-type", "") else answer.read()
                except httpx.TimeoutException:
                    continue  # a stream that tells nothing
                assert SECRET.encode() not in content, address
                if query and answer.status_code == 200 and "html" not in answer.headers.get("content-type", ""):
                    assert b"root:" not in content


def test_what_our_page_has_no_use_for_is_not_there(played):
    """Gradio's editor of an app's own source, its reload and its functions of components, by any method."""
    for name in ("vibe-edit", "vibe-code", "undo-vibe-edit", "dev/reload", "component_server", "process_recording", "monitoring", "deep_link"):
        for prefix in ("", "gradio_api/"):
            for method in ("GET", "POST"):
                assert httpx.request(method, f"{played.url}{prefix}{name}", json={}, timeout=5).status_code == 404, name


def test_the_log_holds_no_secrets(start, outside, capfd, caplog):
    """A job, its files, mistakes of every kind: neither tokens, passwords nor the server's folders stand in what it writes."""
    import logging

    server = start(auth=[("me", "the-pass-word")])
    caplog.set_level(logging.INFO)
    client = httpx.Client(base_url=server.url, timeout=30)
    client.post("login", data={"username": "me", "password": "a-wrong-pass-word"})
    assert client.post("login", data={"username": "me", "password": "the-pass-word"}).status_code == 200
    path = client.post("gradio_api/upload", files={"files": ("a.jpg", outside.read_bytes())}).json()[0]
    token = ""
    for files in ([path, path], [str(outside)], []):
        data = [[file_of(p) for p in files], "recon-small", 512, "", None, None, False, 50]
        event = client.post("gradio_api/call/reconstruct", json={"data": data}).json()["event_id"]
        told = client.get(f"gradio_api/call/reconstruct/{event}").text
        token = token or json.loads(told.rpartition("data: ")[2])[0].split("/")[3]
    for address in ("view.json", "about.json", "nothing", "download/blender", "../x"):
        client.get(f"recon/scene/{token}/{address}")
    client.delete(f"recon/scene/{token}")
    said = "".join(capfd.readouterr()) + "".join(r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore")))
    assert len(token) == 32
    for secret in (token, "the-pass-word", "a-wrong-pass-word", *client.cookies.values(), str(server.home.scenes), SECRET):
        assert secret not in said, said
