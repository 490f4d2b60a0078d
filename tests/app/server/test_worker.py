"""The process of the work: progress, stops within a second, and whatever happens in it leaves the page whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tries import quickest

from recon.app.limits import Refused, nameless
from recon.app.worker import Stopped, Worker

SECRET = Path("/tmp/recon-app-0/server-abcd1234/scenes/S3cretTokenS3cretTokenS3cretToke/input/my photo.jpg")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    one = Worker("test")
    yield one
    one.close()


def test_work_reports_and_answers(worker):
    told = []
    count, process = worker.run("worker_jobs:steps", 5, tell=lambda text, share: told.append((text, share)))
    assert count == 5 and told == [("step", k / 5) for k in range(5)]
    assert worker.run("worker_jobs:steps", 1)[1] == process  # kept warm


@pytest.mark.parametrize(("job", "argument"), [("steps", 1000), ("deaf", 60.0)])
def test_a_stop_ends_it_within_a_second(worker, job, argument):
    def seconds() -> float:
        stop, wished = threading.Event(), list[float]()

        def wish() -> None:
            wished.append(time.monotonic())
            stop.set()

        def tell(text: str, share: float) -> None:
            if share == 0:
                threading.Timer(0.1, wish).start()

        with pytest.raises(Stopped):
            worker.run(f"worker_jobs:{job}", argument, tell=tell, stop=stop)
        return time.monotonic() - wished[0]

    assert quickest(seconds, enough=1.0) < 1.0
    assert worker.run("worker_jobs:steps", 2)[0] == 2  # and the next one works


def test_calls_are_taken_in_the_order_they_came(worker):
    order, begun = [], threading.Event()

    def one(number: int) -> None:
        worker.run("worker_jobs:steps", 5 if number == 0 else 1, tell=lambda text, share: begun.set())
        order.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for number, thread in enumerate(threads):
        thread.start()
        if number == 0:
            assert begun.wait(30)
        time.sleep(0.005)
    for thread in threads:
        thread.join(30)
    assert order == list(range(12))


def test_who_waits_for_it_can_leave(worker):
    stop, begun = threading.Event(), threading.Event()
    busy = threading.Thread(target=lambda: worker.run("worker_jobs:steps", 30, tell=lambda text, share: begun.set()))
    busy.start()
    assert begun.wait(30)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        worker.run("worker_jobs:steps", 1, stop=stop)
    assert busy.is_alive()  # it was not this one's to end
    busy.join()


def test_a_process_that_dies_is_told_and_replaced(worker):
    with pytest.raises(Refused, match="ended by itself"):
        worker.run("worker_jobs:dies")
    assert worker.run("worker_jobs:steps", 1)[0] == 1


def test_too_long_work_is_ended(worker):
    with pytest.raises(Refused, match="more than 0 s"):
        worker.run("worker_jobs:deaf", 60.0, limit_s=0.3)


def test_a_refusal_names_the_photo_and_not_the_server(worker):
    with pytest.raises(Refused) as told:
        worker.run("worker_jobs:refuses", SECRET)
    assert str(told.value) == "my photo.jpg cannot be read as a photo: it is no picture"


def test_our_mistakes_go_to_the_log_without_secrets(worker, capfd):
    with pytest.raises(Refused, match="something went wrong"):
        worker.run("worker_jobs:breaks", SECRET)
    time.sleep(0.2)
    said = capfd.readouterr().err
    assert "our own mistake" in said and "S3cret" not in said


@pytest.mark.parametrize("text", ["/a/b/server-abcd1234/scenes/T-_x/input/a.jpg: broken", "'/x/server-abcd1234/uploads/5f/a.jpg': broken"])
def test_nameless(text):
    assert "server-" not in nameless(text) and "a.jpg" in nameless(text) and "broken" in nameless(text)
