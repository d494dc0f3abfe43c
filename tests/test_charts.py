"""SVG charts: they stay well-formed and inside their box for any numbers."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidaff.charts import HEIGHT, WIDTH, bar_chart, line_chart, nice_ticks

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(finite, finite)
def test_ticks_cover_the_span_with_few_numbers(a: float, b: float) -> None:
    low, high = sorted((a, b))
    ticks = nice_ticks(low, high)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 9
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(allow_nan=True, allow_infinity=True, width=16)), max_size=20))
def test_lines_stay_inside_the_box(points: list[tuple[float, float]]) -> None:
    svg = line_chart({"loss": points}, x_label="minutes", y_label="loss")
    root = ElementTree.fromstring(svg)
    for line in root.iter("polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert "nan" not in svg


def test_bars_have_the_height_of_their_value() -> None:
    svg = bar_chart(["cut", "lift"], {"ours": [0.5, 1.0], "paper": [None, math.nan]}, y_label="IoU")
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill="var\(--s1\)"><title>', svg)]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(heights[1] / 2, abs=0.2)
    assert 'var(--s2)"><title>' not in svg


def test_bars_refuse_a_series_of_another_length() -> None:
    with pytest.raises(ValueError, match="1 values for 2 groups"):
        bar_chart(["a", "b"], {"ours": [1.0]}, y_label="IoU")


def test_names_are_escaped() -> None:
    svg = line_chart({"<b>": [(0, 1), (1, 2)]}, x_label="a & b", y_label='"y"')
    ElementTree.fromstring(svg)
    assert "<b>" not in svg
