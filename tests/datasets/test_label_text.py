"""Labels written as text."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidaff.datasets.label_text import known_ids, parse_numbers, read_label_text, read_list
from vidaff.errors import VidaffError


@given(
    labels=hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(-20, 300)),
    blank=st.sampled_from([" ", "  ", "\t"]), end=st.sampled_from(["\n", "\r\n", " \n", "\n\n"]),
)  # fmt: skip
def test_any_labels_survive(labels: np.ndarray, blank: str, end: str) -> None:
    text = end.join(blank.join(map(str, row)) for row in labels.tolist()) + end
    found = parse_numbers(text.encode())
    assert np.array_equal(found, labels)
    ids = known_ids(found, 9)
    inside = (labels >= 0) & (labels <= 9)
    assert (ids[inside] == labels[inside]).all() and (ids[~inside] == 255).all()


@given(st.binary(max_size=40) | st.text("0123456789 .-+eE\n", max_size=40).map(str.encode))
def test_noise_gives_numbers_or_one_clear_line(data: bytes) -> None:
    try:
        assert parse_numbers(data).ndim == 2
    except VidaffError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"1 2\n3\n", "line 2 holds 1 numbers, the lines before it 2"), (b"", "holds no numbers"),
        (b"1 x\n", "numbers between blanks"), (b"1 -\n2 3", "a sign without a number"), (b"1-2 3\n", "line 1 is no"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    with pytest.raises(VidaffError, match=message):
        parse_numbers(data)


def test_numbers_with_a_point_are_ids_when_they_are_whole() -> None:
    assert known_ids(parse_numbers(b"1.0 2.5\n1e0 -1\n"), 9).tolist() == [[1, 255], [1, 255]]


def test_a_large_label_takes_less_than_a_third_of_a_second(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 10, (1024, 1024))
    path = tmp_path / "a.txt"
    path.write_text("\n".join(" ".join(map(str, row)) for row in labels.tolist()) + "\n")
    begin = time.process_time()
    assert np.array_equal(read_label_text(path, 9), labels)
    assert time.process_time() - begin < 0.3


def test_lists_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.jpg\r\nrgb/b.c.jpg\nrgb\\d\n\n a.jpg \n")
    assert read_list(tmp_path / "a.txt") == ["a", "b.c", "d"]
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(VidaffError, match="UTF-8"):
        read_list(tmp_path / "a.txt")
