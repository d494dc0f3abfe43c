"""Checks of what callers pass in: every refusal is a ``ValueError`` that names the argument."""

from __future__ import annotations

import numpy as np

MAX_MEDIAN_M = 50.0
"""Median depth above which metres are not believed: nobody films hands from 50 m."""
MAX_SIDE = 32766
"""OpenCV addresses warped pictures by 16-bit integers."""
MAX_DEPTH_M = 1000.0
"""Single depths beyond are taken as missing; their squares would not fit in float32."""


def grey_image(image: np.ndarray, name: str) -> np.ndarray:
    """Return (H, W) contiguous uint8 grey of an (H, W, 3) RGB or (H, W) grey uint8 picture; never the caller's view."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"{name}: must be (H, W, 3) or (H, W) uint8, got {array.shape} {array.dtype}")
    if array.size == 0:
        raise ValueError(f"{name}: is empty, shape {array.shape}")
    if max(array.shape) > MAX_SIDE:
        raise ValueError(f"{name}: sides may have up to {MAX_SIDE} pixels, got {array.shape}")
    if array.ndim == 2:
        return np.array(array, order="C")
    import cv2

    grey: np.ndarray = cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2GRAY)
    return grey


def depth_metres(
    depth: np.ndarray, name: str, *, shape: tuple[int, ...], depth_scale: float | None = None
) -> np.ndarray:
    """Return (H, W) contiguous float32 metres, 0 where depth is missing, negative, NaN or beyond 1 km.

    ``depth_scale`` = stored units per metre (1000 for millimetres); integer depth needs it.
    """
    array = np.asarray(depth)
    if array.shape != shape:
        raise ValueError(f"{name}: must have the picture's size {shape}, got {array.shape}")
    if array.dtype.kind not in "fui":
        raise ValueError(f"{name}: must be numbers, got {array.dtype}")
    if array.dtype.kind in "ui" and depth_scale is None:
        raise ValueError(f"{name}: is {array.dtype}; pass depth_scale, its units per metre (1000 for millimetres)")
    if depth_scale is not None:
        _check_scale(depth_scale)
    with np.errstate(over="ignore", invalid="ignore"):
        metres = array.astype(np.float32, order="C")
        if depth_scale is not None:
            metres *= np.float32(1 / depth_scale)
        # One comparison chain drops NaN too, because NaN compares false.
        known = (metres > 0) & (metres < np.inf)
    _check_unit(metres, known, name)
    known &= metres < MAX_DEPTH_M
    if not known.all():
        metres[~known] = 0
    return metres


def _check_scale(depth_scale: float) -> None:
    number = np.asarray(depth_scale)
    if number.ndim or number.dtype.kind not in "fui" or not (np.isfinite(number) and number > 0):
        raise ValueError(f"depth_scale: must be a positive number, got {depth_scale!r}")


def _check_unit(metres: np.ndarray, known: np.ndarray, name: str) -> None:
    # Most frames are settled by a look at the far pixels; the median costs a sort.
    if np.count_nonzero(known & (metres > MAX_MEDIAN_M)) * 2 < np.count_nonzero(known):
        return
    median = float(np.median(metres[known])) if known.any() else 0.0
    if median > MAX_MEDIAN_M:
        raise ValueError(f"{name}: median {median:.0f} m is not plausible; millimetres passed as metres?")
