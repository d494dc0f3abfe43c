"""Resizing, blurring and boxes of AGD20K's samples: against PyTorch, OpenCV and the authors' masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from agd20k_trees import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.datasets.agd20k.pixels import as_distribution, patches_of_box, patches_of_mask, resize, soft_label

SIDES = st.integers(1, 70)


@settings(deadline=None, max_examples=50)
@given(SIDES, SIDES, st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))
def test_resizing_is_that_of_torch(height: int, width: int, high: int, wide: int, seed: int) -> None:
    image = np.random.default_rng(seed).random((height, width, 3), np.float32)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    wanted = F.interpolate(tensor, (high, wide), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(resize(image, (high, wide)) - wanted).max() < 1e-5


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 90), st.integers(2, 90), st.integers(0, 9))
def test_a_label_is_blurred_as_by_opencv_and_then_resized(height: int, width: int, seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    kernel = int(np.sqrt(height * width) / 3)
    kernel += kernel % 2 == 0
    blurred = cv2.GaussianBlur((label >= 128).astype(np.float64), (kernel, kernel), 0)
    tensor = torch.from_numpy(blurred)[None, None]
    wanted = F.interpolate(tensor, (32, 32), mode="bilinear", align_corners=False)[0, 0].numpy()
    assert np.abs(soft_label(label, (32, 32)) - wanted).max() < 2e-5


def test_a_label_of_one_row() -> None:
    assert np.allclose(soft_label(np.full((1, 400), 255, np.uint8), (8, 8)), 1, atol=1e-6)


def test_patches_of_boxes_are_the_authors() -> None:
    with np.load(GOLDEN / "exo_mask14.npz") as wanted:
        for box, size, mask in zip(wanted["boxes_xyxy"], wanted["image_hw"], wanted["mask14"], strict=True):
            assert np.array_equal(patches_of_box(box, tuple(size), 224, 16).reshape(14, 14), mask)


@given(
    st.lists(st.floats(-50, 400, width=32), min_size=4, max_size=4), st.integers(1, 300), st.integers(1, 300),
)  # fmt: skip
def test_a_box_touches_a_solid_block_of_patches(box: list[float], height: int, width: int) -> None:
    cells = patches_of_box(np.array(box, np.float32), (height, width), 64, 16).reshape(4, 4)
    assert cells.any()
    assert np.array_equal(cells, np.outer(cells.any(axis=1), cells.any(axis=0)))


@given(st.integers(0, 47), st.integers(0, 47))
def test_a_pixel_of_a_mask_touches_its_patch(row: int, column: int) -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[row, column] = 255
    cells = patches_of_mask(mask, 48, 16).reshape(3, 3)
    assert cells[row // 16, column // 16] == 1 and cells.sum() == 1


@pytest.mark.parametrize("heat", [np.zeros((4, 4), np.float32), np.full((4, 4), np.nan, np.float32)])
def test_a_map_without_a_sum_is_uniform(heat: np.ndarray) -> None:
    assert np.array_equal(as_distribution(heat), np.full((4, 4), 1 / 16, np.float32))
