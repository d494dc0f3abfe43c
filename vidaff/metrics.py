"""Segmentation and action metrics: IoU, F, class-weighted F, Margolin's weighted F, bootstrap intervals.

Worked example::

    meter = SegmentationMeter()
    for pred, target in batches:              # (B, H, W) class ids 0..9; target also 255 = ignore
        meter.update(pred, target)
    scores = meter.compute()
    scores.iou                                # (9,) one per affordance, NaN = the class never occurred
    scores.mean_iou                           # over the affordances that occurred

No part of this module imports torch; tensors are taken as they come.

Source: Thermos et al., ICASSP 2020, section 4.2; Margolin, Zelnik-Manor, Tal, CVPR 2014.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vidaff.datasets.taxonomy import AFFORDANCES, IGNORE, NUM_AFFORDANCES

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
    iou = _ratio(hits, truth + predicted - hits, occurs)
    f1 = _ratio(2 * hits, truth + predicted, occurs)
    equal = np.ones(count)
    f_w = _mean(f1, occurs, np.asarray(weights, float))
    return SegmentationScores(iou, f1, _mean(iou, occurs, equal), _mean(f1, occurs, equal), f_w)


def _ratio(part: np.ndarray, whole: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=known & (whole > 0))


def _mean(values: np.ndarray, known: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the last axis of what is ``known``."""
    total = (known * weights).sum(axis=-1)
    return _ratio(np.where(known, values, 0) @ weights, total, total > 0)


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


def weighted_f_measure(pred: np.ndarray, gt: np.ndarray, *, beta2: float = 1.0) -> float:
    """Margolin's weighted F-measure of a prediction (H, W), 0..1 or bool, against a mask (H, W) bool; NaN without mask.

    Errors near the mask weigh less than far ones, and errors inside it are shared with their neighbours. Protocols
    skip pictures without the class, average a class over pictures, then the classes. ``beta2`` is beta squared: the
    public scorers use 1.

    Source: Margolin, Zelnik-Manor, Tal, "How to Evaluate Foreground Maps?", CVPR 2014, section 4. The commented
    general formula of the authors' program (beta not squared in the denominator) is not followed.
    """
    from scipy.ndimage import correlate1d, distance_transform_edt

    pred, gt = np.asarray(pred, np.float64), np.asarray(gt, bool)
    if pred.shape != gt.shape or gt.ndim != 2:
        raise ValueError(f"pred: must be (H, W) like gt {gt.shape}, got {pred.shape}")
    if not (np.isfinite(pred).all() and pred.min(initial=0) >= 0 and pred.max(initial=0) <= 1):
        raise ValueError("pred: values must lie in 0..1")
    if not gt.any():
        return float("nan")
    error = np.abs(pred - gt)
    distance, (rows, columns) = distance_transform_edt(~gt, return_indices=True)
    shared = error[rows, columns]
    for axis in (0, 1):
        shared = correlate1d(shared, _GAUSSIAN, axis=axis, mode="constant")
    softened = np.where(gt & (shared < error), shared, error)
    weighted = softened * np.where(gt, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))
    missed, false = float(weighted[gt].sum()), float(weighted[~gt].sum())
    found = float(gt.sum()) - missed
    recall = 1 - missed / float(gt.sum())
    precision = found / (_EPS + found + false)
    return (1 + beta2) * recall * precision / (_EPS + recall + beta2 * precision)


_EPS = float(np.finfo(np.float64).eps)
_TAPS = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 5.0**2))
_GAUSSIAN = _TAPS / _TAPS.sum()
"""A 7x7 Gaussian of sigma 5, as its one-dimensional factor."""


@dataclass(frozen=True)
class ClipOutcome:
    """What one clip contributes: the unit that the bootstrap draws.

    ``confusion`` (C, C); ``margolin`` (K,) weighted F of the classes in the clip's truth, NaN elsewhere;
    ``correct``: whether the action was recognised, None when it is unknown.
    """

    confusion: np.ndarray
    margolin: np.ndarray
    correct: bool | None = None


def summarise(outcomes: Sequence[ClipOutcome], draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics of a set of clips, or of resamplings of it.

    ``draws`` (N, clips): how often each resampling holds each clip; None = the set itself. Returns arrays with a
    leading axis N: ``iou``, ``f1``, ``margolin`` (N, K); ``mean_iou``, ``mean_f1``, ``f_w``, ``mean_margolin``,
    ``action_accuracy`` (N,). NaN where nothing is known.
    """
    draws = np.ones((1, len(outcomes))) if draws is None else np.asarray(draws, np.float64)
    confusions = np.stack([outcome.confusion for outcome in outcomes]).astype(np.float64)
    size = confusions.shape[-1]
    scores = scores_from_confusion((draws @ confusions.reshape(len(outcomes), -1)).reshape(-1, size, size))
    margolin = _drawn_mean(draws, np.stack([outcome.margolin for outcome in outcomes]))
    correct = np.array([np.nan if outcome.correct is None else float(outcome.correct) for outcome in outcomes])
    known = ~np.isnan(margolin)
    return {
        **scores._asdict(),
        "margolin": margolin,
        "mean_margolin": _mean(margolin, known, np.ones(margolin.shape[-1])),
        "action_accuracy": _drawn_mean(draws, correct[:, None])[:, 0],
    }


def _drawn_mean(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of ``values`` (clips, K) over the clips of each draw (N, clips), NaN left out: (N, K)."""
    known = ~np.isnan(values)
    weight = draws @ known
    return _ratio(draws @ np.where(known, values, 0), weight, weight > 0)


def bootstrap_intervals(
    outcomes: Sequence[ClipOutcome], *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, np.ndarray]:
    """Percentile intervals over clips drawn with replacement: metric -> (2,) or (2, K), low and high.

    Clips are the independent unit, pixels are not. A resampling in which a class does not occur says nothing of
    that class and is left out for it. Deterministic for a ``seed``.
    """
    count = len(outcomes)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    tail = 100 * (1 - level) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a class that never occurs is all NaN, and stays so
        return {
            name: np.nanpercentile(values, [tail, 100 - tail], axis=0)
            for name, values in summarise(outcomes, draws).items()
        }
