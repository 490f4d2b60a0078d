"""Contains the sharing of the solver's work among cores: compiled passes by rows, everything else on one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import torch

SHARES = 4  # a core: rows differ in what they cost
LEAST_WORK = 20_000  # below so many matches or observations it is not worth handing out

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


def on_all_cores(rows: Callable[..., None], count: int, *arguments, work: int) -> None:
    """rows(first, last, *arguments) over `count` rows, in shares that come one after the other to each core; `work`: items in all."""
    shares = min(SHARES * cores(), count) if cores() > 1 and work >= LEAST_WORK else 1
    edges = [count * k // max(shares, 1) for k in range(shares + 1)]
    if shares <= 1:
        rows(0, count, *arguments)
    else:
        list(_pool(os.getpid(), cores()).map(lambda k: rows(edges[k], edges[k + 1], *arguments), range(shares)))
