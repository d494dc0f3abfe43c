"""The page that ``vidaff demo`` ends with: what was made, how well the models do, and what it looks like."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidaff.charts import HALF, bar_chart, line_chart
from vidaff.datasets.taxonomy import AFFORDANCES
from vidaff.published import OVERALL
from vidaff.report import Cell, Report

METRICS = {"mean_iou": "IoU", "mean_f1": "F", "f_w": "F_w", "action_accuracy": "action accuracy"}
MODEL_ROWS = (
    ("evaluate", "video", "trained model, video"),
    ("evaluate", "zero_flow", "trained model, video without motion"),
    ("evaluate", "static", "trained model, last frame alone"),
    ("compare", "video", "tiny model, video"),
    ("compare", "static", "tiny model, last frame alone"),
)
"""Step, mode, and name in the table."""

CLIPS_TEXT = (
    "Frame by frame, as a camera would deliver them; shown at half speed, the last frame held. Colours mark the part "
    "that the action concerns, the bars name the action, the small picture shows the attention. In the last frame the "
    "object is at rest: only what happened before tells which part was meant. These are the first validation clips in "
    "order, not the best ones."
)
SCORES_TEXT = (
    "IoU and F count pixels over the whole set, per affordance, then average over affordances; F_w weighs them as the "
    "paper does. In brackets: 95 % bootstrap interval over clips."
)
PAPER_TEXT = "The paper's rows were measured on real recordings and cannot be compared with rendered clips."
SHIPPED_TEXT = "The trained model took hours on more clips; its card in models/ says how it was made."
TRAINING_TEXT = (
    "First on single last frames with all parts labelled, then on clips, whose last frame is labelled with one part "
    "only. The curves run over optimiser steps."
)
DATA_TEXT = (
    "RGB, depth with the noise and holes of a Kinect, labels and hands, rendered without a display. The object is "
    "drawn first, then one of its actions; the end pose does not depend on it."
)

Settings = Mapping[str, Any]
Results = Mapping[str, Any]


def write_report(folder: Path, settings: Settings, results: Results, seconds: Mapping[str, float]) -> Path:
    """Write ``report.html`` into ``folder`` from the results of all steps; return its path.

    ``settings``: the demo's, ``results``: step -> what it returned, ``seconds``: step -> time it took. Pictures and
    clips are taken from ``folder``. Raises :class:`VidaffError` when one of them is missing.
    """
    minutes = sum(seconds.values()) / 60
    report = Report(
        "Affordances in video",
        f"{settings['clips_train'] + settings['clips_val']} clips rendered, one model trained, two evaluated, "
        f"all on this machine in {minutes:.1f} minutes.",
    )
    _headline(report, results)
    _clips(report, folder, results["infer"]["clips"])
    _scores(report, folder, results, settings)
    _training(report, folder, results["train"]["curves"], settings)
    _data(report, folder)
    _about(report, settings, seconds)
    return report.save(folder / "report.html")


def _headline(report: Report, results: Results) -> None:
    trained, tiny = results["evaluate"], results["compare"]
    report.facts(
        [
            (trained["video"]["overall"]["mean_iou"], "IoU of the trained model on video"),
            (_percent(trained["video"]["overall"]["action_accuracy"]), "of the actions recognised by it"),
            (trained["static"]["overall"]["mean_iou"], "IoU, same weights, last frame alone"),
            (tiny["video"]["overall"]["mean_iou"], "IoU of the tiny model trained just now"),
        ]
    )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _clips(report: Report, folder: Path, clips: Sequence[Mapping[str, Any]]) -> None:
    report.section("What the trained model sees", CLIPS_TEXT)
    report.clips((folder / "infer" / clip["name"] / "slow.mp4", _clip_caption(clip)) for clip in clips)


def _clip_caption(clip: Mapping[str, Any]) -> str:
    truth, seen = clip["action"], clip["seen"]
    verdict = "recognised" if truth == seen else f"taken for {seen}"
    return f"{clip['object']}, {truth}: {verdict}. {clip['frames_per_second']:.0f} frames/s, overlay included."


def _scores(report: Report, folder: Path, results: Results, settings: Settings) -> None:
    count = results["evaluate"]["video"]["num_clips"]
    report.section(
        "How well", f"Scored on the last frames of {count} clips of object instances kept out of training.", SCORES_TEXT
    )
    rows: list[list[Cell]] = [[name, *_row(results[step][mode])] for step, mode, name in MODEL_ROWS]
    rows += [[f"paper, real SOR3D-AFF: {name}", *_paper(row)] for name, row in OVERALL.items()]
    report.table(
        ["model", *METRICS.values()],
        rows,
        strong=[0],
        caption=PAPER_TEXT,
    )
    report.paragraph(_verdict(results, settings))
    report.chart(_class_chart(results), "IoU per class; a missing bar means that the class does not occur.")
    for name, caption in (("best.png", "Best clips of the trained model."), ("worst.png", "Its worst clips.")):
        _picture(report, folder / "eval" / "trained-video" / name, caption)
    _picture(report, folder / "eval" / "trained-video" / "confusion.png", "Which classes it confuses (rows: truth).")


def _row(scores: Mapping[str, Any]) -> Sequence[Cell]:
    return [_with_interval(scores["overall"][key], scores["intervals"][key]) for key in METRICS]


def _with_interval(value: float | None, interval: Sequence[float | None]) -> str:
    if value is None:
        return "n/a"
    low, high = ("n/a" if limit is None else f"{limit:.2f}" for limit in interval)
    return f"{value:.3f} [{low}, {high}]"


def _paper(row: Mapping[str, float]) -> Sequence[Cell]:
    return [f"{row[key]:.2f}" if key in row else "-" for key in ("iou", "f", "f_w")] + ["-"]


def _verdict(results: Results, settings: Settings) -> str:
    """The comparison in words, built from the numbers alone."""
    from vidaff.weights import SHIPPED

    trained, tiny = (results[step]["video"]["overall"]["mean_iou"] or 0.0 for step in ("evaluate", "compare"))
    still = results["evaluate"]["static"]["overall"]["mean_iou"] or 0.0
    gain = trained - still
    motion = f"Seeing the whole clip instead of its last frame changes the trained model's IoU by {gain:+.2f}."
    if tiny >= trained:
        return f"{motion} The tiny model reaches the trained one, which is not expected: look for a mistake."
    shipped = f" {SHIPPED_TEXT}" if settings["checkpoint"] in SHIPPED else ""
    return (
        f"{motion} The tiny model is {trained - tiny:.2f} below the trained one after {settings['train_minutes']:g} "
        f"minutes: it shows that training works here, not what the method can do.{shipped}"
    )


def _class_chart(results: Results) -> str:
    chosen = {"trained, video": MODEL_ROWS[0], "trained, last frame": MODEL_ROWS[2], "tiny, video": MODEL_ROWS[3]}
    series = {
        name: [results[step][mode]["per_class"]["iou"][affordance] for affordance in AFFORDANCES]
        for name, (step, mode, _) in chosen.items()
    }
    return bar_chart(AFFORDANCES, series, y_label="IoU")


def _training(report: Report, folder: Path, curves: Mapping[str, Any], settings: Settings) -> None:
    report.section(
        "Training from scratch, just now",
        f"The recipe 'tiny' on {settings['clips_train']} clips, for at most {settings['train_minutes']:g} minutes.",
        TRAINING_TEXT,
    )
    losses = {
        "all parts": curves.get("train/pretrain", []),
        "mask": curves.get("train/video_seg", []),
        "action": curves.get("train/action", []),
    }
    # Validations before the clips begin score all parts of single frames; their clip scores are no measurements.
    single = {step for step, _ in curves.get("val/pretrain_iou", [])}
    scores = {
        "IoU, all parts": curves.get("val/pretrain_iou", []),
        "IoU": [point for point in curves.get("val/iou", []) if point[0] not in single],
        "action accuracy": curves.get("val/action", []),
    }
    report.charts(
        [
            (line_chart(losses, x_label="steps", y_label="loss", width=HALF), "Training losses."),
            (line_chart(scores, x_label="steps", y_label="score", y_limits=(0, 1), width=HALF), "Validation."),
        ]
    )
    pictures = sorted((folder / "tiny" / "pictures").glob("*.png"))
    if pictures:
        _picture(report, pictures[-1], "Last frame, label, and what the tiny model says at the end.")


def _data(report: Report, folder: Path) -> None:
    report.section("The clips", DATA_TEXT)
    _picture(report, folder / "data" / "clips" / "contact_sheet.png", "Some of the clips.")


def _picture(report: Report, path: Path, caption: str) -> None:
    if path.is_file():
        report.picture(path, caption, wide=True, compact=True)


def _about(report: Report, settings: Settings, seconds: Mapping[str, float]) -> None:
    from vidaff import __version__

    report.section("How this was made")
    rows = [[name, f"{value:.0f} s"] for name, value in seconds.items()]
    report.table(["step", "time"], [*rows, ["all", f"{sum(seconds.values()):.0f} s"]])
    report.code(json.dumps({"vidaff": __version__, **settings}, indent=2), summary="Settings")
