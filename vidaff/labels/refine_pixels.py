"""Pictures, boxes and masks as the refinement network takes them: padded to squares, cropped, resized.

A picture of (height, width) is seen on a square canvas of its longer side, zero outside the picture once its colours
are normalised; half of the padding, rounded down, comes first.

Source: Xu et al., ICLR 2025, section 3.3 and the authors' code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vidaff.datasets.agd20k.pixels import Triple, neighbours

CROP_SHARE = 7 / 8
"""Side of the random crop as a share of the canvas: 224 of 256 pixels."""


class Rect(NamedTuple):
    """Left, top, right, bottom in pixels of the picture; a rectangle may reach beyond it."""

    left: float
    top: float
    right: float
    bottom: float

    def within(self, other: Rect) -> Rect:
        """What both have in common; empty where right <= left or bottom <= top."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        return Rect(left, top, min(self.right, other.right), min(self.bottom, other.bottom))

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top


def square_around(rect: Rect) -> Rect:
    """The square of the longer side of ``rect`` (whole pixels), which lies in its middle, rounded up and left."""
    height, width = rect.bottom - rect.top, rect.right - rect.left
    side = max(height, width)
    left, top = rect.left - (side - width) // 2, rect.top - (side - height) // 2
    return Rect(left, top, left + side, top + side)


def canvas_of(picture: tuple[int, int]) -> Rect:
    """Square canvas of a picture of (height, width)."""
    return square_around(Rect(0, 0, picture[1], picture[0]))


def whole_pixels(rect: Rect, origin: Rect) -> Rect:
    """``rect`` with its edges cut to whole pixels, counted from the corner of ``origin`` as the authors count."""
    left, top = origin.left, origin.top
    return Rect(
        math.trunc(rect.left - left) + left, math.trunc(rect.top - top) + top,
        math.trunc(rect.right - left) + left, math.trunc(rect.bottom - top) + top,
    )  # fmt: skip


def view(image: np.ndarray, square: Rect, size: int, *, visible: Rect | None = None) -> np.ndarray:
    """What a square shows of a picture: (H, W, C) numbers -> (size, size, C) float32, bilinear, zero elsewhere.

    Args:
        image: the picture, or a mask.
        square: whole pixels; it may reach beyond the picture.
        size: pixels of the result.
        visible: what of the picture is seen; all when None.
    """
    seen = Rect(0, 0, image.shape[1], image.shape[0])
    seen = seen if visible is None else seen.within(visible)
    if seen.empty:
        return np.zeros((size, size, *image.shape[2:]), np.float32)
    rows = (square.top, square.bottom, seen.top, seen.bottom)
    columns = (square.left, square.right, seen.left, seen.right)
    for axis, (start, stop, low, high) in enumerate((rows, columns)):
        image = _along(image, axis, (int(start), int(stop)), (int(low), int(high)), size)
    return image


def _along(image: np.ndarray, axis: int, window: tuple[int, int], seen: tuple[int, int], size: int) -> np.ndarray:
    """One axis of ``window`` resized to ``size``; pixels that are not ``seen`` are zero."""
    first, second, share = neighbours(window[1] - window[0], size)
    total = np.float32(0)
    for place, weight in ((first + window[0], 1 - share), (second + window[0], share)):
        weight = np.where((place >= seen[0]) & (place < seen[1]), weight, 0).astype(np.float32)
        taken = image.take(np.clip(place, seen[0], seen[1] - 1), axis)
        total = total + taken * weight.reshape((1,) * axis + (-1,) + (1,) * (image.ndim - axis - 1))
    return np.asarray(total, np.float32)


def network_view(
    rgb: np.ndarray, square: Rect, size: int, mean: Triple, std: Triple, *, visible: Rect | None = None
) -> np.ndarray:
    """(3, size, size) float32 of (H, W, 3) uint8 RGB: normalised first, so that the padding is zero."""
    colours = view(rgb, square, size, visible=visible) / np.float32(255)
    inside = view(np.ones((*rgb.shape[:2], 1), np.uint8), square, size, visible=visible)
    normal = (colours - np.array(mean, np.float32) * inside) / np.array(std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))  # (3, size, size)


def region_view(rgb: np.ndarray, box: Rect, size: int, mean: Triple, std: Triple) -> np.ndarray:
    """(3, size, size) float32 of a box (whole pixels), padded to a square."""
    return network_view(rgb, square_around(box), size, mean, std, visible=box)


def region_mask(mask: np.ndarray, box: Rect, size: int) -> np.ndarray:
    """(1, size, size) float32 in 0..1 of a mask (H, W) in a box (whole pixels), padded to a square."""
    return view((mask > 0).astype(np.float32), square_around(box), size, visible=box)[None]


def crop_window(picture: tuple[int, int], size: int, top: int, left: int) -> Rect:
    """The random crop in pixels of the picture; ``top`` and ``left`` count on the canvas resized to 8/7 of ``size``."""
    canvas = canvas_of(picture)
    scale = (canvas.right - canvas.left) / canvas_size(size)
    left_edge, top_edge = canvas.left + left * scale, canvas.top + top * scale
    return Rect(left_edge, top_edge, left_edge + size * scale, top_edge + size * scale)


def canvas_size(size: int) -> int:
    """Side of the canvas before the random crop of ``size``: 256 for 224."""
    return round(size / CROP_SHARE)


def box_in_crop(box: Rect, window: Rect, size: int) -> Rect:
    """``box`` in whole pixels of a crop of ``size`` that shows ``window``."""
    scale = size / (window.right - window.left)
    x, y = window.left, window.top
    edges = ((box.left - x) * scale, (box.top - y) * scale, (box.right - x) * scale, (box.bottom - y) * scale)
    return Rect(*(min(max(math.trunc(edge), 0), size) for edge in edges))
