"""A stop ends what is being made of a result within a second, whoever wishes it: by its button, by deleting, by leaving."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tries import quickest

from recon.app.home import Home
from recon.app.jobs import Jobs
from recon.app.limits import Limits
from recon.app.stops import Stops
from recon.app.worker import Stopped


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    one = Jobs(Home(tmp_path_factory.mktemp("home")), Limits())
    one.maker.warm()
    one.looker.warm()
    yield one
    one.close()


def entry_of(jobs: Jobs, owner: str) -> Any:
    with jobs.store.making(owner) as entry:
        (entry.folder / "view.json").write_text("{}")
    return entry


def begun(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """The call in a thread, and what came of it."""
    came = list[Any]()

    def run() -> None:
        try:
            came.append(call())
        except Exception as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


def half_made(jobs: Jobs, entry: Any) -> tuple[threading.Thread, list[Any]]:
    """Something that is being made of a result, and deaf to words."""
    call = begun(lambda: jobs._made(entry, lambda: None, "worker_jobs:half"))
    half, end = entry.folder / ".making-x" / "half.glb", time.monotonic() + 30
    while not half.is_file():
        assert time.monotonic() < end
        time.sleep(0.01)
    return call


@pytest.mark.parametrize("how", ["button", "session", "leaving", "deleting"])
def test_what_is_being_made_ends_within_a_second_and_leaves_nothing_half(jobs, how):
    def seconds() -> float:
        entry = entry_of(jobs, "me")
        thread, came = half_made(jobs, entry)
        waiting, told = begun(lambda: jobs.mesh(entry))  # of the same result, behind it
        time.sleep(0.05)
        at = time.monotonic()
        {"button": lambda: jobs.stops.stop(entry.token), "session": lambda: jobs.stop("me"), "leaving": lambda: jobs.left("me"),
         "deleting": lambda: jobs.delete(entry.token)}[how]()  # fmt: skip
        thread.join(10)
        waiting.join(10)
        took = time.monotonic() - at
        assert isinstance(came[0], Stopped) and isinstance(told[0], Stopped)
        assert entry.folder.exists() == (how != "deleting") and not list(entry.folder.glob(".making*"))
        assert (jobs.store.find(entry.token) is None) == (how == "deleting")
        return took

    assert quickest(seconds, enough=1.0) < 1.0


def test_others_go_on(jobs):
    mine, other = entry_of(jobs, "me"), entry_of(jobs, "you")
    thread, came = half_made(jobs, mine)
    jobs.left("you")
    jobs.stops.stop(other.token)
    thread.join(0.8)
    assert thread.is_alive() and not came
    jobs.stop("me")
    thread.join(10)


def test_a_look_does_not_wait_for_a_mesh(jobs, sample_photos):
    entry = entry_of(jobs, "me")
    thread, _ = half_made(jobs, entry)
    seen = jobs.look([str(p) for p in sample_photos], session="you", resolution=512, frames=20)
    assert len(seen["photos"]) == 2 and thread.is_alive()
    jobs.stop("me")
    thread.join(10)


def test_whoever_leaves_ends_the_look(jobs, sample_photos, monkeypatch):
    monkeypatch.setattr(jobs.looker, "run", lambda function, *args, **options: jobs.maker.run("worker_jobs:deaf", 60.0, stop=options["stop"]))

    def seconds() -> float:
        thread, came = begun(lambda: jobs.look([str(p) for p in sample_photos], session="me", resolution=512, frames=20))
        time.sleep(0.3)
        at = time.monotonic()
        jobs.left("me")
        thread.join(10)
        assert isinstance(came[0], Stopped)
        return time.monotonic() - at

    assert quickest(seconds, enough=1.0) < 1.0


def test_flags_go_with_their_work():
    stops = Stops()
    with stops.holding("a", "b") as one, stops.holding("b") as two:
        stops.stop("a")
        assert one.is_set() and not two.is_set()
        stops.stop("none")
    assert not stops._events


def test_old_results_go_while_something_is_being_made_of_them(jobs):
    entry = entry_of(jobs, "me")
    thread, came = half_made(jobs, entry)
    entry.ends = time.monotonic()
    jobs.sweep()
    thread.join(10)
    assert isinstance(came[0], Stopped) and not Path(entry.folder).exists()
