"""Write an evaluation on AGD20K to a folder: tables (Markdown, JSON, CSV) and pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.agd20k import Agd20kTest
from vidaff.evaluate_grounder import METRICS, GroundingResult, HeatmapPrediction, all_scores, score_keys
from vidaff.io import write_image, write_json, write_text
from vidaff.models.image.recipe import SELECTIONS
from vidaff.published_grounding import PUBLISHED, SOURCE

HEADINGS = {"kld": "KLD", "sim": "SIM", "nss": "NSS"}
CELL = 230


def write_results(result: GroundingResult, test: Agd20kTest, folder: Path) -> None:
    """Write results.md, results.json, results.csv, best.png and worst.png, each atomically."""
    write_json(folder / "results.json", result.to_dict())
    write_text(folder / "results.csv", csv_table(result))
    write_text(folder / "results.md", markdown(result))
    for name, items in (("best", result.best), ("worst", result.worst)):
        write_image(folder / f"{name}.png", gallery(items, test, f"{name.capitalize()} pictures by KLD"))


def markdown(result: GroundingResult) -> str:
    """The tables for people: overall, beside the published rows, per affordance and per object."""
    keys = score_keys(result.protocols)
    header = [f"{HEADINGS[metric]}, {protocol}" for protocol in result.protocols for metric in METRICS]
    parts = [
        f"# Evaluation: {result.checkpoint}",
        f"{len(result.items)} pictures of {result.dataset}, split `{result.split}`, {result.seconds:.0f} s. Means over "
        "pictures; in brackets: 95 % bootstrap interval over pictures. KLD: lower is better; SIM, NSS: higher.",
    ]
    if result.select:
        parts.append(f"The epoch was chosen by `{result.select}`: {SELECTIONS[result.select]}.")
    parts += ["## Overall", _table(["method", *header], overall_rows(result, keys))]
    for title, groups in (("affordance", result.affordances), ("object", result.objects)):
        rows = [[name, str(row["items"]), *_cells(row, row["intervals"], keys)] for name, row in groups.items()]
        parts += [f"## Per {title}", _table([title, "pictures", *header], rows)]
    if result.split in PUBLISHED:
        parts.append(
            f"Published: {SOURCE}, as printed there and in the columns of `plsp`; on the real AGD20K. Earlier methods "
            "were scored by evaluators like `locate`. Numbers on rendered pictures do not compare with them."
        )
    return "\n\n".join(parts) + "\n"


def overall_rows(result: GroundingResult, keys: Sequence[str]) -> list[list[str]]:
    """Our row, those of earlier evaluations, maps that know nothing, then the published ones."""
    rows = [[f"**ours, {result.model}**", *_cells(result.overall, result.intervals, keys)]]
    for other in result.beside:
        name = f"ours, {other.get('model')} ({other.get('checkpoint')})"
        rows.append([name, *_cells(other["overall"], other["intervals"], keys)])
    rows += [[name, *(f"{scores[key]:.3f}" for key in keys)] for name, scores in result.references.items()]
    for name, row in PUBLISHED.get(result.split, {}).items():
        shown = {f"{metric}_plsp": f"{getattr(row, metric):.3f}" for metric in METRICS}
        rows.append([f"paper: {name}", *(shown.get(key, "-") for key in keys)])
    return rows


def _cells(values: Mapping[str, float], intervals: Mapping[str, Sequence[float]], keys: Sequence[str]) -> list[str]:
    return [f"{values[key]:.3f} [{intervals[key][0]:.3f}, {intervals[key][1]:.3f}]" for key in keys]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_table(result: GroundingResult) -> str:
    """One row per group and score: kind, name, pictures, score, value, low, high."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["kind", "name", "pictures", "score", "value", "low", "high"])
    whole: dict[str, Any] = {"items": len(result.items), **result.overall, "intervals": result.intervals}
    groups = [("overall", "", whole)]
    groups += [("affordance", name, row) for name, row in result.affordances.items()]
    groups += [("object", name, row) for name, row in result.objects.items()]
    for kind, name, row in groups:
        for key in score_keys(result.protocols):
            numbers = (row[key], *row["intervals"][key])
            writer.writerow([kind, name, row["items"], key, *(f"{number:.6f}" for number in numbers)])
    return buffer.getvalue()


def gallery(items: Sequence[HeatmapPrediction], test: Agd20kTest, title: str) -> np.ndarray:
    """(H, W, 3) uint8 sheet: per item the picture, the truth and the prediction, with name and KLD."""
    import cv2

    from vidaff.visualize import blend_heat, contact_sheet

    pictures: list[np.ndarray] = []
    captions: list[str] = []
    for item in items:
        side = item.truth.shape[0]
        rgb = cv2.resize(test.rgb(item.index), (side, side), interpolation=cv2.INTER_AREA)
        maps = [np.asarray(heat / max(float(heat.max()), 1e-12), np.float32) for heat in (item.truth, item.heat)]
        pictures += [rgb, *(blend_heat(rgb, heat) for heat in maps)]
        picture = test.pictures[item.index]
        kld = all_scores(item.heat, item.truth, ("plsp",))["kld_plsp"]
        captions += [f"{picture.object}/{picture.file}"[-34:], f"truth: {picture.affordance}", f"KLD {kld:.2f}"]
    return contact_sheet(pictures, captions=captions, columns=6, cell=(CELL, CELL), title=title)
