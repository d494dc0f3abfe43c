"""Averages over classes, with classes that are unknown (NaN) left out."""

from __future__ import annotations

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``part / whole`` where it is ``known`` and the whole is positive, NaN elsewhere."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=known & (whole > 0))


def weighted_mean(values: np.ndarray, known: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the last axis of what is ``known``."""
    total = (known * weights).sum(axis=-1)
    return ratio(np.where(known, values, 0) @ weights, total, total > 0)


def mean_of_known(values: np.ndarray) -> float:
    """Mean of the values (K,) that are not NaN; NaN when all are."""
    return float(weighted_mean(values, ~np.isnan(values), np.ones(values.shape)))


def class_averages(scores: np.ndarray, *, legacy: bool = False) -> np.ndarray:
    """Average the scores (N, K) of N pictures for each class: (K,), NaN for classes that no picture has.

    Scores are NaN where a picture lacks the class; such pictures do not count for it. ``legacy`` repeats a fault of
    the published evaluators of AffordanceNet's lineage, for comparison with numbers made by them: their list of
    scores is not emptied between classes, so a picture that lacks a class keeps its score of the class before.

    Raises:
        ValueError: ``scores`` is not (N, K).
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2:
        raise ValueError(f"scores: must be (pictures, classes), got shape {scores.shape}")
    if legacy:
        scores = carry_forward(scores)
    known = ~np.isnan(scores)
    count = known.sum(axis=0)
    return ratio(np.where(known, scores, 0).sum(axis=0), count.astype(np.float64), count > 0)


def carry_forward(scores: np.ndarray) -> np.ndarray:
    """Fill the gaps (NaN) of each row of (N, K) with the last number to their left: the fault of ``legacy``."""
    if not scores.size:
        return scores
    columns = np.where(np.isnan(scores), 0, np.arange(scores.shape[1]))
    return np.take_along_axis(scores, np.maximum.accumulate(columns, axis=1), axis=1)
