"""Small charts as SVG text, for pages that must need nothing but themselves: lines over an axis, grouped bars.

Colours come from CSS variables ``--s1``, ``--s2`` ... of the page (``vidaff.report`` sets them), so that one chart fits
a light and a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HALF, HEIGHT = 640, 440, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 30, 42

Series = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Axis:
    """A linear axis from values to SVG units: ``low`` lands on ``start``, ``high`` on ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2, 5 times a power of ten) that cover ``low`` to ``high``.

    The first is at most ``low``, the last at least ``high``; equal limits are set 1 apart, non-finite
    ones become 0 and 1.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    if high - low <= 1e-12 * max(1.0, abs(low), abs(high)):
        high = low + 1.0
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def line_chart(
    series: Series, *, x_label: str, y_label: str, y_limits: tuple[float, float] | None = None, width: int = WIDTH
) -> str:
    """Lines through ``(x, y)`` points, one colour and one legend entry per series; non-finite points are left out.

    ``width`` is :data:`HALF` for a chart that shares its row with another one, so that letters keep their size.
    """
    kept = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    xs = [x for points in kept.values() for x, _ in points] or [0.0]
    ys = [y for points in kept.values() for _, y in points] or [0.0]
    y_ticks = nice_ticks(*(y_limits or (min(0.0, *ys), max(ys))))
    x_ticks = nice_ticks(min(xs), max(xs), 6)
    x_axis = Axis(x_ticks[0], x_ticks[-1], LEFT, width - RIGHT)
    y_axis = Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [_grid(y_axis, y_ticks, width), _x_ticks(x_axis, x_ticks)]
    parts += [_labels(x_label, y_label, width), _legend(list(kept), width)]
    parts += [_line(points, x_axis, y_axis, index) for index, points in enumerate(kept.values())]
    return _svg(parts, (width, HEIGHT), f"{y_label} over {x_label}: {', '.join(kept)}")


def bar_chart(
    groups: Sequence[str], series: Mapping[str, Sequence[float | None]], *, y_label: str, high: float = 1.0
) -> str:
    """Grouped bars from 0 to ``high``: one group per name, one bar per series; ``None`` leaves a gap.

    Raises:
        ValueError: a series has another number of values than there are groups.
    """
    for name, values in series.items():
        if len(values) != len(groups):
            raise ValueError(f"series {name!r}: {len(values)} values for {len(groups)} groups")
    ticks = nice_ticks(0.0, high)
    y_axis = Axis(0.0, ticks[-1], HEIGHT - BOTTOM, TOP)
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(groups))
    parts = [_grid(y_axis, ticks, WIDTH), _labels("", y_label, WIDTH), _legend(list(series), WIDTH)]
    for number, group in enumerate(groups):
        left = LEFT + number * slot
        parts.append(_text(left + slot / 2, HEIGHT - BOTTOM + 16, group, "middle"))
        parts += _group(left, slot, [values[number] for values in series.values()], list(series), y_axis, group)
    return _svg(parts, (WIDTH, HEIGHT - 16), f"{y_label}: {', '.join(series)}")


def _group(
    left: float, slot: float, values: Sequence[float | None], names: Sequence[str], axis: Axis, group: str
) -> list[str]:
    width = slot * 0.78 / max(1, len(values))
    bars = []
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            continue
        x, y = left + slot * 0.11 + index * width, axis(value)
        title = escape(f"{group}, {names[index]}: {value:.3f}")
        bars.append(
            f'<rect x="{x:.1f}" y="{y}" width="{max(1.0, width - 1.5):.1f}" height="{max(0.0, axis.start - y):.1f}" '
            f'fill="var(--s{index + 1})"><title>{title}</title></rect>'
        )
    return bars


def _line(points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis, index: int) -> str:
    if not points:
        return ""
    path = " ".join(f"{x_axis(x)},{y_axis(y)}" for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke="var(--s{index + 1})" stroke-width="2"/>'
    x, y = points[-1]
    return line + f'<circle cx="{x_axis(x)}" cy="{y_axis(y)}" r="3" fill="var(--s{index + 1})"/>'


def _grid(axis: Axis, ticks: Sequence[float], width: int) -> str:
    lines = [
        f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{axis(tick)}" y2="{axis(tick)}"/>'
        + _text(LEFT - 8, axis(tick) + 4, _number(tick), "end")
        for tick in ticks
    ]
    return "".join(lines)


def _x_ticks(axis: Axis, ticks: Sequence[float]) -> str:
    return "".join(_text(axis(tick), HEIGHT - BOTTOM + 16, _number(tick), "middle") for tick in ticks)


def _labels(x_label: str, y_label: str, width: int) -> str:
    middle = (LEFT + width - RIGHT) / 2
    return _text(middle, HEIGHT - 8, x_label, "middle") + _text(4, 14, y_label, "start")


def _legend(names: Sequence[str], width: int) -> str:
    parts, x = [], float(width - RIGHT)
    for index, name in reversed(list(enumerate(names))):
        x -= 6.6 * len(name) + 26
        parts.append(f'<rect x="{x:.1f}" y="5" width="11" height="11" rx="2" fill="var(--s{index + 1})"/>')
        parts.append(_text(x + 16, 14, name, "start"))
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>' if text else ""


def _number(value: float) -> str:
    return f"{value:.6g}"


def _svg(parts: Sequence[str], size: tuple[int, int], label: str) -> str:
    body = "".join(parts)
    box = f"0 0 {size[0]} {size[1]}"
    return f'<svg class="chart" viewBox="{box}" role="img" aria-label="{escape(label)}">{body}</svg>'
