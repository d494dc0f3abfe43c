"""What the engine costs a picture, and what more processes gain; ``scripts/bench/labels.py`` prints it.

On a machine with other work the clock measures that work as well. So processor time stands beside the clock, a work
that waits (as one on a GPU does) stands beside one that computes, and bare processes without any engine show what the
machine could give at that moment.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidaff.labels.engine.items import csv_items
from vidaff.labels.engine.pictures import encode_mask, mask_file, read_item
from vidaff.labels.engine.run import Engine, run_work
from vidaff.labels.engine.shards import make_shards
from vidaff.labels.engine.store import Store
from vidaff.labels.engine.types import Item, Outcome

SIZE = (480, 640)
PARTS = ("cost", "wait", "burn", "ray")
HASHES = {"model": "none", "settings": "none", "code": "none"}


class TwoMasks:
    """A step that finds two masks at once, so that all time is the engine's; ``milliseconds`` pass before, if wished.

    Args:
        milliseconds: of this process's processor time, or of the clock with ``wait``.
        wait: sleep instead of computing.
    """

    name = "bench"

    def __init__(self, milliseconds: float = 0.0, *, wait: bool = False) -> None:
        self.milliseconds, self.wait = milliseconds, wait

    def setup(self) -> None:
        """Nothing to load."""

    def run(self, item: Item, image: np.ndarray) -> Outcome:
        """Two masks of the picture's size."""
        spend(self.milliseconds, wait=self.wait)
        masks = two_masks(image.shape[:2])
        files = [
            mask_file(kind, item.picture, mask)
            for kind, mask in zip(("initial", "objects/egocentric"), masks, strict=True)
        ]
        return Outcome(files, {"area": int(masks[0].sum())})


class Rate(NamedTuple):
    """Pictures a second by the clock, from the first shard's begin; processor milliseconds a picture, all processes."""

    per_second: float
    cpu_ms: float


def spend(milliseconds: float, *, wait: bool) -> None:
    """Let time pass: by the clock when waiting, else by this thread's processor time."""
    if wait:
        time.sleep(milliseconds / 1e3)
        return
    end = time.thread_time() + milliseconds / 1e3
    while time.thread_time() < end:
        pass


def two_masks(size: tuple[int, ...]) -> list[np.ndarray]:
    """Masks (H, W) bool of an ellipse and of a box."""
    height, width = size
    masks = np.zeros((2, height, width), np.uint8)
    cv2.ellipse(masks[0], (width // 2, height // 2), (width // 4, height // 5), 30, 0, 360, 1, -1)
    cv2.rectangle(masks[1], (width // 5, height // 5), (width // 2, height // 2), 1, -1)
    return list(masks.astype(bool))


def write_pictures(folder: Path, count: int) -> list[Item]:
    """``count`` JPEG pictures of smoothed noise, and their items."""
    rows = ["image,object,affordance"]
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3), np.uint8), (0, 0), 1.5)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    for index in range(count):
        (folder / f"{index:06}.jpg").write_bytes(data)
        rows.append(f"{index:06}.jpg,cup,hold")
    (folder / "pictures.csv").write_text("\n".join(rows) + "\n")
    return csv_items(folder / "pictures.csv", folder)


def costs(items: Sequence[Item], folder: Path, *, repeats: int) -> list[tuple[str, float, float]]:
    """What, milliseconds a picture by the clock, and of the processor: the whole, then its parts."""
    image = read_item(items[0])
    masks = two_masks(image.shape[:2])
    files = [(f"initial/{number}.png", encode_mask(mask)) for number, mask in enumerate([*masks] * 64)]
    store = Store(folder, "parts")
    outs = iter(folder / f"cost{number}" for number in range(repeats))
    return [
        ("whole", *_each(lambda: _run_all(items, next(outs)), len(items), repeats)),
        ("decode", *_each(lambda: [read_item(item) for item in items], len(items), repeats)),
        ("masks to PNG", *_each(lambda: [encode_mask(mask) for mask in masks], 1, repeats)),
        ("write, sync, rename", *_each(lambda: store.publish("000000", files, []), 64, repeats)),
    ]


def _run_all(items: Sequence[Item], out: Path) -> None:
    run_work(TwoMasks(), items, out, hashes=HASHES, progress=False)


def _each(run: Callable[[], object], count: int, repeats: int) -> tuple[float, float]:
    """Median milliseconds per item by the clock and of the processor."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    clock, cpu = (median(column) / count * 1e3 for column in zip(*times, strict=True))
    return clock, cpu


def engine_rate(engine: Engine, work: TwoMasks, items: Sequence[Item], out: Path, *, shard_size: int) -> Rate:
    """Do all items once, and count from when the first shard was begun."""
    shards = make_shards(items, shard_size)
    spent = _cpu_seconds()
    begun, ended = float("inf"), 0.0
    for done in engine.run(work, shards, Store(out, work.name), lambda count: None):
        ended = time.perf_counter()
        begun = min(begun, ended - done.seconds)
    return Rate(len(items) / (ended - begun), (_cpu_seconds() - spent) / len(items) * 1e3)


def bare_rate(workers: int, milliseconds: float, count: int) -> float:
    """Times a second that ``milliseconds`` of processor time pass in bare processes, without an engine."""
    context = get_context("spawn")
    barrier, results = context.Barrier(workers), context.Queue()
    crew = [
        context.Process(target=_burn, args=(barrier, results, milliseconds, count // workers)) for _ in range(workers)
    ]
    for process in crew:
        process.start()
    spans: list[tuple[float, float]] = [results.get(timeout=600) for _ in crew]
    for process in crew:
        process.join()
    return workers * (count // workers) / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def _burn(barrier: Any, results: Any, milliseconds: float, count: int) -> None:
    barrier.wait()
    began = time.monotonic()
    for _ in range(count):
        spend(milliseconds, wait=False)
    results.put((began, time.monotonic()))


def _cpu_seconds() -> float:
    """Processor time of this process and of those that it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def report(*, pictures: int = 256, milliseconds: float = 50.0, repeats: int = 3, parts: Iterable[str] = PARTS) -> str:
    """Markdown tables of the ``parts`` asked for.

    ``cost``: what a picture costs; ``wait`` and ``burn``: one and two processes with a work of that kind; ``ray``: adds
    Ray to these two.
    """
    parts = tuple(parts)
    text = [machine()]
    with TemporaryDirectory() as name:
        folder = Path(name)
        items = write_pictures(folder, pictures)
        if "cost" in parts:
            text.append(_cost_table(costs(items, folder, repeats=repeats)))
        for kind in ("wait", "burn"):
            if kind in parts:
                engines = [Engine("processes", workers=1), Engine("processes", workers=2)]
                engines += [Engine("ray", workers=workers) for workers in (1, 2) if "ray" in parts]
                text.append(_speed_table(kind, engines, items, folder, milliseconds, repeats))
    return "\n\n".join(text) + "\n"


def machine() -> str:
    """Processor, how many of its cores this process may use, and how busy the machine is."""
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
    return f"{platform.machine()}, {cores}, load {os.getloadavg()[0]:.1f}, OpenCV {cv2.__version__}"


def _cost_table(rows: Sequence[tuple[str, float, float]]) -> str:
    lines = [f"| {what} | {clock:.2f} | {cpu:.2f} |" for what, clock, cpu in rows]
    head = f"| ms a picture, {SIZE[1]}x{SIZE[0]} JPEG, two masks | clock | processor |\n|---|---|---|\n"
    return head + "\n".join(lines)


def _speed_table(
    kind: str, engines: Sequence[Engine], items: Sequence[Item], folder: Path, milliseconds: float, repeats: int
) -> str:
    """Rates by engine, turns taken; the gain is over the first engine in the same turn."""
    work = TwoMasks(milliseconds, wait=kind == "wait")
    turns, bare = [], []
    for turn in range(repeats):
        turns.append(
            [
                engine_rate(engine, work, items, folder / f"{kind}{turn}{number}", shard_size=16)
                for number, engine in enumerate(engines)
            ]
        )
        if kind == "burn":
            bare.append([bare_rate(workers, milliseconds, len(items)) for workers in (1, 2)])
    lines = [f"| {milliseconds:g} ms of {kind} a picture | pictures/s | gain | processor ms |", "|---|---|---|---|"]
    for engine, rates in zip(engines, zip(*turns, strict=True), strict=True):
        gain = median(rate.per_second / turn[0].per_second for rate, turn in zip(rates, turns, strict=True))
        cpu = f"{median(rate.cpu_ms for rate in rates):.1f}" if engine.kind != "ray" else "elsewhere"
        speed = median(rate.per_second for rate in rates)
        lines.append(f"| {engine.kind}, {engine.workers} | {speed:.1f} | {gain:.2f} | {cpu} |")
    for workers, found in zip((1, 2), zip(*bare, strict=True), strict=False):
        gain = median(rate / turn[0] for rate, turn in zip(found, bare, strict=True))
        lines.append(f"| no engine, {workers} | {median(found):.1f} | {gain:.2f} | |")
    return "\n".join(lines)
