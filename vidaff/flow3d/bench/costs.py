"""What a method costs beside its time per pair: memory, the stream, the first call, and batches on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from vidaff.flow3d.analytic import Pair, make_clip, make_pair
from vidaff.flow3d.api import SceneFlow, make_method
from vidaff.flow3d.bench.entries import PROBE_SIZE, Entry, entry_of, prepared
from vidaff.flow3d.bench.scores import markdown

MEMORY_SIZE = (480, 640)
STREAM_SIZE = (300, 300)
STREAM_FRAMES = 8
FIRST_SIZE = (240, 320)
BATCH = 16
CHILD_S = 600


def memory_table(entries: Sequence[Entry]) -> str:
    """Growth of the resident memory while a pair of 640x480 frames is worked on, each in a process of its own."""
    # Above 64 KiB, freed memory goes back to the system at once: what made the inputs is not lent to the method.
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    rows = [[entry.name, _child("memory", entry.name, environment)] for entry in entries]
    return markdown(["method", f"peak above inputs and libraries, {_text(MEMORY_SIZE)}, MiB"], rows)


def start_table(entries: Sequence[Entry]) -> str:
    """Seconds from importing a method to its first flow: with no compiled code on disk, then with it."""
    rows = []
    for entry in entries:
        with tempfile.TemporaryDirectory() as cache:
            environment = {"NUMBA_CACHE_DIR": cache}
            rows.append([entry.name, *(_child("first", entry.name, environment) for _ in range(2))])
    return markdown(["method", f"first flow, {_text(FIRST_SIZE)}: nothing compiled, s", "compiled before, s"], rows)


def stream_table(entries: Sequence[Entry], repeats: int) -> str:
    """:meth:`SceneFlow.step` on a clip of scene ``hand``; the first step of a run, which only prepares, is left out."""
    clip = make_clip("hand", frames=STREAM_FRAMES, size=STREAM_SIZE)
    streams = [SceneFlow(clip.intrinsics, entry.method, backend=entry.backend) for entry in entries]
    wall: list[list[float]] = [[] for _ in streams]
    cpu: list[list[float]] = [[] for _ in streams]
    for run in range(repeats + 1):
        for index, stream in enumerate(streams):
            stream.reset()
            for frame, (rgb, depth) in enumerate(zip(clip.rgb, clip.depth, strict=True)):
                started = time.perf_counter(), time.process_time()
                stream.step(rgb, depth)
                if run and frame:
                    wall[index].append(time.perf_counter() - started[0])
                    cpu[index].append(time.process_time() - started[1])
    rows = [
        [entry.name, *(f"{1000 * value:.1f}" for times in (walls, cpus) for value in (median(times), min(times)))]
        for entry, walls, cpus in zip(entries, wall, cpu, strict=True)
    ]
    return markdown([f"method, {_text(STREAM_SIZE)}", "step, ms, median", "best", "step, CPU ms, median", "best"], rows)


def gpu_table(entries: Sequence[Entry], repeats: int, size: tuple[int, int]) -> str:
    """One pair, and pairs in batches of 16 where a method has ``between_batch``, of entries that use a CUDA device."""
    pairs = [make_pair("hand", size=size, seed=seed) for seed in range(BATCH)]
    rows = [[entry.name, *_gpu_row(entry, pairs, repeats)] for entry in entries]
    return markdown(["method", "one pair, ms", "MiB", f"of a batch of {BATCH}, ms", "MiB"], rows)


def _gpu_row(entry: Entry, pairs: Sequence[Pair], repeats: int) -> list[str]:
    method = make_method(entry.method, pairs[0].intrinsics, entry.backend)
    row = _gpu_cost(repeats, lambda: method.between(*prepared(method, pairs[0])), 1)
    batch = getattr(method, "between_batch", None)
    if batch is None:
        return [*row, "-", "-"]
    return row + _gpu_cost(
        repeats, lambda: batch(*zip(*(prepared(method, pair) for pair in pairs), strict=True)), BATCH
    )


def _gpu_cost(repeats: int, call: Callable[[], Any], count: int) -> list[str]:
    """Best milliseconds of a call for each of ``count`` pairs, and its peak memory on the GPU."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    seconds = _best_of(repeats, call)
    return [f"{1000 * seconds / count:.2f}", f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"]


def _best_of(repeats: int, call: Callable[[], Any]) -> float:
    import torch

    times = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def child(task: str, name: str) -> None:
    """Measure one entry in this process, a fresh one, and print the number, or null, as JSON."""
    print(json.dumps({"memory": _peak_growth_mib, "first": _first_seconds}[task](name)))


def _child(task: str, name: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-c", f"from {__name__} import child; child({task!r}, {name!r})"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=CHILD_S)
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1][:80]}"
    value = json.loads(done.stdout.splitlines()[-1])
    return "-" if value is None else f"{value:.1f}"


def _peak_growth_mib(name: str) -> float | None:
    small, pair = (make_pair("hand", size=size) for size in (PROBE_SIZE, MEMORY_SIZE))
    run = entry_of(name).make(pair.intrinsics)
    run(small)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is in use
        before = _status_kib("VmRSS")
        run(pair)
        return (_status_kib("VmHWM") - before) / 1024
    except (OSError, KeyError):  # not Linux, or a container that hides it
        return None


def _status_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int({line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}[field])


def _first_seconds(name: str) -> float:
    pair = make_pair("hand", size=FIRST_SIZE)
    started = time.perf_counter()
    entry_of(name).make(pair.intrinsics)(pair)
    return time.perf_counter() - started


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
