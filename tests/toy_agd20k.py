"""A miniature of AGD20K that can be learned in seconds: bars of two colours, each colour affords one action."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidaff.datasets.agd20k import LabelFolder, Picture, SimilarityTable
from vidaff.datasets.agd20k.labels import Box
from vidaff.io import write_image

SIDE = 96
PARTS = {("cut_with", "knife"): 0, ("hold", "knife"): 1, ("stick", "fork"): 0, ("hold", "fork"): 1}
"""Affordance and object -> which half of the bar."""
COLOURS = {"knife": ((220, 40, 40), (40, 60, 220)), "fork": ((230, 200, 40), (40, 180, 60))}


def _bar(rng: np.random.Generator, name: str, *, covered: int | None = None):
    """A picture (H, W, 3), and the two halves of its bar as boxes (left, top, right, bottom)."""
    picture = np.full((SIDE, SIDE, 3), rng.integers(90, 160), np.uint8)
    top, left, half = int(rng.integers(8, 60)), int(rng.integers(4, 28)), 30
    ends = [(left, top, left + half, top + 24), (left + half, top, left + 2 * half, top + 24)]
    order = (0, 1) if rng.random() < 0.5 else (1, 0)
    boxes = [ends[number] for number in order]
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        picture[y0:y1, x0:x1] = COLOURS[name][number] if number != covered else (205, 150, 120)
    return picture, boxes


def _mask(box) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return mask


def write_toy_tree(root: Path, *, train: int = 10, test: int = 4, refined: bool = True) -> Path:
    """Write split Seen with labels, boxes and similarities; ``train`` and ``test`` pictures a pair.

    Without ``refined`` every pseudo-label is initial, and marks the whole bar.
    """
    trainset, testset = root / "Seen" / "trainset", root / "Seen" / "testset"
    labels = LabelFolder(trainset / "labels")
    boxes: dict[str, dict[str, list]] = {"egocentric": {}, "exocentric": {}}
    for number, (pair, part) in enumerate(PARTS.items()):
        rng = np.random.default_rng(number)
        ego = [Picture(*pair, f"{pair[1]}_{number}{index:03}.png") for index in range(train)]
        exo = [Picture(*pair, f"{pair[1]}_exo_{number}{index:03}.png") for index in range(3)]
        for picture in ego:
            rgb, found = _bar(rng, pair[1])
            write_image(trainset / "egocentric" / picture.name, rgb)
            whole = _mask(found[0]) | _mask(found[1])
            labels.write_mask("initial", picture, whole)
            if refined:
                labels.write_mask("refined", picture, _mask(found[part]))
            boxes["egocentric"][picture.name] = [[*_span(found), 0.9]]
        for picture in exo:
            rgb, found = _bar(rng, pair[1], covered=part)
            write_image(trainset / "exocentric" / picture.name, rgb)
            boxes["exocentric"][picture.name] = [[*_span(found), 0.9]]
        table = rng.random((len(ego), len(exo))).astype(np.float32)
        rows, columns = (tuple(Box(picture.file, 0) for picture in group) for group in (ego, exo))
        labels.write_similarity(*pair, SimilarityTable(table, rows, columns))
        for index in range(test):
            picture = Picture(*pair, f"{pair[1]}_9{number}{index:02}.png")
            rgb, found = _bar(rng, pair[1])
            write_image(testset / "egocentric" / picture.name, rgb)
            write_image(testset / "GT" / picture.name, _mask(found[part]))
    for view, found in boxes.items():
        labels.write_boxes(view, found)
    labels.write_record({"made": "by hand"})
    return root


def _span(boxes) -> tuple[int, int, int, int]:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
