"""Pseudo-labels from boxes and masks, against the authors' code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vidaff.labels.ops import crop_of, fill_holes, keep_boxes, label_of, select_regions, turn_inside_out, union
from vidaff.labels.types import Detections

GOLDEN = Path(__file__).parents[1] / "golden" / "wsag"


def detections(scores):
    count = len(scores)
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    return Detections(boxes, np.array(scores, np.float32), np.arange(count))


@pytest.mark.parametrize(
    ("scores", "kept"),
    [([0.9, 0.6, 0.4], [0, 1]), ([0.2, 0.45, 0.45, 0.1], [1]), ([0.5, 0.3], [0]), ([], []), ([0.51], [0])],
)
def test_boxes_that_are_kept_equal_the_authors(scores, kept):
    assert keep_boxes(detections(scores)).query_index.tolist() == kept


@pytest.mark.parametrize("case", range(8))
def test_labels_equal_the_authors(case):
    golden = np.load(GOLDEN / "pseudo_label_ops.npz", allow_pickle=False)
    masks, boxes = golden[f"c{case}.masks_in"], golden[f"c{case}.boxes"]
    fine = [fill_holes(turn_inside_out(mask, box)) for mask, box in zip(masks, boxes, strict=True)]
    np.testing.assert_array_equal(fine, golden[f"c{case}.fine_masks"])
    label = label_of(masks, boxes, masks.shape[1:])
    np.testing.assert_array_equal(label.astype(np.uint8) * 255, golden[f"c{case}.label_u8"])


@pytest.mark.parametrize("case", range(8))
def test_selected_regions_equal_the_authors(case):
    golden = np.load(GOLDEN / "sam_select.npz", allow_pickle=False)
    prediction, boxes = golden[f"x{case}.pred"], golden[f"x{case}.boxes"]
    result = np.zeros(prediction.shape, bool)
    for number, box in enumerate(boxes):
        place = crop_of(box, prediction.shape)
        regions = np.stack([golden[f"x{case}.box{number}.sam{k}"] for k in range(5)]) > 0
        result[place] |= select_regions(regions, prediction[place])
    if f"x{case}.result" in golden:
        np.testing.assert_array_equal(result, golden[f"x{case}.result"] > 0)
    else:
        assert not result.any()  # the authors write no file


def test_no_masks_give_an_empty_label():
    assert not label_of(np.zeros((0, 4, 5), bool), np.zeros((0, 4)), (4, 5)).any()
    assert union(np.zeros((0, 4, 5), bool), (4, 5)).shape == (4, 5)
    assert not select_regions(np.zeros((0, 4, 5), bool), np.ones((4, 5), bool)).any()


def test_boxes_outside_the_picture():
    assert crop_of(np.array([10, 0, 20, 5]), (8, 8)) is None
    assert crop_of(np.array([-3, -2, 4.9, 5]), (8, 8)) == (slice(0, 5), slice(0, 4))
    mask = np.ones((4, 4), bool)
    assert turn_inside_out(mask, np.array([9, 9, 12, 12])) is mask


@given(arrays(bool, (12, 17)))
def test_filling_only_adds_and_keeps_large_holes(mask):
    filled = fill_holes(mask, 9)
    assert (filled | mask == filled).all()
    np.testing.assert_array_equal(fill_holes(filled, 9), filled)
    assert fill_holes(mask, 1).sum() == mask.sum()


@given(arrays(bool, (4, 6, 7)), arrays(bool, (6, 7)), st.floats(0, 1))
def test_selected_regions_are_some_of_the_regions(regions, prediction, overlap):
    chosen = select_regions(regions, prediction, overlap=overlap)
    assert not (chosen & ~regions.any(0)).any()
    if not prediction.any():
        assert not chosen.any()
