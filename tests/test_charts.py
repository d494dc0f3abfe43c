"""SVG charts: well-formed for any numbers and names, and they show what they are given."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.charts import bar_chart, line_chart

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
