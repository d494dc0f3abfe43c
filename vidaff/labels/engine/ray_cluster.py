"""Shards done by actors of a Ray cluster that each keep their models. Needs ``pip install "vidaff[ray]"``.

The output folder, the pictures and the weights must be on a file system that all machines of the cluster share.

Source: Ray Data's documentation, "Transforming data with stateful actors".
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vidaff.errors import VidaffError, first_line
from vidaff.labels.engine.processes import limit_threads, set_up
from vidaff.labels.engine.shards import Done, Shard, Tick, run_shard
from vidaff.labels.engine.store import Store
from vidaff.labels.engine.types import Work

if TYPE_CHECKING:
    from vidaff.labels.engine.run import Engine

BLOCK_BYTES = 2**20
"""What Ray reserves per result. Pictures and masks pass through files, so only names and counts are in it."""
TRIES = 2
"""How often a shard is begun. Ray replaces actors that die for ever, with them those that a shard kills each time."""


def run_ray(
    work: Work, shards: Sequence[Shard], store: Store, tick: Tick, engine: Engine
) -> Generator[Done, None, None]:
    """Do shards on a cluster, ``engine.workers`` at a time; yield them as they finish. The first failure ends all."""
    ray = _import_ray()
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]
    threads = 1 if engine.threads is None else engine.threads
    with _cluster(ray, engine):
        # A block a shard: blocks are what Ray hands out and, should a machine fail, does again.
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            ShardActor,
            fn_constructor_args=(pickle.dumps((work, store)), threads, os.getcwd()),
            compute=ray.data.ActorPoolStrategy(size=min(engine.workers, len(rows))),
            num_cpus=engine.cpus,
            num_gpus=engine.gpus,
        )
        try:
            for row in done.iter_rows():
                result = pickle.loads(row["result"])
                if isinstance(result, str):
                    raise VidaffError(result)
                tick(result.ran)
                yield result
        except ray.exceptions.RayError as error:
            raise VidaffError(f"ray: {first_line(error)}; run the same command again") from error


class ShardActor:
    """What runs on the cluster. Failures come back as text: Ray would wrap them in traces of its own.

    ``folder`` is where the run was started: names of files that were given relative to it stay so.
    """

    def __init__(self, payload: bytes, threads: int, folder: str) -> None:
        limit_threads(threads)
        with contextlib.suppress(OSError):  # other machines need not have it when all names are absolute
            os.chdir(folder)
        self.failure = ""
        try:
            self.work, self.store = pickle.loads(payload)
            set_up(self.work)
        except Exception as error:
            self.failure = str(error) if isinstance(error, VidaffError) else f"{type(error).__name__}: {error}"
        limit_threads(threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the pickled shard of ``row``; return its pickled :class:`Done`, or text."""
        shard: Shard = pickle.loads(row["shard"])
        return {"result": pickle.dumps(self.failure or self._run(shard))}

    def _run(self, shard: Shard) -> Done | str:
        claim = self.store.work / f"{shard.name}.claim"  # a byte for every time that it was begun and not ended
        try:
            claim.parent.mkdir(parents=True, exist_ok=True)
            with open(claim, "ab") as file:
                if file.tell() >= TRIES:
                    return f"ray: {TRIES} actors died in {shard.span()}, perhaps out of memory; take fewer workers"
                file.write(b".")
            done = run_shard(self.work, shard, self.store, lambda count: None)
        except VidaffError as error:
            return str(error)
        except OSError as error:
            return f"cannot write {self.store.out} ({error.strerror or error})"
        finally:
            claim.unlink(missing_ok=True)
        return done


@contextlib.contextmanager
def _cluster(ray: Any, engine: Engine) -> Iterator[None]:
    """Join a cluster, or start one on this machine; leave one that was joined before as it is."""
    begun_here = not ray.is_initialized()
    if begun_here:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if engine.address is None:
            # One more than the actors take: Ray Data starts none when they would take all.
            cpus = math.ceil(engine.workers * engine.cpus) + 1
            options |= {"num_cpus": cpus, "include_dashboard": False}
        else:
            options["address"] = engine.address
        try:
            ray.init(**options)
        except Exception as error:  # bare ones, too, when it takes too long
            raise VidaffError(f"ray: no cluster at {engine.address or 'this machine'} ({first_line(error)})") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.target_max_block_size = False, BLOCK_BYTES
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        yield
    finally:
        if begun_here:
            ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or it reports to its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise VidaffError('the engine "ray" needs Ray: pip install "vidaff[ray]"') from error
    return ray
