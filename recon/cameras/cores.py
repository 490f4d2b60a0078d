"""Contains the sharing of the solver's work among cores: compiled passes by rows, everything else on one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch

SHARES = 4  # a core: rows differ in what they cost
LEAST_WORK = 10_000  # matches or observations of a share: about a millisecond

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_before: list[int] = []  # how many threads torch had where one_thread_each() began


def cores() -> int:
    """How many threads compute side by side: as many as torch is allowed, also within `one_thread_each`."""
    return _before[0] if _before else torch.get_num_threads()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within it a product of torch or NumPy takes one thread.

    The solver's own are small, and threads that wait for the next one spin: on 16 cores they take the time from those that compute.
    """
    from threadpoolctl import threadpool_limits

    threads = cores()  # not 1, where another thread is in here too
    _before.append(threads)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        _before.pop()
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


def in_threads(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """function(item) of each, side by side: for calls into libraries that let go of Python's lock, none of which hands out work itself."""
    if cores() <= 1 or len(items) <= 1:
        return [function(item) for item in items]
    return list(_pool(os.getpid(), cores()).map(function, items))


def on_all_cores(rows: Callable[..., None], count: int, *arguments, work: int) -> None:
    """rows(first, last, *arguments) over `count` rows, in shares that come one after the other to each core; `work`: items in all.

    No share is below LEAST_WORK: to hand one out takes longer than what is gained, the more so the more threads wait.
    """
    shares = max(1, min(SHARES * cores(), count, work // LEAST_WORK)) if cores() > 1 else 1
    edges = [count * k // shares for k in range(shares + 1)]
    if shares == 1:
        rows(0, count, *arguments)
    else:
        list(_pool(os.getpid(), cores()).map(lambda k: rows(edges[k], edges[k + 1], *arguments), range(shares)))
