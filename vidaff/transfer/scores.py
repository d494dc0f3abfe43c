"""Numbers where the label sets meet.

A picture's pixels are read in two ways (:data:`READINGS`):

``argmax``     a pixel is of its most probable class of SOR3D-AFF, the background included.
``confident``  the same, but the background where that class is not more probable than the threshold: the pixels that
               the paper's pictures keep.

By the mapping a class of SOR3D-AFF is a prediction of each class that it means, of none if it means none. Every class
of the set is judged by itself, against all other pixels:

* true pixels of a mapped class that are predicted as anything else are missed;
* predictions of it on the background, or on another class, mapped or not, are wrong; with ``ignore_unmapped`` true
  pixels of classes without counterpart are not judged instead;
* classes without counterpart get no number, and predictions that mean nothing in the set cost nothing by themselves;
* pixels that the set does not judge (255) are left out.

IoU and F add pixels over all pictures before they divide. Margolin's F, for beta squared (b2) 1 and 0.3, is that of the
pixel sets (0 or 1, not of probabilities), averaged over the pictures whose truth has the class. Means are over mapped
classes that occur.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidaff.datasets.taxonomy import BACKGROUND, CLASSES, IGNORE
from vidaff.metrics import f_beta, weighted_precision_recall
from vidaff.metrics.averages import ratio, weighted_mean
from vidaff.transfer.mapping import ClassMapping

READINGS = ("argmax", "confident")
BETAS = {"margolin": 1.0, "margolin_03": 0.3}
"""Margolin's F and its beta squared."""
METRICS = {"iou": "IoU", "f1": "F", **{name: f"Margolin F, b2={beta2:g}" for name, beta2 in BETAS.items()}}
"""Metric -> heading."""
RESAMPLES, LEVEL, BLOCK = 1000, 0.95, 50
"""Of the bootstrap; ``BLOCK`` resamplings are computed at a time, to bound the memory for large sets."""


@dataclass(frozen=True)
class Labels:
    """One picture as the model reads it.

    ``argmax`` and ``confident`` (h, w) uint8: 0..8 affordances of SOR3D-AFF, 9 background; ``confidence`` (h, w)
    float32: probability of the most probable class.
    """

    argmax: np.ndarray
    confident: np.ndarray
    confidence: np.ndarray


def read_labels(probs: np.ndarray, threshold: float) -> Labels:
    """Both readings of probabilities (10, h, w)."""
    best = probs.argmax(0).astype(np.uint8)
    confidence = probs.max(0)
    return Labels(best, np.where(confidence > threshold, best, np.uint8(BACKGROUND)), confidence)


@dataclass(frozen=True)
class PictureOutcome:
    """What one picture contributes: the unit that the bootstrap draws.

    ``tables`` (2, K + 1, 10) int64: pixels by reading, true class of the set and predicted class of SOR3D-AFF, both
    with the background last; ``margolin`` (2, 2, K), the first axis that of :data:`BETAS`: NaN for classes
    that are not mapped or not in the truth.
    """

    tables: np.ndarray
    margolin: np.ndarray


class Judge:
    """Compares labels with the truth by a mapping."""

    def __init__(self, mapping: ClassMapping, *, ignore_unmapped: bool = False) -> None:
        self.means = mapping.table()  # (K, 9)
        self.mapped = np.asarray(self.means.any(axis=1))  # (K,)
        self.ignore_unmapped = ignore_unmapped
        self._classes = len(self.mapped) + 1
        meant = np.zeros((len(CLASSES), len(self.mapped)), bool)
        meant[:-1] = self.means.T
        self._meant = meant  # (10, K): the background means nothing

    def outcome(self, labels: Labels, truth: np.ndarray) -> PictureOutcome:
        """Count a picture; ``truth`` (h, w) uint8: 0..K-1, K background, 255 not judged."""
        readings = [labels.argmax, labels.confident]
        tables = np.stack([self._count(reading, truth) for reading in readings])
        unjudged = truth == IGNORE
        unjudged |= ~self._judged_rows()[np.minimum(truth, self._classes - 1)]
        margolin = np.full((len(BETAS), len(READINGS), len(self.mapped)), np.nan)
        for index in np.flatnonzero(self.mapped & tables[0, :-1].any(axis=1)):
            for row, reading in enumerate(readings):
                found = self._meant[reading, index] & ~unjudged
                both = weighted_precision_recall(found, truth == index)
                margolin[:, row, index] = [f_beta(*both, beta2=beta2) for beta2 in BETAS.values()]
        return PictureOutcome(tables, margolin)

    def _count(self, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
        judged = truth != IGNORE
        pairs = truth[judged].astype(np.int64) * len(CLASSES) + predicted[judged]
        counts = np.bincount(pairs, minlength=self._classes * len(CLASSES))
        return counts.reshape(self._classes, len(CLASSES))

    def summarise(self, outcomes: Sequence[PictureOutcome], draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Metrics of a set of pictures, or of N resamplings of it.

        ``draws`` (N, pictures): how often each resampling holds each picture; None = the set itself. Returns ``iou``,
        ``f1``, ``margolin``, ``margolin_03`` (N, 2, K) by reading and class, and ``mean_iou`` ... (N, 2); NaN where
        nothing is known.
        """
        draws = np.ones((1, len(outcomes))) if draws is None else np.asarray(draws, np.float64)
        tables = np.stack([outcome.tables for outcome in outcomes]).astype(np.float64)
        sums = (draws @ tables.reshape(len(outcomes), -1)).reshape(-1, *tables.shape[1:])  # (N, 2, K + 1, 10)
        hits = (sums[..., :-1, :-1] * self.means).sum(-1)
        truth = sums[..., :-1, :].sum(-1)
        predicted = sums[..., self._judged_rows(), :-1].sum(-2) @ self.means.T
        known = (truth > 0) & self.mapped
        scores = {
            "iou": ratio(hits, truth + predicted - hits, known),
            "f1": ratio(2 * hits, truth + predicted, known),
            **dict(zip(BETAS, self._mean_margolin(outcomes, draws), strict=True)),
        }
        equal = np.ones(len(self.mapped))
        means = {f"mean_{name}": weighted_mean(values, ~np.isnan(values), equal) for name, values in scores.items()}
        return {**scores, **means}

    def prevalence(self, table: np.ndarray) -> np.ndarray:
        """Share of judged pixels that are truly of a class, (K,), NaN for classes without counterpart.

        ``table`` (2, K + 1, 10) of all pictures. It is the IoU of marking every pixel as the class.
        """
        pixels = table[0].sum(axis=1).astype(np.float64)
        judged = pixels[self._judged_rows()].sum()
        return ratio(pixels[:-1], np.full(len(self.mapped), judged), self.mapped)

    def _judged_rows(self) -> np.ndarray:
        """(K + 1,) bool: true classes whose pixels count."""
        return np.append(self.mapped | (not self.ignore_unmapped), True)

    def _mean_margolin(self, outcomes: Sequence[PictureOutcome], draws: np.ndarray) -> np.ndarray:
        """Mean over the pictures of each draw: (2, N, 2, K), the first axis that of :data:`BETAS`."""
        values = np.stack([outcome.margolin for outcome in outcomes])
        flat = values.reshape(len(outcomes), -1)
        known = ~np.isnan(flat)
        weight = draws @ known
        mean = ratio(draws @ np.where(known, flat, 0), weight, weight > 0)
        return np.moveaxis(mean.reshape(-1, *values.shape[1:]), 1, 0)

    def intervals(self, outcomes: Sequence[PictureOutcome], *, seed: int = 0) -> dict[str, np.ndarray]:
        """95 % percentile bootstrap over pictures: metric -> (2 ends, 2 readings[, K]).

        NaN for a single picture, which says nothing of others. Deterministic for a ``seed``.
        """
        count = len(outcomes)
        if count < 2:
            return {name: np.full((2, *value.shape[1:]), np.nan) for name, value in self.summarise(outcomes).items()}
        rng = np.random.default_rng(seed)
        shares = np.full(count, 1 / count)
        blocks = [
            self.summarise(outcomes, rng.multinomial(count, shares, size=BLOCK)) for _ in range(RESAMPLES // BLOCK)
        ]
        tail = 100 * (1 - LEVEL) / 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a class that never occurs is all NaN, and stays so
            return {
                name: np.nanpercentile(np.concatenate([block[name] for block in blocks]), [tail, 100 - tail], axis=0)
                for name in blocks[0]
            }
