"""What manifests and records of a labelling say: counts, skipped pictures, queries, scores, areas.

Records are read once and one at a time; what is kept grows with the number of queries, not of pictures.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from vidaff.labels.engine import Item, read_manifest, read_records
from vidaff.labels.engine.types import check_name
from vidaff.labels.ops import KEPT_SCORE

Record = Mapping[str, Any]
STEPS: Final = ("init", "objects", "similarity", "refine", "clean")
"""Steps of the engine: their items are pictures, those of ``similarity`` pairs of affordance and object."""
LABEL_STEPS: Final = {"initial": "init", "raw": "refine", "refined": "clean"}
"""Step by the kind of label that it writes."""
SHARES: Final = tuple(np.linspace(0, 1, 21).round(2).tolist())
AREAS: Final = tuple(float(f"{edge:.3g}") for edge in np.logspace(-4, 0, 21))
MAX_REASONS, MAX_EXAMPLES = 100, 5
OTHER: Final = "other reasons"


@dataclass
class Histogram:
    """Counts between ``edges``; what lies outside goes to the first or last bin."""

    edges: Sequence[float]
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.edges) - 1)

    def add(self, value: float) -> None:
        """Count one value; what is not a number is left out."""
        if value == value:
            self.counts[min(max(bisect_right(self.edges, value) - 1, 0), len(self.counts) - 1)] += 1

    def __bool__(self) -> bool:
        return any(self.counts)


@dataclass
class QueryTally:
    """Of one query: pictures in which it was asked, found above the threshold, found below it only, not at all."""

    asked: int = 0
    found: int = 0
    weak: int = 0
    none: int = 0


@dataclass
class SearchTally:
    """Pictures of a step that asks a detector: what came of the question.

    ``found`` have a box above the threshold, ``weak`` one below it that was kept as the best, ``none`` no box;
    ``unmarked`` have a box in which the segmenter marked nothing; ``turned`` have a mask that was turned inside out.
    """

    threshold: float
    pictures: int = 0
    found: int = 0
    weak: int = 0
    none: int = 0
    unmarked: int = 0
    turned: int = 0
    queries: dict[str, QueryTally] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Count the record of one picture."""
        scores = scores_of(record)
        self.pictures += 1
        self.turned += bool(record.get("turned"))
        if not scores:
            self.none += 1
        else:
            strong = max(scores) > self.threshold
            self.found += strong
            self.weak += not strong
            self.unmarked += not record.get("area")
        self._add_queries(record, scores)

    def _add_queries(self, record: Record, scores: Sequence[float]) -> None:
        best: dict[str, float] = {}
        for query, score in zip(record.get("found") or [], scores, strict=False):
            best[query] = max(score, best.get(query, 0.0))
        for query in dict.fromkeys(record.get("queries") or []):
            tally = self.queries.setdefault(str(query), QueryTally())
            tally.asked += 1
            tally.none += query not in best
            tally.found += best.get(query, 0.0) > self.threshold
            tally.weak += query in best and not best[query] > self.threshold


@dataclass
class StepTally:
    """One step: ``items`` it was given, those ``done``, ``labelled`` ones of these, and why others were ``skipped``."""

    step: str
    shards: int = 0
    items: int = 0
    done: int = 0
    labelled: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, key: str, reason: str) -> None:
        """Count a skipped item under its reason, and keep its key as one of a few examples."""
        reason = reason if reason in self.skipped or len(self.skipped) < MAX_REASONS else OTHER
        self.skipped[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < MAX_EXAMPLES:
            kept.append(key)


@dataclass
class RecordTallies:
    """All that is counted over the records of a label folder.

    ``chosen`` has, by step and name (``affordance/object/file``), the records of the egocentric pictures that were
    asked for; ``skipped`` why some of them were skipped.
    """

    steps: dict[str, StepTally] = field(default_factory=dict)
    searches: dict[str, SearchTally] = field(default_factory=dict)
    scores: dict[str, Histogram] = field(default_factory=dict)
    areas: dict[str, Histogram] = field(default_factory=dict)
    chosen: dict[str, dict[str, Record]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def tally_records(out: Path, thresholds: Mapping[str, float], names: Collection[str]) -> RecordTallies:
    """Count over all records of ``out``, and keep those of the egocentric pictures called ``names``.

    ``thresholds``: by step, above which score a box counts as found.
    """
    tallies, wanted = RecordTallies(), frozenset(names)
    for step in STEPS:
        lines = read_manifest(out, step)
        if not lines:
            continue
        tally = tallies.steps[step] = StepTally(step, len(lines))
        for line in lines:
            tally.items += line["items"]
            tally.done += line["done"]
            for key, reason in line["skipped"]:
                tally.skip(key, reason)
                if step == "init":
                    tallies.skipped[key.removeprefix("egocentric/")] = reason
        chosen = tallies.chosen[step] = {}
        for entry in read_records(out, step):
            record = entry.get("record") or {}
            tally.labelled += bool(entry.get("files"))
            if step == "similarity":
                continue
            _count(tallies, step, entry, record, thresholds.get(step, KEPT_SCORE))
            if entry.get("view") == "egocentric" and entry.get("name") in wanted:
                chosen[entry["name"]] = record
    return tallies


def _count(tallies: RecordTallies, step: str, entry: Record, record: Record, threshold: float) -> None:
    """Scores and areas of one record."""
    if step in ("init", "objects"):
        name = "parts" if step == "init" else f"objects, {entry.get('view')}"
        tallies.searches.setdefault(name, SearchTally(threshold)).add(record)
        histogram = tallies.scores.setdefault(name, Histogram(SHARES))
        for score in scores_of(record):
            histogram.add(score)
    else:
        name = next(kind for kind, made_by in LABEL_STEPS.items() if made_by == step)
    name = "initial" if name == "parts" else name
    if entry.get("files") and isinstance(record.get("area"), (int, float)):
        tallies.areas.setdefault(name, Histogram(AREAS)).add(record["area"])


def boxes_of(record: Record) -> list[tuple[float, float, float, float, float]]:
    """Boxes that were kept: left, top, right, bottom in pixels, score; raise :class:`ValueError` for other things."""
    boxes = []
    for left, top, right, bottom, score in record.get("boxes") or []:
        boxes.append((float(left), float(top), float(right), float(bottom), float(score)))
    return boxes


def scores_of(record: Record) -> list[float]:
    """Scores of the boxes that were kept."""
    return [box[4] for box in boxes_of(record)]


def recorded_items(out: Path) -> list[Item]:
    """Egocentric pictures that a labelling has seen, in its order, without their sources."""
    for step in ("init", "objects"):
        keys = [*_done_keys(out, step), *(key for line in read_manifest(out, step) for key, _ in line["skipped"])]
        items = [item for key in sorted(keys) if (item := _item(key)) is not None]
        if items:
            return items
    return []


def _done_keys(out: Path, step: str) -> Iterator[str]:
    return (f"{entry.get('view')}/{entry.get('name')}" for entry in read_records(out, step))


def _item(key: str) -> Item | None:
    """The egocentric item of a key; None for others, and for keys that name no place in a label folder."""
    parts = key.split("/")
    if len(parts) != 4 or parts[0] != "egocentric":
        return None
    try:
        affordance, thing, file = (check_name(part, "name") for part in parts[1:])
    except ValueError:
        return None
    return Item(affordance, thing, file)
