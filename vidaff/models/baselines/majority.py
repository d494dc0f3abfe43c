"""The simplest of all segmenters: the most frequent label at each place of the picture, by category of object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import cv2
import numpy as np


class MajorityLabels:
    """Learns from labels alone and never looks at a picture.

    Args:
        labelled: category and label map (H, W) uint8 (0..K-1, K background, 255 not judged) of each picture.
        num_classes: K + 1.
        grid: (height, width) on which places of pictures of different sizes are compared.

    Categories that were not seen get the most frequent label over all pictures. Ties go to the smaller id.
    """

    def __init__(
        self, labelled: Iterable[tuple[str, np.ndarray]], num_classes: int, *, grid: tuple[int, int] = (64, 64)
    ) -> None:
        votes: dict[str, np.ndarray] = {}
        total = np.zeros((num_classes, *grid), np.int64)
        for category, labels in labelled:
            small = cv2.resize(labels, grid[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            vote = (small[None] == np.arange(num_classes)[:, None, None]).astype(np.int64)  # (K + 1, h, w)
            votes[category] = votes.get(category, 0) + vote
            total += vote
        self.maps: Mapping[str, np.ndarray] = {name: _winner(vote) for name, vote in votes.items()}
        self.any = _winner(total)

    def predict(self, category: str, size: tuple[int, int]) -> np.ndarray:
        """Label map (H, W) uint8 of a picture of ``size`` = (height, width) that shows ``category``."""
        labels: np.ndarray = cv2.resize(
            self.maps.get(category, self.any), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT
        )
        return labels


def _winner(votes: np.ndarray) -> np.ndarray:
    """(K + 1, h, w) votes -> (h, w) uint8; places without a vote are background."""
    winner: np.ndarray = np.where(votes.sum(axis=0) > 0, votes.argmax(axis=0), len(votes) - 1).astype(np.uint8)
    return winner
