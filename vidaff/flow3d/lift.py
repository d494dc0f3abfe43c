"""From image motion and two depth maps to metres."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from vidaff.flow3d.types import Flow, Intrinsics


def lift(
    motion: np.ndarray,
    depth0: np.ndarray,
    depth_motion: np.ndarray,
    valid: np.ndarray,
    k: Intrinsics,
    *,
    linear: bool = False,
) -> Flow:
    """Exact lift: ``X1 - X0`` with ``X1 = ((u + du - cx) / fx) (Z + w)``, likewise for Y, and ``w`` for Z.

    ``motion`` (H, W, 2) pixels, ``depth0`` and ``depth_motion`` (H, W) metres, ``valid`` (H, W) bool. ``linear``:
    without the term du w / fx, which is 0.4 mm for 5 pixels and 2 cm at 320 columns.

    Source: the PD-Flow program (Jaimez et al., ICRA 2015) lifts linearised.
    """
    height, width = depth0.shape
    rows = ((np.arange(height) - k.cy) / k.fy).astype(np.float32)[:, None]
    columns = ((np.arange(width) - k.cx) / k.fx).astype(np.float32)[None, :]
    depth1 = depth0 if linear else depth0 + depth_motion
    u, v = cv2.split(motion)
    # ((u + du - cx) z1 - (u - cx) z0) / fx = ray w + du z1 / fx: without the cancellation of the direct form.
    u *= depth1 * np.float32(1 / k.fx)
    v *= depth1 * np.float32(1 / k.fy)
    u += columns * depth_motion
    v += rows * depth_motion
    flow = cv2.copyTo(cv2.merge([u, v, depth_motion]), valid.view(np.uint8))
    return Flow(flow, valid)


def plausible(result: Flow, limit_m: float) -> Flow:
    """``result``, changed in place: what has a component above ``limit_m`` metres becomes zero and not valid."""
    flow, valid = result
    if max(flow.max(), -flow.min()) > limit_m:
        wild = np.abs(flow).max(axis=-1) > limit_m
        flow[wild] = 0
        valid &= ~wild
    return result


def sample_depth(depth: np.ndarray, motion: np.ndarray, *, jump_m: float) -> np.ndarray:
    """Depth of the second frame at each moved pixel: (H, W) float32 metres, 0 where there is none.

    Bilinear; where one of the four neighbours is missing, or they differ by more than ``jump_m`` (a mean across a
    depth edge belongs to no surface), the nearest neighbour that has depth. Positions outside the picture give 0.
    """
    height, width = depth.shape
    where = motion + pixel_grid(height, width)
    sampled: np.ndarray = cv2.remap(depth, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    suspects = cv2.remap(_rough(depth, jump_m), where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    chosen = np.flatnonzero(suspects)
    if chosen.size:
        sampled.ravel()[chosen] = _sample_carefully(depth, where.reshape(-1, 2)[chosen], jump_m)
    inside = cv2.inRange(where, (-0.5, -0.5, 0, 0), (width - 0.5, height - 0.5, 0, 0))
    sampled[inside == 0] = 0
    return sampled


@functools.lru_cache(maxsize=4)
def pixel_grid(height: int, width: int) -> np.ndarray:
    """(H, W, 2) float32: the x and y of every pixel."""
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(width)[None, :]
    grid[..., 1] = np.arange(height)[:, None]
    grid.flags.writeable = False
    return grid


def _rough(depth: np.ndarray, jump_m: float) -> np.ndarray:
    """(H, W) uint8: 1 at pixels to which a position may round whose 2x2 neighbours have a hole or an edge."""
    square = np.ones((2, 2), np.uint8)
    low, high = cv2.erode(depth, square, anchor=(0, 0)), cv2.dilate(depth, square, anchor=(0, 0))
    rough = ((low <= 0) | (high - low > jump_m)).astype(np.uint8)
    grown: np.ndarray = cv2.dilate(rough, square, anchor=(1, 1))
    return grown


def _sample_carefully(depth: np.ndarray, where: np.ndarray, jump_m: float) -> np.ndarray:
    """The rule of :func:`sample_depth` written out, for (N, 2) positions; returns (N,)."""
    height, width = depth.shape
    x, y = np.clip(where[:, 0], 0, width - 1), np.clip(where[:, 1], 0, height - 1)
    x0, y0 = x.astype(np.int32), y.astype(np.int32)
    right, down = (x0 < width - 1).astype(np.int32), (y0 < height - 1) * np.int32(width)
    first = y0 * width + x0
    corners = depth.ravel().take(np.stack([first, first + right, first + down, first + down + right]))  # (4, N)
    x -= x0
    y -= y0
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    low = corners.min(axis=0)
    rough = (low <= 0) | (corners.max(axis=0) - low > jump_m)
    # The neighbour with the largest bilinear weight is the nearest one.
    nearest = np.where(corners > 0, weights, -1).argmax(axis=0)
    picked = corners.ravel().take(nearest * corners.shape[1] + np.arange(corners.shape[1]))
    return np.where(rough, picked, (corners * weights).sum(axis=0))
