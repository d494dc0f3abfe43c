"""Masks out of files, as FastSAM's: regions, and the best of them for a box."""

from __future__ import annotations

import numpy as np
import pytest

from vidaff.errors import VidaffError
from vidaff.io import write_image
from vidaff.labels.detectors import for_picture
from vidaff.labels.segmenters import load_proposer, load_segmenter
from vidaff.labels.settings import SegmenterSettings
from vidaff.labels.types import BoxSegmenter, RegionProposer

IMAGE = np.zeros((20, 30, 3), np.uint8)
NAME = "hold/cup/cup_1.jpg"


def load(folder):
    return load_segmenter(SegmenterSettings(kind="file", weights=str(folder)))


@pytest.fixture
def ids():
    ids = np.zeros((20, 30), np.uint8)
    ids[2:10, 2:10] = 7
    ids[2:10, 12:28] = 200
    return ids


def test_every_value_but_0_is_a_region(tmp_path, ids):
    write_image(tmp_path / "hold/cup/cup_1.png", ids)
    tool = for_picture(load(tmp_path), NAME)
    assert isinstance(tool, BoxSegmenter)
    assert isinstance(tool, RegionProposer)
    np.testing.assert_array_equal(tool.generate(IMAGE), [ids == 7, ids == 200])
    masks = tool.segment(IMAGE, np.array([[11, 0, 30, 12], [0, 0, 11, 11], [0, 15, 30, 20]], np.float32))
    np.testing.assert_array_equal(masks, [ids == 200, ids == 7, ids == 99])
    assert tool.segment(IMAGE, np.zeros((0, 4))).shape == (0, 20, 30)


def test_one_region_a_file_may_overlap(tmp_path, ids):
    folder = tmp_path / "egocentric/hold/cup/cup_1"
    write_image(folder / "a.png", (ids == 7).astype(np.uint8) * 255)
    write_image(folder / "b.png", (ids > 0).astype(np.uint8))
    write_image(folder / "c.png", ids * 0)
    tool = for_picture(load(tmp_path), NAME, "egocentric")
    np.testing.assert_array_equal(tool.generate(IMAGE), [ids == 7, ids > 0])
    masks = tool.segment(IMAGE, np.array([[2, 2, 10, 10], [2, 2, 28, 10]], np.float32))
    np.testing.assert_array_equal(masks, [ids == 7, ids > 0])


def test_an_empty_picture_has_no_regions(tmp_path, ids):
    write_image(tmp_path / "hold/cup/cup_1.png", ids * 0)
    tool = for_picture(load(tmp_path), NAME)
    assert tool.generate(IMAGE).shape == (0, 20, 30)
    assert not tool.segment(IMAGE, np.array([[0, 0, 30, 20]])).any()


def test_boxes_beyond_the_picture_and_empty_ones(tmp_path, ids):
    write_image(tmp_path / "hold/cup/cup_1.png", ids)
    tool = for_picture(load(tmp_path), NAME)
    masks = tool.segment(IMAGE, np.array([[-50, -50, 11, 500], [40, 40, 50, 50], [5, 5, 5, 5]], np.float32))
    np.testing.assert_array_equal(masks, [ids == 7, ids == 99, ids == 99])


def test_what_is_missing_is_said(tmp_path, ids):
    with pytest.raises(VidaffError, match="no PNG"):
        load(tmp_path)
    write_image(tmp_path / "hold/cup/cup_1.png", ids)
    tool = load(tmp_path)
    with pytest.raises(VidaffError, match=r"no masks of the picture hold/cup/cup_2\.jpg"):
        for_picture(tool, "hold/cup/cup_2.jpg").generate(IMAGE)
    with pytest.raises(VidaffError, match="20x30"):
        for_picture(tool, NAME).generate(np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(VidaffError, match="within a folder"):
        for_picture(tool, "../secret.jpg").generate(IMAGE)
    with pytest.raises(ValueError, match="for_picture"):
        tool.generate(IMAGE)


def test_the_fingerprint_follows_the_files(tmp_path, ids):
    write_image(tmp_path / "hold/cup/cup_1.png", ids)
    settings = SegmenterSettings(kind="file", weights=str(tmp_path))
    first = load_proposer(settings).fingerprint()
    assert load_proposer(settings, segmenter=load_segmenter(settings)).fingerprint() == first
    write_image(tmp_path / "hold/cup/cup_2.png", ids)
    assert load_proposer(settings).fingerprint() != first
