"""Checks and sizes of single frames: what the predictor and the inference job share."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.flow3d.inputs import depth_metres

DEFAULT_VIEW_DEGREES = 60.0
"""Horizontal field of view assumed without intrinsics; webcams and depth cameras have 54 to 78 degrees."""


class FrameError(VidaffError, ValueError):
    """A frame that cannot be used: wrong type, shape or unit; says what was expected."""


def default_intrinsics(height: int, width: int) -> Intrinsics:
    """A pinhole camera with a 60-degree horizontal field of view and its axis in the picture's middle."""
    focal = width / 2 / math.tan(math.radians(DEFAULT_VIEW_DEGREES / 2))
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2)


def enlarge_labels(probs: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Resize class probabilities (K, h, w) bilinearly to ``size`` and take the best class of every pixel.

    Returns labels (H, W) uint8 and their probability (H, W) float32. The classes pass one at a time, so the
    large probability stack never exists.
    """
    height, width = size
    how = cv2.INTER_LINEAR if height * width >= probs.shape[1] * probs.shape[2] else cv2.INTER_AREA
    best = cv2.resize(probs[0], (width, height), interpolation=how)
    labels = np.zeros(size, np.uint8)
    for index in range(1, len(probs)):
        plane = cv2.resize(probs[index], (width, height), interpolation=how)
        # Later classes have larger ids, so the maximum of ids is an assignment, in one fast pass.
        cv2.max(labels, cv2.bitwise_and(cv2.compare(plane, best, cv2.CMP_GT), index), dst=labels)
        cv2.max(plane, best, dst=best)
    return labels, best


def check_rgb(rgb: np.ndarray) -> None:
    """Raise :class:`FrameError` unless ``rgb`` is (H, W, 3) uint8 of at least 8x8 pixels."""
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        got = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise FrameError(f"rgb: a NumPy array (H, W, 3) of uint8 is needed, got {got}")
    if min(rgb.shape[:2]) < 8:
        raise FrameError(f"rgb: frames must be at least 8x8 pixels, got {wxh(rgb.shape[:2])}")


def check_depth(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth (H, W) as float32 metres, 0 = missing; integers are read as millimetres, floats as metres.

    Raises :class:`FrameError` for another size than ``size``, for other types, and for implausible metres.
    """
    if not isinstance(depth, np.ndarray) or depth.ndim != 2:
        got = f"{depth.dtype} {depth.shape}" if isinstance(depth, np.ndarray) else type(depth).__name__
        raise FrameError(f"depth: a NumPy array (H, W) is needed, got {got}")
    if depth.shape != size:
        raise FrameError(
            f"depth: {wxh(depth.shape)} does not fit the picture's {wxh(size)}; "
            "register it to the colour picture's pixel grid first"
        )
    try:
        return depth_metres(depth, "depth", shape=size, depth_scale=1000.0 if depth.dtype.kind in "ui" else None)
    except ValueError as error:
        raise FrameError(str(error)) from error


def wxh(size: tuple[int, ...]) -> str:
    """(height, width, ...) as people write it: ``640x480``."""
    return f"{size[1]}x{size[0]}"
