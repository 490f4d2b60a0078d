"""What every request passes before Gradio sees it: hosts and origins, the size of uploads, paths that are not for visitors, and safe headers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

from recon.app.home import Home
from recon.app.limits import Limits

UNUSED = ("dev/", "vibe-", "undo-vibe", "component_server", "custom_component", "process_recording", "monitoring")  # of Gradio: no part of our page
SERVING = ("file=", "file/", "proxy=", "stream/", "deep_link")
HIDDEN = tuple(f"{prefix}/{name}" for prefix in ("", "/gradio_api") for name in (*SERVING, *UNUSED))
UPLOADS, LOGINS = ("/gradio_api/upload", "/upload"), ("/login", "/login/")
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"SAMEORIGIN"))
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
TRIES, TRIES_S = 10, 60.0  # of signing in, of all visitors together
MEGABYTE = 1_000_000
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Gate:
    """ASGI middleware. `local`: the server listens on this machine alone, so that every other name of it is a trick (DNS rebinding);
    `origins`: pages that a proxy in front shows this server as.

    Uploaded files are never served back: Gradio would give any of them to whoever knows its name.
    """

    def __init__(self, app: Any, *, limits: Limits, home: Home, local: bool, origins: Iterable[str] = ()) -> None:
        self.app, self.limits, self.home, self.local = app, limits, home, local
        self.hosts = {urlsplit(origin).netloc for origin in origins}
        self._tries: deque[float] = deque(maxlen=TRIES)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        receive = self._counted(receive) if scope["path"] in UPLOADS else receive

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", ())}
                message["headers"] = [*message.get("headers", ()), *(pair for pair in HEADERS if pair[0] not in there)]
            await send(message)

        try:
            await self.app(scope, receive, with_headers)
        except TooLarge as error:
            await _answer(send, 413, str(error))
        except ClientDisconnect:  # an upload that was given up; what came of it goes with the next sweep
            pass

    def _refusal(self, scope: Message, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and text of a request that goes no further."""
        host = headers.get("host", "")
        if self.local and urlsplit(f"//{host}").hostname not in LOOPBACK and host not in self.hosts:
            return 403, f"this server is {' or '.join(LOOPBACK[:2])}; behind a proxy start it with --origin"
        if scope["path"].startswith(HIDDEN):
            return 404, "not found"
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc not in (host, *self.hosts):
                return 403, "requests from other sites are refused"
        if scope["path"] in LOGINS and scope["method"] == "POST":
            now = time.monotonic()
            if len(self._tries) == TRIES and now - self._tries[0] < TRIES_S:
                return 429, "too many tries to sign in; wait a minute"
            self._tries.append(now)
        if scope["path"] in UPLOADS:
            announced = headers.get("content-length", "")
            if announced.isdigit() and int(announced) > self.limits.total_mb * MEGABYTE:
                return 413, self._too_large()
            if self.home.size_mb() > self.limits.disk_mb:
                return 507, "this server is full; please try again later"
        return None

    def _too_large(self) -> str:
        return f"one upload may have {self.limits.total_mb} MB in all"

    def _counted(self, receive: Receive) -> Receive:
        """The body, up to what is allowed: a length that was not announced or not true is counted."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limits.total_mb * MEGABYTE:
                raise TooLarge(self._too_large())
            return message

        return counted


class TooLarge(Exception):
    """An upload that went over the bound while it came in."""


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
