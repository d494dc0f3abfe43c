"""``report.html`` of a label folder: what was done, what was not found, how good the labels are, and how they look.

``report.json`` beside it has the same numbers::

    {"format": "vidaff-label-report", "version": 1,
     "pictures": {"egocentric": 1200, "compared": 1200, "labelled": 1180, "not_done": 0},
     "steps": {"init": {"shards": 19, "items": 1200, "done": 1200, "labelled": 1180, "skipped": {reason: pictures}},
               "similarity": ... (its items are pairs of affordance and object)},
     "searches": {"parts": {"pictures", "found", "weak", "none", "unmarked", "turned", "queries": {query: {...}}}},
     "scores": {"edges": [...], "parts": [counts]},  "areas": {...},  "within": {...},
     "agreement": {"all": {...}, "refined": {...}},  "affordances": {...},
     "classes": {"hold knife": {"pictures", "labelled", "agreement"}},  "worst": [{"picture", "badness", "why"}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from vidaff.errors import VidaffError, first_line
from vidaff.io import read_json, write_json
from vidaff.labels.engine import Item, find_items
from vidaff.labels.ops import KEPT_SCORE
from vidaff.labels.report_looks import Look, Place, badness, look_at, offences, refined_of_pairs
from vidaff.labels.report_records import SHARES, Histogram, RecordTallies, recorded_items, tally_records
from vidaff.labels.report_scores import agreement, by, refined_scope

MAX_WORST: Final = 100
BROKEN: Final = (TypeError, KeyError, IndexError, ValueError, AttributeError, OverflowError)
"""What records raise that no labelling wrote."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a report.

    Attributes:
        rows: pictures shown of a class.
        compared: pictures whose masks are read; of more, evenly spaced ones.
        page_bytes: of all small pictures together.
    """

    rows: int = 6
    compared: int = 20_000
    page_bytes: int = 16 * 2**20


@dataclass(frozen=True)
class Findings:
    """All that the page is made of.

    Attributes:
        name: of the label folder.
        place, truth: where masks are; ``truth`` None without ground truth.
        total: egocentric pictures.
        looks: at those that were compared, in the order of the items.
        records: counts over all records.
        threshold: of the parts' scores.
        made: content of ``labels.json``, empty without one.
        notes: lines for the reader: what is missing and what was assumed.
        limits: bounds of the page.
    """

    name: str
    place: Place
    truth: Place | None
    total: int
    looks: list[Look]
    records: RecordTallies
    threshold: float
    made: Mapping[str, Any]
    notes: list[str]
    limits: Limits

    def worst(self, looks: Sequence[Look]) -> list[Look]:
        """``looks`` that were tried and not skipped, worst first."""
        tried = [look for look in looks if "initial" in look.ran and not look.trouble.startswith("skipped")]
        return sorted(tried, key=lambda look: (-badness(look, self.threshold), look.item.key))


def write_label_report(
    out: str | Path,
    *,
    data: str | Path | None = None,
    csv: str | Path | None = None,
    split: str | None = None,
    truth: str | Path | None = None,
    to: str | Path | None = None,
    limits: Limits | None = None,
    progress: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Write ``report.html`` and ``report.json``; return the page's path and the numbers.

    Args:
        out: label folder, of any state: begun, broken off, complete; or one with the authors' files.
        data: the pictures, see :func:`vidaff.labels.engine.find_items`; by default those that ``labels.json`` names.
            When these are gone, labels are shown without their pictures.
        csv: table of the pictures in the folder ``data``.
        split: of an AGD20K tree; by default the one that ``labels.json`` names, else ``seen``.
        truth: label folder whose ``initial`` labels are true ones; by default ``truth`` beside a rendered set's
            pictures.
        to: where to write instead of ``out``.
        limits: bounds of the page.
        progress: show a progress bar.

    Raises:
        VidaffError: no such folder, nothing labelled in it, unreadable records, ``data`` that cannot be used.
    """
    from vidaff.labels.report_page import make_page

    found = collect(out, data=data, csv=csv, split=split, truth=truth, limits=limits or Limits(), progress=progress)
    numbers = summarise(found)
    folder = Path(out if to is None else to)
    page = make_page(found, numbers).save(folder / "report.html")
    write_json(folder / "report.json", numbers)
    return page, numbers


def collect(
    out: str | Path, *, data: str | Path | None, csv: str | Path | None, split: str | None,
    truth: str | Path | None, limits: Limits, progress: bool = False,
) -> Findings:  # fmt: skip
    """Read all that the report needs; see :func:`write_label_report`."""
    out = Path(out)
    if not out.is_dir():
        raise VidaffError(f"{out}: no such folder of labels")
    if csv is not None and data is None:
        raise VidaffError("a table (--csv) is of pictures in a folder: name it with --data")
    made = _read_made(out)
    notes: list[str] = []
    split = split or str(made.get("split") or "seen")
    items = _items(out, data, csv, split, made, notes)
    truth = _truth(truth, items)
    if truth is not None and not Path(truth).is_dir():
        raise VidaffError(f"{truth}: no such folder of true labels")
    chosen = _evenly(items, limits.compared)
    thresholds = _thresholds(made, notes)
    try:
        records = tally_records(out, thresholds, [item.name for item in chosen])
    except BROKEN as error:
        raise VidaffError(f"{out}: its records are not as vidaff label writes them ({first_line(error)})") from error
    place = Place(out, split)
    looks = _look(chosen, place, None if truth is None else Place(truth, split), records, progress)
    if not records.steps and not any(look.areas for look in looks):
        raise VidaffError(f"{out}: holds no labels of these pictures")
    if (out / "shards").is_dir():
        notes.append("Labels in tar archives (shards/) are not looked at; unpack them into the folder.")
    place_of_truth = None if truth is None else Place(truth, split)
    threshold = thresholds["init"]
    return Findings(
        out.resolve().name, place, place_of_truth, len(items), looks, records, threshold, made, notes, limits
    )


def _read_made(out: Path) -> dict[str, Any]:
    path = out / "labels.json"
    value = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _items(
    out: Path, data: str | Path | None, csv: str | Path | None, split: str, made: Mapping[str, Any], notes: list[str]
) -> list[Item]:
    """Egocentric pictures: of the data that is named, else of the data that was labelled, else of the records."""
    if data is not None:
        return _egocentric(data, csv, split)
    remembered, table = made.get("data"), made.get("csv")
    if isinstance(remembered, str):
        if not isinstance(table, str | None):
            raise VidaffError(f"{out / 'labels.json'}: csv is no name of a file; --data names the pictures")
        try:
            return _egocentric(remembered, table, split)
        except VidaffError as error:
            notes.append(f"The pictures are not where they were ({error}); --data names another place.")
    else:
        notes.append("Where the pictures are is not known: labels are shown alone. --data names their place.")
    try:
        items = recorded_items(out)
    except BROKEN as error:
        raise VidaffError(f"{out}: its records are not as vidaff label writes them ({first_line(error)})") from error
    if not items:
        raise VidaffError(f"{out}: has no records of a labelling; name the pictures with --data")
    return items


def _egocentric(data: str | Path, csv: str | Path | None, split: str) -> list[Item]:
    items = [item for item in find_items(data, csv=csv, split=split) if not item.problem]
    if not items:
        raise VidaffError(f"{data}: has no egocentric pictures")
    return items


def _truth(truth: str | Path | None, items: Sequence[Item]) -> str | Path | None:
    """``truth``, or the folder in which a rendered set has true labels."""
    if truth is not None or not items or items[0].source is None:
        return truth
    beside = Path(items[0].source.path).parents
    places = [beside[3] / "truth"] if len(beside) > 3 else []  # trainset/egocentric/affordance/object/file
    return next((place for place in places if (place / "labels.json").is_file()), None)


def _thresholds(made: Mapping[str, Any], notes: list[str]) -> dict[str, float]:
    recipe = made.get("recipe")
    try:
        part = recipe["part"]  # type: ignore[index]
        objects = recipe.get("object") or part  # type: ignore[union-attr]
        return {"init": float(part["threshold"]), "objects": float(objects["threshold"])}
    except BROKEN:
        notes.append(f"The settings are not recorded: a threshold of {KEPT_SCORE:g} is assumed for scores.")
        return {"init": KEPT_SCORE, "objects": KEPT_SCORE}


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


def _look(
    items: Sequence[Item], place: Place, truth: Place | None, records: RecordTallies, progress: bool
) -> list[Look]:
    from vidaff.progress import progress_bar

    looks = []
    with progress_bar(shown=progress) as bar:
        for item in bar.track(items, description="report"):
            looks.append(look_at(item, place, truth, records))
    return looks if records.steps else refined_of_pairs(looks)


def summarise(found: Findings) -> dict[str, Any]:
    """The numbers of ``report.json``."""
    looks, records = found.looks, found.records
    parts = by(looks, lambda look: " ".join(look.pair))
    affordances = by(looks, lambda look: look.item.affordance)
    return {
        "format": "vidaff-label-report",
        "version": 1,
        "pictures": {"egocentric": found.total, **_counts(looks)},
        "steps": {
            step: {
                "shards": tally.shards, "items": tally.items, "done": tally.done, "labelled": tally.labelled,
                "skipped": dict(tally.skipped.most_common()),
            } for step, tally in records.steps.items()
        },
        "searches": {name: asdict(tally) for name, tally in records.searches.items()},
        "scores": _histograms(records.scores),
        "areas": _histograms(records.areas),
        "within": _histograms(_within(looks)),
        "agreement": {"all": _agreement(looks), "refined": _agreement(refined_scope(looks))},
        "affordances": {name: _agreement(group) for name, group in affordances.items()},
        "classes": {name: {**_counts(group), "agreement": _agreement(group)} for name, group in parts.items()},
        "worst": [_worst(look, found.threshold) for look in found.worst(looks)[:MAX_WORST]],
    }  # fmt: skip


def _counts(looks: Sequence[Look]) -> dict[str, int]:
    return {
        "compared": len(looks),
        "labelled": sum(look.used is not None for look in looks),
        "refined": sum("refined" in look.areas for look in looks),
        "not_done": sum("initial" not in look.ran for look in looks),
    }


def _histograms(histograms: Mapping[str, Histogram]) -> dict[str, Any]:
    kept = {name: histogram for name, histogram in histograms.items() if histogram}
    edges = next((list(histogram.edges) for histogram in kept.values()), [])
    return {"edges": edges, "counts": {name: histogram.counts for name, histogram in kept.items()}}


def _within(looks: Sequence[Look]) -> dict[str, Histogram]:
    """How much of the object each kind of label marks."""
    histograms: dict[str, Histogram] = {}
    for look in looks:
        for kind, share in look.within.items():
            histograms.setdefault(kind, Histogram(SHARES)).add(share)
    return histograms


def _agreement(looks: Sequence[Look]) -> dict[str, object] | None:
    scores = agreement(looks)
    return None if scores is None else scores.as_json()


def _worst(look: Look, threshold: float) -> dict[str, Any]:
    why = [text for value, text in offences(look, threshold) if text and value > 0]
    scores = {} if look.truth is None else {"iou": {kind: round(value, 4) for kind, value in look.truth.items()}}
    return {"picture": look.item.name, "badness": round(badness(look, threshold), 4), "why": why, **scores}
