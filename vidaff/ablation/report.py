"""Tables and chart of a study: mean and spread over seeds, the published numbers beside, claims counted."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidaff.ablation.study import Comparison, Metric, Study, Variant
from vidaff.errors import VidaffError
from vidaff.io import read_json, write_json, write_text

if TYPE_CHECKING:
    from vidaff.ablation.runner import RunSettings

Scores = dict[str, dict[int, dict[str, float]]]
"""Variant -> seed -> metric key -> value; what is not scored yet is absent."""


def read_scores(study: Study, out: Path, seeds: Sequence[int]) -> Scores:
    """Collect the metrics of all evaluations found in ``out``; raise :class:`VidaffError` for damaged files."""
    scores: Scores = {}
    for variant in study.variants:
        scores[variant.name] = {seed: {} for seed in seeds}
        for seed in seeds:
            folder = out / "eval" / variant.name / f"seed-{seed}"
            for evaluation in study.evaluations:
                path = folder / evaluation.name / "results.json"
                if path.is_file():
                    content = read_json(path)
                    wanted = [metric for metric in study.metrics if metric.evaluation == evaluation.name]
                    found = {metric.key: _lookup(content, metric, path) for metric in wanted}
                    scores[variant.name][seed] |= {key: value for key, value in found.items() if value is not None}
    return scores


def _lookup(content: Any, metric: Metric, path: Path) -> float | None:
    """The metric's value; None where the evaluation says that it is not defined."""
    for key in metric.path:
        if not isinstance(content, dict) or key not in content:
            raise VidaffError(f"{path}: has no {'.'.join(metric.path)}; evaluate again with --overwrite")
        content = content[key]
    return None if content is None else float(content)


def values_of(scores: Scores, variant: str, metric: str) -> np.ndarray:
    """(n,) values over the seeds that are scored, by seed."""
    found = scores.get(variant, {})
    return np.array([found[seed][metric] for seed in sorted(found) if metric in found[seed]])


def differences(scores: Scores, comparison: Comparison, metrics: dict[str, Metric]) -> np.ndarray:
    """(n,) gains of the better over the worse side, seed by seed; positive where the claim holds."""
    (better, key), (worse, other) = comparison.better, comparison.worse
    sign = 1 if metrics[key].higher else -1
    seeds = sorted(scores.get(better, {}))
    pairs = [(scores[better][seed].get(key), scores.get(worse, {}).get(seed, {}).get(other)) for seed in seeds]
    return np.array([sign * (a - b) for a, b in pairs if a is not None and b is not None])


def write_report(study: Study, scores: Scores, out: Path, settings: RunSettings) -> None:
    """Write ablation.md, .json, .csv and .svg into ``out``, each atomically."""
    write_json(out / "ablation.json", _record(study, scores, settings))
    write_text(out / "ablation.csv", _csv(study, scores))
    write_text(out / "ablation.md", markdown(study, scores, settings))
    write_text(out / "ablation.svg", chart(study, scores))


def markdown(study: Study, scores: Scores, settings: RunSettings) -> str:
    """The report for people."""
    seeds = ", ".join(map(str, settings.seeds))
    changes = "".join(f", `{change}`" for change in settings.overrides)
    return "\n\n".join(
        [
            f"# {study.title}",
            f"Recipe `{settings.recipe}`{changes}; seeds {seeds}. Mean ± standard deviation over the seeds that are "
            "finished (their number in brackets where some are missing); in italics the paper's number.",
            _table(*_score_table(study, scores, settings)),
            "## Claims",
            "Differences between two rows with the same seed: mean, and in how many seeds the claim holds.",
            _table(["claim", "gain", "holds"], [_claim_row(study, scores, claim) for claim in study.comparisons]),
            f"Published numbers: {study.source}; measured on the real data set.",
        ]
    ) + "\n"  # fmt: skip


def _score_table(study: Study, scores: Scores, settings: RunSettings) -> tuple[list[str], list[list[str]]]:
    header = ["variant", *(metric.title for metric in study.metrics)]
    rows = []
    for variant in study.variants:
        cells = [_cell(scores, variant, metric, len(settings.seeds)) for metric in study.metrics]
        rows.append([variant.title, *cells])
    return header, rows


def _cell(scores: Scores, variant: Variant, metric: Metric, seeds: int) -> str:
    values = values_of(scores, variant.name, metric.key)
    paper = f" *{variant.paper[metric.key]:.{metric.digits}f}*" if metric.key in variant.paper else ""
    if not len(values):
        return f"-{paper}"
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    count = f" ({len(values)})" if len(values) < seeds else ""
    return f"{values.mean():.3f}{spread}{count}{paper}"


def _claim_row(study: Study, scores: Scores, comparison: Comparison) -> list[str]:
    gains = differences(scores, comparison, {metric.key: metric for metric in study.metrics})
    if not len(gains):
        return [comparison.claim, "-", "-"]
    spread = f" ± {gains.std(ddof=1):.3f}" if len(gains) > 1 else ""
    return [comparison.claim, f"{gains.mean():+.3f}{spread}", f"{(gains > 0).sum()} of {len(gains)}"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _record(study: Study, scores: Scores, settings: RunSettings) -> dict[str, Any]:
    metrics = {metric.key: metric for metric in study.metrics}
    return {
        "study": study.title,
        "recipe": settings.recipe,
        "overrides": list(settings.overrides),
        "seeds": list(settings.seeds),
        "variants": {
            variant.name: {
                "title": variant.title,
                "changes": list(variant.changes),
                "paper": dict(variant.paper),
                "scores": {str(seed): values for seed, values in scores[variant.name].items()},
            }
            for variant in study.variants
        },
        "claims": [
            {"claim": item.claim, "gains": differences(scores, item, metrics).tolist()} for item in study.comparisons
        ],
    }


def _csv(study: Study, scores: Scores) -> str:
    """One row per variant, seed and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["variant", "seed", "metric", "value", "paper"])
    for variant in study.variants:
        for seed, values in scores[variant.name].items():
            for key, value in values.items():
                writer.writerow([variant.name, seed, key, f"{value:.6f}", variant.paper.get(key, "")])
    return text.getvalue()


def chart(study: Study, scores: Scores) -> str:
    """Bars of the first metric of every evaluation, one group per variant, with the spread and the paper's marks."""
    from vidaff.charts import bar_chart

    shown = [next(m for m in study.metrics if m.evaluation == e.name) for e in study.evaluations]
    means: dict[str, list[float | None]] = {}
    spreads: dict[str, list[float | None]] = {}
    marks: dict[str, list[float | None]] = {}
    for metric in shown:
        found = [values_of(scores, variant.name, metric.key) for variant in study.variants]
        means[metric.title] = [float(v.mean()) if len(v) else None for v in found]
        spreads[metric.title] = [float(v.std(ddof=1)) if len(v) > 1 else None for v in found]
        marks[metric.title] = [variant.paper.get(metric.key) for variant in study.variants]
    highest = max((v for row in (*means.values(), *marks.values()) for v in row if v is not None), default=1.0)
    return bar_chart(
        [variant.title.replace(" + ", "\n+ ") for variant in study.variants], means,
        y_label="", high=max(1.0, math.ceil(highest)), spreads=spreads, marks=marks,
    )  # fmt: skip
