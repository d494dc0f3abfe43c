"""Pictures, labels and boxes as the networks take them.

Resizing is bilinear with pixel centres at half numbers and without antialiasing, for pictures, labels and ground truth
alike. Source: the authors' code (the paper does not say).
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from vidaff.errors import VidaffError
from vidaff.io import read_image, read_label_image

Triple = tuple[float, float, float]
CLIP_MEAN: Final[Triple] = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final[Triple] = (0.26862954, 0.26130258, 0.27577711)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def read_picture(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB, upright: a rotation noted in its EXIF data is applied."""
    return read_image(path)


def read_map(path: Path, picture: Path, size: tuple[int, int]) -> np.ndarray:
    """A label or ground truth as (H, W) uint8 on the grid of ``picture``, whose upright size is ``size`` (H, W).

    One made on the stored, not yet upright pixels is turned with them. Raises :class:`VidaffError` when the sizes do
    not agree in either way. A picture that is upside down or mirrored in the file tells nothing by its size: its map
    is taken as upright.
    """
    stored = read_label_image(path)
    grey = stored if stored.ndim == 2 else np.rint(stored @ _GREY).astype(np.uint8)
    if grey.shape == size:
        return grey
    turned = _upright(grey, orientation(picture))
    if grey.shape != size[::-1] or turned.shape != size:
        raise VidaffError(
            f"{path}: {grey.shape[1]}x{grey.shape[0]} pixels, its picture {picture.name} has {size[1]}x{size[0]}"
        )
    return turned


def orientation(path: Path) -> int:
    """Orientation in a picture's EXIF data, 1 (upright) to 8; 1 where it has none."""
    try:
        with Image.open(path) as picture:
            return int(picture.getexif().get(0x0112, 1))
    except Exception:  # damaged headers raise almost anything, and the pixels were read already
        return 1


def _upright(stored: np.ndarray, number: int) -> np.ndarray:
    """Stored pixels turned by an EXIF orientation that exchanges rows and columns; others leave them as they are."""
    if number not in (5, 6, 7, 8):
        return stored
    turned = {5: stored.T, 6: np.rot90(stored, -1), 7: np.rot90(stored, 2).T, 8: np.rot90(stored)}[number]
    return np.ascontiguousarray(turned)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) or (H, W, C), any numbers -> ``size`` (height, width) float32.

    Only the rows and columns that count are read, which makes photographs cheap. Positions are in single precision, as
    PyTorch's are; OpenCV's differ by 1e-5 of a picture's contrast.
    """
    for axis, length in enumerate(size):
        first, second, share = neighbours(image.shape[axis], length)
        weight = share.reshape((1,) * axis + (-1,) + (1,) * (image.ndim - axis - 1))
        image = image.take(first, axis) * (1 - weight) + image.take(second, axis) * weight
    return image


@lru_cache(maxsize=256)
def neighbours(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``size`` positions the two pixels of ``length`` around it, and the share of the second."""
    scale = np.float32(length) / np.float32(size)
    centres = np.maximum(scale * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    first = np.minimum(centres.astype(int), length - 1)
    return first, np.minimum(first + 1, length - 1), (centres - first).astype(np.float32)


def network_input(rgb: np.ndarray, size: tuple[int, int], mean: Triple, std: Triple) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, h, w) float32, resized to ``size`` (the aspect is lost) and normalised."""
    small = resize(rgb, size)
    normal = (small / np.float32(255) - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))  # (3, h, w)


def soft_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pseudo-label (H, W) uint8 -> (h, w) float32 in 0..1: above one half, blurred, then resized to ``size``.

    The Gaussian is about a third of the picture wide. Blur and resizing are linear and separable, so they are two
    small matrix products; on a large photograph this is much faster than to blur it and throw most pixels away.
    Source: the authors' code, which blurs the recorded picture (the paper: the resized one).
    """
    height, width = label.shape
    kernel = int(math.sqrt(height * width) / 3)
    kernel += kernel % 2 == 0
    mask = (label >= 128).astype(np.float32)
    rows, columns = _blur_and_resize(height, kernel, size[0]), _blur_and_resize(width, kernel, size[1])
    return (rows @ mask) @ columns.T


@lru_cache(maxsize=64)
def _blur_and_resize(length: int, kernel: int, size: int) -> np.ndarray:
    """(size, length) weights of a Gaussian of ``kernel`` taps, borders reflected without their edge, then resizing."""
    taps = cv2.getGaussianKernel(kernel, 0)[:, 0]
    offsets = np.arange(kernel) - kernel // 2
    first, second, share = neighbours(length, size)
    rows = np.arange(size)[:, None] * length
    weights = np.zeros(size * length)
    for source, weight in ((first, 1 - share), (second, share)):
        cells = rows + _reflected(source[:, None] + offsets, length)  # (size, kernel)
        weights += np.bincount(cells.ravel(), np.outer(weight, taps).ravel(), minlength=weights.size)
    return weights.reshape(size, length).astype(np.float32)


def _reflected(index: np.ndarray, length: int) -> np.ndarray:
    """Positions beyond an edge, mirrored at its last pixel as often as needed."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = np.abs(index) % period
    return np.minimum(folded, period - folded)


def as_distribution(heat: np.ndarray) -> np.ndarray:
    """A map >= 0 scaled to sum 1; one that is zero everywhere becomes uniform."""
    total = heat.sum(dtype=np.float64)
    if not total > 0:
        return np.full_like(heat, 1 / heat.size)
    return (heat / total).astype(heat.dtype)


def patches_of_box(box: np.ndarray, picture: tuple[int, int], size: int, patch: int) -> np.ndarray:
    """(n * n,) float32, 1 where a patch touches ``box`` (left, top, right, bottom) of a picture of (height, width).

    The box is scaled to a square of ``size`` pixels, rounded outwards, and is at least a pixel wide and high.
    Source: Xu et al., ICLR 2025, A.2; rounding as in the authors' code.
    """
    cells = np.zeros((size // patch, size // patch), np.float32)
    height, width = picture
    columns = _cells(box[0], box[2], width, size, patch)
    rows = _cells(box[1], box[3], height, size, patch)
    cells[rows, columns] = 1
    return cells.ravel()


def _cells(low: float, high: float, length: int, size: int, patch: int) -> slice:
    # In single precision and in this order, because an edge on a pixel's border rounds as the authors' does only so.
    start, stop = np.array([low, high], np.float32) / np.float32(length) * np.float32(size)
    first = min(max(math.floor(start), 0), size - 1)
    last = min(max(math.ceil(stop), first + 1), size)
    return slice(first // patch, (last - 1) // patch + 1)


def patches_of_mask(mask: np.ndarray, size: int, patch: int) -> np.ndarray:
    """(n * n,) float32, 1 where a patch of the picture resized to ``size`` touches ``mask`` (H, W) uint8 >= 128."""
    small = cv2.resize((mask >= 128).astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
    count = size // patch
    return small.reshape(count, patch, count, patch).max(axis=(1, 3)).astype(np.float32).ravel()
