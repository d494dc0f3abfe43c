"""Results of a transfer as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidaff.datasets.taxonomy import CLASSES
from vidaff.io import write_json, write_text
from vidaff.transfer.scores import METRICS, READINGS

if TYPE_CHECKING:
    from vidaff.transfer.job import TransferResult

DEFINITIONS = (
    "Each class is judged by itself against all other pixels. Argmax: a pixel is of its most probable class of "
    "SOR3D-AFF, background included. Confident: the same where that class is more probable than the threshold, else "
    "background. IoU, F: pixels are added over all pictures, then divided. Margolin F (b2: beta squared): mean over "
    "the pictures whose truth has the class. Mean: over mapped classes that occur. Marked everywhere: the IoU of "
    "marking every pixel as the class. In brackets: 95 % bootstrap over pictures; n/a: not defined."
)
UNMAPPED = {
    "wrong": "A prediction of a class on true pixels of a class without counterpart is wrong, as on the background.",
    "ignore": "True pixels of classes without counterpart are not judged.",
}


def write_tables(result: TransferResult, folder: Path) -> None:
    """Write results.csv, results.md and results.json into ``folder``, each atomically."""
    write_text(folder / "results.csv", csv_table(result))
    write_text(folder / "results.md", markdown(result))
    write_json(folder / "results.json", result.to_dict())


def markdown(result: TransferResult) -> str:
    """The tables for people."""
    number = len(result.pictures)
    about = (
        f"{number} picture{'s' * (number != 1)} of {result.dataset}, split `{result.split}`, static inference, "
        f"{result.seconds:.0f} s."
    )
    parts = [f"# Transfer: {result.checkpoint} on {result.dataset}", about]
    parts.append("\n".join(f"* {note}" for note in result.notes))
    titles = {"argmax": "Argmax", "confident": f"Confidence above {result.threshold:g}"}
    for reading in READINGS:
        parts += [f"## {titles[reading]}", _class_table(result, reading)]
    parts += [f"{DEFINITIONS} {UNMAPPED[result.unmapped]}"]
    parts += ["## What the model says where (argmax)", _said_table(result)]
    parts.append("Share of the true pixels of a row, in percent. Columns without any pixel are left out.")
    return "\n\n".join(parts) + "\n"


def _class_table(result: TransferResult, reading: str) -> str:
    header = ["class", "predicted by", "pictures", *METRICS.values(), "marked everywhere"]
    scores, intervals = result.scores[reading], result.intervals[reading]
    rows = []
    for name in result.classes:
        cells = [_with_interval(scores[metric][name], intervals[metric][name]) for metric in METRICS]
        sources = " + ".join(result.sources[name]) or "no counterpart"
        cells = cells if result.sources[name] else ["-"] * len(METRICS)
        share = _number(result.prevalence[name]) if result.sources[name] else "-"
        rows.append([name, sources, str(result.counts[name]), *cells, share])
    means = [_with_interval(scores[f"mean_{metric}"], intervals[f"mean_{metric}"]) for metric in METRICS]
    occurring = [name for name in result.classes if result.sources[name] and result.counts[name]]
    rows.append(["**mean of mapped**", "", "", *means, _number(_mean([result.prevalence[name] for name in occurring]))])
    return _table(header, rows)


def _said_table(result: TransferResult) -> str:
    """Rows: true classes; columns: what the model says there."""
    table = result.table[0]
    shown = np.flatnonzero(table.sum(axis=0))
    rows = []
    for name, counts in zip((*result.classes, "background"), table, strict=True):
        total = counts.sum()
        rows.append([name, *(f"{100 * counts[index] / total:.1f}" if total else "n/a" for index in shown)])
    return _table(["truth", *(CLASSES[index] for index in shown)], rows)


def csv_table(result: TransferResult) -> str:
    """One row per reading, class and metric: reading, class, metric, value, low, high; empty = undefined."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["reading", "class", "metric", "value", "low", "high"])
    for reading in READINGS:
        scores, intervals = result.scores[reading], result.intervals[reading]
        for metric in METRICS:
            for name in result.classes:
                values = _cells(scores[metric][name], intervals[metric][name])
                writer.writerow([reading, name, metric, *values])
            values = _cells(scores[f"mean_{metric}"], intervals[f"mean_{metric}"])
            writer.writerow([reading, "mean", metric, *values])
    return buffer.getvalue()


def _cells(value: float, interval: Sequence[float]) -> list[str]:
    return ["" if math.isnan(number) else f"{number:.6f}" for number in (value, *interval)]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}"


def _with_interval(value: float, interval: Sequence[float]) -> str:
    if math.isnan(value) or math.isnan(interval[0]):
        return _number(value)
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
