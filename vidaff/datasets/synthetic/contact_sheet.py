"""A picture of a rendered set: rows of clips, columns of frames, the label on the last one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidaff.datasets.synthetic.scene import ClipPlan
from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND
from vidaff.io import read_image, write_image
from vidaff.visualize import blend_labels, contact_sheet

ROWS_PER_ACTION = 2
_COLUMNS = 11
_CELL = 128


def write_contact_sheet(out: Path, plans: list[ClipPlan]) -> Path:
    """Write ``out/contact_sheet.png`` from the clips on disk: two clips of every action, of different types."""
    chosen = choose_rows(plans)
    rows = [_row(out / plan.split / plan.name, plan.action) for plan in chosen]
    captions = [f"{plan.action}: {plan.type.name} ({plan.type.official}), view {plan.view}" for plan in chosen]
    path = out / "contact_sheet.png"
    write_image(path, contact_sheet(rows, captions=captions, columns=1, title=out.name))
    return path


def choose_rows(plans: list[ClipPlan]) -> list[ClipPlan]:
    """Up to :data:`ROWS_PER_ACTION` plans of every action, other types preferred."""
    chosen = []
    for action in AFFORDANCES:
        of_type: dict[int, ClipPlan] = {}
        for plan in plans:
            if plan.action == action:
                of_type.setdefault(plan.kind, plan)
        chosen += list(of_type.values())[:ROWS_PER_ACTION]
    return chosen


def _row(folder: Path, action: str) -> np.ndarray:
    """Frames side by side, thinned out to what fits, then the last frame with its label."""
    import cv2

    paths = sorted(path for path in (folder / "rgb").iterdir() if "_" not in path.name)
    picked = np.unique(np.linspace(0, len(paths) - 1, min(_COLUMNS - 1, len(paths))).round().astype(int))
    mask = read_image(folder / "rgb" / "z_1_mask.png")
    labels = np.where((mask == 255).all(axis=-1), BACKGROUND, AFFORDANCES.index(action)).astype(np.uint8)
    pictures = [read_image(paths[index]) for index in picked]
    pictures.append(blend_labels(pictures[-1], labels))
    return np.hstack([cv2.resize(picture, (_CELL, _CELL), interpolation=cv2.INTER_AREA) for picture in pictures])
