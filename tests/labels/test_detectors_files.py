"""Boxes out of files: the right picture, the right query, and nothing broken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidaff.errors import VidaffError
from vidaff.labels.detectors import for_picture, load_detector
from vidaff.labels.detectors.files import FileBoxes
from vidaff.labels.segmenters import load_proposer
from vidaff.labels.settings import DetectorSettings, SegmenterSettings

IMAGE = np.zeros((40, 60, 3), np.uint8)
NAME = "cut_with/knife/knife_1.jpg"


def write(path, boxes, **changes):
    path.write_text(json.dumps({"format": "vidaff-boxes", "version": 1, "boxes": boxes, **changes}))
    return path


def load(path):
    return load_detector(DetectorSettings(kind="file", weights=str(path)))


def ask(path, queries=("knife blade",), name=NAME, view=None):
    return for_picture(load(path), name, view).detect(IMAGE, list(queries))


def test_rows_without_words_answer_every_query_best_first(tmp_path):
    file = write(tmp_path / "boxes.json", {NAME: [[1, 2, 30, 20, 0.25], [5, 5, 90, 20, 0.75]]})
    found = ask(file, ["knife blade", "knife handle"])
    np.testing.assert_array_equal(found.boxes, np.float32([[5, 5, 60, 20], [1, 2, 30, 20]]))
    np.testing.assert_array_equal(found.scores, np.float32([0.75, 0.25]))
    np.testing.assert_array_equal(found.query_index, [0, 0])


def test_rows_with_words_answer_their_query_only(tmp_path):
    rows = [[0, 0, 9, 9, 0.5, "Knife_handle"], [0, 0, 8, 8, 0.4, "knife blade"], [0, 0, 7, 7, 0.3, "cup"]]
    file = write(tmp_path / "parts.json", {NAME: rows})
    found = ask(file, ["knife blade", "knife  handle"])
    np.testing.assert_array_equal(found.query_index, [1, 0])
    np.testing.assert_array_equal(found.boxes[:, 2], [9, 8])
    assert len(ask(file, ["spoon"]).boxes) == 0


def test_a_picture_that_is_not_listed_is_no_picture_without_boxes(tmp_path):
    file = write(tmp_path / "boxes.json", {NAME: []})
    assert len(ask(file).boxes) == 0
    with pytest.raises(VidaffError, match=r"no boxes of the picture cut_with/knife/other\.jpg"):
        ask(file, name="cut_with/knife/other.jpg")
    with pytest.raises(ValueError, match="for_picture"):
        load(file).detect(IMAGE, ["knife"])
    with pytest.raises(ValueError, match="no query"):
        ask(file, [])


def test_views_of_a_folder_and_of_one_file(tmp_path):
    write(tmp_path / "egocentric.json", {NAME: [[0, 0, 1, 1, 0.5]]})
    write(tmp_path / "boxes.json", {NAME: [[0, 0, 2, 2, 0.5]], f"exocentric/{NAME}": [[0, 0, 3, 3, 0.5]]})
    sizes = [ask(tmp_path, view=view).boxes[0, 2] for view in ("egocentric", "exocentric", None)]
    assert sizes == [1, 3, 2]
    assert len(load(tmp_path).files()) == 2


def save_authors(path, files):
    torch.save({"cut_with": {"knife": files}}, path)
    return path


def test_the_authors_dictionaries_answer_the_objects_name(tmp_path):
    boxes = torch.tensor([[1.0, 2, 30, 20], [0, 0, 5, 5]])
    save_authors(tmp_path / "det_wholeobj_ego.pth", {"knife_1.jpg": [boxes, [0.6, 0.9]]})
    for source in (tmp_path, tmp_path / "det_wholeobj_ego.pth"):
        found = ask(source, ["Knife"], view="egocentric")
        np.testing.assert_array_equal(found.boxes, boxes[[1, 0]])
        assert len(ask(source, ["knife blade"], view="egocentric").boxes) == 0
    with pytest.raises(VidaffError, match=r"exocentric\.json"):
        ask(tmp_path, ["knife"], view="exocentric")


class Bomb:
    def __reduce__(self):
        import os

        return os.system, ("true",)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    torch.save({"cut_with": Bomb()}, tmp_path / "det_wholeobj_ego.pth")
    with pytest.raises(VidaffError, match="refused"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "format"),
        ('{"format": "vidaff-boxes", "version": 2, "boxes": {}}', "version"),
        ('{"format": "vidaff-boxes", "version": 1, "boxes": {"a": [[1, 2, 3, 4]]}}', "rows"),
        ('{"format": "vidaff-boxes", "version": 1, "boxes": {"a": [[1, 2, 3, 4, 2.0]]}}', "score"),
        ('{"format": "vidaff-boxes", "version": 1, "boxes": {"a": [[1, 2, NaN, 4, 0.5]]}}', "finite"),
        ('{"format": "vidaff-boxes", "version": 1, "boxes": {"a": [[1, 2, 3, 4, 0.5, 7]]}}', "text"),
        ('{"format": "vidaff-boxes", "version": 1, "boxes": {"a": 3}}', "rows"),
        ("{", "JSON"),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    file = tmp_path / "boxes.json"
    file.write_text(content)
    with pytest.raises(VidaffError, match=rf"boxes\.json.*{message}"):
        load(file)


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    file = write(tmp_path / "boxes.json", {NAME: []})
    first = load(file).fingerprint()
    assert for_picture(load(file), NAME).fingerprint() == first
    write(file, {NAME: [[0, 0, 1, 1, 0.5]]})
    assert load(file).fingerprint() != first


numbers = st.floats(-100, 100, width=32)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, st.floats(0, 1, width=32)), max_size=6))
def test_whatever_the_boxes_they_end_up_within_the_picture(tmp_path, rows):
    found = for_picture(FileBoxes(write(tmp_path / "boxes.json", {NAME: rows})), NAME).detect(IMAGE, ["knife"])
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [60, 40, 60, 40]).all()
    assert (np.diff(found.scores) <= 0).all()


def documented_functions():
    text = (Path(__file__).parents[2] / "docs" / "labels-file.md").read_text()
    found = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, found)
    return found


def test_the_documented_way_from_coco_results(tmp_path):
    annotations = {
        "images": [{"id": 3, "file_name": NAME}, {"id": 4, "file_name": "cut_with/knife/knife_2.jpg"}],
        "categories": [{"id": 1, "name": "knife:blade"}, {"id": 2, "name": "knife:handle"}],
    }
    results = [{"image_id": 3, "category_id": 1, "bbox": [10, 5, 20, 10], "score": 0.75}]
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    (tmp_path / "results.json").write_text(json.dumps(results))
    documented_functions()["boxes_from_coco"](
        tmp_path / "results.json", tmp_path / "annotations.json", tmp_path / "boxes.json"
    )
    found = ask(tmp_path / "boxes.json", ["knife handle", "knife blade"])
    np.testing.assert_array_equal(found.boxes, np.float32([[10, 5, 30, 15]]))
    assert found.query_index.tolist() == [1]
    assert len(ask(tmp_path / "boxes.json", name="cut_with/knife/knife_2.jpg").boxes) == 0


def test_the_documented_way_from_fastsam(tmp_path):
    masks = np.zeros((2, 40, 60), np.float32)
    masks[0, 2:20, 3:30] = masks[1, 10:30, 20:50] = 1
    documented_functions()["write_regions"](tmp_path, NAME, masks)
    tool = for_picture(load_proposer(SegmenterSettings(kind="file", weights=str(tmp_path))), NAME)
    np.testing.assert_array_equal(tool.generate(IMAGE), masks > 0)


def test_the_documented_json_is_readable(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "labels-file.md").read_text()
    (tmp_path / "boxes.json").write_text(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1])
    tool = for_picture(load(tmp_path / "boxes.json"), NAME)
    found = tool.detect(np.zeros((200, 400, 3), np.uint8), ["knife handle", "knife blade"])
    assert found.query_index.tolist() == [1, 0]
