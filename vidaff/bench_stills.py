"""Speed of reading and scoring still pictures; ``scripts/bench/stills.py`` prints what is measured here.

Pictures are rendered at the size of the real sets when no tree is given. Files are read through the system's cache, as
in every epoch of a training but the first.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader

from vidaff.bench import Row, timed
from vidaff.datasets import load_dataset
from vidaff.datasets.label_text import read_label_text
from vidaff.datasets.taxonomies import IIT_AFF
from vidaff.metrics import weighted_f_measure
from vidaff.training.batches import ClipStore

BATCH = 16
PICTURES = 240
TEXT_SIDE = 1024
MAP = (480, 640)
VIEWS: tuple[dict[str, Any], ...] = ({"size": (96, 96)}, {"centre_crop": 300})
"""Whole pictures as the small recipes see them, and the paper's crop, which nothing is resized for."""


def run(*, data: Path | None = None, processes: int = 2, repeats: int = 5) -> list[Row]:
    """All measurements, as rows.

    Args:
        data: a tree of UMD with depth; rendered pictures by default.
        processes: loader processes.
        repeats: timed rounds, whose median counts; the fastest stands beside it.
    """
    with ExitStack() as stack:
        root = data or rendered(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "umd")
        rows = [row for view in VIEWS for row in loader_rows(root, view, processes, repeats)]
    return [*rows, text_row(repeats), *margolin_rows(repeats)]


def rendered(root: Path) -> Path:
    """A tree of :data:`PICTURES` rendered frames of 640x480 to train on."""
    from vidaff.datasets.synthetic import UmdSettings, render_umd

    render_umd(root, UmdSettings(pictures_train=PICTURES, pictures_val=20), progress=False)
    return root


def loader_rows(root: Path, view: dict[str, Any], processes: int, repeats: int) -> list[Row]:
    """Pictures a second as training gets them: in this process, and from ``processes`` of torch's loader."""
    dataset = load_dataset("umd", root, "train", **view)
    what = "UMD, " + ", ".join(
        f"{key} {value[0] if isinstance(value, tuple) else value}" for key, value in view.items()
    )
    store = ClipStore(dataset, clip_length=1, cache=False)
    rows = []
    for workers, batch, name in ((0, 1, "this process"), (processes, BATCH, f"{processes} loader processes")):
        more: dict[str, Any] = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
        loader = DataLoader(store, batch_size=batch, num_workers=workers, **more)
        rates = [_rate(loader, len(store)) for _ in range(1 + repeats)][1:]  # the first starts the processes
        rows.append(
            Row(f"{what}: {name}", "cpu", f"{median(rates):.0f} frames/s", f"best of {repeats}: {max(rates):.0f}")
        )
        del loader
    return rows


def _rate(loader: DataLoader[Any], count: int) -> float:
    """Pictures a second from the first batch on: what starts the processes is not in it."""
    batches = iter(loader)
    first = next(batches)
    started, got = time.perf_counter(), 0
    for batch in batches:
        got += len(batch["index"])
    assert got + len(first["index"]) == count
    return got / (time.perf_counter() - started)


def text_row(repeats: int) -> Row:
    """Time to read a label picture of IIT-AFF written as text, 1024x1024."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.txt"
        labels = np.random.default_rng(0).integers(0, IIT_AFF.background + 1, (TEXT_SIDE, TEXT_SIDE))
        np.savetxt(path, labels, fmt="%d")
        seconds = timed(lambda: read_label_text(path, IIT_AFF.background), repeats)
    return Row(f"IIT-AFF, text labels {TEXT_SIDE}x{TEXT_SIDE}", "cpu", f"{seconds * 1000:.0f} ms")


def margolin_rows(repeats: int) -> list[Row]:
    """Time of Margolin's weighted F of one class at 640x480: a part of usual size, and the worst case."""
    part, everywhere = np.zeros(MAP, np.uint8), np.random.default_rng(0).random(MAP)
    cv2.ellipse(part, (320, 240), (120, 40), 30, 0, 360, 1, -1)
    mask = part.astype(bool)
    cases = {
        "a part of 5 %": np.roll(mask, 9, 1).astype(np.float64),
        "a soft map that is nowhere 0": everywhere,
    }
    return [
        Row(
            f"Margolin F, {MAP[1]}x{MAP[0]}, one class: {name}", "cpu",
            f"{timed(lambda pred=pred: weighted_f_measure(pred, mask), repeats) * 1000:.1f} ms",  # type: ignore[misc]
        ) for name, pred in cases.items()
    ]  # fmt: skip
