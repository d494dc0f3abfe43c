"""Counts of a data set: how many clips of which action and object each split holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from vidaff.datasets import SPLITS, STILLS, ClipDataset, load_dataset
from vidaff.datasets.prepared import open_prepared
from vidaff.datasets.prepared_stills import open_any
from vidaff.errors import VidaffError


def summarize(path: str | Path, dataset: str) -> dict[str, Any]:
    """``{"splits": {split: {"clips", "subjects", "actions", "objects"}}, "settings": {...}}`` of a file or a tree.

    ``dataset`` names the layout of a folder; a prepared file names it itself.
    """
    path = Path(path)
    if path.is_file():
        with open_prepared(path) as file:
            splits = {split: open_any(path, split) for split in SPLITS if split in file}
        first = next(iter(splits.values()), None)
        if first is None:
            raise VidaffError(f"{path}: holds no clips")
        settings = {"dataset": first.dataset, "fps": first.fps, **first.settings}
        return {"splits": {split: _counts(clips) for split, clips in splits.items()}, "settings": settings}
    present = list(SPLITS) if dataset in STILLS else [split for split in SPLITS if (path / split).is_dir()] or ["train"]
    counts = {split: _counts(load_dataset(dataset, path, split)) for split in present}
    return {"splits": counts, "settings": {"dataset": dataset}}


def _counts(clips: ClipDataset) -> dict[str, Any]:
    infos = [clips.info(index) for index in range(len(clips))]
    return {
        "clips": len(infos),
        "subjects": len({info.subject for info in infos}),
        "actions": {name: count for name, count in clips.action_counts().items() if count},
        "objects": dict(sorted(Counter(info.object or "unknown" for info in infos).items())),
    }
