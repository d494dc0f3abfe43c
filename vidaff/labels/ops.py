"""From boxes and masks to pseudo-labels: pure functions on NumPy arrays.

Boxes are left, top, right, bottom in pixels. Masks are (H, W) bool.

Source: WSAG-PLSP (ICLR 2025), sections 3.2 and 3.3, with the released code's numbers where paper and code differ.
"""

from __future__ import annotations

import cv2
import numpy as np

from vidaff.labels.types import Detections

KEPT_SCORE = 0.5
HOLE_AREA = 400
EMPTY = 1e-8


def keep_boxes(detections: Detections, threshold: float = KEPT_SCORE) -> Detections:
    """Boxes that score above ``threshold`` (exclusive), else the single best one, else none."""
    kept = np.flatnonzero(detections.scores > threshold)
    if not len(kept) and len(detections.scores):
        kept = np.array([int(np.argmax(detections.scores))])
    return Detections(*(values[kept] for values in detections))


def turn_inside_out(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The mask, inverted within ``box`` if it covers more than half of the box's border.

    Segmenters now and then give what is around the object instead of the object. Corners count twice, as in the
    released code.
    """
    left, top, right, bottom = (int(value) for value in box)
    inside = mask[top:bottom, left:right]
    if not inside.size:
        return mask
    covered = int(inside[0].sum()) + int(inside[-1].sum()) + int(inside[:, 0].sum()) + int(inside[:, -1].sum())
    if covered <= (right - left) + (bottom - top):
        return mask
    turned = mask.copy()
    turned[top:bottom, left:right] = ~inside
    return turned


def fill_holes(mask: np.ndarray, area: int = HOLE_AREA) -> np.ndarray:
    """The mask with its holes of fewer than ``area`` pixels (8-connected) filled.

    A deviation of the released code from the paper, which does not speak of holes.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=8)
    small = np.zeros(count, bool)
    small[1:] = stats[1:, cv2.CC_STAT_AREA] < area
    filled: np.ndarray = mask | small[labels]
    return filled


def union(masks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """One mask (H, W) bool of ``masks`` (N, H, W), of which there may be none."""
    if not len(masks):
        return np.zeros(shape, bool)
    return np.logical_or.reduce(np.asarray(masks, bool), axis=0)


def label_of(masks: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], *, hole_area: int = HOLE_AREA) -> np.ndarray:
    """The initial pseudo-label (H, W) bool: every mask turned the right way and filled, then all of them united."""
    cleaned = [
        fill_holes(turn_inside_out(np.asarray(mask, bool), box), hole_area)
        for mask, box in zip(masks, boxes, strict=True)
    ]
    return union(np.stack(cleaned) if cleaned else np.zeros((0, *shape), bool), shape)


def crop_of(box: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of a box on a grid of ``shape`` (height, width), whole pixels; None where nothing is left."""
    left, top, right, bottom = (int(value) for value in box)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, shape[1]), min(bottom, shape[0])
    return (slice(top, bottom), slice(left, right)) if right > left and bottom > top else None


def select_regions(
    regions: np.ndarray, prediction: np.ndarray, *, overlap: float = 0.1, best: float = 0.9, whole: float = 0.9
) -> np.ndarray:
    """Union (h, w) bool of the regions that lie within the predicted part.

    Args:
        regions: (K, h, w) bool, of one object's box.
        prediction: (h, w) bool, the predicted part in that box.
        overlap: least share of a region that must be predicted, exclusive.
        best: least share relative to that of the best region, exclusive.
        whole: a region with at least this share of the prediction is taken for the whole object and left out (a
            deviation of the released code from the paper).
    """
    if not len(regions):
        return np.zeros(prediction.shape, bool)
    common = (regions & prediction).sum((1, 2))
    ratio = common / (regions.sum((1, 2)) + EMPTY)
    ratio = np.where(common >= whole * prediction.sum(), 0.0, ratio)
    return union(regions[ratio > max(overlap, best * ratio.max())], (prediction.shape[0], prediction.shape[1]))
