"""The page of a labelling's report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vidaff.charts import HALF, histogram, row_chart
from vidaff.labels.report import Findings
from vidaff.labels.report_looks import KINDS, TELLING, USED, Look, badness, offences
from vidaff.labels.report_panels import draw_row, legend_of
from vidaff.labels.report_scores import Agreement, agreement, by, refined_scope
from vidaff.report import Cell, Report

Numbers = Mapping[str, Any]
Row = tuple[str, list[bytes | str]]
NAMES: Final = {
    "init": "initial labels", "objects": "whole objects", "similarity": "similarities (of pairs)",
    "refine": "raw labels", "clean": "refined labels",
}  # fmt: skip
WORST_SHOWN, MOST_ROWS, MOST_CLASSES, MOST_BARS = 8, 60, 400, 48
MISSING_SHOWN: Final = 2
"""Pictures without any label that a sheet shows at most: they are counted, and there is little to see."""
MANY_CLASSES: Final = 24
"""Above this a chart of classes shows affordances, and the table of classes is folded."""
USED_TEXT = "used: the refined label where there is one, the initial one elsewhere, as training takes them."
TRUTH_TEXT = "IoU with the true labels, per picture, then averaged; a picture without a label counts as 0."
WORST_TRUE = "Worst first: by the IoU of the label that training takes with the truth."
WORST_SUSPECT = (
    "Worst first: no label, a low score of the best box, a large difference of initial and refined label, less than "
    "5 % of the object marked, or nearly all of it. What is suspect need not be wrong: some parts are the whole object."
)
FOUND_TEXT = (
    "Boxes above the threshold count as found. Where there is none, the best box below it is taken: these labels are "
    "weak. Without any box there is no label."
)
TURNED_TEXT = "turned: masks that covered more than half of their box's border and were turned inside out."


def make_page(found: Findings, numbers: Numbers) -> Report:
    """The page of ``found``, with the numbers of :func:`vidaff.labels.report.summarise`."""
    pictures = numbers["pictures"]
    report = Report(f"Pseudo-labels: {found.name}", _lead(found, pictures))
    for note in found.notes:
        report.paragraph(note)
    report.facts(_facts(found, numbers))
    _steps(report, found)
    _agreement(report, found)
    columns = _columns(found.looks, truth=found.truth is not None)
    album = _Album(found, columns)
    _worst(report, album)
    _nothing_found(report, found)
    _skipped(report, found)
    _histograms(report, found, numbers)
    _classes(report, album)
    if found.made:
        report.section("How the labels were made")
        report.code(json.dumps(found.made, indent=2), summary="labels.json")
    return report


def _lead(found: Findings, pictures: Numbers) -> str:
    classes = len({look.pair for look in found.looks})
    text = f"{found.total} egocentric pictures of {classes} pairs of affordance and object."
    if pictures["compared"] < found.total:
        text += f" Masks of {pictures['compared']} of them, evenly spaced, were read for this page (--max-compared)."
    if pictures["not_done"]:
        text += f" {pictures['not_done']} of those are not labelled yet: the run was not finished."
    return text


def _facts(found: Findings, numbers: Numbers) -> list[tuple[Cell, str]]:
    pictures, skipped = numbers["pictures"], sum(sum(step["skipped"].values()) for step in numbers["steps"].values())
    facts: list[tuple[Cell, str]] = [
        (pictures["compared"], "pictures looked at"),
        (_percent(pictures["labelled"], pictures["compared"]), "of them have a label"),
        (pictures["refined"], "have a refined label"),
        (skipped, "skipped, over all steps"),
    ]
    scope = agreement(refined_scope(found.looks))
    if scope is not None:
        facts.append((scope.iou["initial"], "IoU of initial labels where refinement was tried"))
        facts.append((scope.iou[USED], "IoU there of the labels that training takes"))
    elif (every := agreement(found.looks)) is not None:
        facts.append((every.iou["initial"], "IoU of initial labels"))
    return facts


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "n/a"


def _steps(report: Report, found: Findings) -> None:
    report.section("Steps")
    if not found.records.steps:
        report.paragraph("The folder has no records: its labels were not made by vidaff label, or are the authors'.")
        return
    rows: list[list[Cell]] = [
        [NAMES[step], tally.shards, tally.items, tally.done, sum(tally.skipped.values()), tally.labelled,
         tally.done - tally.labelled] for step, tally in found.records.steps.items()
    ]  # fmt: skip
    header = ["step", "shards", "pictures or pairs", "done", "skipped", "with a label or table", "without"]
    missing = [NAMES[step] for step in NAMES if step not in found.records.steps]
    caption = f"Not run, or not on these pictures: {', '.join(missing)}." if missing else ""
    report.table(header, rows, caption=caption)


def _agreement(report: Report, found: Findings) -> None:
    every = agreement(found.looks)
    if every is None:
        if found.truth is not None and all(look.truth is None for look in found.looks):
            report.section("Agreement with the truth", "None of these pictures has a true label.")
        return
    report.section("Agreement with the truth", TRUTH_TEXT, USED_TEXT)
    scope = refined_scope(found.looks)
    groups = {"pictures where refinement was tried": scope, "all pictures": found.looks}
    rows = [_score_row(name, looks) for name, looks in groups.items() if looks]
    report.table(["", "pictures", *KINDS, USED, "no initial label", "no label at all"], [row for row in rows if row])
    pairs = by(found.looks, lambda look: " ".join(look.pair))
    charted, what = by(scope or found.looks, lambda look: " ".join(look.pair)), "pairs"
    if len(charted) > MANY_CLASSES:
        charted, what = by(scope or found.looks, lambda look: look.item.affordance), "affordances"
    bars = {name: one for name, looks in charted.items() if (one := agreement(looks)) is not None}
    text = "Mean IoU of a class" + (", where refinement was tried. " if scope else ". ")
    report.chart(_score_chart(bars), (text + _cut(len(bars), MOST_BARS, what)).strip())
    with report.fold(f"IoU of {len(pairs)} pairs", opened=len(pairs) <= MANY_CLASSES):
        scores = {name: row for name, looks in list(pairs.items())[:MOST_CLASSES] if (row := _score_row(name, looks))}
        report.table(
            ["pair", "pictures", *KINDS, USED, "no initial label", "no label at all"],
            scores.values(),
            caption=_cut(len(pairs), MOST_CLASSES, "pairs"),
        )


def _score_row(name: str, looks: Sequence[Look]) -> list[Cell]:
    scores = agreement(looks)
    if scores is None:
        return []
    values = [scores.iou[kind] for kind in (*KINDS, USED)]
    return [name, scores.pictures, *values, scores.without["initial"], scores.without[USED]]


def _score_chart(bars: Mapping[str, Agreement]) -> str:
    scores = dict(list(bars.items())[:MOST_BARS])
    kinds = [kind for kind in KINDS if any(one.iou[kind] is not None for one in scores.values())]
    series = {kind: [one.iou[kind] for one in scores.values()] for kind in kinds}
    return row_chart(list(scores), series, x_label="IoU")


def _columns(looks: Sequence[Look], *, truth: bool) -> list[str]:
    kinds = [kind for kind in KINDS if any(kind in look.ran for look in looks)]
    image = ["image"] if any(look.item.source is not None for look in looks) else []
    return [*image, *kinds, *(["truth"] if truth else [])]


class _Album:
    """Draws rows of pictures until the page's budget is spent."""

    def __init__(self, found: Findings, columns: list[str]) -> None:
        self.found, self.columns, self.spent = found, columns, 0

    @property
    def full(self) -> bool:
        return self.spent >= self.found.limits.page_bytes

    def row(self, look: Look, columns: Sequence[str], *, note: str = "") -> Row:
        found = self.found
        record = found.records.chosen.get("init", {}).get(look.item.name, {})
        cells = draw_row(look, columns, found.place, found.truth, record)
        self.spent += sum(len(cell) for cell in cells if isinstance(cell, bytes)) * 4 // 3
        return note + caption(look, found.threshold), cells


def caption(look: Look, threshold: float, *, full_name: bool = True) -> str:
    """One line on a picture: its name, what is suspect, scores and sizes."""
    words = [look.item.name if full_name else look.item.file]
    words += [text for value, text in offences(look, threshold) if text and value >= TELLING][:3]
    if look.truth is not None:
        shown = [kind for kind in KINDS if kind in look.ran]
        words.append("IoU " + ", ".join(f"{kind} {look.truth[kind]:.2f}" for kind in shown))
        words += [look.trouble] if look.trouble else []
        words += [f"score {look.score:.2f}"] if look.score is not None else []
    if look.used is not None:
        within = f", {look.within[look.used]:.0%} of the object" if look.used in look.within else ""
        words.append(f"{look.areas[look.used]:.1%} of the picture{within}")
    return " · ".join(words)


def _worst(report: Report, album: _Album) -> None:
    worst = album.found.worst(album.found.looks)
    if not worst:
        return
    report.section("Worst offenders", WORST_SUSPECT if album.found.truth is None else WORST_TRUE)
    report.legend(legend_of(album.columns))
    report.sheet(album.columns, [album.row(look, album.columns) for look in _spread(worst)])


def _spread(worst: Sequence[Look]) -> list[Look]:
    """The worst ones, of different pairs as far as there are any, so that one bad class does not fill the sheet."""
    firsts = [looks[0] for looks in by(worst, lambda look: look.pair).values()]
    chosen = {look.item.key for look in firsts}
    rest = [look for look in worst if look.item.key not in chosen]
    return _few_missing([*firsts, *rest])[:WORST_SHOWN]


def _few_missing(looks: Sequence[Look]) -> list[Look]:
    """``looks`` in their order, but those without a label, beyond the first few, at the end."""
    missing = [look for look in looks if look.used is None]
    late = {look.item.key for look in missing[MISSING_SHOWN:]}
    return [look for look in looks if look.item.key not in late] + missing[MISSING_SHOWN:]


def _nothing_found(report: Report, found: Findings) -> None:
    searches = found.records.searches
    if not searches:
        return
    report.section("What was not found", FOUND_TEXT, TURNED_TEXT)
    header = ["asked for", "pictures", "found", "weak", "no box", "box, nothing marked", "turned"]
    rows: list[list[Cell]] = [
        [name, one.pictures, one.found, one.weak, one.none, one.unmarked, one.turned] for name, one in searches.items()
    ]
    report.table(header, rows, caption=f"Threshold of the parts' scores: {found.threshold:g}.")
    for name, search in searches.items():
        failed = [(query, one) for query, one in search.queries.items() if one.none or one.weak]
        failed.sort(key=lambda pair: (-pair[1].none / pair[1].asked, -pair[1].weak / pair[1].asked, pair[0]))
        if not failed:
            continue
        with report.fold(f"{name}: {len(failed)} of {len(search.queries)} queries with weak or no boxes"):
            table: list[list[Cell]] = [
                [query, one.asked, one.found, one.weak, one.none, _percent(one.none + one.weak, one.asked)]
                for query, one in failed[:MOST_ROWS]
            ]
            report.table(
                ["query", "asked", "found", "weak", "no box", "weak or none"], table,
                caption=_cut(len(failed), MOST_ROWS, "queries"),
            )  # fmt: skip


def _cut(count: int, most: int, what: str) -> str:
    return f"The first {most} of {count} {what}." if count > most else ""


def _skipped(report: Report, found: Findings) -> None:
    rows: list[list[Cell]] = [
        [f"{NAMES[step]}: {reason}", count, ", ".join(tally.examples[reason])]
        for step, tally in found.records.steps.items()
        for reason, count in tally.skipped.most_common(MOST_ROWS)
    ]
    if rows:
        report.section("Skipped pictures", "Recorded with their reason in manifest/; a few of each are named here.")
        report.table(["reason", "pictures", "such as"], rows)


def _histograms(report: Report, found: Findings, numbers: Numbers) -> None:
    objects = ("objects, egocentric", "objects, exocentric")
    score, picture, thing = "score", "share of the picture", "share of the object"
    wanted = [
        ("scores", ("parts",), score, "Scores of the boxes of parts; dotted: the threshold."),
        ("scores", objects, score, "Scores of the boxes of whole objects."),
        ("areas", KINDS, picture, "How much of the picture a label marks, where there is one."),
        ("areas", objects, picture, "How much of the picture the whole object takes."),
        ("within", KINDS, thing, "How much of the object's mask a label marks."),
    ]
    charts = [
        (_histogram(numbers[block], names, label, found.threshold if names == ("parts",) else None), text)
        for block, names, label, text in wanted
        if any(name in numbers[block]["counts"] for name in names)
    ]
    if charts:
        report.section("Scores and areas")
        report.charts(charts)


def _histogram(block: Numbers, names: Sequence[str], label: str, mark: float | None) -> str:
    counts = {name: block["counts"][name] for name in names if name in block["counts"]}
    logarithmic = label == "share of the picture"
    return histogram(counts, block["edges"], x_label=label, logarithmic=logarithmic, mark=mark, width=HALF)


def _classes(report: Report, album: _Album) -> None:
    found = album.found
    groups = {pair: _few_missing(found.worst(looks)) for pair, looks in by(found.looks, lambda look: look.pair).items()}
    ranked = sorted((pair for pair in groups if groups[pair]), key=lambda pair: (-_mean(groups[pair], found), pair))
    if not ranked:
        return
    drawn = _draw_classes(album, {pair: groups[pair] for pair in ranked[:MOST_CLASSES]})
    truth = found.truth is not None
    report.section(
        "Classes",
        "Every pair of affordance and object, the worst first "
        + ("(mean IoU)" if truth else "(mean of what is suspect)")
        + "; within a pair the worst pictures first, and the middle one last. "
        + f"At most {found.limits.rows} pictures a pair (--max-rows).",
    )
    if album.full:
        report.paragraph(
            f"The page's budget for pictures, {found.limits.page_bytes / 2**20:g} MiB (--max-mb), is spent: some pairs "
            "show fewer."
        )
    if len(ranked) > MOST_CLASSES:
        report.paragraph(_cut(len(ranked), MOST_CLASSES, "pairs"))
    report.legend(legend_of(album.columns))
    for pair, rows in drawn.items():
        with report.fold(_class_line(pair, groups[pair])):
            report.sheet(_columns(groups[pair], truth=truth), rows)


def _mean(looks: Sequence[Look], found: Findings) -> float:
    return sum(badness(look, found.threshold) for look in looks) / len(looks)


def _draw_classes(album: _Album, groups: Mapping[tuple[str, str], list[Look]]) -> dict[tuple[str, str], list[Row]]:
    """Rows by class: first the worst picture of every class, then the next of each, while the budget lasts."""
    drawn: dict[tuple[str, str], list[Row]] = {pair: [] for pair in groups}
    for rank in range(album.found.limits.rows):
        for pair, looks in groups.items():
            look = _ranked(looks, rank, album.found.limits.rows)
            if look is None or album.full:
                continue
            columns = _columns(looks, truth=album.found.truth is not None)
            middle = rank and rank == album.found.limits.rows - 1
            drawn[pair].append(album.row(look, columns, note="The middle one: " if middle else ""))
    return drawn


def _ranked(looks: Sequence[Look], rank: int, rows: int) -> Look | None:
    """The ``rank``-th worst; in the last row the middle one, unless it is shown already."""
    if rank and rank == rows - 1:
        middle = len(looks) // 2
        return looks[middle] if middle >= rank else None
    return looks[rank] if rank < len(looks) else None


def _class_line(pair: tuple[str, str], looks: Sequence[Look]) -> str:
    words = [" ".join(pair), f"{len(looks)} pictures"]
    none = sum(look.used is None for look in looks)
    words += [f"{none} without a label"] if none else []
    scores = agreement(looks)
    if scores is not None:
        kinds = (*KINDS, USED) if scores.iou["refined"] is not None else KINDS
        values = [(kind, scores.iou[kind]) for kind in kinds if scores.iou[kind] is not None]
        words.append("IoU " + ", ".join(f"{kind} {value:.2f}" for kind, value in values))
    return " · ".join(words)
