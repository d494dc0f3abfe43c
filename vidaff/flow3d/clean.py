"""Cleaning the measured depth motion: mixed-up surfaces out, outliers out, noise averaged along surfaces."""

from __future__ import annotations

import cv2
import numpy as np

SWITCH_M = 0.05
"""Depth motion from which on a pixel is suspected to have landed on another surface."""
SAME_SURFACE_M = 0.03
"""How close that surface's depth must come to one already seen beside the pixel."""
REACH = 0.05
"""How far "beside" reaches: this share of the picture's larger side; faster edges go unnoticed."""
CLAMP_M = 0.01
"""How far smoothing may move a median-filtered measurement."""
RADIUS = 1
"""Half the guided filter's window at half resolution: 6x6 pixels of the picture, twice."""
EPSILON_M2 = 0.02**2
"""Depth variance below which a window counts as one surface: 2 cm, above the noise, below an object's height."""


def settings() -> dict[str, float]:
    """The numbers above, to be stored with the data."""
    return {
        "switch_m": SWITCH_M,
        "same_surface_m": SAME_SURFACE_M,
        "reach": REACH,
        "clamp_m": CLAMP_M,
        "radius": RADIUS,
        "epsilon_m2": EPSILON_M2,
    }


def landed_elsewhere(depth0: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that were matched to another surface, mostly because they are hidden in the other frame.

    ``depth0``, ``sampled`` (H, W) metres: depth of a pixel, and depth where it went to. Such a pixel jumps to a depth
    at which its neighbourhood shows a surface that did not jump: the object that moved over it (or, for an object's
    rim, the background). A true motion in depth carries the whole neighbourhood along.
    """
    motion = sampled - depth0
    calm = (depth0 > 0) & (sampled > 0) & (np.abs(motion) < SWITCH_M)
    reach = max(2, round(REACH * max(depth0.shape)))
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    nearest = cv2.erode(np.where(calm, depth0, np.float32(np.inf)), window)
    farthest = cv2.dilate(np.where(calm, depth0, np.float32(-np.inf)), window)
    known = (sampled > nearest - SAME_SURFACE_M) & (sampled < farthest + SAME_SURFACE_M)
    elsewhere: np.ndarray = known & (np.abs(motion) >= SWITCH_M)
    return elsewhere


def smooth_depth_motion(raw: np.ndarray, depth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(H, W) float32 metres: ``raw`` median-filtered (3x3), then smoothed along surfaces by ``depth``; 0 off ``valid``.

    The guided filter fits depth motion = a depth + b in each window. Two surfaces in one window that move
    differently both satisfy such a line, so motion does not bleed over depth edges as it would in a mean. A line
    fitted to few points can shoot off: the result stays within ``CLAMP_M`` of the median.

    Source: He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, section 3, with masked means and with the
    coefficients computed at half resolution.
    """
    weight = valid.astype(np.float32)
    median = cv2.medianBlur(_filled(raw * weight, weight), 3)
    smooth = _guided(median * weight, depth, weight)
    np.clip(smooth, median - CLAMP_M, median + CLAMP_M, out=smooth)
    smooth *= weight
    return smooth


def _filled(motion: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Holes take the mean of their valid neighbours, so that the median near a hole is not pulled to zero."""
    holes = weight == 0
    if holes.any():
        count = cv2.boxFilter(weight, -1, (5, 5), normalize=False)
        mean = cv2.boxFilter(motion, -1, (5, 5), normalize=False)
        motion[holes] = mean[holes] / np.maximum(count[holes], 1)
    return motion


def _guided(motion: np.ndarray, depth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Masked guided filter; ``motion`` must be 0 where ``weight`` is."""
    total = float(weight.sum())
    # Depth relative to its mean over the picture: float32 squares of metres would lose the millimetres.
    guide = (depth - np.float32(cv2.multiply(depth, weight).sum() / max(total, 1.0))) * weight
    size = (max(1, (depth.shape[1] + 1) // 2), max(1, (depth.shape[0] + 1) // 2))
    planes = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (guide, motion, guide * motion, guide * guide)]
    half = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    count = np.maximum(_box(half), np.float32(1e-6))
    mean_guide, mean_motion, mean_product, mean_square = (_box(plane) / count for plane in planes)
    variance = np.maximum(mean_square - mean_guide * mean_guide, 0)
    slope = (mean_product - mean_guide * mean_motion) / (variance + np.float32(EPSILON_M2))
    offset = mean_motion - slope * mean_guide
    full = depth.shape[::-1]
    slope, offset = (cv2.resize(_box(plane * half) / count, full) for plane in (slope, offset))
    slope *= guide
    slope += offset
    return slope


def _box(image: np.ndarray) -> np.ndarray:
    side = 2 * RADIUS + 1
    summed: np.ndarray = cv2.boxFilter(image, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return summed
