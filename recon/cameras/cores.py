"""Contains the running of compiled passes on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

SHARES = 4  # a core: rows differ in what they cost
LEAST_WORK = 20_000  # below so many matches or observations it is not worth handing out


@lru_cache(maxsize=1)
def _pool(process: int, cores: int) -> ThreadPoolExecutor:  # a process's own: threads do not outlive a fork
    return ThreadPoolExecutor(cores)


def on_all_cores(rows: Callable[..., None], count: int, *arguments, work: int) -> None:
    """rows(first, last, *arguments) over `count` rows, in shares that come one after the other to each core; `work`: items in all."""
    cores = torch.get_num_threads()
    shares = min(SHARES * cores, count) if cores > 1 and work >= LEAST_WORK else 1
    edges = [count * k // max(shares, 1) for k in range(shares + 1)]
    if shares <= 1:
        rows(0, count, *arguments)
    else:
        list(_pool(os.getpid(), cores).map(lambda k: rows(edges[k], edges[k + 1], *arguments), range(shares)))
