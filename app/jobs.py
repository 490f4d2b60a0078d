"""From an upload to a result: checks, the waiting line, the worker, the store. What the buttons do, without Gradio."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.app import knowledge, uploads
from recon.app.home import Home
from recon.app.job import FRAMES, MODEL, RESOLUTION, Job
from recon.app.keeping import MAKING
from recon.app.limits import Limits, Refused
from recon.app.line import Line
from recon.app.look import work_of
from recon.app.scenes import Entry, SceneStore
from recon.app.stops import Stops
from recon.app.worker import Stopped, Worker

LOOK_S, MAKE_S = 60.0, 600.0  # the longest that a look and a download may take
Tell = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a visitor gave: uploaded files and plain values, nothing checked yet."""

    photos: Sequence[str]
    model: str = MODEL
    resolution: int = RESOLUTION
    focal: str = ""
    cameras: str | None = None
    masks: Sequence[str] = ()
    metric: bool = False
    frames: int = FRAMES


class Jobs:
    """Everything that one server does for its visitors. `models`: names that may be asked for, with the server's own weights or None."""

    def __init__(self, home: Home, limits: Limits, models: dict[str, Path | None] | None = None) -> None:
        self.home, self.limits, self.models = home, limits, models or {MODEL: None}
        self.store, self.line = SceneStore(home.scenes, limits), Line(limits)
        # looks at photos and downloads go on meanwhile, and nobody's look waits for somebody's mesh
        self.worker, self.looker, self.maker = Worker("work"), Worker("look"), Worker("make")
        self.stops = Stops()
        self._usual = 10.0  # seconds of a job, for those who wait

    def run(self, asked: Asked, *, user: str, session: str, tell: Tell) -> tuple[str, str]:
        """The token of the result and a line of words; `tell` is told what is going on and the share done.

        Raises Refused for what is not taken, Stopped when the session's `stop` was called.
        """
        with self.stops.holding(session) as stop, self.store.making(session) as entry:
            tell("checking the photos", 0.0)
            count = self.looker.run("recon.app.uploads:count_photos", list(asked.photos), self.limits, asked.frames, stop=stop, limit_s=LOOK_S)
            job = self._job(asked, entry)
            with self.line.turn(user, stop, lambda before, waiting: tell(self._waiting(before), 0.0)):
                began = time.monotonic()
                expected = work_of(count, job.resolution, job.has_video)[0]

                def told(text: str, share: float) -> None:
                    tell(f"{text} · about {seconds_left(time.monotonic() - began, share, expected):.0f} s left", share)

                words = self.worker.run("recon.app.work:reconstruct", job, entry.folder, tell=told, stop=stop, limit_s=self.limits.job_s)
                self._usual = 0.7 * self._usual + 0.3 * (time.monotonic() - began)
            return entry.token, words

    def _job(self, asked: Asked, entry: Entry) -> Job:
        """The job with its own copies of the files. Raises Refused."""
        if asked.model not in self.models:
            raise Refused(f"the model {asked.model!r} is not on this server; one of: {', '.join(self.models)}")
        given = entry.folder / "input"
        return Job(
            photos=tuple(uploads.take_photos(asked.photos, given)), model=asked.model, weights=self.models[asked.model],
            resolution=int(asked.resolution), focal=asked.focal.strip(), metric=asked.metric, frames=int(asked.frames),
            cameras=knowledge.take_cameras(asked.cameras, given / "cameras", self.limits) if asked.cameras else None,
            masks=knowledge.take_masks(asked.masks, given / "masks", self.limits) if asked.masks else None,
        )  # fmt: skip

    def _waiting(self, before: int) -> str:
        return f"waiting: {before} job{'s' if before != 1 else ''} before yours · about {max(1.0, before) * self._usual:.0f} s"

    def look(self, photos: Sequence[str], *, session: str, resolution: int, frames: int) -> dict[str, Any]:
        """Thumbnails, faults and plan of uploaded photos (see recon.app.look). Raises Refused, Stopped when the session has left."""
        with self.stops.holding(session) as stop:
            return self.looker.run("recon.app.look:look", list(photos), int(resolution), int(frames), self.limits, stop=stop, limit_s=LOOK_S)

    def download(self, entry: Entry, key: str) -> Path:
        """The file of one offer, made now if it was not yet. Raises Refused, Stopped."""
        from recon.app.downloads import made

        return self._made(entry, lambda: made(entry.folder, key, entry.scale), "recon.app.downloads:make", key, entry.scale)

    def mesh(self, entry: Entry) -> None:
        """Makes the view's mesh, if it was not yet. Raises Refused, Stopped."""
        self._made(entry, lambda: None, "recon.app.meshing:make_mesh")

    def _made(self, entry: Entry, there: Callable[[], Path | None], function: str, *args: Any) -> Any:
        """What is there, or what the function makes of a result, one at a time of each; a stop ends it, and leaves nothing half-made."""
        with self.stops.holding(entry.owner, entry.token) as stop:
            while not entry.lock.acquire(timeout=0.1):
                if stop.is_set():
                    raise Stopped
            try:
                if stop.is_set():
                    raise Stopped
                return there() or self.maker.run(function, entry.folder, *args, stop=stop, limit_s=MAKE_S)
            finally:
                for half in entry.folder.glob(f"{MAKING}*"):  # of a process that was ended
                    shutil.rmtree(half, ignore_errors=True)
                entry.lock.release()

    def delete(self, token: str) -> bool:
        """Takes a result away at once, whatever is being made of it; whether there was one."""
        self.stops.stop(token)
        return self.store.delete(token)

    def stop(self, session: str) -> None:
        """Ends what the session has waiting, at work or in the making."""
        self.stops.stop(session)

    def left(self, session: str) -> None:
        """The session's page was closed: its work is nobody's."""
        self.stop(session)
        self.store.left(session)

    def sweep(self) -> None:
        """Removes what is over its time; called every few seconds."""
        for token in self.store.over():
            self.delete(token)
        self.home.drop_stale_uploads(self.limits.stale_upload_s)
        self.home.drop_old_uploads(self.limits.lifetime_s)

    def close(self) -> None:
        """Ends the processes and removes everything."""
        self.worker.close()
        self.looker.close()
        self.maker.close()
        self.home.close()


def seconds_left(spent: float, share: float, expected: float) -> float:
    """The plan at first, then more and more what the work itself shows: `spent` seconds for this share."""
    whole = (1 - share) * max(expected, spent) + share * (spent / max(share, 1e-3))
    return max(1.0, whole - spent)
