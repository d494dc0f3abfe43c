"""Write an evaluation to a folder: tables (Markdown, JSON, CSV) and pictures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.evaluate import CHOOSING, ClipPrediction, EvalResult
from vidaff.io import atomic_path, write_image, write_json, write_text
from vidaff.protocols import CLIPS, Protocol
from vidaff.published import IOU_PER_CLASS, SOURCE, published_overall


def write_results(result: EvalResult, folder: Path) -> None:
    """Write results.md, results.json, results.csv, confusion.png, best.png and worst.png, each atomically."""
    write_json(folder / "results.json", result.to_dict())
    write_text(folder / "results.csv", csv_table(result))
    write_text(folder / "results.md", markdown(result))
    draw_confusion(result, folder / "confusion.png")
    for name, clips in (("best", result.best), ("worst", result.worst)):
        if clips:
            title = f"{name.capitalize()} {_things(result)}, {result.mode}"
            write_image(folder / f"{name}.png", gallery(clips, title, result.protocol))


def markdown(result: EvalResult) -> str:
    """The tables for people: overall, beside the published rows, and per class; 95 % intervals in brackets."""
    flow = ", zero flow" if result.zero_flow and result.mode == "video" else ""
    grid = f", {result.grid}" if result.grid else ""
    options = _options(result)
    parts = [
        f"# Evaluation: {result.checkpoint}",
        f"{len(result.clips)} {_things(result)} of {result.dataset}{options}, split `{result.split}`, {result.mode} "
        f"inference{flow}{grid}, {result.seconds:.0f} s. In brackets: 95 % bootstrap interval over {_things(result)}. "
        "n/a: the class does not occur.",
        "## Overall",
        _table(["model", *result.protocol.overall.values()], overall_rows(result)),
        "## Per class",
        _table(*_class_table(result)),
    ]
    if result.protocol.stills:
        from vidaff.results_stills import still_sections

        parts += still_sections(result, _our_name(result), _name_of_earlier, _table)
    if _other_protocol(result):
        parts.append(
            f"The model was trained with protocol={result.trained['protocol']}: pictures that are scored here may have "
            "trained it."
        )
    if published_overall(result.dataset):
        parts.append(
            f"Published: {SOURCE}; on the real SOR3D-AFF. Numbers on rendered clips do not compare one to one."
        )
    return "\n\n".join(parts) + "\n"


def _options(result: EvalResult) -> str:
    """Which pictures were scored, where the data set has several protocols."""
    shown = [f"{key}={result.options[key]}" for key in CHOOSING if key in result.options]
    return f" ({', '.join(shown)})" if shown else ""


def _other_protocol(result: EvalResult) -> bool:
    """Whether the training had another protocol, so that its pictures may be among those that were scored."""
    there, here = result.trained.get("protocol"), result.options.get("protocol")
    # The official test set of IIT-AFF is held out by both protocols.
    return None not in (there, here) and there != here and (there, here) != ("holdout", "official")


def _things(result: EvalResult) -> str:
    return "pictures" if result.protocol.stills else "clips"


def overall_rows(result: EvalResult) -> list[list[str]]:
    """Our row, those of earlier evaluations, then the published ones of SOR3D-AFF."""
    ours = [_with_interval(result.overall[name], result.intervals[name]) for name in result.protocol.overall]
    rows = [[f"**{_our_name(result)}**", *ours]]
    rows += [_row_of_earlier(other, result) for other in result.beside]
    for name, row in published_overall(result.dataset).items():
        known = {"mean_iou": row.get("iou"), "mean_f1": row.get("f"), "f_w": row.get("f_w")}
        rows.append([f"paper: {name}", *(_number(known.get(metric), 2) for metric in result.protocol.overall)])
    return rows


def _kind(model: str) -> str:
    return "AffordanceNet, " if model == "affordancenet" else ""


def _our_name(result: EvalResult) -> str:
    return f"ours, {_kind(result.model)}{result.mode}"


def _name_of_earlier(other: Mapping[str, Any]) -> str:
    return f"ours, {_kind(str(other.get('model', 'video')))}{other['mode']} ({other['checkpoint']})"


def _row_of_earlier(other: Mapping[str, Any], result: EvalResult) -> list[str]:
    """Row of a results.json, in which what is undefined is null."""
    cells = []
    for name in result.protocol.overall:
        value = other["overall"].get(name)
        cells.append("n/a" if value is None else _with_interval(value, other["intervals"][name]))
    other_grid = str(other.get("grid", ""))
    title = _name_of_earlier(other)
    return [title if other_grid == result.grid else f"{title}, {other_grid}", *cells]


def _class_table(result: EvalResult) -> tuple[list[str], list[list[str]]]:
    paper = IOU_PER_CLASS.get(result.mode, {}) if result.dataset == "sor3d-aff" else {}
    # The paper gives no numbers per class for AffordanceNet.
    published = "paper IoU" if result.model == "video" else "paper IoU (autoencoder)"
    metrics = result.protocol.per_class
    header = ["class", *metrics.values(), *([published] if paper else [])]
    rows = []
    for name in result.protocol.taxonomy.affordances:
        row = [_with_interval(result.per_class[metric][name], result.intervals[metric][name]) for metric in metrics]
        rows.append([name, *row, *([_number(paper.get(name), 2)] if paper else [])])
    return header, rows


def csv_table(result: EvalResult) -> str:
    """One row per class and metric, and per overall metric: class, metric, value, low, high; empty = undefined."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "metric", "value", "low", "high"])
    for metric in result.protocol.overall:
        writer.writerow(["overall", metric, *_cells(result.overall[metric], result.intervals[metric])])
    for metric in result.protocol.per_class:
        for name in result.protocol.taxonomy.affordances:
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
    """Heat maps of the pixel and, for clips, the action confusion, rows normalised to 1, with numbers in the cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = 2 if result.protocol.actions else 1
    classes = result.protocol.taxonomy
    figure = Figure(figsize=(7.5 * count, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, count, squeeze=False)[0]
    _heat_map(axes[0], result.confusion, classes.classes, "Pixels of the last frame" if count == 2 else "Pixels")
    if result.protocol.actions:
        _heat_map(axes[1], result.actions, classes.affordances, "Actions of the clips")
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


def gallery(clips: Sequence[ClipPrediction], title: str, protocol: Protocol = CLIPS) -> np.ndarray:
    """(H, W, 3) uint8 sheet: per clip the picture, the truth and the prediction, with name, IoU and actions."""
    from vidaff.evaluate import action_name, clip_outcome
    from vidaff.metrics import summarise
    from vidaff.visualize import blend_labels, contact_sheet

    pictures: list[np.ndarray] = []
    captions: list[str] = []
    classes = protocol.taxonomy
    for clip in clips:
        iou = float(summarise([clip_outcome(clip, protocol)])["mean_iou"][0])
        guess = action_name(clip.predicted_action)
        painted = [blend_labels(clip.rgb, labels, taxonomy=classes) for labels in (clip.truth, clip.labels)]
        pictures += [clip.rgb, *painted]
        captions += [
            clip.name[:40], f"truth: {action_name(clip.action) or 'unknown'}" if protocol.actions else "truth",
            f"IoU {iou:.2f}" + (f", action: {guess}" if guess else ""),
        ]  # fmt: skip
    return contact_sheet(
        pictures, captions=captions, columns=6, cell=(230, 230), title=title, with_legend=True, taxonomy=classes
    )
