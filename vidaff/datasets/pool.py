"""Work shared by processes, with a clean end on Ctrl-C and on the first failure."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from vidaff.errors import VidaffError

Result = TypeVar("Result")


def run_pool(
    work: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    start: Callable[..., None] | None = None,
    start_args: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Yield ``work(*task)`` for every task, as they finish; the first exception ends all and is raised here.

    ``start(*start_args)`` runs once in every process. With one worker or one task all happens in this process.
    ``work`` and ``start`` must be importable (spawned processes share no memory). Raises :class:`VidaffError` when
    a process dies.
    """
    if workers <= 1 or len(tasks) < 2:
        if start is not None:
            start(*start_args)
        for task in tasks:
            yield work(*task)
        return
    # Spawned: forking a process that has loaded torch, OpenCV or Open3D can lock up in their threads.
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)), mp_context=get_context("spawn"), initializer=_start, initargs=(start, start_args)
    )
    try:
        with _ctrl_c_held():
            futures = [pool.submit(work, *task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise VidaffError("a worker process died, perhaps out of memory; try again with fewer --workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold Ctrl-C back; processes started meanwhile inherit that, so none dies of it with a traceback on its way up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(start: Callable[..., None] | None, start_args: tuple[Any, ...]) -> None:
    import cv2

    # Ctrl-C is the parent's business; one thread each, since there is a worker per core already.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    if start is not None:
        start(*start_args)


def _end_with_parent(parent: int) -> None:
    """A killed parent cannot stop its workers, and orphans would write beside the run that resumes."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
