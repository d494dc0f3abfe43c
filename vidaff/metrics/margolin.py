"""Margolin's weighted F-measure of a foreground map, and the ranked one of the UMD part affordances.

Source: Margolin, Zelnik-Manor, Tal, "How to Evaluate Foreground Maps?", CVPR 2014, section 4; Myers, Teo, Fermueller,
Aloimonos, "Affordance Detection of Tool Parts from Geometric Features", ICRA 2015 (ranks).
"""

from __future__ import annotations

import numpy as np

RANKS = 9
"""Ranks of UMD: 1 is the best affordance of a part, 9 one that does not apply."""
RANK_WEIGHTS = 0.5 ** np.arange(RANKS) / (0.5 ** np.arange(RANKS)).sum()
"""Weights of ranks 1..9: each half of the one before, 1 in sum."""

_EPS = float(np.finfo(np.float64).eps)
_REACH = 3
_TAPS = np.exp(-(np.arange(-_REACH, _REACH + 1) ** 2) / (2 * 5.0**2))
_GAUSSIAN = _TAPS / _TAPS.sum()
"""A 7x7 Gaussian of sigma 5, as its one-dimensional factor."""


def weighted_f_measure(pred: np.ndarray, gt: np.ndarray, *, beta2: float = 1.0) -> float:
    """Margolin's weighted F-measure of a prediction (H, W), 0..1 or bool, against a mask (H, W) bool; NaN without mask.

    Errors near the mask weigh less than far ones, and errors inside it are shared with their neighbours. Protocols
    skip pictures without the class, average a class over pictures, then the classes
    (:func:`~vidaff.metrics.class_averages`). ``beta2`` is beta squared: the public scorers use 1, some papers 0.3.

    Raises:
        ValueError: shapes that differ, predictions outside 0..1, ``beta2`` that is not positive.

    Source: Margolin, Zelnik-Manor, Tal, "How to Evaluate Foreground Maps?", CVPR 2014, section 4. The commented
    general formula of the authors' program (beta not squared in the denominator) is not followed.
    """
    return f_beta(*weighted_precision_recall(pred, gt), beta2=beta2)


def f_beta(precision: float, recall: float, *, beta2: float = 1.0) -> float:
    """Combine precision and recall; ``beta2`` is beta squared, below 1 it favours precision."""
    if not 0 < beta2 < np.inf:
        raise ValueError(f"beta2: must be a positive number, got {beta2}")
    return (1 + beta2) * recall * precision / (_EPS + recall + beta2 * precision)


def weighted_precision_recall(pred: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    """Weighted precision and recall; both NaN without mask. Arguments and errors of :func:`weighted_f_measure`."""
    pred, gt = np.asarray(pred), np.asarray(gt, bool)
    if pred.shape != gt.shape or gt.ndim != 2:
        raise ValueError(f"pred: must be (H, W) like gt {gt.shape}, got {pred.shape}")
    if not (np.isfinite(pred).all() and pred.min(initial=0) >= 0 and pred.max(initial=0) <= 1):
        raise ValueError("pred: values must lie in 0..1")
    if not gt.any():
        return float("nan"), float("nan")
    window = _window(gt | (pred > 0))
    weighted = _weighted_errors(pred[window].astype(np.float64), gt[window])
    mask = gt[window]
    size, missed, false = float(mask.sum()), float(weighted[mask].sum()), float(weighted[~mask].sum())
    found = size - missed
    return found / (_EPS + found + false), 1 - missed / size


def _window(used: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that can matter: outside, nothing is wrong, and the smoothing reaches three pixels."""
    slices = []
    for axis, length in enumerate(used.shape):
        places = np.flatnonzero(used.any(axis=1 - axis))
        slices.append(slice(max(0, places[0] - _REACH), min(length, places[-1] + 1 + _REACH)))
    return slices[0], slices[1]


def _weighted_errors(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Errors (H, W), 0..2: shared within the mask, heavier the farther from it; beyond the picture there is none."""
    from scipy.ndimage import correlate1d, distance_transform_edt

    error = np.abs(pred - gt)
    distance, (rows, columns) = distance_transform_edt(~gt, return_indices=True)
    shared = error[rows, columns]
    for axis in (0, 1):
        shared = correlate1d(shared, _GAUSSIAN, axis=axis, mode="constant")
    softened = np.where(gt & (shared < error), shared, error)
    return softened * np.where(gt, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))


def ranked_f_measure(pred: np.ndarray, ranks: np.ndarray, *, beta2: float = 1.0) -> float:
    """Ranked weighted F-measure of one affordance: the weighted F against each rank's region, summed by rank weight.

    ``pred`` (H, W) 0..1 or bool; ``ranks`` (H, W) integers, 1 = best .. 9 = does not apply, 0 = background. Ranks that
    do not occur add nothing, so a perfect prediction stays below 1: 0.501 where only rank 1 occurs. NaN where no pixel
    has a rank.

    Raises:
        ValueError: as :func:`weighted_f_measure`, and ranks outside 0..9.

    Source: Myers et al., ICRA 2015; the weights, and nothing for missing ranks, as in the authors' SRF program.
    """
    ranks = np.asarray(ranks)
    if ranks.dtype.kind not in "iu" or ranks.ndim != 2 or not ranks.size:
        raise ValueError(f"ranks: must be integers (H, W), got {ranks.dtype} with shape {ranks.shape}")
    if ranks.min() < 0 or ranks.max() > RANKS:
        raise ValueError(f"ranks: must be 0..{RANKS}, got {ranks.min()}..{ranks.max()}")
    present = np.unique(ranks[ranks > 0])
    if not present.size:
        return float("nan")
    return float(sum(RANK_WEIGHTS[rank - 1] * weighted_f_measure(pred, ranks == rank, beta2=beta2) for rank in present))
