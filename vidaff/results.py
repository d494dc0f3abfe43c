"""Write an evaluation to a folder: tables (Markdown, JSON, CSV) and pictures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.taxonomy import AFFORDANCES, CLASSES
from vidaff.evaluate import CLASS_METRICS, OVERALL_METRICS, ClipPrediction, EvalResult
from vidaff.io import atomic_path, write_image, write_json, write_text
from vidaff.published import IOU_PER_CLASS, SOURCE, published_overall


def write_results(result: EvalResult, folder: Path) -> None:
    """Write results.md, results.json, results.csv, confusion.png, best.png and worst.png, each atomically."""
    write_json(folder / "results.json", result.to_dict())
    write_text(folder / "results.csv", csv_table(result))
    write_text(folder / "results.md", markdown(result))
    draw_confusion(result, folder / "confusion.png")
    for name, clips in (("best", result.best), ("worst", result.worst)):
        if clips:
            write_image(folder / f"{name}.png", gallery(clips, f"{name.capitalize()} clips, {result.mode}"))


def markdown(result: EvalResult) -> str:
    """The tables for people: overall, beside the published rows, and per class; 95 % intervals in brackets."""
    flow = ", zero flow" if result.zero_flow and result.mode == "video" else ""
    parts = [
        f"# Evaluation: {result.checkpoint}",
        f"{len(result.clips)} clips of {result.dataset}, split `{result.split}`, {result.mode} inference{flow}, "
        f"{result.seconds:.0f} s. In brackets: 95 % bootstrap interval over clips. n/a: the class does not occur.",
        "## Overall",
        _table(["model", *OVERALL_METRICS.values()], overall_rows(result)),
        "## Per class",
        _table(*_class_table(result)),
    ]
    if published_overall(result.dataset):
        parts.append(
            f"Published: {SOURCE}; on the real SOR3D-AFF. Numbers on rendered clips do not compare one to one."
        )
    return "\n\n".join(parts) + "\n"


def overall_rows(result: EvalResult) -> list[list[str]]:
    """Our row, those of earlier evaluations, then the published ones."""
    ours = [_with_interval(result.overall[name], result.intervals[name]) for name in OVERALL_METRICS]
    rows = [[f"**ours, {_kind(result.model)}{result.mode}**", *ours]]
    rows += [_row_of_earlier(other) for other in result.beside]
    for name, row in published_overall(result.dataset).items():
        rows.append([f"paper: {name}", *(_number(row.get(key), 2) for key in ("iou", "f", "f_w")), "-", "-"])
    return rows


def _kind(model: str) -> str:
    return "AffordanceNet, " if model == "affordancenet" else ""


def _row_of_earlier(other: Mapping[str, Any]) -> list[str]:
    """Row of a results.json, in which what is undefined is null."""
    cells = []
    for name in OVERALL_METRICS:
        value = other["overall"][name]
        cells.append("n/a" if value is None else _with_interval(value, other["intervals"][name]))
    kind = _kind(str(other.get("model", "video")))
    return [f"ours, {kind}{other['mode']} ({other['checkpoint']})", *cells]


def _class_table(result: EvalResult) -> tuple[list[str], list[list[str]]]:
    paper = IOU_PER_CLASS.get(result.mode, {}) if result.dataset == "sor3d-aff" else {}
    # The paper gives no numbers per class for AffordanceNet.
    published = "paper IoU" if result.model == "video" else "paper IoU (autoencoder)"
    header = ["class", *CLASS_METRICS.values(), *([published] if paper else [])]
    rows = []
    for name in AFFORDANCES:
        row = [
            _with_interval(result.per_class[metric][name], result.intervals[metric][name]) for metric in CLASS_METRICS
        ]
        rows.append([name, *row, *([_number(paper.get(name), 2)] if paper else [])])
    return header, rows


def csv_table(result: EvalResult) -> str:
    """One row per class and metric, and per overall metric: class, metric, value, low, high; empty = undefined."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "metric", "value", "low", "high"])
    for metric in OVERALL_METRICS:
        writer.writerow(["overall", metric, *_cells(result.overall[metric], result.intervals[metric])])
    for metric in CLASS_METRICS:
        for name in AFFORDANCES:
            values = _cells(result.per_class[metric][name], result.intervals[metric][name])
            writer.writerow([name, metric, *values])
    return buffer.getvalue()


def _cells(value: float, interval: Sequence[float]) -> list[str]:
    return ["" if math.isnan(number) else f"{number:.6f}" for number in (value, *interval)]


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def _with_interval(value: float, interval: Sequence[float]) -> str:
    if math.isnan(value):
        return "n/a"
    return f"{value:.3f} [{_number(interval[0])}, {_number(interval[1])}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_confusion(result: EvalResult, path: Path) -> None:
    """Heat maps of the pixel and the action confusion, rows normalised to 1, with the numbers in the cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _heat_map(left, result.confusion, CLASSES, "Pixels of the last frame")
    _heat_map(right, result.actions, AFFORDANCES, "Actions of the clips")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _heat_map(axes: Any, counts: np.ndarray, names: Sequence[str], title: str) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_title(title)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), [n if t else f"{n} (n/a)" for n, t in zip(names, totals[:, 0], strict=True)])
    for (row, column), share in np.ndenumerate(shares):
        if totals[row, 0]:
            ink = "white" if share > 0.55 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=8, color=ink)


def gallery(clips: Sequence[ClipPrediction], title: str) -> np.ndarray:
    """(H, W, 3) uint8 sheet: per clip the picture, the truth and the prediction, with name, IoU and actions."""
    from vidaff.evaluate import action_name, clip_outcome
    from vidaff.metrics import summarise
    from vidaff.visualize import blend_labels, contact_sheet

    pictures: list[np.ndarray] = []
    captions: list[str] = []
    for clip in clips:
        iou = float(summarise([clip_outcome(clip)])["mean_iou"][0])
        guess = action_name(clip.predicted_action)
        pictures += [clip.rgb, blend_labels(clip.rgb, clip.truth), blend_labels(clip.rgb, clip.labels)]
        captions += [
            clip.name[:40], f"truth: {action_name(clip.action) or 'unknown'}",
            f"IoU {iou:.2f}" + (f", action: {guess}" if guess else ""),
        ]  # fmt: skip
    return contact_sheet(pictures, captions=captions, columns=6, cell=(230, 230), title=title, with_legend=True)
