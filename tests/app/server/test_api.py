"""The server as programs see it, over HTTP with the work played: the one endpoint, results by token, and everything that must not work."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from tries import quickest

pytest.importorskip("gradio")
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError


def jpeg(seed: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Any]:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(2):
        (folder / f"{k}.jpg").write_bytes(jpeg(k))
    return [handle_file(folder / f"{k}.jpg") for k in range(2)]


@pytest.fixture(scope="module")
def base(played, photos) -> str:
    """The address of a result."""
    with pytest.MonkeyPatch.context() as patch:  # set up before what uploads_of_this_server does for each test
        patch.setenv("GRADIO_TEMP_DIR", str(played.home.uploads))
        address, words = Client(played.url, verbose=False).predict(photos=photos, api_name="/reconstruct")
    assert words == "2 photos"
    return played.url.rstrip("/") + address


def call(url: str, data: list[Any], name: str = "reconstruct") -> str:
    """What the plain HTTP interface answers to a call, all of its events."""
    answer = httpx.post(f"{url}gradio_api/call/{name}", json={"data": data}, timeout=60)
    if answer.status_code != 200:
        return answer.text
    return httpx.get(f"{url}gradio_api/call/{name}/{answer.json()['event_id']}", timeout=60).text


def upload(url: str, name: str, content: bytes) -> httpx.Response:
    return httpx.post(f"{url}gradio_api/upload", files={"files": (name, content)}, timeout=60)


def file_of(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def call_photos(url: str, paths: list[str]) -> str:
    return call(url, [[file_of(p) for p in paths], "recon-small", 512, "", None, None, False, 50])


# --- the interface


def test_one_endpoint_is_public(played):
    info = httpx.get(played.url + "gradio_api/info").json()
    assert list(info["named_endpoints"]) == ["/reconstruct"] and info["unnamed_endpoints"] == {}
    parameters = {p["parameter_name"]: p["parameter_has_default"] for p in info["named_endpoints"]["/reconstruct"]["parameters"]}
    assert list(parameters) == ["photos", "model", "resolution", "focal", "cameras", "masks", "metric", "frames"]
    assert [name for name, optional in parameters.items() if not optional] == ["photos"]


def test_the_example_of_the_docs(played, root, sample_photos, monkeypatch, tmp_path, capsys):
    text = (root / "docs" / "web_api.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    for photo in sample_photos:
        (tmp_path / f"{photo.stem.removeprefix('aloe_')}.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(played.jobs, "download", lambda entry, key: _written(tmp_path / f"recon-{key}.zip"))
    exec(compile(code.replace("http://127.0.0.1:7860/", played.url), "web_api.md", "exec"), {})
    assert "2 photos" in capsys.readouterr().out and (tmp_path / "blender.zip").read_bytes() == b"made"


def _written(path: Path) -> Path:
    path.write_bytes(b"made")
    return path


def test_a_result_and_its_about(base):
    about = httpx.get(base + "about.json").json()
    assert about["headline"] == "2 photos" and about["metres_per_unit"] is None and 3500 < about["seconds_left"] <= 3600
    assert httpx.get(base + "view.json").headers["cache-control"].startswith("private")


def test_errors_read_well(played, tmp_path):
    (tmp_path / "evil.svg").write_text("<svg onload=alert(1)>")
    client = Client(played.url, verbose=False)
    with pytest.raises(AppError, match=r"evil.svg is no photo, video or zip archive; allowed: \.jpg"):
        client.predict(photos=[handle_file(tmp_path / "evil.svg")], api_name="/reconstruct")
    with pytest.raises(AppError, match="no photos were given"):
        client.predict(photos=[], api_name="/reconstruct")
    played.jobs.worker.refuse = "<b>all</b> is blurred"
    try:
        (tmp_path / "a.jpg").write_bytes(jpeg())
        with pytest.raises(AppError, match="&lt;b&gt;all&lt;/b&gt; is blurred"):
            client.predict(photos=[handle_file(tmp_path / "a.jpg")], api_name="/reconstruct")
    finally:
        played.jobs.worker.refuse = ""


# --- results belong to who knows their token


@pytest.mark.parametrize(
    "name",
    ["secret.txt", "view", "", "scene.npz", "files.json", "../view/view.json", "%2e%2e/scene.npz", "..%2fscene.npz", "....//scene.npz", "view.json/",
     "input/0.jpg", "photos/../view.json", "photos/..%2f..%2fscene.npz", "photos/00.svg", "photos/", "download/", "download/..%2fscene", "download/x",
     "view.json%00.png", "\\view.json", "about.json/../scene.npz"],
)  # fmt: skip
def test_nothing_else_of_a_result_is_served(base, name):
    with socket.create_connection((urlsplit(base).hostname, urlsplit(base).port)) as raw:  # clients would tidy the address
        raw.sendall(f"GET {urlsplit(base).path}{name} HTTP/1.1\r\nHost: {urlsplit(base).netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split()[1] in (b"404", b"405"), answer[:200]
    assert b"not served" not in answer


def test_other_tokens_find_nothing(base):
    token = base.rstrip("/").rpartition("/")[2]
    for other in (token[:-1] + ("A" if token[-1] != "A" else "B"), token.lower(), "A" * 32, "*", "..", ".", token + "x"):
        for method in ("GET", "HEAD", "DELETE"):
            assert httpx.request(method, base.replace(token, other) + ("" if method == "DELETE" else "view.json")).status_code in (404, 405)
    for listing in (base.replace(token + "/", ""), base, base.replace(f"scene/{token}/", "static/"), base.replace(f"scene/{token}/", "")):
        assert httpx.get(listing).status_code == 404


def test_scale_and_deletion(played, photos):
    address, _ = Client(played.url, verbose=False).predict(photos=photos, api_name="/reconstruct")
    base = played.url.rstrip("/") + address
    assert httpx.post(base + "scale", json={"metres_per_unit": 0.25}).json() == {"metres_per_unit": 0.25}
    assert httpx.get(base + "about.json").json()["metres_per_unit"] == 0.25
    for wrong in (0, -1, 1e300, "1", True, [1]):
        assert httpx.post(base + "scale", json={"metres_per_unit": wrong}).status_code == 400
    assert httpx.post(base + "scale", content="{" * 10, headers={"content-type": "application/json"}).status_code == 400
    assert httpx.post(base + "scale", content=b" " * 5000, headers={"content-type": "application/json"}).status_code == 413
    assert httpx.post(base + "scale", data={"metres_per_unit": "1"}).status_code == 415  # what a form of another site can send
    folder = played.jobs.store.find(address.split("/")[3]).folder
    assert httpx.delete(base.rstrip("/")).status_code == 204 and not folder.exists()
    assert httpx.get(base + "view.json").status_code == httpx.delete(base.rstrip("/")).status_code == 404


# --- uploads only


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "app/page.py", "{root}/assets/photos/aloe_left.jpg", "{home}/lock", "{scene}",
                                  "http://127.0.0.1:1/x.jpg", "file:///etc/passwd", "../../../../etc/passwd"])  # fmt: skip
def test_no_file_of_the_server_can_be_named(played, base, root, path):
    token = base.rstrip("/").rpartition("/")[2]
    path = path.format(root=root, home=played.home.folder, scene=played.home.scenes / token / "view" / "view.json")
    before = len(played.jobs.worker.done)
    assert "event: error" in call_photos(played.url, [path])
    config = httpx.get(played.url + "config").json()
    for number, _dependency in enumerate(config["dependencies"]):  # the page's own, private ones as well
        data = [[file_of(path)], "recon-small", 512, "", file_of(path), [file_of(path)], False, 50]
        body = {"data": data, "fn_index": number, "session_hash": f"probe{number}"}
        answer = httpx.post(f"{played.url}gradio_api/queue/join", json=body)
        assert answer.status_code in (200, 400, 404, 422, 500)
    time.sleep(0.3)
    assert len(played.jobs.worker.done) == before
    assert httpx.get(f"{played.url}gradio_api/file={path}").status_code == 404


def test_uploads_are_never_served_back(played):
    for name, content in (("a.jpg", jpeg()), ("evil.html", b"<script>alert(1)</script>"), ("evil.svg", b"<svg onload=alert(1)>")):
        path = upload(played.url, name, content).json()[0]
        assert Path(path).is_file()
        for prefix in ("gradio_api/file=", "file=", "gradio_api/file/", "gradio_api/stream/", "gradio_api/proxy="):
            assert httpx.get(played.url + prefix + path).status_code == 404


NAMES = ["../../evil.jpg", "/etc/evil.jpg", "..\\evil.jpg", "evil\0.jpg", "a" * 5000 + ".jpg", "${alert(1)}.jpg", "<img src=x>.jpg"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_uploads_stay_below_the_folder(played, name):
    answer = upload(played.url, name, jpeg())
    if answer.status_code == 200:
        assert Path(answer.json()[0]).resolve().is_relative_to(played.home.uploads)
        assert "event: complete" in call_photos(played.url, answer.json())
    assert not list(played.home.folder.parent.glob("*evil*"))


def test_names_never_become_html(played):
    """Templates are static: what js and handlebars would run stands in no component's template."""
    config = json.dumps(httpx.get(played.url + "config").json()["components"])
    templates = re.findall(r'"html_template": "(.*?)(?<!\\)"', config)
    assert len(templates) > 4 and not any("{{" in t or "${" in t for t in templates)


def test_too_large_uploads_are_refused(start):
    server = start(limits={"file_mb": 1, "total_mb": 3})
    assert upload(server.url, "a.jpg", b"\0" * 1_100_000).status_code == 413  # one file
    files = [("files", (f"{k}.jpg", b"\0" * 900_000)) for k in range(4)]
    assert httpx.post(f"{server.url}gradio_api/upload", files=files).status_code == 413  # all together, as announced

    def parts():
        yield b"--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.jpg\"\r\n\r\n"
        for _ in range(40):
            yield b"\0" * 100_000

    chunked = httpx.post(f"{server.url}gradio_api/upload", content=parts(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert chunked.status_code == 413  # of unannounced length
    time.sleep(0.2)
    server.home.drop_stale_uploads(0.0)
    assert server.home.size_mb() < 0.01


def test_a_full_server_takes_no_uploads(start):
    server = start(limits={"disk_mb": 1})
    assert upload(server.url, "a.jpg", b"\0" * 1_500_000).status_code == 200
    assert upload(server.url, "b.jpg", b"\0").status_code == 507


def test_uploads_that_stop_half_way_leave_nothing(start, capfd):
    server = start(limits={"stale_upload_s": 4.0})
    left = lambda: [p for p in server.home.uploads.rglob("*") if p.is_file()]
    address = urlsplit(server.url)
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        "Content-Length: 500000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    ).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            raw = stack.enter_context(socket.create_connection((address.hostname, address.port)))
            raw.sendall(head + b"\xff" * 20_000)
        until(lambda: len(left()) > 50)
    assert httpx.get(server.url, timeout=10).status_code == 200
    until(lambda: not left())
    assert "Traceback" not in capfd.readouterr().err


# --- other sites, other hosts, other people


def test_requests_of_other_sites_are_refused(played, base):
    evil = {"origin": "https://evil.example"}
    for method, address in (("POST", played.url + "gradio_api/upload"), ("POST", played.url + "gradio_api/call/reconstruct"),
                            ("POST", played.url + "gradio_api/queue/join"), ("POST", base + "scale"), ("DELETE", base.rstrip("/")),
                            ("POST", played.url + "login"), ("POST", base + "scale")):  # fmt: skip
        assert httpx.request(method, address, headers=evil, json={"metres_per_unit": 3}).status_code == 403, address
        assert httpx.request(method, address, headers={"origin": "null"}, json={}).status_code == 403, address
    assert httpx.get(base + "view.json").status_code == 200
    for address in (played.url, played.url + "config", base + "view.json", base + "about.json"):
        answer = httpx.get(address, headers=evil)
        assert answer.headers.get("access-control-allow-origin") in (None, "null") and "evil" not in str(answer.headers)
    own = {"origin": played.url.rstrip("/")}
    assert httpx.post(base + "scale", json={"metres_per_unit": 3}, headers=own).status_code == 200


def test_other_names_of_this_machine_are_refused(played):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        assert httpx.get(played.url, headers={"host": host}).status_code == 403
    assert httpx.get(played.url, headers={"host": f"localhost:{urlsplit(played.url).port}"}).status_code == 200


def test_headers_are_safe(played, base):
    for address in (played.url, played.url + "config", base + "view.json", played.url + "recon/static/page.js", base + "nothing"):
        headers = httpx.get(address).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "SAMEORIGIN"
    assert httpx.get(base + "view.json").headers["cross-origin-resource-policy"] == "same-origin"


def test_nothing_is_shared_or_told_by_default(played):
    config = httpx.get(played.url + "config").json()
    assert not config.get("is_space") and not config.get("analytics_enabled") and played.blocks.share is False
    assert urlsplit(played.url).hostname == "127.0.0.1"
    told = ("docs", "openapi.json", "redoc", "monitoring", "gradio_api/monitoring/summary", "gradio_api/mcp/", "gradio_api/mcp/sse")
    for address in (*told, "recon/", "recon/static/", "recon/static/vendor/"):
        assert httpx.get(played.url + address).status_code in (401, 403, 404, 405), address


def test_who_did_not_sign_in_sees_nothing(start, photos):
    server = start(auth=[("me", "pass word")])
    for address in ("config", "gradio_api/info", "recon/scene/x/view.json"):
        assert httpx.get(server.url + address).status_code in (401, 404), address
    assert upload(server.url, "a.jpg", jpeg()).status_code == 401
    assert httpx.post(server.url + "gradio_api/queue/join", json={"data": [], "fn_index": 0, "session_hash": "x"}).status_code == 401
    client = Client(server.url, auth=("me", "pass word"), verbose=False)
    address, _ = client.predict(photos=photos, api_name="/reconstruct")
    base = server.url.rstrip("/") + address
    assert httpx.get(base + "view.json").status_code == httpx.get(base + "about.json").status_code == 404
    assert httpx.delete(base.rstrip("/")).status_code == httpx.post(base + "scale", json={"metres_per_unit": 1}).status_code == 404
    assert httpx.get(base + "view.json", cookies=dict(client.cookies)).status_code == 200
    answers = [httpx.post(server.url + "login", data={"username": "me", "password": str(k)}).status_code for k in range(14)]
    assert set(answers[:5]) == {400} and answers[-1] == 429


# --- many at once


def test_twenty_jobs_at_once_are_all_done_one_after_the_other(start, photos):
    server = start(seconds=0.1, limits={"jobs_a_user": 2})
    clients = [Client(server.url, verbose=False) for _ in range(4)]  # one upload each; sessions of their own below
    answers, seen, slowest = [], [], 0.0
    uploaded = upload(server.url, "a.jpg", jpeg()).json()

    def one() -> None:
        answers.append(call_photos(server.url, uploaded * 2))

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    job = clients[0].submit(photos=photos, api_name="/reconstruct")
    while not job.done():
        begin = time.monotonic()
        httpx.get(server.url, timeout=10)
        slowest = max(slowest, time.monotonic() - begin)
        status = job.status()
        seen += [unit.desc for unit in status.progress_data or [] if unit.desc]
        time.sleep(0.05)
    for thread in threads:
        thread.join(60)
    assert sum("event: complete" in answer for answer in answers) == 20 and job.result()[1] == "2 photos"
    assert server.jobs.worker.most_at_once == 1 and len(server.jobs.worker.done) == 21 and len(server.jobs.line) == 0
    assert any(re.fullmatch(r"waiting: \d+ jobs? before yours · about \d+ s", text) for text in seen), seen
    assert slowest < 3.0  # the bench measures it on a quiet machine


def test_a_user_has_so_many_jobs_and_no_more(start, photos):
    server = start(seconds=1.0, limits={"jobs_a_user": 2})
    client = Client(server.url, verbose=False)
    jobs = [client.submit(photos=photos, api_name="/reconstruct") for _ in range(3)]
    outcomes = [job.exception(timeout=30) for job in jobs]
    assert sum(error is None for error in outcomes) == 2
    assert "you have 2 jobs here already, and 2 are allowed" in str(next(error for error in outcomes if error is not None))


def test_leaving_frees_the_machine(start, photos):
    server = start(seconds=30.0)

    def seconds() -> float:
        client = Client(server.url, verbose=False)
        client.submit(photos=photos, api_name="/reconstruct")
        until(lambda: server.jobs.worker.at_once == 1)
        begin = time.monotonic()
        server.jobs.left(client.session_hash)  # what the page's closing calls
        until(lambda: server.jobs.worker.at_once == 0)
        took = time.monotonic() - begin
        until(lambda: len(server.jobs.line) == 0 and not list(server.home.scenes.iterdir()))
        return took

    assert quickest(seconds, enough=1.0) < 1.0


def until(true: Any, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
