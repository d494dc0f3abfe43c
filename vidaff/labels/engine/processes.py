"""Shards done in this process, or by several that each keep their models."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from vidaff.errors import VidaffError, first_line
from vidaff.labels.engine.shards import Done, Shard, Tick, run_shard
from vidaff.labels.engine.store import Store
from vidaff.labels.engine.types import Work

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_local(
    work: Work, shards: Sequence[Shard], store: Store, tick: Tick, *, threads: int | None
) -> Generator[Done, None, None]:
    """Do shards one after the other in this process."""
    if threads is not None:
        limit_threads(threads)
    set_up(work)
    for shard in shards:
        yield run_shard(work, shard, store, tick)


def run_processes(
    work: Work, shards: Sequence[Shard], store: Store, tick: Tick, *, workers: int, threads: int | None
) -> Generator[Done, None, None]:
    """Do shards in ``workers`` processes, each of which sets the work up once; yield them as they finish.

    The first failure ends all. Raises :class:`VidaffError` naming the shard whose process died.
    """
    left = iter(shards)
    crew = _Crew(min(workers, len(shards)), 1 if threads is None else threads, pickle.dumps((work, store)))
    try:
        while crew.busy:
            for worker in crew.ready():
                kind, value = worker.receive()
                if kind == "tick":
                    tick(value)
                    continue
                if kind == "failed":
                    raise VidaffError(value)
                worker.give(next(left, None))
                if kind == "done":
                    yield value
    finally:
        crew.end()


def set_up(work: Work) -> None:
    """Load the work's models; raise :class:`VidaffError` for any failure."""
    try:
        work.setup()
    except VidaffError:
        raise
    except Exception as error:
        raise VidaffError(f"{work.name}: cannot be set up ({type(error).__name__}: {first_line(error)})") from error


def limit_threads(threads: int) -> None:
    """Have OpenCV, torch and what is loaded later use ``threads`` threads."""
    import cv2

    cv2.setNumThreads(threads)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


class _Worker:
    """The parent's side of a process: what it is doing, and its messages."""

    def __init__(self, process: Any, messages: Connection) -> None:
        self.process, self.messages = process, messages
        self.shard: Shard | None = None
        self.ended = False

    def give(self, shard: Shard | None) -> None:
        """Hand out the next shard; None lets the process end."""
        self.shard, self.ended = shard, shard is None
        try:
            self.messages.send(shard)
        except OSError:
            if not self.ended:
                raise self._death() from None

    def receive(self) -> tuple[str, Any]:
        try:
            return self.messages.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            raise self._death() from None

    def _death(self) -> VidaffError:
        self.process.join(5)
        doing = "while it loaded its models"
        if self.shard is not None:
            doing = f"in {self.shard.span()}"
        return VidaffError(
            f"a worker process died {doing}, exit code {self.process.exitcode}; perhaps it was out of memory: "
            "run the same command again with fewer workers"
        )


class _Crew:
    """Worker processes, spawned: forking a process that has loaded torch or OpenCV can lock up in their threads."""

    def __init__(self, size: int, threads: int, payload: bytes) -> None:
        self.workers: list[_Worker] = []
        context = get_context("spawn")
        # Processes started meanwhile hold Ctrl-C back as well, so none dies of it with a traceback on its way up.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for number in range(size):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, threads, payload, number), daemon=True)
                process.start()
                theirs.close()
                self.workers.append(_Worker(process, ours))
        except BaseException:
            self.end()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if not worker.ended]

    def ready(self) -> list[_Worker]:
        """Workers that have something to say; waits for one."""
        by_messages = {worker.messages: worker for worker in self.busy}
        return [by_messages[messages] for messages in wait(list(by_messages))]  # type: ignore[index]

    def end(self) -> None:
        for worker in self.busy:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.messages.close()


def _serve(messages: Connection, threads: int, payload: bytes, number: int) -> None:
    """Worker process ``number``: set the work up, then do the shards that come.

    ``payload`` is the pickled work and store. Works that have ``take_place(number)`` are told their worker's number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        # Unpickled here, not as an argument: the limit must come before torch is loaded with the work.
        limit_threads(threads)
        work, store = pickle.loads(payload)
        getattr(work, "take_place", lambda number: None)(number)
        set_up(work)
        limit_threads(threads)
        messages.send(("ready", None))
        while (shard := messages.recv()) is not None:
            done = run_shard(work, shard, store, lambda count: messages.send(("tick", count)))
            messages.send(("done", done))
    except VidaffError as error:
        messages.send(("failed", str(error)))
    except Exception as error:
        messages.send(("failed", f"a worker process failed ({type(error).__name__}: {first_line(error)})"))


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, and orphans would write beside the run that resumes."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
