"""Segmentation scores of whole sets: pixels are counted over all pictures, then divided (dataset-level IoU and F).

Source: Thermos et al., ICASSP 2020, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vidaff.datasets.taxonomy import AFFORDANCES, IGNORE, NUM_AFFORDANCES
from vidaff.metrics.averages import ratio, weighted_mean

CLASS_WEIGHTS = {**dict.fromkeys(AFFORDANCES, 0.083), "grasp": 0.2, "lift": 0.2, "push": 0.1}
"""Weights of the class-weighted F (``F_w``). They add up to 0.998: scores divide by the sum over occurring classes."""


class SegmentationScores(NamedTuple):
    """What a confusion matrix says of the affordances (background left out).

    ``iou``, ``f1`` (..., K) in 0..1, NaN for classes without a true pixel; ``mean_iou``, ``mean_f1``, ``f_w`` (...)
    over the classes that have some, NaN when none has.
    """

    iou: np.ndarray
    f1: np.ndarray
    mean_iou: np.ndarray
    mean_f1: np.ndarray
    f_w: np.ndarray


def scores_from_confusion(confusion: np.ndarray, weights: Sequence[float] | None = None) -> SegmentationScores:
    """Scores of confusion matrices (..., C, C), rows truth, columns prediction; the last class is the background.

    True and false positives of the whole set are summed before dividing. A class occurs when it has a true pixel;
    false positives of a class that does not occur count against the class they hide, not against an average.
    ``weights`` (C - 1,) of ``f_w``, by default those of SOR3D-AFF, renormalised over the classes that occur.
    """
    confusion = np.asarray(confusion, np.float64)
    count = confusion.shape[-1] - 1
    if weights is None:
        weights = list(CLASS_WEIGHTS.values()) if count == NUM_AFFORDANCES else [1.0] * count
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)[..., :count]
    truth = confusion.sum(axis=-1)[..., :count]
    predicted = confusion.sum(axis=-2)[..., :count]
    occurs = truth > 0
    iou = ratio(hits, truth + predicted - hits, occurs)
    f1 = ratio(2 * hits, truth + predicted, occurs)
    equal = np.ones(count)
    f_w = weighted_mean(f1, occurs, np.asarray(weights, float))
    return SegmentationScores(iou, f1, weighted_mean(iou, occurs, equal), weighted_mean(f1, occurs, equal), f_w)


class SegmentationMeter:
    """Accumulates a confusion matrix (rows truth, columns prediction) over any number of batches.

    ``num_classes`` includes the background, which is the last class. Meters of several processes merge.
    """

    def __init__(self, num_classes: int = NUM_AFFORDANCES + 1, *, ignore: int = IGNORE) -> None:
        self.num_classes = num_classes
        self.ignore = ignore
        self.confusion = np.zeros((num_classes, num_classes), np.int64)

    def update(self, pred: Any, target: Any) -> np.ndarray:
        """Count pictures (..., H, W) of class ids, arrays or tensors; pixels whose target is ``ignore`` are skipped.

        Returns the matrix of this call alone. Raises ``ValueError`` for shapes that differ or ids out of range.
        """
        counted = confusion_matrix(pred, target, self.num_classes, ignore=self.ignore)
        self.confusion += counted
        return counted

    def merge(self, other: SegmentationMeter) -> None:
        """Add another meter's counts to this one."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"other: has {other.num_classes} classes, this meter {self.num_classes}")
        self.confusion += other.confusion

    def compute(self) -> SegmentationScores:
        """Scores of all that was counted so far."""
        return scores_from_confusion(self.confusion)

    def reset(self) -> None:
        """Forget all counts."""
        self.confusion[:] = 0


def confusion_matrix(pred: Any, target: Any, num_classes: int, *, ignore: int = IGNORE) -> np.ndarray:
    """(C, C) int64 pixel counts, rows truth, columns prediction. Arguments as in :class:`SegmentationMeter`."""
    pred, target = _to_numpy(pred, "pred"), _to_numpy(target, "target")
    if pred.shape != target.shape:
        raise ValueError(f"pred: shape {pred.shape} differs from target's {target.shape}")
    counted = target != ignore
    pred, target = pred[counted].astype(np.int64), target[counted].astype(np.int64)
    for name, values in (("pred", pred), ("target", target)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(f"{name}: class ids must be 0..{num_classes - 1}, got {values.min()}..{values.max()}")
    return np.bincount(target * num_classes + pred, minlength=num_classes**2).reshape(num_classes, num_classes)


def _to_numpy(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.dtype.kind not in "iub":
        raise ValueError(f"{name}: class ids must be integers, got {array.dtype}")
    return array
