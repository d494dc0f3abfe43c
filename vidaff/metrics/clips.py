"""What single clips contribute to the scores of a set, and bootstrap intervals over clips."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vidaff.metrics.averages import ratio, weighted_mean
from vidaff.metrics.segmentation import scores_from_confusion


@dataclass(frozen=True)
class ClipOutcome:
    """What one clip contributes: the unit that the bootstrap draws.

    ``confusion`` (C, C); ``margolin`` (K,) weighted F of the classes in the clip's truth, NaN elsewhere;
    ``correct``: whether the action was recognised, None when it is unknown. ``extra``: further scores (K,) by name,
    NaN where a class is not scored; the same names for all clips of a set.
    """

    confusion: np.ndarray
    margolin: np.ndarray
    correct: bool | None = None
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)


def summarise(outcomes: Sequence[ClipOutcome], draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics of a set of clips, or of resamplings of it.

    ``draws`` (N, clips): how often each resampling holds each clip; None = the set itself. Returns arrays with a
    leading axis N: ``iou``, ``f1``, ``margolin`` (N, K); ``mean_iou``, ``mean_f1``, ``f_w``, ``mean_margolin``,
    ``action_accuracy`` (N,); each extra score by its name (N, K), and by its name after ``mean_`` (N,). NaN where
    nothing is known.
    """
    draws = np.ones((1, len(outcomes))) if draws is None else np.asarray(draws, np.float64)
    confusions = np.stack([outcome.confusion for outcome in outcomes]).astype(np.float64)
    size = confusions.shape[-1]
    scores = scores_from_confusion((draws @ confusions.reshape(len(outcomes), -1)).reshape(-1, size, size))
    margolin = np.stack([outcome.margolin for outcome in outcomes])
    correct = np.array([np.nan if outcome.correct is None else float(outcome.correct) for outcome in outcomes])
    values = {**scores._asdict(), "action_accuracy": _drawn_mean(draws, correct[:, None])[:, 0]}
    extras = {name: np.stack([outcome.extra[name] for outcome in outcomes]) for name in outcomes[0].extra}
    for name, rows in {"margolin": margolin, **extras}.items():
        means = _drawn_mean(draws, rows)
        values[name] = means
        values[f"mean_{name}"] = weighted_mean(means, ~np.isnan(means), np.ones(means.shape[-1]))
    return values


def _drawn_mean(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of ``values`` (clips, K) over the clips of each draw (N, clips), NaN left out: (N, K)."""
    known = ~np.isnan(values)
    weight = draws @ known
    return ratio(draws @ np.where(known, values, 0), weight, weight > 0)


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
