"""Running a step over all items: what is done stays done, and the result does not depend on who did it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from vidaff.errors import VidaffError
from vidaff.labels.engine.carry import finish, look_back, take_over
from vidaff.labels.engine.lock import lock_folder
from vidaff.labels.engine.manifest import Line, append_line, manifest_path, shard_order
from vidaff.labels.engine.processes import run_local, run_processes
from vidaff.labels.engine.shards import Done, Shard, Tick, make_shards
from vidaff.labels.engine.store import Store
from vidaff.labels.engine.types import Basis, Item, Work, check_name
from vidaff.progress import progress_bar

KINDS: Final = ("local", "processes", "ray")
SHARD_SIZE = 64
SHOWN_REASONS = 3


@dataclass(frozen=True)
class Engine:
    """Where the shards are done. The labels are the same in all cases.

    Attributes:
        kind: ``local`` (this process), ``processes`` (of this machine) or ``ray`` (a cluster).
        workers: how many processes or actors, each with its own models.
        threads: of OpenCV, torch and OpenMP in each worker. None leaves them alone in ``local`` and means 1 elsewhere.
            Sums of floats on a CPU depend on it in their last bits, so runs that shall agree give the same number.
        address: of the Ray cluster; None starts one on this machine.
        cpus: that Ray reserves for an actor.
        gpus: the same; a share such as 0.5 puts two actors on one.
    """

    kind: str = "local"
    workers: int = 1
    threads: int | None = None
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Raise :class:`VidaffError` for settings that cannot be."""
        if self.kind not in KINDS:
            raise VidaffError(f"the engines are {', '.join(KINDS)}, got {self.kind!r}")
        if self.workers < 1 or (self.threads is not None and self.threads < 1):
            raise VidaffError(f"workers and threads must be 1 or more, got {self.workers} and {self.threads}")
        if self.kind == "local" and self.workers > 1:
            raise VidaffError(f"the engine 'local' is one process, got {self.workers} workers; take 'processes'")
        if self.address is not None and self.kind != "ray":
            raise VidaffError(f"an address is for the engine 'ray', not {self.kind!r}")
        if self.gpus and self.kind != "ray":
            raise VidaffError(
                f"a number of GPUs is for an actor of the engine 'ray', not {self.kind!r}; 'local' works on --device, "
                "'processes' take all GPUs in turn"
            )

    def run(self, work: Work, shards: Sequence[Shard], store: Store, tick: Tick) -> Generator[Done, None, None]:
        """Do shards; yield them as they finish."""
        if self.kind == "local":
            return run_local(work, shards, store, tick, threads=self.threads)
        if self.kind == "processes":
            return run_processes(work, shards, store, tick, workers=self.workers, threads=self.threads)
        from vidaff.labels.engine.ray_cluster import run_ray

        return run_ray(work, shards, store, tick, self)


class Summary(NamedTuple):
    """A finished step: counts over all shards, those of earlier runs included.

    ``reused`` shards were done before; ``ran`` items were worked on in ``seconds``.
    """

    step: str
    shards: int
    reused: int
    items: int
    done: int
    skipped: list[tuple[str, str]]
    ran: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Items a second of this run."""
        return self.ran / self.seconds if self.seconds else 0.0

    def text(self) -> str:
        """One line for people."""
        speed = f", {self.per_second:.1f} a second" if self.ran else ""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        reused = f" ({self.reused} of {self.shards} shards were done before)" if self.reused else ""
        return f"{self.step}: {self.done} of {self.items} done{skipped}{speed}{reused}"


def run_work(
    work: Work,
    items: Sequence[Item],
    out: str | Path,
    *,
    hashes: Mapping[str, str],
    engine: Engine | None = None,
    shard_size: int = SHARD_SIZE,
    max_skipped: int = 0,
    overwrite: bool = False,
    archive: bool = False,
    progress: bool = True,
    basis: Basis | None = None,
    begin: Callable[[], None] | None = None,
) -> Summary:
    """Do ``work`` on all ``items`` and write its files below the folder ``out``; what an earlier run did is kept.

    Pictures may be added to those of an earlier run: they alone are done. One that cannot be read now keeps what was
    made of it before. What was made of pictures that have changed, or are not among ``items`` any more, is lost with
    ``overwrite`` only.

    Args:
        work: the step.
        items: sorted, as :func:`~vidaff.labels.engine.find_items` gives them.
        out: made if need be.
        hashes: what the results depend on: short texts by name (``model``, ``settings``, ``code``).
        engine: where to do it; None: in this process.
        shard_size: items that are done and accounted for together.
        max_skipped: how many items may be skipped.
        overwrite: do again, and remove before, what the step has made here with other hashes or of other pictures, or
            what has lost its files, and try again what was skipped. What holds is kept, so that a run that was stopped
            goes on.
        archive: write a tar archive per shard, which unpacks into the label folder, instead of single files.
        progress: draw a bar.
        basis: what an item's result depends on besides, if it is not the same for all.
        begin: called when nothing speaks against the run any more, before its first item.

    Raises:
        VidaffError: no items; another run on ``out``; a run before with other hashes, or with pictures whose results
            would be lost; a full disk; a dead worker; after all is done, more than ``max_skipped`` items skipped.
    """
    if not items:
        raise VidaffError(f"{work.name}: there are no pictures")
    check_name(work.name, "step")
    store = Store(Path(out), work.name, archive)
    expected = {**hashes, "layout": f"{shard_size} items a shard, {'archives' if archive else 'files'}"}
    shards = make_shards(items, shard_size, basis)
    began = time.perf_counter()
    with lock_folder(out):
        before = look_back(store, shards, expected, basis="" if basis is None else basis.name, overwrite=overwrite)
        left = take_over(store, shards, before, expected)
        if begin is not None:
            begin()
        try:
            new = _run(work, left, store, expected, engine or Engine(), progress=progress)
        finally:
            store.clear_work()
        lines = [*before.lines.values(), *new]
        finish(store, lines)
    ran = sum(len(shard.left) for shard in left)
    summary = _summarise(work.name, lines, len(before.lines), ran, time.perf_counter() - began)
    _check_skipped(summary, manifest_path(out, work.name), max_skipped)
    return summary


def _run(
    work: Work, shards: Sequence[Shard], store: Store, expected: Mapping[str, str], engine: Engine, *, progress: bool
) -> list[Line]:
    """Do shards and account for each as it is finished."""
    if not shards:
        return []
    lines = []
    with progress_bar(shown=progress) as bar:
        task = bar.add_task(work.name, total=sum(len(shard.left) for shard in shards))
        # Closed at once when something fails here, or workers would go on while their folder is cleared.
        with contextlib.closing(engine.run(work, shards, store, lambda count: bar.advance(task, count))) as results:
            for done in results:
                line = {**done.line, "hashes": {**expected, **done.line["hashes"]}}
                append_line(manifest_path(store.out, store.step), line)
                time_taken = {"shard": line["shard"], "items": line["items"], "seconds": round(done.seconds, 4)}
                append_line(store.out / "timings" / f"{store.step}.jsonl", time_taken)
                lines.append(line)
    return lines


def _summarise(step: str, lines: Sequence[Line], reused: int, ran: int, seconds: float) -> Summary:
    lines = sorted(lines, key=shard_order)
    skipped = [(key, reason) for line in lines for key, reason in line["skipped"]]
    items, done = (sum(line[name] for line in lines) for name in ("items", "done"))
    return Summary(step, len(lines), reused, items, done, skipped, ran, seconds)


def _check_skipped(summary: Summary, manifest: Path, max_skipped: int) -> None:
    if len(summary.skipped) <= max_skipped:
        return
    reasons = "; ".join(f"{key}: {reason}" for key, reason in summary.skipped[:SHOWN_REASONS])
    more = f"; ... all are in {manifest}" if len(summary.skipped) > SHOWN_REASONS else ""
    raise VidaffError(
        f"{summary.step}: {len(summary.skipped)} of {summary.items} pictures were skipped, more than "
        f"--max-skipped {max_skipped}; the others are done ({reasons}{more})"
    )
