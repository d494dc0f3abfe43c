"""A look at the labels of single pictures: how they agree, and what about them is suspect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from vidaff.datasets.agd20k.authors import AuthorsFolder
from vidaff.datasets.agd20k.labels import LabelFolder
from vidaff.datasets.agd20k.pixels import read_map
from vidaff.datasets.agd20k.tree import FOLDERS, Picture
from vidaff.errors import VidaffError
from vidaff.labels.engine import Item
from vidaff.labels.report_records import LABEL_STEPS, RecordTallies, scores_of

KINDS: Final = tuple(LABEL_STEPS)
OBJECT: Final = "objects/egocentric"
USED: Final = "used"
"""The label that training takes: the refined one where there is one, else the initial one."""
TINY_OF_OBJECT, TINY_OF_PICTURE, NEARLY_WHOLE = 0.05, 0.001, 0.9
WITHOUT_INITIAL: Final = 0.5
"""How bad a picture is that has a refined label and no initial one."""
TELLING: Final = 0.25
"""Offences below this are not worth a word."""


class Place:
    """Masks of a label folder: ours, or the authors' files."""

    def __init__(self, folder: str | Path, split: str = "seen") -> None:
        inside = Path(folder) / FOLDERS.get(split, split)
        self.folder = inside if inside.is_dir() else Path(folder)
        self._ours, self._authors = LabelFolder(self.folder), AuthorsFolder(self.folder)

    def find(self, kind: str, picture: Picture) -> Path | None:
        """File of a mask that is there."""
        return self._ours.find_mask(kind, picture) or self._authors.find_mask(kind, picture)

    def read(self, kind: str, item: Item, size: tuple[int, int] | None) -> np.ndarray | None:
        """(H, W) bool, None where there is no file; ``size`` None takes the file's own."""
        path = self.find(kind, item.picture)
        if path is None:
            return None
        if size is None:
            from vidaff.io import read_label_image

            size = read_label_image(path).shape[:2]  # type: ignore[assignment]
        source = Path(item.source.path) if item.source is not None else path
        mask: np.ndarray = read_map(path, source, size) >= 128  # type: ignore[arg-type]
        return mask


class Look(NamedTuple):
    """What is known of one picture's labels.

    Attributes:
        item: the picture.
        ran: kinds of labels that were tried, whether or not something was found.
        score: that of the best box of the part, None where there is none.
        areas: share of the picture by kind, of labels that are there.
        within: share of the object that is marked, by kind.
        change: IoU of initial and refined label, None unless both are there.
        truth: IoU with the truth by kind and for :data:`USED`, 0 where there is no label; None without truth.
        trouble: why it has no label, or what could not be read.
    """

    item: Item
    ran: frozenset[str] = frozenset()
    score: float | None = None
    areas: Mapping[str, float] = {}
    within: Mapping[str, float] = {}
    change: float | None = None
    truth: Mapping[str, float] | None = None
    trouble: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        return self.item.affordance, self.item.object

    @property
    def used(self) -> str | None:
        """Kind of the label that training takes."""
        return next((kind for kind in ("refined", "initial") if kind in self.areas), None)


def look_at(item: Item, place: Place, truth: Place | None, records: RecordTallies) -> Look:
    """Look at one picture's labels; what cannot be read is told in ``trouble``."""
    found = {step: chosen[item.name] for step, chosen in records.chosen.items() if item.name in chosen}
    trouble = records.skipped.get(item.name, "")
    if trouble:
        trouble = f"skipped: {trouble}"
    ran = {kind for kind, step in LABEL_STEPS.items() if step in found}
    scores = scores_of(found.get("init", {}))
    try:
        masks = _read_masks(item, place, truth)
    except VidaffError as error:
        return Look(item, frozenset(ran | ({"initial"} if trouble else set())), max(scores, default=None),
                    trouble=f"unreadable: {error}")  # fmt: skip
    labels = {kind: masks[kind] for kind in KINDS if kind in masks}
    thing = masks.get(OBJECT)
    ran |= set(labels) | ({"initial"} if trouble else set())
    if not trouble and "initial" in ran and "initial" not in labels:
        trouble = _why_none(found.get("init"))
    return Look(
        item, frozenset(ran), max(scores, default=None),
        {kind: float(mask.mean()) for kind, mask in labels.items()},
        _shares(labels, thing),
        iou(labels["initial"], labels["refined"]) if {"initial", "refined"} <= set(labels) else None,
        _against(masks.get("truth"), labels),
        trouble,
    )  # fmt: skip


def _read_masks(item: Item, place: Place, truth: Place | None) -> dict[str, np.ndarray]:
    """Masks of a picture by kind, all of one size: that of the first one."""
    masks: dict[str, np.ndarray] = {}
    for kind in (*KINDS, OBJECT):
        mask = place.read(kind, item, _size(masks))
        if mask is not None:
            masks[kind] = mask
    true = None if truth is None else truth.read("initial", item, _size(masks))
    return masks if true is None else {**masks, "truth": true}


def _size(masks: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
    return next(((mask.shape[0], mask.shape[1]) for mask in masks.values()), None)


def _against(truth: np.ndarray | None, labels: Mapping[str, np.ndarray]) -> dict[str, float] | None:
    if truth is None or not truth.any():
        return None
    scores = {kind: iou(labels[kind], truth) if kind in labels else 0.0 for kind in KINDS}
    return {**scores, USED: scores["refined" if "refined" in labels else "initial"]}


def _shares(labels: Mapping[str, np.ndarray], thing: np.ndarray | None) -> dict[str, float]:
    """How much of the object each label marks."""
    if thing is None or not thing.any():
        return {}
    return {kind: float((mask & thing).sum() / thing.sum()) for kind, mask in labels.items()}


def _why_none(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "no label"
    return "the segmenter marked nothing in the box" if scores_of(record) else "no box was found"


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks of one size; 1 when both are empty."""
    both = int((first | second).sum())
    return int((first & second).sum()) / both if both else 1.0


def refined_of_pairs(looks: Sequence[Look]) -> list[Look]:
    """The same for folders without records: of a pair with any raw or refined label, all pictures were tried."""
    tried: dict[tuple[str, str], set[str]] = {}
    for look in looks:
        tried.setdefault(look.pair, {"initial"}).update(look.ran)
    return [look._replace(ran=frozenset(tried[look.pair]), trouble=look.trouble or _missing(look)) for look in looks]


def _missing(look: Look) -> str:
    return "" if look.areas else "no label"


def offences(look: Look, threshold: float) -> list[tuple[float, str]]:
    """What is suspect about a picture, each from 0 (nothing) to 1 in one line, the worst first.

    With truth, its disagreement with the label that training takes. Without: no label, a low score, a large
    difference of initial and refined label, a label that is tiny, or nearly the whole object.
    """
    if look.truth is not None:
        return [(1 - look.truth[USED], "")]
    if look.used is None:
        return [(1.0, look.trouble)]
    found = [(WITHOUT_INITIAL, f"no initial label: {look.trouble}")] if look.trouble else []
    if look.score is not None:
        weak = ", below the threshold" if look.score <= threshold else ""
        found.append((1 - look.score, f"the best box scores {look.score:.2f}{weak}"))
    if look.change is not None:
        found.append((1 - look.change, f"initial and refined agree by {look.change:.2f} only"))
    found += _odd_sizes(look)
    return sorted(found, key=lambda one: (-one[0], one[1]))


def _odd_sizes(look: Look) -> list[tuple[float, str]]:
    if look.used is None:
        return []
    area, within = look.areas[look.used], look.within.get(look.used)
    if within is None:
        return [(1 - area / TINY_OF_PICTURE, f"tiny: {area:.2%} of the picture")] if area < TINY_OF_PICTURE else []
    if within < TINY_OF_OBJECT:
        return [(1 - within / TINY_OF_OBJECT, f"tiny: {within:.1%} of the object")]
    # Less than no label at all: some parts are the whole object.
    nearly = 0.8 * (within - NEARLY_WHOLE) / (1 - NEARLY_WHOLE)
    return [(nearly, f"nearly the whole object: {within:.0%}")] if nearly > 0 else []


def badness(look: Look, threshold: float) -> float:
    """The worst offence, 0..1."""
    return max((value for value, _ in offences(look, threshold)), default=0.0)
