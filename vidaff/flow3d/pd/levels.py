"""Set-up of a pyramid level in numba: pyramid, connectivity, gradients, warp, weighted median, transfer.

Source: Jaimez et al., ICRA 2015, and the numbers of its program, as the flow card tells them. All images are (H, W)
float32, C order; functions with ``rows`` = (first, last) fill these rows only, so that threads can share the work.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vidaff.flow3d.pd.compiling import kernel
from vidaff.flow3d.pd.sweep import (
    I_T,
    I_U,
    I_V,
    MU_X,
    R_X,
    R_Y,
    SHRINK_D,
    SHRINK_I,
    TAU_U,
    TAU_V,
    TAU_W,
    Z_T,
    Z_U,
    Z_V,
)

SAME_SURFACE_M = 0.1
"""Depths further apart do not mix in the pyramid."""
TRUST_FALL = 1000.0
"""How the depth term loses weight with steep or changing depth: mu / (1 + this * squared gradients and change)."""
MEDIAN_DEPTH, MEDIAN_CHANGE = 5.0, 10.0
"""How neighbours lose weight in the median with squared distance and change of depth."""


def settings() -> dict[str, float]:
    """The numbers above, to be stored with the data."""
    return {
        "same_surface_m": SAME_SURFACE_M,
        "trust_fall": TRUST_FALL,
        "median_depth": MEDIAN_DEPTH,
        "median_change": MEDIAN_CHANGE,
    }


_SURFACE, _FALL = np.float32(SAME_SURFACE_M), np.float32(TRUST_FALL)
_NEAR, _CHANGE = np.float32(MEDIAN_DEPTH), np.float32(MEDIAN_CHANGE)
EPSILON = np.float32(1e-10)
_KERNEL = (np.float32(1), np.float32(4), np.float32(6), np.float32(4), np.float32(1))
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@kernel
def shrink_grey(fine: Any, coarse: Any) -> None:
    """Halve grey: 5x5 binomial around every even pixel, weights renormalised at the border."""
    height, width = fine.shape
    row = np.empty(width, np.float32)
    for y in range(coarse.shape[0]):
        row[:] = 0
        total = ZERO
        for dy in range(-2, 3):
            yy = 2 * y + dy
            if 0 <= yy < height:
                weight = _KERNEL[dy + 2]
                total += weight
                line = fine[yy]
                for x in range(width):
                    row[x] += weight * line[x]
        for x in range(coarse.shape[1]):
            value, weights = ZERO, ZERO
            for dx in range(-2, 3):
                xx = 2 * x + dx
                if 0 <= xx < width:
                    value += _KERNEL[dx + 2] * row[xx]
                    weights += _KERNEL[dx + 2]
            coarse[y, x] = value / (weights * total)


@kernel
def shrink_depth(fine: Any, coarse: Any) -> None:
    """Halve depth: taps of the centre's surface only, the closer the heavier; missing stays missing."""
    height, width = fine.shape
    for y in range(coarse.shape[0]):
        for x in range(coarse.shape[1]):
            centre = fine[2 * y, 2 * x]
            value, weights = ZERO, ZERO
            if centre > 0:
                for dy in range(-2, 3):
                    yy = 2 * y + dy
                    if yy < 0 or yy >= height:
                        continue
                    for dx in range(-2, 3):
                        xx = 2 * x + dx
                        if xx < 0 or xx >= width:
                            continue
                        near = _SURFACE - abs(fine[yy, xx] - centre)
                        if near > 0 and fine[yy, xx] > 0:
                            weight = _KERNEL[dy + 2] * _KERNEL[dx + 2] * near
                            value += weight * fine[yy, xx]
                            weights += weight
            coarse[y, x] = value / weights if weights > 0 else ZERO


@kernel
def connectivity(depth: Any, fx: Any, fy: Any, cx: Any, cy: Any, rx: Any, ry: Any) -> None:
    """r_x, r_y: 2 / distance in space to the next pixel right and below; 1 where that is 0 and at the last ones."""
    height, width = depth.shape
    rx[:, width - 1] = 1
    ry[height - 1, :] = 1
    for y in range(height):
        for x in range(width - 1):
            step = ((x + 1 - cx) * depth[y, x + 1] - (x - cx) * depth[y, x]) / fx
            rx[y, x] = _inverse_distance(step, depth[y, x + 1] - depth[y, x])
    for y in range(height - 1):
        for x in range(width):
            step = ((y + 1 - cy) * depth[y + 1, x] - (y - cy) * depth[y, x]) / fy
            ry[y, x] = _inverse_distance(step, depth[y + 1, x] - depth[y, x])


@kernel
def _inverse_distance(across: Any, along: Any) -> Any:
    square = np.float32(across * across + along * along)
    return np.float32(2) / math.sqrt(square) if square > 0 else ONE


@kernel
def gradients(image: Any, rx: Any, ry: Any, du: Any, dv: Any) -> None:
    """Means of the differences to both sides, weighted by connectivity; one-sided at the border."""
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            if width > 1:
                if x == 0:
                    du[y, x] = image[y, 1] - image[y, 0]
                elif x == width - 1:
                    du[y, x] = image[y, x] - image[y, x - 1]
                else:
                    a, b = rx[y, x], rx[y, x - 1]
                    du[y, x] = (a * (image[y, x + 1] - image[y, x]) + b * (image[y, x] - image[y, x - 1])) / (a + b)
            else:
                du[y, x] = 0
            if height > 1:
                if y == 0:
                    dv[y, x] = image[1, x] - image[0, x]
                elif y == height - 1:
                    dv[y, x] = image[y, x] - image[y - 1, x]
                else:
                    a, b = ry[y, x], ry[y - 1, x]
                    dv[y, x] = (a * (image[y + 1, x] - image[y, x]) + b * (image[y, x] - image[y - 1, x])) / (a + b)
            else:
                dv[y, x] = 0


@kernel
def no_gradients_in_holes(depth: Any, du: Any, dv: Any) -> None:
    """Depth gradients are 0 where depth is missing, but for the first and last rows and columns (as the authors)."""
    height, width = depth.shape
    for y in range(height):
        for x in range(width):
            if depth[y, x] == 0:
                if 0 < x < width - 1:
                    du[y, x] = 0
                if 0 < y < height - 1:
                    dv[y, x] = 0


@kernel
def _mix(image: Any, x0: Any, x1: Any, y0: Any, y1: Any, fx: Any, fy: Any) -> Any:
    top = image[y0, x0] + fx * (image[y0, x1] - image[y0, x0])
    bottom = image[y1, x0] + fx * (image[y1, x1] - image[y1, x0])
    return top + fy * (bottom - top)


@kernel
def warp(
    first: int,
    last: int,
    old: Any,
    new: Any,
    total: Any,
    c: Any,
    change: Any,
    weights: Any,
    mask_jump: Any,
    hidden: Any,
) -> None:
    """Linearise the data terms of rows ``first`` ... ``last`` - 1 around the motion so far.

    ``old`` = (grey, depth, r_x, r_y); ``new`` = (grey, depth, grey_u, grey_v, depth_u, depth_v), each (H, W);
    ``total`` (3, H, W): u, v pixels, w metres. Fills ``c`` (14, H, W), the constants of :mod:`.sweep`, and
    ``change`` (H, W): depth change at the warped place. ``weights`` = (lambda_i, lambda_d, mu) float32. ``mask_jump``:
    metres from which on a match counts as another surface; 0 masks nothing. ``hidden`` (H, W) bool: no data terms there
    when masking.
    """
    height, width = change.shape
    lambda_i, lambda_d, mu = weights
    right, low = np.float32(width - 1), np.float32(height - 1)
    for y in range(first, last):
        for x in range(width):
            u, v = total[0, y, x], total[1, y, x]
            px, py = np.float32(x) + u, np.float32(y) + v
            inside = px >= -HALF and py >= -HALF and px <= right + HALF and py <= low + HALF
            px, py = min(max(px, ZERO), right), min(max(py, ZERO), low)
            column, row = int(px), int(py)
            fx, fy = px - np.float32(column), py - np.float32(row)
            # Unsigned: not tested for being negative.
            x0, y0 = np.uintp(column), np.uintp(row)
            x1, y1 = np.uintp(min(column + 1, width - 1)), np.uintp(min(row + 1, height - 1))
            depth = new[1]
            if depth[y0, x0] > 0 and depth[y0, x1] > 0 and depth[y1, x0] > 0 and depth[y1, x1] > 0:
                z = _mix(depth, x0, x1, y0, y1, fx, fy)
            else:
                # The program's rule: beside a hole the nearest pixel, whatever it holds.
                z = depth[y1 if fy >= np.float32(0.5) else y0, x1 if fx >= np.float32(0.5) else x0]
            iu, iv = _mix(new[2], x0, x1, y0, y1, fx, fy), _mix(new[3], x0, x1, y0, y1, fx, fy)
            zu, zv = _mix(new[4], x0, x1, y0, y1, fx, fy), _mix(new[5], x0, x1, y0, y1, fx, fy)
            it = _mix(new[0], x0, x1, y0, y1, fx, fy) - old[0][y, x]
            zt = z - old[1][y, x] if z > 0 else ZERO
            mux = mu / (ONE + _FALL * (zu * zu + zv * zv + zt * zt))
            if mask_jump > 0:
                known = z > 0 and old[1][y, x] > 0
                if hidden[y, x] or not inside or (known and abs(zt - total[2, y, x]) > mask_jump):
                    it, iu, iv, mux = ZERO, ZERO, ZERO, ZERO
                if not known:
                    mux = ZERO
            rx, ry = old[2][y, x], old[3][y, x]
            r = rx + ry
            if x > 0:
                r += old[2][y, x - 1]
            if y > 0:
                r += old[3][y - 1, x]
            tau_u = ONE / (mux * abs(zu) + lambda_i * r + EPSILON)
            tau_v = ONE / (mux * abs(zv) + lambda_i * r + EPSILON)
            change[y, x] = zt
            c[I_T, y, x] = it - iu * u - iv * v
            c[I_U, y, x] = iu
            c[I_V, y, x] = iv
            c[Z_T, y, x] = zt - zu * u - zv * v
            c[Z_U, y, x] = zu
            c[Z_V, y, x] = zv
            c[R_X, y, x] = rx if x < width - 1 else ZERO
            c[R_Y, y, x] = ry if y < height - 1 else ZERO
            c[TAU_U, y, x] = tau_u * lambda_i
            c[TAU_V, y, x] = tau_v * lambda_i
            c[TAU_W, y, x] = lambda_d / (mux + lambda_d * r + EPSILON)
            c[MU_X, y, x] = mux / lambda_i
            c[SHRINK_D, y, x] = ONE / (ONE + abs(zu) + abs(zv))
            c[SHRINK_I, y, x] = ONE / (tau_u * iu * iu + tau_v * iv * iv + EPSILON)


@kernel
def accept(first: int, last: int, solved: Any, total: Any, depth: Any, limit: Any) -> None:
    """Take the solution over: increments of image motion clamped to ``limit`` pixels, no depth motion in holes."""
    for y in range(first, last):
        for k in range(2):
            out, line = total[k, y], solved[k, y]
            for x in range(out.shape[0]):
                out[x] += min(max(line[x] - out[x], -limit), limit)
        out, line, z = total[2, y], solved[2, y], depth[y]
        for x in range(out.shape[0]):
            out[x] = line[x] if z[x] > 0 else ZERO


SORT_NINE = np.array(
    [
        (0, 3), (1, 7), (2, 5), (4, 8), (0, 7), (2, 4), (3, 8), (5, 6), (0, 2), (1, 3), (4, 5), (7, 8), (1, 4),
        (3, 6), (5, 7), (0, 1), (2, 4), (3, 5), (6, 8), (2, 3), (4, 5), (6, 7), (1, 2), (3, 4), (5, 6),
    ]
)  # fmt: skip
"""Comparators that sort nine values; run over whole rows, they are vectorised where a sort per pixel is not."""


@kernel
def _exchange(values: Any, weights: Any, i: Any, j: Any) -> None:
    # All is read before anything is chosen: a load inside a choice would keep the loop scalar.
    for x in range(values.shape[1]):
        first, second, weight, other = values[i, x], values[j, x], weights[i, x], weights[j, x]
        # Of equal values the lighter first: the result must not depend on the order of the neighbours.
        swap = (first > second) | ((first == second) & (weight > other))
        values[i, x] = second if swap else first
        values[j, x] = first if swap else second
        weights[i, x] = other if swap else weight
        weights[j, x] = weight if swap else other


@kernel
def _half_point(values: Any, weights: Any, total: Any, seen: Any, result: Any) -> None:
    """Value at half of the ``total`` weight, interpolated between the two sorted values around it."""
    for x in range(result.shape[0]):
        seen[x] = weights[0, x]
        result[x] = values[0, x]
    for n in range(1, 9):
        k, before = np.uintp(n), np.uintp(n - 1)
        for x in range(result.shape[0]):
            missing, weight, low, old = total[x] * HALF - seen[x], weights[k, x], values[before, x], result[x]
            value = low + min(missing / max(weight, EPSILON), ONE) * (values[k, x] - low)
            result[x] = value if missing > 0 else old
            seen[x] += weight


@kernel
def _neighbour_weight(line: Any, total: Any, centre: Any, near: Any, step: Any) -> None:
    for x in range(line.shape[0]):
        apart, moved = centre[x] - near[x], step[x]
        weight = ONE / (ONE + _NEAR * apart * apart + _CHANGE * moved * moved)
        line[x] = weight
        total[x] += weight


@kernel
def weighted_median(first: int, last: int, source: Any, depth: Any, change: Any, out: Any) -> None:
    """3x3 weighted median of the planes of ``source`` (3, H, W) into ``out`` (3, H, W); copied where depth is missing.

    Weights 1 / (1 + 5 (Z - Z_n)^2 + 10 Z_t,n^2), 0 outside the picture.
    """
    height, width = depth.shape
    values, weights = np.empty((9, width), np.float32), np.empty((9, width), np.float32)
    sorted_weights, total = np.empty((9, width), np.float32), np.empty(width, np.float32)
    seen, median = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(first, last):
        total[:] = 0
        weights[:] = 0
        for n in range(9):
            yy, dx = y + n // 3 - 1, n % 3 - 1
            a, b = max(0, -dx), min(width, width - dx)
            if 0 <= yy < height and a < b:
                near, step = depth[yy, a + dx : b + dx], change[yy, a + dx : b + dx]
                _neighbour_weight(weights[n, a:b], total[a:b], depth[y, a:b], near, step)
        for k in range(3):
            # Neighbours outside the picture sort last, so that no other value is interpolated towards them.
            values[:] = np.float32(1e30)
            for n in range(9):
                yy, dx = y + n // 3 - 1, n % 3 - 1
                a, b = max(0, -dx), min(width, width - dx)
                if 0 <= yy < height and a < b:
                    values[n, a:b] = source[k, yy, a + dx : b + dx]
            sorted_weights[:] = weights
            for pair in range(SORT_NINE.shape[0]):
                _exchange(values, sorted_weights, np.uintp(SORT_NINE[pair, 0]), np.uintp(SORT_NINE[pair, 1]))
            _half_point(values, sorted_weights, total, seen, median)
            _choose(out, np.uintp(k), np.uintp(y), median, source, depth)


@kernel
def _choose(out: Any, k: Any, y: Any, median: Any, source: Any, depth: Any) -> None:
    for x in range(median.shape[0]):
        new, copy = median[x], source[k, y, x]
        out[k, y, x] = new if depth[y, x] > 0 else copy


@kernel
def _grow_row(coarse: Any, fine: Any) -> None:
    """[1 4 6 4 1] / 8 over zeros inserted between the pixels, divided by the filter's share inside the picture."""
    n = coarse.shape[0]
    sixth, quarter = np.float32(0.75), np.float32(0.125)
    for k in range(n):
        left = coarse[k - 1] if k > 0 else ZERO
        right = coarse[k + 1] if k < n - 1 else ZERO
        fine[2 * k] = sixth * coarse[k] + quarter * (left + right)
        fine[2 * k + 1] = np.float32(0.5) * (coarse[k] + right)
    for x in range(2 * n):
        if x < 2 or x > 2 * n - 3:
            inside = ZERO
            for d in range(-2, 3):
                if 0 <= x + d < 2 * n:
                    inside += _KERNEL[d + 2]
            fine[x] *= np.float32(16) / inside


@kernel
def grow(coarse: Any, fine: Any, factor: Any) -> None:
    """Bring a plane (h, w) to the next finer level (2 h, 2 w), times ``factor``."""
    wide = np.empty((coarse.shape[0], fine.shape[1]), np.float32)
    for y in range(coarse.shape[0]):
        _grow_row(coarse[y], wide[y])
    height = fine.shape[0]
    for y in range(height):
        inside = ZERO
        for d in range(-2, 3):
            if 0 <= y + d < height:
                inside += _KERNEL[d + 2]
        out = fine[y]
        out[:] = 0
        for d in range(-2, 3):
            if (y + d) % 2 == 0 and 0 <= y + d < height:
                weight, line = factor * np.float32(2) * _KERNEL[d + 2] / inside, wide[(y + d) // 2]
                for x in range(out.shape[0]):
                    out[x] += weight * line[x]
