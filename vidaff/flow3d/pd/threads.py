"""Rows of a picture shared among a few threads; numba's kernels let go of Python's lock."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LEAST_ROWS = 40
"""A band of fewer rows is not worth a thread."""


def usable_cores() -> int:
    """Threads worth starting: the cores this process may use, or fewer if OpenCV or OMP_NUM_THREADS was told so."""
    import cv2

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, cv2.getNumThreads(), int(wanted) if wanted.isdigit() and int(wanted) else cores))


def bands(rows: int, threads: int) -> list[tuple[int, int]]:
    """(first, last + 1) of each thread's rows."""
    count = max(1, min(threads, rows // LEAST_ROWS))
    edges = [rows * k // count for k in range(count + 1)]
    return list(itertools.pairwise(edges))


def run_all(jobs: Sequence[Callable[[], Any]], threads: int) -> None:
    """Run the jobs, one of them in this thread, the others in a shared pool."""
    if threads < 2 or len(jobs) < 2:
        for job in jobs:
            job()
        return
    others = [_pool(threads - 1).submit(job) for job in jobs[1:]]
    jobs[0]()
    for other in others:
        other.result()


def run_rows(rows: int, threads: int, work: Callable[[int, int], Any]) -> None:
    """Call ``work(first, last + 1)`` for every band."""
    run_all([functools.partial(work, *band) for band in bands(rows, threads)], threads)


@functools.lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="pd-flow")


if hasattr(os, "register_at_fork"):
    # A forked process inherits the pool but none of its threads: it would wait for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)
