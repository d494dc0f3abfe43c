"""SVG charts: well-formed for any numbers and names, and they show what they are given."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.charts import bar_chart, histogram, line_chart, row_chart

SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(allow_nan=True, allow_infinity=True, width=16)), max_size=20))
def test_any_points_give_a_well_formed_chart(points: list[tuple[float, float]]) -> None:
    assert "loss" in words(line_chart({"loss": points}, x_label="minutes", y_label="height"))


def test_names_labels_and_groups_are_shown_as_they_are() -> None:
    shown = words(line_chart({"<b> $x$": [(0, 1), (1, 2)]}, x_label="a & b", y_label='"y"'))
    assert {"<b> $x$", "a & b", '"y"'} <= set(shown)
    assert {"cut", "lift", "ours"} <= set(words(bar_chart(["cut", "lift"], {"ours": [0.5, 1.0]}, y_label="IoU")))


def test_gaps_are_no_bars_and_nothing_is_no_error() -> None:
    bar_chart(["cut", "lift"], {"ours": [0.5, 1.0], "paper": [None, math.nan]}, y_label="IoU")
    line_chart({}, x_label="x", y_label="y")


def test_bars_refuse_a_series_of_another_length() -> None:
    with pytest.raises(ValueError, match="1 values for 2 groups"):
        bar_chart(["a", "b"], {"ours": [1.0]}, y_label="IoU")


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert line_chart({"a": [(0, 1)]}, x_label="", y_label="") == line_chart({"a": [(0, 1)]}, x_label="", y_label="")


def test_rows_and_histograms_show_their_names() -> None:
    rows = row_chart(["hold $knife$", "cut"], {"ours": [0.5, None], "theirs": [1.0, math.nan]}, x_label="IoU")
    assert {"hold $knife$", "cut", "ours", "theirs", "IoU"} <= set(words(rows))
    assert "share" in words(histogram({"a": [0, 0], "b": [1, 3]}, [0.001, 0.1, 1.0], x_label="x", logarithmic=True))


def test_more_rows_make_a_higher_chart() -> None:
    heights = [
        float(ElementTree.fromstring(row_chart(["a"] * rows, {"x": [0.5] * rows}, x_label="x")).attrib["height"][:-2])
        for rows in (3, 100)
    ]
    assert heights[1] > 8 * heights[0]


def test_rows_and_histograms_refuse_series_of_another_length() -> None:
    with pytest.raises(ValueError, match="1 values for 2 groups"):
        row_chart(["a", "b"], {"ours": [1.0]}, x_label="x")
    with pytest.raises(ValueError, match="3 counts for 2 bins"):
        histogram({"a": [1, 2, 3]}, [0, 1, 2], x_label="x")
