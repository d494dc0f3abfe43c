"""Tables of an evaluation on still pictures: ours, earlier ones and published ones, method by method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vidaff.evaluate import EvalResult
from vidaff.published import STILLS, Published

Numbers = Mapping[str, float | None]


def still_sections(
    result: EvalResult, name: str, earlier: Callable[[Mapping[str, Any]], str], table: Callable[..., str]
) -> list[str]:
    """Markdown sections behind our own tables: a table per published metric, a row per method, a column per class.

    ``name``: what our row is called; ``earlier``: names the row of a results.json; ``table``: header and rows to
    Markdown.
    """
    parts, rows = [], STILLS.get(result.dataset, ())
    sources = _sources(rows)
    for metric in [key for key in result.protocol.per_class if any(row.metric == key for row in rows)]:
        parts.append(f"## {result.protocol.per_class[metric]} x 100, beside published numbers")
        names = result.protocol.taxonomy.affordances
        lines = [_line(f"**{name}**", result.per_class[metric], result.overall[f"mean_{metric}"], names)]
        for other in result.beside:
            lines.append(_line(earlier(other), other["per_class"][metric], other["overall"][f"mean_{metric}"], names))
        for row in [row for row in rows if row.metric == metric]:
            lines.append(_line(f"{row.name} [{sources[row.source]}]", row.per_class, row.mean, names))
        parts.append(table(["method", *names, "mean"], lines))
    if rows:
        listed = "; ".join(f"[{number}] {source}" for source, number in sources.items())
        parts.append(f"Published, with protocols of their own: {listed}.")
    return [*parts, result.protocol.notes]


def _sources(rows: tuple[Published, ...]) -> dict[str, int]:
    """Sources in order, each once, and their numbers."""
    return {source: number for number, source in enumerate(dict.fromkeys(row.source for row in rows), start=1)}


def _line(title: str, per_class: Numbers, mean: float | None, names: tuple[str, ...]) -> list[str]:
    return [title, *(_percent(per_class[name]) if name in per_class else "-" for name in names), _percent(mean)]


def _percent(value: float | None) -> str:
    return "n/a" if value is None or value != value else f"{100 * value:.1f}"
