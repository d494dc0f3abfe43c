"""Scores of folders of maps as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from vidaff.io import write_json, write_text
from vidaff.metrics.folders import MapScores

HEADINGS = {
    "iou": "IoU",
    "f1": "F",
    "f_w": "F_w",
    "margolin": "F^w, b2=1",
    "margolin_legacy": "F^w, b2=1, legacy",
    "margolin_03": "F^w, b2=0.3",
    "margolin_03_legacy": "F^w, b2=0.3, legacy",
    "ranked": "R^w",
    "kld": "KLD",
    "sim": "SIM",
    "nss": "NSS",
    "kld_locate": "KLD, LOCATE",
    "nss_locate": "NSS, LOCATE",
}
"""Metric -> heading, in the order of the tables."""

LABEL_NOTES = (
    "IoU, F: pixels of all maps are counted, then divided. F^w: Margolin's weighted F (b2: beta squared) of each map "
    "that has the class, averaged over maps; the mean row averages classes."
)
LEGACY_NOTE = (
    "Legacy: a map that lacks a class keeps its score of the class before, as in the published evaluators of "
    "AffordanceNet's lineage. These columns are for comparison with numbers made by them only."
)
HEAT_NOTES = (
    "Maps resized to 224x224; the mean row averages maps. KLD: lower is better. The LOCATE columns follow its "
    "evaluator, as earlier papers do; its KLD is higher for maps that miss the truth by far."
)


def markdown(scores: MapScores) -> str:
    """One table, a row per class and one of means; below it what the columns mean."""
    keys = [key for key in HEADINGS if key in scores.overall]
    rows = [[name, str(count), *_numbers(scores, keys, name)] for name, count in scores.counts.items()]
    rows.append(["**mean**", str(scores.maps), *(_number(scores.overall[key]) for key in keys)])
    header = ["class", "maps", *(HEADINGS[key] for key in keys)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])
    left = f" True maps without prediction, left out: {scores.unmatched}." if scores.unmatched else ""
    about = f"{scores.maps} maps of `{scores.pred}` against `{scores.gt}`.{left}"
    return "\n\n".join([f"# Metrics: {scores.dataset}", about, table, _notes(scores)]) + "\n"


def _notes(scores: MapScores) -> str:
    if "kld" in scores.overall:
        return HEAT_NOTES
    notes = [LABEL_NOTES, "n/a: no map has the class."]
    if scores.settings["soft"]:
        notes.append("F^w of probabilities, not of labels.")
    if "ranked" in scores.overall:
        notes.append(
            "R^w: F^w against each rank, weighted by rank, averaged over all maps; its best value is far below 1."
        )
    if scores.settings["legacy"]:
        notes.append(LEGACY_NOTE)
    return " ".join(notes)


def _numbers(scores: MapScores, keys: list[str], name: str) -> list[str]:
    return [_number(scores.per_class[key][name]) if key in scores.per_class else "-" for key in keys]


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{round(value, 4) + 0.0:.4f}"  # without + 0.0, -1e-9 reads -0.0000


def csv_table(scores: MapScores) -> str:
    """One row per class and metric, and per mean: class, metric, value; an empty value is undefined."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "metric", "value"])
    for metric, values in scores.per_class.items():
        writer.writerows([name, metric, _cell(value)] for name, value in values.items())
    writer.writerows(["mean", metric, _cell(value)] for metric, value in scores.overall.items())
    return buffer.getvalue()


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def write_tables(scores: MapScores, folder: Path) -> None:
    """Write metrics.md, metrics.csv and metrics.json into ``folder``, each atomically."""
    write_text(folder / "metrics.md", markdown(scores))
    write_text(folder / "metrics.csv", csv_table(scores))
    write_json(folder / "metrics.json", scores.to_dict())
