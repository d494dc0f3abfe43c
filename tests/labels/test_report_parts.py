"""Parts of the labelling's report: counting, suspicion, agreement and the small pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidaff.labels.engine import Item
from vidaff.labels.report_looks import Look, badness, iou, offences
from vidaff.labels.report_panels import COLOURS, SIDE, draw_row, paint
from vidaff.labels.report_records import AREAS, SHARES, Histogram, QueryTally, SearchTally, StepTally, recorded_items
from vidaff.labels.report_scores import agreement, refined_scope

ITEM = Item("hold", "knife", "a.png")


def look(file: str = "a.png", **known) -> Look:
    return Look(ITEM._replace(file=file), **{"ran": frozenset({"initial"}), "areas": {"initial": 0.1}, **known})


@given(st.lists(st.floats(allow_nan=False, width=32), max_size=30), st.sampled_from([SHARES, AREAS]))
def test_histograms_count_every_number_once(values, edges):
    histogram = Histogram(edges)
    for value in values:
        histogram.add(value)
    assert sum(histogram.counts) == len(values) and bool(histogram) == bool(values)


def test_a_value_falls_between_its_edges_and_what_is_no_number_nowhere():
    histogram = Histogram((0.0, 0.5, 1.0))
    for value in (0.5, 1.0, -3.0, float("nan")):
        histogram.add(value)
    assert histogram.counts == [1, 2]


def test_a_query_beside_one_that_was_found_counts_for_itself():
    search = SearchTally(0.5)
    search.add({"queries": ["tip", "edge"], "boxes": [[0, 0, 1, 1, 0.9], [0, 0, 1, 1, 0.6]], "found": ["edge"] * 2,
                "area": 0.1, "turned": 2})  # fmt: skip
    assert (search.found, search.none, search.turned) == (1, 0, 1)
    assert search.queries == {"tip": QueryTally(1, 0, 0, 1), "edge": QueryTally(1, 1, 0, 0)}


def test_reasons_and_examples_are_bounded():
    step = StepTally("init")
    for number in range(1000):
        step.skip(f"egocentric/hold/knife/{number}.png", f"reason {number % 300}")
    assert sum(step.skipped.values()) == 1000 and len(step.skipped) == 101
    assert max(map(len, step.examples.values())) == 5


def test_names_that_lead_out_of_the_folder_are_left_out(tmp_path):
    for folder in ("manifest", "records/init"):
        (tmp_path / folder).mkdir(parents=True)
    line = {"shard": "000000", "first": "", "last": "", "items": 3, "done": 2, "hashes": {},
            "skipped": [["egocentric/hold/knife/b.png", "bad"], ["egocentric/../../etc/b.png", "bad"]]}  # fmt: skip
    (tmp_path / "manifest/init.jsonl").write_text(json.dumps(line) + "\n")
    names = ["hold/knife/a.png", "../knife/a.png"]
    records = [{"view": "egocentric", "name": name, "record": {}} for name in names]
    (tmp_path / "records/init/000000.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    assert [item.name for item in recorded_items(tmp_path)] == ["hold/knife/a.png", "hold/knife/b.png"]


def test_iou():
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert iou(first, second) == 1
    first[:2], second[1:3] = True, True
    assert iou(first, second) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("known", "least", "words"),
    [
        ({"areas": {}, "trouble": "no box was found"}, 1.0, "no box was found"),
        ({"score": 0.2}, 0.8, "0.20, below the threshold"),
        ({"score": 0.6, "change": 0.1, "areas": {"initial": 0.1, "refined": 0.1}}, 0.9, "agree by 0.10"),
        ({"within": {"initial": 0.01}}, 0.8, "tiny: 1.0% of the object"),
        ({"within": {"initial": 0.99}}, 0.72, "nearly the whole object"),
        ({"areas": {"initial": 0.0001}}, 0.9, "tiny: 0.01% of the picture"),
    ],
)
def test_what_is_suspect_is_said_worst_first(known, least, words):
    value, text = offences(look(**known), 0.5)[0]
    assert value == pytest.approx(least) and words in text


def test_nothing_is_suspect_about_a_sure_label_of_ordinary_size():
    assert badness(look(score=1.0, within={"initial": 0.5}), 0.5) == 0


def test_kinds_are_compared_on_the_same_pictures():
    both = {"initial": 0.2, "raw": 0.6, "refined": 0.8, "used": 0.8}
    ran = frozenset({"initial", "raw", "refined"})
    done = look(ran=ran, truth=both, areas=dict.fromkeys(ran, 0.1))
    begun = look("b.png", ran=frozenset({"initial", "raw"}), truth={**both, "initial": 1.0})
    plain = look("c.png", truth={"initial": 1.0, "raw": 0.0, "refined": 0.0, "used": 1.0})
    assert refined_scope([done, begun, plain]) == [done] and refined_scope([plain]) == []
    assert agreement([done]).iou == both
    assert agreement([done, plain]).iou == {"initial": 0.6, "raw": None, "refined": None, "used": 0.9}
    assert agreement([look(truth=None)]) is None


def test_a_label_is_painted_in_its_colour_and_thin_ones_stay_visible():
    ground, mask = np.full((40, 60, 3), 100, np.uint8), np.zeros((400, 600), bool)
    mask[:, 300:304] = True
    painted = paint(ground, mask, COLOURS["refined"])
    assert painted.shape == ground.shape and (ground == 100).all()
    green = painted[..., 1].astype(int) - painted[..., 0]
    assert green[:, 30].min() > 20 and abs(green[:, 10]).max() <= 1


def test_boxes_of_any_size_are_drawn(tmp_path):
    from vidaff.datasets.agd20k.labels import LabelFolder
    from vidaff.labels.report_looks import Place

    LabelFolder(tmp_path).write_mask("initial", ITEM.picture, np.eye(3, 500, dtype=bool))
    boxes = [[-1e30, 0, 1e30, 5, 0.5], [float("nan"), 0, 1, 1, 0.5]]
    cells = draw_row(look(), ["image", "initial", "raw", "truth"], Place(tmp_path), None, {"boxes": boxes})
    assert cells[0] == "no picture" and cells[1][:2] == b"\xff\xd8" and cells[2:] == ["not tried", "no truth"]
    import cv2

    assert cv2.imdecode(np.frombuffer(cells[1], np.uint8), cv2.IMREAD_COLOR).shape == (1, SIDE, 3)
