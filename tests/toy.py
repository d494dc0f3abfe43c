"""Toy clips for tests: small random pictures whose label is a coloured square."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from vidaff.datasets.base import Clip
from vidaff.datasets.prepare import write_clip
from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, CLASSES
from vidaff.flow3d import Intrinsics


def toy_clip(index: int, *, size: int = 32, frames: int = 4) -> Clip:
    """A clip whose action is ``index % 9``, with a square of that class and motion in that clip's direction."""
    rng = np.random.default_rng(index)
    action = index % len(AFFORDANCES)
    rgb = rng.integers(0, 255, (frames, size, size, 3), dtype=np.uint8)
    mask = np.full((size, size), BACKGROUND, np.uint8)
    x, y = rng.integers(0, size // 2, 2)
    mask[y : y + size // 2, x : x + size // 2] = action
    rgb[:, mask == action] = 20 * action
    flow = np.zeros((frames, size, size, 3), np.int16)
    flow[1:, mask == action, index % 3] = 300
    affordances = np.where(mask == action, 1 << action, 0).astype(np.uint16)
    depth = np.full((frames, size, size), 700, np.uint16)
    return Clip(
        name=f"Subject1_{AFFORDANCES[action]}_{index:04d}_cup", rgb=rgb, depth=depth, flow=flow, mask=mask,
        affordances=affordances, action=action, object="cup", subject="Subject1",
        intrinsics=Intrinsics(40.0, 40.0, size / 2, size / 2), fps=10.0,
    )  # fmt: skip


def write_toy_file(path: Path, *, train: int = 16, val: int = 9, size: int = 32, frames: int = 4) -> Path:
    """A prepared file of toy clips."""
    with h5py.File(path, "w") as file:
        for split, count, start in (("train", train, 0), ("val", val, 1000)):
            for index in range(start, start + count):
                clip = toy_clip(index, size=size, frames=frames)
                write_clip(file.create_group(f"{split}/{clip.name}"), clip, clip.flow)
        file.attrs.update(
            format="vidaff-clips", version=1, dataset="sor3d-aff", height=size, width=size, fps=10.0,
            classes=json.dumps(CLASSES), settings=json.dumps({"size": [size, size], "flow": "dis"}),
        )  # fmt: skip
    return path
