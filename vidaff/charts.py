"""Small charts as SVG text for the reports, drawn by matplotlib without a display.

Text stays text (selectable, searchable); the background is transparent and the ink is mid-grey, so that one chart
fits a light and a dark page.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH, HALF, HEIGHT = 640, 440, 260
DOTS_PER_INCH = 72
COLOURS = ("#3b7ddd", "#e0782f", "#2f9e6b", "#8a5fd0", "#c2455e")
INK = "#7a8494"

Series = Mapping[str, Sequence[tuple[float, float]]]


def line_chart(
    series: Series, *, x_label: str, y_label: str, y_limits: tuple[float, float] | None = None, width: int = WIDTH
) -> str:
    """Lines through ``(x, y)`` points, one colour and one legend entry per series; non-finite points are left out.

    ``width`` is :data:`HALF` for a chart that shares its row with another one, so that letters keep their size.
    """
    figure, axes = _axes(width, HEIGHT, x_label, y_label)
    for index, (name, points) in enumerate(series.items()):
        kept = [point for point in points if all(map(math.isfinite, point))]
        xs, ys = [x for x, _ in kept], [y for _, y in kept]
        marker = "o" if len(kept) < 2 else ""
        axes.plot(xs, ys, color=COLOURS[index % len(COLOURS)], label=_plain(name), linewidth=1.8, marker=marker)
    if y_limits is not None:
        axes.set_ylim(*y_limits)
    return _svg(figure, axes, len(series))


def bar_chart(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    y_label: str,
    high: float = 1.0,
    spreads: Mapping[str, Sequence[float | None]] | None = None,
    marks: Mapping[str, Sequence[float | None]] | None = None,
    mark_label: str = "paper",
) -> str:
    """Grouped bars from 0 to ``high``: one group per name, one bar per series; ``None`` leaves a gap.

    ``spreads`` draws whiskers of that half length, ``marks`` a short line across the bar at another value, such as a
    published one, which the legend calls ``mark_label``; both have the series' names.

    Raises:
        ValueError: a series has another number of values than there are groups.
    """
    figure, axes = _axes(WIDTH, HEIGHT, "", y_label)
    width = 0.8 / max(1, len(series))
    for index, (name, places, heights) in enumerate(_bars(groups, series, width)):
        axes.bar(places, heights, width * 0.92, color=COLOURS[index % len(COLOURS)], label=_plain(name))
        whiskers = [0.0 if value is None else value for value in (spreads or {}).get(name, [])]
        if any(whiskers):
            axes.errorbar(places, heights, whiskers, fmt="none", ecolor=INK, capsize=2, linewidth=1)
        crossed = [(x, y) for x, y in zip(places, (marks or {}).get(name, []), strict=False) if y is not None]
        if crossed:
            ends = [x - width * 0.46 for x, _ in crossed], [x + width * 0.46 for x, _ in crossed]
            label = mark_label if index == 0 else ""
            axes.hlines([y for _, y in crossed], *ends, colors=INK, linewidth=2, linestyles="dotted", label=label)
    axes.set_xticks(range(len(groups)), [_plain(group) for group in groups])
    axes.set_ylim(0, high)
    return _svg(figure, axes, len(series))


def row_chart(
    groups: Sequence[str], series: Mapping[str, Sequence[float | None]], *, x_label: str, high: float = 1.0
) -> str:
    """Grouped bars that lie, from 0 to ``high``: one row per name, for many or long names; ``None`` leaves a gap.

    Raises:
        ValueError: a series has another number of values than there are groups.
    """
    figure, axes = _axes(WIDTH, 70 + len(groups) * (8 + 8 * max(1, len(series))), x_label, "")
    width = 0.8 / max(1, len(series))
    for index, (name, places, lengths) in enumerate(_bars(groups, series, width)):
        axes.barh(places, lengths, width * 0.92, color=COLOURS[index % len(COLOURS)], label=_plain(name))
    axes.set_yticks(range(len(groups)), [_plain(group) for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(0, high)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=INK, alpha=0.3, linewidth=0.6)
    return _svg(figure, axes, len(series))


def _bars(
    groups: Sequence[str], series: Mapping[str, Sequence[float | None]], width: float
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Name of each series, the centres of its bars of ``width`` and their lengths; what is no number has none."""
    for index, (name, values) in enumerate(series.items()):
        if len(values) != len(groups):
            raise ValueError(f"series {name!r}: {len(values)} values for {len(groups)} groups")
        places = [group + (index - (len(series) - 1) / 2) * width for group in range(len(groups))]
        yield name, places, [0.0 if value is None or not math.isfinite(value) else value for value in values]


def histogram(
    counts: Mapping[str, Sequence[float]],
    edges: Sequence[float],
    *,
    x_label: str,
    y_label: str = "share",
    logarithmic: bool = False,
    mark: float | None = None,
    width: int = WIDTH,
) -> str:
    """Outlines of counts between ``edges``, each series as shares of its sum; ``mark`` draws a line across.

    Raises:
        ValueError: a series has another number of counts than there are bins.
    """
    figure, axes = _axes(width, HEIGHT, x_label, y_label)
    for index, (name, values) in enumerate(counts.items()):
        if len(values) != len(edges) - 1:
            raise ValueError(f"series {name!r}: {len(values)} counts for {len(edges) - 1} bins")
        total = sum(values) or 1
        colour = COLOURS[index % len(COLOURS)]
        shares = [value / total for value in values]
        axes.stairs(shares, edges, color=colour, linewidth=1.6, label=_plain(name))
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.12)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    if mark is not None:
        axes.axvline(mark, color=INK, linewidth=1.5, linestyle="dotted")
    return _svg(figure, axes, len(counts))


def _axes(width: int, height: int, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y", color=INK, alpha=0.3, linewidth=0.6)
    axes.set_xlabel(_plain(x_label), color=INK)
    axes.set_ylabel(_plain(y_label), color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    return figure, axes


def _plain(text: str) -> str:
    """``$`` would start mathematics, and a leading ``_`` hides a legend entry."""
    return text.replace("$", r"\$").lstrip("_")


def _svg(figure: Figure, axes: Axes, entries: int) -> str:
    if entries:
        columns, above = min(entries, 4), (0.5, 1.0)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=columns, loc="lower center", bbox_to_anchor=above)
    text = io.StringIO()
    # The salt makes ids, and with them the file, the same on every run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "vidaff"}):
        figure.savefig(
            text, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
