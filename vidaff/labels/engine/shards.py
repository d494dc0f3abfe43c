"""A shard: some items in a row, done by one worker from reading to writing."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidaff.errors import VidaffError, first_line
from vidaff.labels.engine.hashes import hash_content, hash_inputs
from vidaff.labels.engine.manifest import Line
from vidaff.labels.engine.pictures import read_item
from vidaff.labels.engine.store import File, Store
from vidaff.labels.engine.types import Basis, Item, Outcome, Work

SKIPPING = (VidaffError, ValueError, cv2.error)
"""What means that a picture cannot be done. Others are faults of the program or the machine, and end the run."""
READ_AHEAD = 4
Tick = Callable[[int], object]


class Shard(NamedTuple):
    """Some items, at least one, in a row.

    ``name`` is its number among the shards; ``bases`` say by item what it depends on besides its picture; ``kept`` has,
    by key, the records (lines of JSON) of items that an earlier run has done.
    """

    name: str
    items: tuple[Item, ...]
    bases: tuple[str, ...]
    kept: Mapping[str, str]

    @property
    def left(self) -> list[Item]:
        """Items that are to be done."""
        return [item for item in self.items if item.key not in self.kept]

    def span(self) -> str:
        """What it is, for messages."""
        return f"shard {self.name} ({self.items[0].key} to {self.items[-1].key})"


class Done(NamedTuple):
    """A finished shard: its line of the manifest, how long it took, and how many of its items were done now."""

    line: Line
    seconds: float
    ran: int


def make_shards(items: Sequence[Item], size: int, basis: Basis | None = None) -> list[Shard]:
    """Divide items by position into shards of ``size``."""
    if size < 1:
        raise VidaffError(f"a shard has at least 1 picture, got {size}")
    parts = [tuple(items[start : start + size]) for start in range(0, len(items), size)]
    of = (lambda item: "") if basis is None else basis.of
    return [Shard(f"{number:06}", part, tuple(map(of, part)), {}) for number, part in enumerate(parts)]


def run_shard(work: Work, shard: Shard, store: Store, tick: Tick) -> Done:
    """Read, work on and write a shard; ``tick(n)`` is told of every n items that are through.

    Raises :class:`VidaffError` for what is not the fault of one picture; then nothing of the shard counts.
    """
    began = time.perf_counter()
    contents = [_content(shard, item) for item in shard.items]
    known = {item.key: pair for item, *pair in zip(shard.items, contents, shard.bases, strict=True)}
    files: list[File] = []
    lines, skipped = dict(shard.kept), []
    try:
        for item, result in _results(work, shard, tick):
            if isinstance(result, str):
                skipped.append([item.key, result])
            else:
                files += result.files
                lines[item.key] = json.dumps(_record(item, result, *known[item.key]), sort_keys=True) + "\n"
        store.publish(shard.name, files, [lines[item.key] for item in shard.items if item.key in lines])
    except (TypeError, ValueError) as error:
        raise VidaffError(f"shard {shard.name} of {store.step}: not writable ({first_line(error)})") from error
    # What could not be read is looked at again: a disk that went away meanwhile must not count as a damaged picture.
    bad = {key for key, _ in skipped}
    contents = [
        hash_content(item) if item.key in bad else content for item, content in zip(shard.items, contents, strict=True)
    ]
    line = {
        "shard": shard.name, "first": shard.items[0].key, "last": shard.items[-1].key, "items": len(shard.items),
        "done": len(lines), "skipped": skipped, "hashes": {"inputs": hash_inputs(shard.items, contents, shard.bases)},
    }  # fmt: skip
    return Done(line, time.perf_counter() - began, len(shard.left))


def _content(shard: Shard, item: Item) -> str:
    """Hash of an item's picture; of one that is done, that of the picture which it was done with."""
    kept = shard.kept.get(item.key)
    return hash_content(item) if kept is None else str(json.loads(kept).get("content"))


def _record(item: Item, outcome: Outcome, content: str, basis: str) -> dict[str, Any]:
    names = [name for name, _ in outcome.files]
    return {
        "view": item.view, "affordance": item.affordance, "object": item.object, "name": item.name, "files": names,
        "content": content, "basis": basis, "record": dict(outcome.record),
    }  # fmt: skip


def _results(work: Work, shard: Shard, tick: Tick) -> Iterator[tuple[Item, Outcome | str]]:
    """Items with their outcome or the reason why they are skipped, in order."""
    group: list[tuple[Item, np.ndarray | str]] = []
    size = int(getattr(work, "batch", 1))
    for item, image in _pictures(shard.left):
        group.append((item, image))
        if len(group) == size:
            yield from _run_group(work, shard, group, tick)
            group = []
    if group:
        yield from _run_group(work, shard, group, tick)


def _run_group(
    work: Work, shard: Shard, group: Sequence[tuple[Item, np.ndarray | str]], tick: Tick
) -> Iterator[tuple[Item, Outcome | str]]:
    good = [(item, image) for item, image in group if not isinstance(image, str)]
    together = _run_together(work, shard, good) if len(good) > 1 else None
    outcomes = iter(together or ())
    for item, image in group:
        if isinstance(image, str):
            yield item, image
        else:
            yield item, next(outcomes) if together else _run_one(work, shard, item, image)
        tick(1)


def _run_together(work: Any, shard: Shard, group: Sequence[tuple[Item, np.ndarray]]) -> list[Outcome] | None:
    """Outcomes of several items at once; None when one of them cannot be done, and each has to be tried alone."""
    items, images = map(list, zip(*group, strict=True))
    try:
        outcomes = list(work.run_many(items, images))
    except SKIPPING:
        return None
    except Exception as error:
        raise _fault(shard, items[0], error) from error
    if len(outcomes) != len(items):
        raise VidaffError(f"{work.name}: {len(outcomes)} outcomes for {len(items)} items")
    return outcomes


def _run_one(work: Work, shard: Shard, item: Item, image: np.ndarray) -> Outcome | str:
    try:
        return work.run(item, image)
    except SKIPPING as error:
        return first_line(error)
    except Exception as error:
        raise _fault(shard, item, error) from error


def _fault(shard: Shard, item: Item, error: Exception) -> VidaffError:
    return VidaffError(f"shard {shard.name}: {item.key}: {type(error).__name__}: {first_line(error)}")


def _pictures(items: Sequence[Item]) -> Iterator[tuple[Item, np.ndarray | str]]:
    """Items with their picture or why there is none; a thread reads ahead, so that models need not wait."""
    with ThreadPoolExecutor(1) as reader:
        waiting = deque((item, reader.submit(_picture, item)) for item in items[:READ_AHEAD])
        for following in [*items[READ_AHEAD:], *[None] * len(waiting)]:
            item, future = waiting.popleft()
            if following is not None:
                waiting.append((following, reader.submit(_picture, following)))
            yield item, future.result()


def _picture(item: Item) -> np.ndarray | str:
    if item.problem:
        return item.problem
    try:
        return read_item(item)
    except VidaffError as error:
        return first_line(error)
