"""The whole report as Markdown, and the picture of one pair's flows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vidaff.flow3d.analytic import SCENES, Pair, make_pair
from vidaff.flow3d.bench.costs import gpu_table, memory_table, start_table, stream_table
from vidaff.flow3d.bench.entries import Entry
from vidaff.flow3d.bench.scores import accuracy_table, compare, speed_table
from vidaff.flow3d.colour import encode_flow
from vidaff.io import write_image

PARTS = ("clean", "noisy", "stream", "memory", "start", "gpu")
"""What :func:`report` measures; ``start`` takes the time of two compilations."""
LEAST_SIDE = 48
"""Some of OpenCV's methods fail on smaller pictures."""
LEGEND = """EPE: mean end-point error in mm over the pixels with depth in frame 0: all, the moving ones, and of these
those that frame 1 shows (visible). What a method calls invalid counts as zero flow; valid is the share of pixels with
depth that it does not. < 1 cm and explained (1 - EPE / EPE of zero flow) are over the moving ones. Methods that are not
ours are image motion lifted with depth, nothing cleaned. Times include preparing both frames.
"""


def report(
    entries: Sequence[Entry],
    *,
    scenes: Sequence[str],
    size: tuple[int, int] = (240, 320),
    seeds: Sequence[int] = (0, 1, 2),
    repeats: int = 3,
    parts: Sequence[str] = PARTS,
    notes: Sequence[str] = (),
) -> str:
    """Measure ``entries`` on the named ``scenes``, and what they cost: Markdown.

    ``parts`` of :data:`PARTS`; ``size`` (height, width); ``notes`` are printed on top. Raises ``ValueError`` naming the
    argument before anything is measured.
    """
    _check(scenes, size, seeds, repeats, parts)
    ours = [entry for entry in entries if entry.method]
    text = [f"{machine()}; {size[0]}x{size[1]}, seeds {_listed(seeds)}, {repeats} repeats\n", LEGEND]
    text += [f"{note}\n" for note in notes]
    runs = []
    for part in ("noisy", "clean"):
        for scene in scenes if part in parts else ():
            pairs = [make_pair(scene, size=size, noise=part == "noisy", seed=seed) for seed in seeds]
            runs.append(compare(pairs, entries, repeats))
            text.append(f"### {scene}, {part}: {_motion(pairs)}\n\n{accuracy_table(runs[-1])}")
    if runs:
        text.append(f"### Time, all scenes\n\n{speed_table(runs)}")
    text += [f"### {title}\n\n{table}" for title, table in _costs(ours, entries, parts, repeats, size)]
    return "\n".join(text)


def _check(
    scenes: Sequence[str], size: tuple[int, int], seeds: Sequence[int], repeats: int, parts: Sequence[str]
) -> None:
    """Refuse before the first minute of measuring what would end it later."""
    for name, values, known in (("scenes", scenes, SCENES), ("parts", parts, PARTS)):
        if unknown := [value for value in values if value not in known]:
            raise ValueError(f"{name}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    if min(size) < LEAST_SIDE:
        raise ValueError(f"size: must be at least {LEAST_SIDE} pixels a side, got {size[0]}x{size[1]}")
    if min(seeds) < 0:
        raise ValueError(f"seeds: must not be negative, got {min(seeds)}")
    if repeats < 1:
        raise ValueError(f"repeats: must be at least 1, got {repeats}")


def use_threads(count: int) -> None:
    """Let OpenCV, torch and numba use ``count`` CPU threads, processes started later included."""
    import torch

    if count < 1:
        raise ValueError(f"threads: must be at least 1, got {count}")
    cv2.setNumThreads(count)
    torch.set_num_threads(count)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(count)))


def _costs(
    ours: Sequence[Entry], entries: Sequence[Entry], parts: Sequence[str], repeats: int, size: tuple[int, int]
) -> list[tuple[str, str]]:
    compiled = [entry for entry in ours if entry.backend == "numba"]
    costs = []
    if "stream" in parts and ours:
        costs.append(("Stream", stream_table(ours, repeats)))
    if "memory" in parts:
        costs.append(("Memory", memory_table(entries)))
    if "start" in parts:
        table = start_table(compiled) if compiled else "No method with a numba backend in this run.\n"
        costs.append(("First call", table))
    if "gpu" in parts:
        costs.append(("GPU", _gpu([entry for entry in ours if entry.backend == "torch"], repeats, size)))
    return costs


def _gpu(entries: Sequence[Entry], repeats: int, size: tuple[int, int]) -> str:
    import torch

    if not torch.cuda.is_available():
        return "No CUDA device: left out.\n"
    return gpu_table(entries, repeats, size) if entries else "No method with a torch backend in this run.\n"


def machine() -> str:
    """Processor, GPU, torch, OpenCV and threads, and how busy the machine was, in one line."""
    from vidaff.bench import machine as without_opencv

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{without_opencv()}, OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads{load}"


def _motion(pairs: Sequence[Pair]) -> str:
    """What moves, on average over the pairs' moving pixels with depth."""
    moving = [pair.moving & pair.valid for pair in pairs]
    if not any(where.any() for where in moving):
        return "nothing moves"
    pixels = np.concatenate([np.linalg.norm(pair.motion[w], axis=-1) for pair, w in zip(pairs, moving, strict=True)])
    metres = np.concatenate([np.linalg.norm(pair.flow[w], axis=-1) for pair, w in zip(pairs, moving, strict=True)])
    return f"{pixels.mean():.1f} px, {1000 * metres.mean():.0f} mm"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def write_picture(path: str | Path, entries: Sequence[Entry], pair: Pair) -> None:
    """Write frame 0, the truth and every entry's flow of ``pair`` but zero, side by side, in the ``signed`` colours.

    The largest true component saturates, so that slow scenes show colours too. Invalid pixels are grey, like rest.
    """
    from vidaff.visualize import contact_sheet

    scale = max(float(np.abs(pair.flow).max()), 0.01)
    pictures, captions = [pair.rgb0, encode_flow(pair.flow, scale=scale)], ["frame 0", "truth"]
    for entry in (entry for entry in entries if entry.name != "zero"):
        flow, valid = entry.make(pair.intrinsics)(pair)
        pictures.append(encode_flow(flow, valid, scale=scale))
        captions.append(entry.name)
    title = f"red: vertical, green: horizontal, blue: depth; {100 * scale:.0f} cm saturate"
    write_image(path, contact_sheet(pictures, captions=captions, columns=4, title=title))
