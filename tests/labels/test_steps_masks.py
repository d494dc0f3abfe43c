"""From boxes to one mask: records, and memory that does not grow with the number of boxes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from vidaff.labels.engine import Item
from vidaff.labels.label_recipe import MaskSettings
from vidaff.labels.ops import label_of
from vidaff.labels.steps import masks
from vidaff.labels.steps.masks import InitialWork
from vidaff.labels.types import Detections
from vidaff.part_texts import PartTexts

ITEM = Item("hold", "knife", "a.png")
SIDE = 600


class Boxes:
    """Finds ``count`` boxes along the diagonal."""

    name = "boxes"

    def __init__(self, count: int) -> None:
        start = np.linspace(0, SIDE - 60, count)
        self.boxes = np.stack([start, start, start + 50, start + 50], 1).astype(np.float32)

    def detect(self, image, queries) -> Detections:
        count = len(self.boxes)
        return Detections(self.boxes, np.linspace(0.9, 0.6, count, dtype=np.float32), np.zeros(count, np.int64))


class Rings:
    """Marks a ring with a hole in every box, in every third one what is around it instead."""

    name = "rings"

    def segment(self, image, boxes) -> np.ndarray:
        result = np.zeros((len(boxes), *image.shape[:2]), bool)
        for mask, (left, top, _, _) in zip(result, boxes.astype(int), strict=True):
            mask[top + 5 : top + 45, left + 5 : left + 45] = True
            mask[top + 20 : top + 24, left + 20 : left + 24] = False
            if left % 3 == 0:
                mask[top : top + 50, left : left + 50] ^= True
        return result


def work(count: int) -> InitialWork:
    made = InitialWork(MaskSettings(), PartTexts({("hold", "knife"): ("knife handle",)}))
    made._detector, made._segmenter = Boxes(count), Rings()
    return made


def image() -> np.ndarray:
    return np.zeros((SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("held", [1, 3 * SIDE**2, 2**30])
def test_labels_and_records_are_the_same_however_many_masks_are_held(monkeypatch, held):
    monkeypatch.setattr(masks, "MAX_MASK_BYTES", held)
    outcome, boxes = work(8).run(ITEM, image()), Boxes(8).boxes
    given = Rings().segment(image(), boxes)
    expected = label_of(given, boxes, (SIDE, SIDE))
    turned = sum(int(left) % 3 == 0 for left in boxes[:, 0])
    assert 0 < turned < 8 and outcome.record["turned"] == turned
    assert outcome.record["areas"] == [round((40 * 40 - 16) / SIDE**2, 4)] * 8
    assert outcome.record["area"] == round(float(expected.mean()), 4)
    assert outcome.files == [masks.mask_file("initial", ITEM.picture, expected)]


def test_memory_of_a_large_picture_does_not_grow_with_its_boxes(monkeypatch):
    monkeypatch.setattr(masks, "MAX_MASK_BYTES", SIDE**2)
    peaks = []
    for count in (3, 24):
        labelling, picture = work(count), image()
        tracemalloc.start()
        labelling.run(ITEM, picture)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + SIDE**2
