"""Work on several cores: in order, each item on one thread, in the caller's mode, and never waiting for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from recon import cores
from recon.cores import in_threads, on_all_cores, one_thread_each


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_items_run_side_by_side_and_come_back_in_order() -> None:
    together = threading.Barrier(4, timeout=20)  # passed only by four at once
    assert in_threads(lambda k: (together.wait(), k)[1], range(8)) == list(range(8))


def test_each_item_has_one_thread_and_the_callers_mode() -> None:
    seen = lambda _: (torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.ones(1).is_inference())
    with torch.inference_mode():
        assert in_threads(seen, range(6)) == [(1, True, True)] * 6
    assert in_threads(seen, range(6)) == [(1, False, False)] * 6
    assert torch.get_num_threads() == 4


def test_work_within_work_stays_where_it_is() -> None:
    """More outer items than threads, each of which hands out again: they must not wait for each other."""
    done = []

    def inner(k: int) -> int:
        on_all_cores(lambda first, last: done.extend(range(first, last)), 3, work=10**9)
        return sum(in_threads(lambda m: m * k, [1, 2, 3]))

    assert in_threads(inner, range(16)) == [6 * k for k in range(16)]
    assert sorted(done) == sorted([0, 1, 2] * 16)


def test_the_first_items_error_is_raised_and_the_pool_goes_on() -> None:
    def fail(k: int) -> None:
        time.sleep(0.02 * (3 - k))
        raise ValueError(f"item {k}")

    with pytest.raises(ValueError, match="item 0"):
        in_threads(fail, range(3))
    assert torch.get_num_threads() == 4 and in_threads(str, [1, 2]) == ["1", "2"]


def test_one_thread_each_within_itself() -> None:
    with one_thread_each():
        with one_thread_each():
            assert torch.get_num_threads() == 1 and cores.cores() == 4
        assert torch.get_num_threads() == 1 and cores.cores() == 4
    assert torch.get_num_threads() == 4


def test_small_work_is_not_handed_out() -> None:
    owners = []
    note = lambda first, last: owners.append(threading.get_ident())
    on_all_cores(note, 8, work=10)
    assert owners == [threading.get_ident()]
    on_all_cores(note, 8, work=10**6)
    assert len(owners) == 9 and threading.get_ident() not in owners[1:]


def test_a_thread_that_begins_while_another_is_limited_has_all_threads_afterwards() -> None:
    counts, inside, done = [], threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(20)
        torch.ones(3).sum()  # its first work with torch: it takes over that there is one thread
        with one_thread_each():
            counts.append((torch.get_num_threads(), cores.cores()))
        counts.append((torch.get_num_threads(), cores.cores()))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with one_thread_each():
        inside.set()
        assert done.wait(20)
    thread.join()
    assert counts == [(1, 4), (4, 4)] and torch.get_num_threads() == 4
