"""The steps that ask a detector and a segmenter: initial labels of parts, and whole objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vidaff.labels.detectors import for_picture, load_detector
from vidaff.labels.engine import Item, Outcome, mask_file
from vidaff.labels.label_recipe import MaskSettings
from vidaff.labels.ops import fill_holes, keep_boxes, turn_inside_out
from vidaff.labels.part_names import object_query, part_queries
from vidaff.labels.segmenters import load_segmenter
from vidaff.labels.steps.base import ModelWork
from vidaff.labels.types import BoxSegmenter, Detections, PartDetector
from vidaff.part_texts import PartTexts

DECIMALS = 4
MAX_MASK_BYTES = 2**26
"""Masks that are held at once, a byte a pixel: all of an ordinary picture, one of a picture of 100 megapixels."""


class MaskWork(ModelWork):
    """Words to boxes to one mask a picture.

    Args:
        settings: detector, segmenter, and what is kept.
        device: of both.

    Source: Xu et al., ICLR 2025, section 3.2; numbers of the authors' code.
    """

    name = ""
    batch = 1
    _detector: PartDetector
    _segmenter: BoxSegmenter

    def __init__(self, settings: MaskSettings, *, device: str = "auto", batch: int = 1) -> None:
        self.settings, self.device, self.batch = settings, device, batch

    def load(self) -> None:
        """Load the models."""
        self._detector = load_detector(self.settings.detector, device=self.device)
        self._segmenter = load_segmenter(self.settings.segmenter, device=self.device, detector=self._detector)

    def fingerprint(self) -> str:
        """What tells the models apart; they must be loaded."""
        return f"{self._detector.fingerprint()} {self._segmenter.fingerprint()}"

    def queries(self, item: Item) -> tuple[str, ...]:
        """What to ask for in a picture; raise :class:`vidaff.errors.VidaffError` when nothing is known to ask."""
        raise NotImplementedError

    def kind(self, item: Item) -> str:
        """Which masks of a label folder these are."""
        raise NotImplementedError

    def run(self, item: Item, image: np.ndarray) -> Outcome:
        """Find and mark what is asked for; no file when there is nothing."""
        queries = self.queries(item)
        detector = for_picture(self._detector, item.name, item.view)
        return self._outcome(item, image, queries, detector.detect(image, queries))

    def run_many(self, items: Sequence[Item], images: Sequence[np.ndarray]) -> list[Outcome]:
        """The same for several pictures, whose boxes are found together where the detector can."""
        detect = getattr(self._detector, "detect_many", None)
        if detect is None:
            return [self.run(item, image) for item, image in zip(items, images, strict=True)]
        asked = [self.queries(item) for item in items]
        found = detect(images, asked)
        return [self._outcome(*one) for one in zip(items, images, asked, found, strict=True)]

    def _outcome(self, item: Item, image: np.ndarray, queries: Sequence[str], found: Detections) -> Outcome:
        kept = keep_boxes(found, self.settings.threshold)
        shape = (image.shape[0], image.shape[1])
        record: dict[str, Any] = {"queries": list(queries), "detections": len(found.scores), **_boxes(kept, queries)}
        if not len(kept.scores):
            return Outcome([], {**record, "areas": [], "area": 0.0})
        segmenter = for_picture(self._segmenter, item.name, item.view)
        areas: list[float] = []
        mask, turned = np.zeros(shape, bool), 0
        for given, box in _masks(segmenter, image, kept.boxes):
            right = turn_inside_out(given, box)
            turned += right is not given
            areas.append(round(float(right.mean()), DECIMALS))
            mask |= fill_holes(right, self.settings.hole_area)
        record |= {"turned": turned, "areas": areas, "area": round(float(mask.mean()), DECIMALS)}
        return Outcome([mask_file(self.kind(item), item.picture, mask)] if mask.any() else [], record)


class InitialWork(MaskWork):
    """Initial labels: the part of the object that the affordance concerns, in egocentric pictures.

    Args:
        names: words of the parts.
        settings, device: as of :class:`MaskWork`.
    """

    name = "init"

    def __init__(self, settings: MaskSettings, names: PartTexts, *, device: str = "auto", batch: int = 1) -> None:
        super().__init__(settings, device=device, batch=batch)
        self.names = names

    def queries(self, item: Item) -> tuple[str, ...]:
        return part_queries(self.names, item.affordance, item.object)

    def kind(self, item: Item) -> str:
        return "initial"


class ObjectsWork(MaskWork):
    """Boxes and masks of whole objects, in pictures of both views."""

    name = "objects"

    def queries(self, item: Item) -> tuple[str, ...]:
        return (object_query(item.object),)

    def kind(self, item: Item) -> str:
        return f"objects/{item.view}"


def _masks(segmenter: BoxSegmenter, image: np.ndarray, boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every box with its mask (H, W) bool; of a large picture few masks at a time, so that memory has a bound."""
    step = max(1, MAX_MASK_BYTES // (image.shape[0] * image.shape[1]))
    for start in range(0, len(boxes), step):
        part = boxes[start : start + step]
        yield from zip(np.asarray(segmenter.segment(image, part), bool), part, strict=True)


def _boxes(kept: Detections, queries: Sequence[str]) -> dict[str, Any]:
    """Boxes as a label folder has them, (left, top, right, bottom, score), and which query each answers."""
    scores = np.asarray(kept.scores, np.float64)[:, None]
    rows = np.concatenate([np.asarray(kept.boxes, np.float64), scores], axis=1).round(DECIMALS).tolist()
    return {"boxes": rows, "found": [queries[int(number)] for number in kept.query_index]}
