"""What detectors, segmenters and proposers take and give. Only NumPy crosses these borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


class Detections(NamedTuple):
    """What a detector found in one picture: sorted by score, best first, and not thresholded.

    ``boxes`` (N, 4) float32 left, top, right, bottom in pixels of the picture; ``scores`` (N,) float32 in 0..1;
    ``query_index`` (N,) int64, position in the queries that were asked.
    """

    boxes: np.ndarray
    scores: np.ndarray
    query_index: np.ndarray

    @classmethod
    def none(cls) -> Detections:
        """No box at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@runtime_checkable
class PartDetector(Protocol):
    """Boxes of named things in a picture."""

    name: str

    def detect(self, image: np.ndarray, queries: Sequence[str]) -> Detections:
        """Find ``queries`` in ``image`` (H, W, 3) uint8 RGB."""
        ...

    def fingerprint(self) -> str:
        """Short text that changes when weights or settings do."""
        ...


@runtime_checkable
class BoxSegmenter(Protocol):
    """One mask per box."""

    name: str

    def segment(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Masks (N, H, W) bool of ``boxes`` (N, 4) in ``image`` (H, W, 3) uint8 RGB."""
        ...

    def fingerprint(self) -> str:
        """Short text that changes when weights or settings do."""
        ...


@runtime_checkable
class RegionProposer(Protocol):
    """Masks of everything in a picture, unnamed."""

    name: str

    def generate(self, image: np.ndarray) -> np.ndarray:
        """Masks (K, H, W) bool of ``image`` (H, W, 3) uint8 RGB; K may be 0."""
        ...

    def fingerprint(self) -> str:
        """Short text that changes when weights or settings do."""
        ...
