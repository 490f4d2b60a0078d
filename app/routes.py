"""Our own addresses beside Gradio's: the viewer's files for everyone, and each result for those who know its token."""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from recon.app.downloads import OFFERS, notes_of
from recon.app.jobs import Jobs
from recon.app.keeping import ABOUT, VIEW
from recon.app.keeping import MESH as KEPT_MESH
from recon.app.limits import Refused
from recon.app.scenes import Entry
from recon.app.worker import Stopped

STATIC = Path(__file__).parent / "static"
HEAD, MESH = "view.json", "mesh.glb"  # of view_pack, which needs torch
TYPES = {".json": "application/json", ".bin": "application/octet-stream", ".glb": "model/gltf-binary", ".jpg": "image/jpeg", ".png": "image/png"}
NAMES = re.compile(r"view\.json|view\.bin|mesh\.glb|(photos|depth|confidence|normals)/[0-9]{2,4}\.(jpg|png)")  # all that is served of a result
PRIVATE = {"Cache-Control": "private, max-age=3600", "Cross-Origin-Resource-Policy": "same-origin"}
FRESH = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
STOPPED, WHY = "stopped", "X-Recon-Why"  # HEAD is answered without a body
MOST_BODY = 1000  # bytes of what a page may send us


def add_routes(app: FastAPI, jobs: Jobs) -> None:
    """Adds /recon/static/* and /recon/scene/{token}/*."""
    signed_in = signed_in_to(app)

    def entry_of(request: Request, token: str) -> Entry:
        entry = jobs.store.find(token) if signed_in(request) else None
        if entry is None:
            raise HTTPException(404)
        return entry

    def about(request: Request, token: str) -> Response:
        entry = entry_of(request, token)
        content = json.loads((entry.folder / ABOUT).read_text(encoding="utf-8"))
        lifetime = {"metres_per_unit": entry.scale, "seconds_left": round(entry.ends - time.monotonic())}
        lifetime |= {"mesh_made": (entry.folder / KEPT_MESH).is_file()}
        return JSONResponse({**content, **lifetime}, headers=FRESH)

    def download(request: Request, token: str, key: str) -> Response:
        entry = entry_of(request, token)
        if key not in OFFERS:
            raise HTTPException(404)
        with told_as_409():
            path = jobs.download(entry, key)
        headers = {**FRESH, "X-Recon-Notes": quote(notes_of(path))}
        return FileResponse(path, media_type="application/octet-stream", filename=path.name, headers=headers)

    def view_file(request: Request, token: str, name: str) -> Response:
        entry = entry_of(request, token)
        path = entry.folder / VIEW / name
        if name == MESH and not path.is_file() and json.loads((entry.folder / VIEW / HEAD).read_text(encoding="utf-8")).get("mesh"):
            with told_as_409():
                jobs.mesh(entry)
        if not NAMES.fullmatch(name) or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type=TYPES[path.suffix], headers=PRIVATE)

    async def scale(request: Request, token: str) -> Response:
        entry = entry_of(request, token)
        entry.scale = factor_of(await body_of(request))
        return JSONResponse({"metres_per_unit": entry.scale}, headers=FRESH)

    def stop(request: Request, token: str) -> Response:
        jobs.stops.stop(entry_of(request, token).token)
        return Response(status_code=204)

    def delete(request: Request, token: str) -> Response:
        jobs.delete(entry_of(request, token).token)
        return Response(status_code=204)

    app.mount("/recon/static", StaticFiles(directory=STATIC), name="recon-static")
    options: dict[str, Any] = {"include_in_schema": False}
    app.add_api_route("/recon/scene/{token}/about.json", about, methods=["GET"], **options)
    app.add_api_route("/recon/scene/{token}/download/{key}", download, methods=["GET", "HEAD"], **options)
    app.add_api_route("/recon/scene/{token}/scale", scale, methods=["POST"], **options)
    app.add_api_route("/recon/scene/{token}/stop", stop, methods=["POST"], **options)
    app.add_api_route("/recon/scene/{token}", delete, methods=["DELETE"], **options)
    app.add_api_route("/recon/scene/{token}/{name:path}", view_file, methods=["GET", "HEAD"], **options)


@contextlib.contextmanager
def told_as_409() -> Iterator[None]:
    """Tells in one line why a file was not made."""
    try:
        yield
    except Refused as error:
        raise HTTPException(409, str(error), {WHY: quote(str(error))}) from error
    except Stopped as error:
        raise HTTPException(409, STOPPED, {WHY: STOPPED}) from error


async def body_of(request: Request) -> Any:
    """The JSON that a page of ours sent; HTTP 415, 413 or 400 for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":  # what no form of another site can send
        raise HTTPException(415, "wanted JSON")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MOST_BODY:
            raise HTTPException(413)
    try:
        return json.loads(content)
    except ValueError as error:
        raise HTTPException(400, "that is no JSON") from error


def factor_of(body: Any) -> float | None:
    """Metres per unit that a page asks for; None takes it back. HTTP 400 for no positive number."""
    value = body.get("metres_per_unit") if isinstance(body, dict) else math.nan
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-9 < value < 1e9:
        raise HTTPException(400, "metres_per_unit is a number above 0")
    return float(value)


def signed_in_to(app: Any) -> Callable[[Request], bool]:
    """Whether a request comes from someone signed in at Gradio's own page; True for all where no --auth was given."""

    def check(request: Request) -> bool:
        if app.auth is None:
            return True
        name = f"access-token-{app.cookie_id}"
        token = request.cookies.get(name) or request.cookies.get(name.replace("access-token-", "access-token-unsecure-", 1))
        return token is not None and token in app.tokens

    return check
