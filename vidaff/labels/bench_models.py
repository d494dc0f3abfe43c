"""What the labelling's networks cost a picture; ``scripts/bench/labels.py --parts models`` prints it.

Each is built at full size with random weights (:mod:`vidaff.labels.bench_networks`) in a process of its own, so that
the peak of its memory is its own. Processor time of all threads stands beside the clock, which others disturb.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from vidaff.errors import VidaffError

NAMES = (
    "vlpart", "vlpart-fp32", "gdino-tiny", "gdino-base", "owlv2", "sam-b", "sam-l", "sam-h", "sam-h-bf16",
    "sam2-small", "sam2-large", "sam3", "similarity", "refine",
)  # fmt: skip
"""As :data:`vidaff.labels.bench_networks.MODELS`, in its order."""
SIZE = (480, 640)
SLOW_S = 20.0
"""A task whose first call took longer is timed once."""
CHILD_S = 1800
LIBRARIES = ("torchvision", "lightning", "transformers.modeling_utils", "segment_anything", "cv2")
"""Loaded before memory is looked at, whatever the model needs."""
RESULT = "result: "


class Cost(NamedTuple):
    """A task: seconds a picture by the clock, of the processor, and of the first call."""

    what: str
    clock: float
    cpu: float
    first: float


def models_table(
    names: Iterable[str] = NAMES, *, threads: int | None = None, device: str = "cpu", repeats: int = 3
) -> str:
    """Markdown table of the models ``names``.

    Args:
        names: out of :data:`NAMES`.
        threads: of torch; None: its own choice.
        device: ``cpu`` or ``cuda``.
        repeats: timed calls of a task; slow tasks have one.

    Raises:
        VidaffError: an unknown name, or a device that is not there.
    """
    names = list(names)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise VidaffError(f"the models are {', '.join(NAMES)}, got {unknown[0]!r}")
    from vidaff.labels.loading import choose_device

    gpu = choose_device(device).type == "cuda"
    head = [f"one picture of {SIZE[1]}x{SIZE[0]}", "parameters, M", "task", "clock, s", "processor, s", "first call, s"]
    head += ["loaded, MiB", "peak, MiB", *(["peak of the GPU, MiB"] if gpu else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in names:
        lines += [
            f"| {' | '.join([*row, *[''] * (len(head) - len(row))])} |" for row in _rows(name, threads, device, repeats)
        ]
    note = "Memory: resident, above that of the libraries, which is "
    return "\n".join(lines) + f"\n\n{note}{libraries_mib():.0f} MiB. Peak: the largest of loading and work."


def _rows(name: str, threads: int | None, device: str, repeats: int) -> list[list[str]]:
    from vidaff.labels.bench_networks import MODELS

    model = MODELS[name]
    free = available_gib()
    if free < model.gib:
        return [[model.title, "", f"left out: it needs about {model.gib:g} GiB of memory, {free:.1f} are free"]]
    environment = {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    command = [
        sys.executable,
        "-c",
        f"from {__name__} import child; child({name!r}, {threads!r}, {device!r}, {repeats})",
    ]
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=CHILD_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [[model.title, "", f"left out: it took longer than {CHILD_S} s"]]
    answers = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if done.returncode or not answers:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:120]
        return [[model.title, "", f"failed: {reason}"]]
    found = json.loads(answers[-1].removeprefix(RESULT))
    memory = [f"{value:.0f}" for value in found["memory"]]
    rows = [[model.title, f"{found['parameters'] / 1e6:.0f}"], *[["", ""]] * (len(found["tasks"]) - 1)]
    for number, cost in enumerate(Cost(*task) for task in found["tasks"]):
        rows[number] = [*rows[number], cost.what, f"{cost.clock:.2f}", f"{cost.cpu:.2f}", f"{cost.first:.2f}"]
    rows[0] += memory
    return rows


def child(name: str, threads: int | None, device: str, repeats: int) -> None:
    """Measure one model in this process, a fresh one, and print what was found as JSON."""
    import torch

    from vidaff.labels.bench_networks import MODELS

    if threads is not None:
        torch.set_num_threads(threads)
    for library in LIBRARIES:
        importlib.import_module(library)
    torch.manual_seed(0)
    before = resident_mib("VmRSS")
    built = MODELS[name].build(device)
    memory = [resident_mib("VmRSS") - before]
    tasks = [measured(what, task, device, repeats) for what, task in built.tasks.items()]
    memory.append(resident_mib("VmHWM") - before)
    if device != "cpu":
        memory.append(torch.cuda.max_memory_allocated() / 2**20)
    print(RESULT + json.dumps({"parameters": built.parameters, "tasks": tasks, "memory": memory}))


def measured(what: str, task: Callable[[np.ndarray], Any], device: str, repeats: int) -> Cost:
    """Times of a task, each call on another picture, since some models know the last one again."""
    count = getattr(task, "pictures", 1)
    times = []
    for number in range(1 + repeats):
        image = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        began = time.perf_counter(), time.process_time()
        task(image)
        if device != "cpu":
            import torch

            torch.cuda.synchronize()
        times.append(((time.perf_counter() - began[0]) / count, (time.process_time() - began[1]) / count))
        if number and times[0][0] > SLOW_S:
            break
    clock, cpu = (median(column) for column in zip(*times[1:], strict=True))
    return Cost(what, clock, cpu, times[0][0])


def resident_mib(field: str) -> float:
    """``VmRSS``, the resident memory of this process, or ``VmHWM``, its peak, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def libraries_mib() -> float:
    """Resident memory of a process that has loaded the libraries and nothing else."""
    text = f"import {', '.join(LIBRARIES)}; from {__name__} import resident_mib; print(resident_mib('VmRSS'))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=CHILD_S, check=True)
    return float(done.stdout.splitlines()[-1])


def available_gib() -> float:
    """Memory that can be had without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 2**20
