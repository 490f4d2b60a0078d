"""Contains the sharing of work among cores: compiled passes by rows, calls that let go of Python's lock item by item, each on one thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch

SHARES = 2  # a core: rows differ in what they cost, and each share costs the thread that hands it out some 10 microseconds
LEAST_WORK = 20_000  # matches or observations of a share: half a millisecond to one

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_before: list[int] = []  # how many threads torch had where one_thread_each() began
_thread = threading.local()  # pooled: it is one of the pool's; limited: it is within one_thread_each


def cores() -> int:
    """How many threads compute side by side: as many as torch is allowed, also within `one_thread_each`."""
    return _before[0] if _before else torch.get_num_threads()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within it a product of torch or NumPy takes one thread.

    The solver's own are small, and threads that wait for the next one spin: on 16 cores they take the time from those that compute.
    """
    from threadpoolctl import threadpool_limits

    if getattr(_thread, "limited", False) or getattr(_thread, "pooled", False):
        yield
        return
    threads = cores()  # not 1, where another thread is in here too
    _before.append(threads)
    _thread.limited = True
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        _before.pop()
        _thread.limited = False
        torch.set_num_threads(threads)


@contextmanager
def all_threads() -> Iterator[None]:
    """Within it a product of torch takes all cores again: for large ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _pool(process: int, cores: int) -> ThreadPoolExecutor:  # a process's own: threads do not outlive a fork
    return ThreadPoolExecutor(cores)


def _alone() -> bool:
    """Whether work stays on this thread: there are no other cores, or it is one of the pool's, that must not wait for the others."""
    return cores() <= 1 or getattr(_thread, "pooled", False)


def _shared_out(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """function(item) of each in the pool, in order."""
    inference = torch.is_inference_mode_enabled()  # a thread's own, as is what follows

    def work(item: Item) -> Answer:
        _thread.pooled = True
        with torch.inference_mode(inference):
            return function(item)

    return list(_pool(os.getpid(), cores()).map(work, items))


def in_threads(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """function(item) of each, side by side, each on one thread: for calls that let go of Python's lock, some milliseconds long.

    What hands out work itself within them does it all where it is. Of errors the first item's is raised.
    """
    if _alone() or len(items) <= 1:
        return [function(item) for item in items]
    with one_thread_each():
        return _shared_out(function, items)


def on_all_cores(rows: Callable[..., None], count: int, *arguments, work: int) -> None:
    """rows(first, last, *arguments) over `count` rows, in shares that come one after the other to each core; `work`: items in all.

    No share is below LEAST_WORK: to hand one out takes longer than what is gained, the more so the more threads wait.
    """
    shares = 1 if _alone() else max(1, min(SHARES * cores(), count, work // LEAST_WORK))
    edges = [count * k // shares for k in range(shares + 1)]
    if shares == 1:
        rows(0, count, *arguments)
    else:
        _shared_out(lambda k: rows(edges[k], edges[k + 1], *arguments), range(shares))
