"""Score a folder of predicted maps against a folder of true ones; no model is needed.

Example::

    scores = score_maps("predicted", "truth", "iit-aff")
    scores.per_class["iou"]["cut"], scores.overall["margolin"]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.taxonomy import IGNORE
from vidaff.errors import VidaffError
from vidaff.metrics.averages import class_averages, mean_of_known
from vidaff.metrics.heatmaps import PROTOCOLS, heatmap_scores, resize_heatmap
from vidaff.metrics.maps import (
    KINDS,
    LabelMap,
    MapKind,
    Pair,
    match_maps,
    rank_reader,
    read_heatmap,
    read_label_map,
)
from vidaff.metrics.margolin import f_beta, ranked_f_measure, weighted_precision_recall
from vidaff.metrics.segmentation import confusion_matrix, scores_from_confusion

BETAS = {"margolin": 1.0, "margolin_03": 0.3}
"""Weighted F-measures that are reported: key -> beta squared."""


@dataclass(frozen=True)
class MapScores:
    """What is known of a folder of maps; NaN where a class does not occur.

    ``per_class``: metric -> class -> value, ``overall``: metric -> value, keys as in
    :data:`vidaff.metrics.tables.HEADINGS`. ``counts``: class -> maps whose truth has it. ``maps``: how many were
    scored; ``unmatched``: truths without prediction. ``settings``: how it was done.
    """

    dataset: str
    pred: str
    gt: str
    maps: int
    unmatched: int
    settings: dict[str, Any]
    overall: dict[str, float]
    per_class: dict[str, dict[str, float]]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able content; NaN becomes None."""
        return {
            **vars(self),
            "overall": _plain(self.overall),
            "per_class": {metric: _plain(values) for metric, values in self.per_class.items()},
        }


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def score_maps(
    pred: str | Path,
    gt: str | Path,
    dataset: str,
    *,
    legacy: bool = False,
    soft: bool = False,
    ignore: int | None = None,
    partial: bool = False,
    progress: bool = True,
) -> MapScores:
    """Score the maps in folder ``pred`` against those in ``gt``, matched by name.

    Args:
        pred: folder of predictions; see :func:`vidaff.metrics.maps.read_label_map` for the kinds of files.
        gt: folder of true maps.
        dataset: ``umd``, ``iit-aff``, ``sor3d-aff`` (labels) or ``agd20k`` (heat maps): a key of
            :data:`vidaff.metrics.maps.KINDS`.
        legacy: also report the weighted F as the published evaluators average it, with their fault; see
            :func:`vidaff.metrics.class_averages`.
        soft: take the weighted F of the probabilities (npz) instead of the most probable class.
        ignore: id of true pixels that do not count, 255 by default; predictions there are not looked at.
        partial: score what ``pred`` holds where ``gt`` holds more.
        progress: show a progress bar.

    Raises:
        VidaffError: an unknown data set, folders that do not match, maps that cannot be read or differ in size, ids
            out of range, options for labels with heat maps.
    """
    if dataset not in KINDS:
        raise VidaffError(f"unknown data set {dataset!r}; known: {', '.join(KINDS)}")
    kind = KINDS[dataset]
    if not kind.classes and (legacy or soft or ignore is not None):
        raise VidaffError(f"{dataset} has heat maps: legacy, soft and ignore are for labels")
    pairs, unmatched = match_maps(Path(pred), Path(gt), kind, partial=partial)
    tracked = _tracked(pairs, dataset, progress)
    if kind.classes:
        settings: dict[str, Any] = {"legacy": legacy, "soft": soft, "ignore": IGNORE if ignore is None else ignore}
        ranks = rank_reader(pairs) if dataset == "umd" else None
        counted = _LabelScores(kind, soft=soft, ignore=settings["ignore"], ranks=ranks)
        for pair in tracked:
            counted.add(pair)
        overall, per_class, counts = counted.results(legacy=legacy, weighted=dataset == "sor3d-aff")
    else:
        settings = {}
        overall, per_class, counts = _score_heatmaps(tracked)
    return MapScores(dataset, str(pred), str(gt), len(pairs), unmatched, settings, overall, per_class, counts)


def _tracked(pairs: list[Pair], text: str, shown: bool) -> Iterator[Pair]:
    from vidaff.progress import progress_bar

    with progress_bar(shown=shown) as bar:
        yield from bar.track(pairs, description=text)


Results = tuple[dict[str, float], dict[str, dict[str, float]], dict[str, int]]
"""Overall, per class, and maps per class, as in :class:`MapScores`."""


class _LabelScores:
    """Counts label maps one by one."""

    def __init__(self, kind: MapKind, *, soft: bool, ignore: int, ranks: Callable[[Pair], np.ndarray] | None) -> None:
        self.kind, self.soft, self.ignore, self.ranks = kind, soft, ignore, ranks
        self.ids = [index + (kind.background == 0) for index in range(len(kind.classes))]
        self.confusion = np.zeros((len(kind.classes) + 1,) * 2, np.int64)
        self.margolin: dict[str, list[np.ndarray]] = {key: [] for key in BETAS}
        self.ranked: list[list[float]] = []

    def add(self, pair: Pair) -> None:
        pred, truth = read_label_map(pair.pred, self.kind), self._truth(pair.gt)
        _check_sizes(pair, pred.labels, truth)
        try:
            self.confusion += confusion_matrix(pred.labels, truth, len(self.ids) + 1, ignore=self.ignore)
        except ValueError as error:
            raise VidaffError(f"{pair.name}: {error} (ignored: {self.ignore})") from error
        if self.soft and pred.probs is None:
            raise VidaffError(f"{pair.pred}: holds no probabilities (npz), which --soft needs")
        foregrounds = [self._foreground(pred, truth, index) for index in self.ids]
        self._add_margolin(foregrounds, truth)
        if self.ranks is not None:
            ranks = self.ranks(pair)
            _check_sizes(pair, pred.labels, ranks[..., 0])
            self.ranked.append([ranked_f_measure(soft, ranks[..., i]) for i, soft in enumerate(foregrounds)])

    def _truth(self, path: Path) -> np.ndarray:
        labels = read_label_map(path, self.kind).labels
        if path.suffix.lower() != ".txt":
            return labels
        # IIT-AFF's own text maps hold ids that mean nothing; its loader does not judge them either.
        return np.where((labels < 0) | (labels > len(self.ids)), self.ignore, labels)

    def _foreground(self, pred: LabelMap, truth: np.ndarray, index: int) -> np.ndarray:
        found = pred.probs[index] if self.soft and pred.probs is not None else pred.labels == index
        return np.where(truth == self.ignore, 0, found)

    def _add_margolin(self, foregrounds: list[np.ndarray], truth: np.ndarray) -> None:
        masks = (truth == index for index in self.ids)
        both = [weighted_precision_recall(found, mask) for found, mask in zip(foregrounds, masks, strict=True)]
        for key, beta2 in BETAS.items():
            self.margolin[key].append(np.array([f_beta(*pair, beta2=beta2) for pair in both]))

    def results(self, *, legacy: bool, weighted: bool) -> Results:
        """``weighted`` adds the class-weighted F of SOR3D-AFF."""
        confusion = self.confusion if self.kind.background else np.roll(self.confusion, -1, axis=(0, 1))
        scores = scores_from_confusion(confusion)
        columns = {"iou": scores.iou, "f1": scores.f1}
        for key, rows in self.margolin.items():
            columns[key] = class_averages(np.stack(rows))
            if legacy:
                columns[f"{key}_legacy"] = class_averages(np.stack(rows), legacy=True)
        if self.ranked:
            columns["ranked"] = class_averages(np.array(self.ranked))
        overall = {key: mean_of_known(values) for key, values in columns.items()}
        if weighted:
            overall["f_w"] = float(scores.f_w)
        counts = (~np.isnan(np.stack(self.margolin["margolin"]))).sum(axis=0)
        names = self.kind.classes
        per_class = {key: dict(zip(names, values.tolist(), strict=True)) for key, values in columns.items()}
        return overall, per_class, dict(zip(names, counts.tolist(), strict=True))


def _check_sizes(pair: Pair, pred: np.ndarray, truth: np.ndarray) -> None:
    if pred.shape != truth.shape:
        raise VidaffError(
            f"{pair.name}: the prediction has {pred.shape[1]}x{pred.shape[0]} pixels, "
            f"the truth {truth.shape[1]}x{truth.shape[0]}"
        )


def _score_heatmaps(pairs: Iterator[Pair]) -> Results:
    """Mean over maps, all and per affordance: the first folder of a name (``<affordance>/<object>/<picture>``)."""
    rows: list[list[float]] = []
    affordances: list[str] = []
    for pair in pairs:
        heat, truth = (resize_heatmap(read_heatmap(path)) for path in (pair.pred, pair.gt))
        new, old = (heatmap_scores(heat, truth, protocol=protocol) for protocol in PROTOCOLS)
        rows.append([new.kld, new.sim, new.nss, old.kld, old.nss])
        affordances.append(pair.name.split("/")[0] if "/" in pair.name else "")
    keys = ("kld", "sim", "nss", "kld_locate", "nss_locate")
    values = np.array(rows)
    names = sorted(set(affordances) - {""})
    chosen = {name: values[[name == other for other in affordances]] for name in names}
    per_class = {key: {name: float(chosen[name][:, i].mean()) for name in names} for i, key in enumerate(keys)}
    overall = dict(zip(keys, values.mean(axis=0).tolist(), strict=True))
    return overall, per_class, {name: len(chosen[name]) for name in names}
