"""The waiting line: fair, bounded, and left at once."""

from __future__ import annotations

import threading
import time

import pytest

from recon.app.limits import Limits, Refused
from recon.app.line import Line
from recon.app.worker import Stopped


def queue(line: Line, users: str, order: list[str], gate: threading.Event) -> list[threading.Thread]:
    """One job a letter, joining in this order; each notes when its turn comes."""
    threads = []
    for number, user in enumerate(users):

        def job(user: str = user, number: int = number) -> None:
            with line.turn(user, threading.Event(), lambda before, waiting: None):
                gate.wait(10)
                order.append(f"{user}{number}")

        threads.append(threading.Thread(target=job))
        threads[-1].start()
        while len(line) < number + 1:
            time.sleep(0.001)
    return threads


def test_first_jobs_of_all_users_come_before_second_ones():
    line, order, gate = Line(Limits()), [], threading.Event()
    threads = queue(line, "aaabbc", order, gate)
    gate.set()
    for thread in threads:
        thread.join(20)
    assert order == ["a0", "b3", "c5", "a1", "b4", "a2"]
    assert len(line) == 0


def test_one_slot_means_one_at_work():
    line, at_work, most = Line(Limits(jobs_a_user=20)), [], []

    def job() -> None:
        with line.turn("a", threading.Event(), lambda before, waiting: None):
            at_work.append(1)
            most.append(len(at_work))
            time.sleep(0.01)
            at_work.pop()

    threads = [threading.Thread(target=job) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(most) == 8 and max(most) == 1


def test_too_many_jobs_are_refused():
    line, gate = Line(Limits(jobs_a_user=2, waiting=3)), threading.Event()
    threads = queue(line, "aabc", [], gate)
    for user, why in (("a", "you have 2 jobs"), ("d", "3 jobs are waiting")):
        with pytest.raises(Refused, match=why), line.turn(user, threading.Event(), lambda before, waiting: None):
            pass
    gate.set()
    for thread in threads:
        thread.join(20)
    assert len(line) == 0


def test_who_waits_is_told_the_place_and_can_leave():
    line, gate, stop, told = Line(Limits()), threading.Event(), threading.Event(), []
    threads = queue(line, "ab", [], gate)

    def tell(before: int, waiting: int) -> None:
        told.append((before, waiting))
        stop.set()

    with pytest.raises(Stopped), line.turn("c", stop, tell):
        pytest.fail("it was not its turn")
    assert told[0] == (2, 2) and len(line) == 2  # one at work and one waiting before; two wait
    gate.set()
    for thread in threads:
        thread.join(20)


def test_a_failed_job_frees_its_place():
    line = Line(Limits())
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), line.turn("a", threading.Event(), lambda before, waiting: None):
            raise ZeroDivisionError
    assert len(line) == 0


def test_newcomers_do_not_starve_a_second_job():
    line, order, gate = Line(Limits(waiting=99)), [], threading.Event()
    threads = queue(line, "aabcdefghijklmnop", order, gate)
    gate.set()
    for thread in threads:
        thread.join(20)
    assert 8 <= order.index("a1") <= 11
