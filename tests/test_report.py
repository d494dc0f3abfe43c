"""The HTML report: one file, nothing fetched, everything escaped."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidaff.charts import line_chart
from vidaff.errors import VidaffError
from vidaff.report import Report, data_uri

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Checker(HTMLParser):
    """Collects text and attributes, and fails on unbalanced tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def check(report: Report) -> Checker:
    checker = Checker()
    checker.feed(report.html())
    checker.close()
    assert checker.open == []
    return checker


def full_report(tmp_path: Path) -> Report:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"\x00\x00\x00\x18ftypisom")
    report = Report("Title", "Lead")
    report.section("Scores", "one", "two")
    report.facts([(0.81234, "IoU"), (12, "clips")])
    report.table(["model", "IoU"], [["small", 0.81234], ["tiny", None]], caption="note", strong=[0])
    report.picture(np.zeros((4, 6, 3), np.uint8), "black")
    report.clip(clip, "moving")
    report.clips([(clip, "a"), (clip, "b")])
    report.charts([(line_chart({"loss": [(0, 1), (1, 0.5)]}, x_label="min", y_label="loss"), "falls")])
    report.chart(line_chart({}, x_label="min", y_label="loss"))
    with report.fold("more"):
        report.legend([((255, 0, 0), "red")])
        report.sheet(["a", "b"], [("both", [b"\xff\xd8", "nothing"])])
    report.code("key: value", summary="settings")
    return report


def test_the_page_is_balanced_and_fetches_nothing(tmp_path: Path) -> None:
    checker = check(full_report(tmp_path))
    assert checker.sources and all(source.startswith("data:") for source in checker.sources)
    assert not checker.tags & {"script", "link", "iframe"}
    # Names of XML namespaces look like addresses and are never fetched; url(#...) points into the page itself.
    html = re.sub(r'xmlns(:\w+)?="[^"]*"', "", full_report(tmp_path).html())
    assert not re.search(r"https?://|url\((?!#)", html)


def test_numbers_are_rounded_and_missing_ones_named(tmp_path: Path) -> None:
    texts = check(full_report(tmp_path)).texts
    assert "0.812" in texts and "n/a" in texts and "12" in texts


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_text_is_escaped(title: str, cell: str) -> None:
    report = Report(title, cell)
    report.section(title, cell)
    report.table([title], [[cell]], caption=cell)
    report.code(cell, summary=title)
    with report.fold(title):
        report.legend([((0, 0, 0), cell)])
        report.sheet([title], [(cell, [cell])])
    assert check(report).tags <= {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "div", "table", "caption", "thead",
        "tbody", "tr", "th", "td", "pre", "details", "summary", "span", "b", "i",
    }  # fmt: skip


def test_a_picture_survives_the_round_trip() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    report = Report("x")
    report.picture(picture)
    data = base64.b64decode(check(report).sources[0].split(",", 1)[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_a_compact_picture_is_smaller_and_looks_the_same() -> None:
    picture = np.zeros((40, 3200, 3), np.uint8)
    picture[:, 1600:] = 200
    report = Report("x")
    report.picture(picture, compact=True)
    kind, data = check(report).sources[0].split(",", 1)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert "jpeg" in kind and image.shape == (20, 1600, 3)
    assert abs(int(image[10, 1200, 0]) - 200) < 5 and image[10, 400, 0] < 5


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells, the header 2"):
        Report("x").table(["a", "b"], [["only"]])


@pytest.mark.parametrize("name", ["missing.png", "notes.txt"])
def test_what_cannot_be_embedded_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(VidaffError, match=name):
        data_uri(tmp_path / name)


def test_a_huge_clip_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.mp4"
    with huge.open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(VidaffError, match="too large for a report"):
        data_uri(huge)


def test_saving_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = full_report(tmp_path).save(tmp_path / "out" / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_fold_is_closed_whatever_happens_in_it_and_sheets_refuse_uneven_rows() -> None:
    report = Report("x")
    with pytest.raises(ValueError, match="1 pictures, the header 2"), report.fold("more", opened=True):
        report.sheet(["a", "b"], [("row", ["one"])])
    check(report)
    assert '<details class="fold" open>' in report.html()
