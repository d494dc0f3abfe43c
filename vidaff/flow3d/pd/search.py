"""Exhaustive matching on a coarse level, for motions that no coarse-to-fine scheme finds.

A hand that moves by more than its own width between two frames is lost by every method that starts from the coarsest
picture, where it has melted into the background. A coarse level in between still shows it, and is small enough to try
every displacement. Windows count neighbours of the same depth only, so thin things are not outvoted by what is behind.

Ours, not part of PD-Flow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vidaff.flow3d.pd.compiling import kernel

WINDOW = 2
"""Half the side of the 5x5 window."""
SURFACE_M = 0.04
"""A neighbour this close in depth is on the same surface."""
UNKNOWN_WEIGHT, OTHER_WEIGHT = 0.3, 0.02
"""Weight of a neighbour whose depth is missing, and of one on another surface."""
GREY_LIMIT = 40.0
"""Grey differences count up to this; beyond, they are all equally wrong."""
DEPTH_LIMIT_M = 0.1
DEPTH_WEIGHT = 50.0
"""Grey levels that a metre of depth change costs: 2 cm as much as one grey level, and not more than 10 cm."""
MISSING_COST = 5.0
"""Cost of a pixel without depth in one of the frames."""
MOTION_COST = 0.05
"""Cost of a pixel of displacement: between equals the nearer wins."""
AT_REST = 2.5
"""Cost up to which a point is taken to stand still: a little above noise. A plain surface says nothing else anyway."""


def settings() -> dict[str, float]:
    """The numbers above, to be stored with the data."""
    return {
        "window": WINDOW,
        "surface_m": SURFACE_M,
        "unknown_weight": UNKNOWN_WEIGHT,
        "other_weight": OTHER_WEIGHT,
        "grey_limit": GREY_LIMIT,
        "depth_limit_m": DEPTH_LIMIT_M,
        "depth_weight": DEPTH_WEIGHT,
        "missing_cost": MISSING_COST,
        "motion_cost": MOTION_COST,
        "at_rest": AT_REST,
    }


_GREY, _DEPTH, _WEIGHT = np.float32(GREY_LIMIT), np.float32(DEPTH_LIMIT_M), np.float32(DEPTH_WEIGHT)
_MISSING, _WORST = np.float32(MISSING_COST), np.float32(GREY_LIMIT + DEPTH_WEIGHT * DEPTH_LIMIT_M)
_SURFACE, _UNKNOWN, _OTHER = np.float32(SURFACE_M), np.float32(UNKNOWN_WEIGHT), np.float32(OTHER_WEIGHT)
_MOTION, _REST, _ONE, _ZERO = np.float32(MOTION_COST), np.float32(AT_REST), np.float32(1), np.float32(0)


@kernel
def _support(depth: Any, y: int, weights: Any, total: Any) -> None:
    """Weights (25, W) of the window's pixels around every pixel of row ``y``, and their sum (W,)."""
    height, width = depth.shape
    total[:] = 0
    n = 0
    for dy in range(-WINDOW, WINDOW + 1):
        for dx in range(-WINDOW, WINDOW + 1):
            for x in range(width):
                weight = _ZERO
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    here, there = depth[y, x], depth[y + dy, x + dx]
                    weight = _ONE if abs(here - there) < _SURFACE else _OTHER
                    weight = _UNKNOWN if here == 0 or there == 0 else weight
                weights[n, x] = weight
                total[x] += weight
            n += 1


@kernel
def _differences(y: int, v: int, first: int, frame0: Any, frame1: Any, out: Any) -> None:
    """Costs of the single pixels of row ``y``, from column ``first`` on, for every u: ``out`` (2 reach + 1, n).

    Neither loop may hold a slice or a test of the index: the inner one would not be vectorised.
    """
    height, width = frame0[0].shape
    reach, count = (out.shape[0] - 1) // 2, out.shape[1]
    if y < 0 or y >= height or y + v < 0 or y + v >= height:
        out[:] = _WORST
        return
    grey0, depth0, grey1, depth1 = frame0[0][y], frame0[1][y], frame1[0][y + v], frame1[1][y + v]
    for k in range(out.shape[0]):
        line, u = out[k], k - reach
        begin, end = max(0, -first, -first - u), min(count, width - first, width - first - u)
        line[:] = _WORST
        if begin < end:
            here, there = first + begin, first + begin + u
            _row_costs(
                grey0[here : here + end - begin], depth0[here : here + end - begin],
                grey1[there : there + end - begin], depth1[there : there + end - begin], line[begin:end],
            )  # fmt: skip


@kernel
def _row_costs(grey0: Any, depth0: Any, grey1: Any, depth1: Any, out: Any) -> None:
    for x in range(out.shape[0]):
        a, b = depth0[x], depth1[x]
        change = min(abs(a - b), _DEPTH) * _WEIGHT
        change = _MISSING if a == 0 or b == 0 else change
        out[x] = min(abs(grey0[x] - grey1[x]), _GREY) + change


@kernel
def _aggregate(weights: Any, raw: Any, order: Any, k: int, out: Any) -> None:
    """``out`` (n,): costs of displacement ``k``, summed over the window with ``weights`` (25, n).

    ``raw`` (5, u, n + 4) is a ring of rows; ``order``: which of them is the window's first, second, ...
    """
    r0, r1, r2, r3, r4 = raw[order[0], k], raw[order[1], k], raw[order[2], k], raw[order[3], k], raw[order[4], k]
    for x in range(out.shape[0]):
        total = _ZERO
        # Unsigned indices are not tested for being negative; the five columns are unrolled by the compiler.
        for i in range(5):
            at = np.uintp(x + i)
            total += weights[i, x] * r0[at] + weights[5 + i, x] * r1[at] + weights[10 + i, x] * r2[at]
            total += weights[15 + i, x] * r3[at] + weights[20 + i, x] * r4[at]
        out[x] = total


@kernel
def _keep_best(cost: Any, share: Any, extra: Any, u: Any, v: Any, best: Any, best_u: Any, best_v: Any) -> None:
    for x in range(best.shape[0]):
        value, before, old_u, old_v = cost[x] * share[x] + extra, best[x], best_u[x], best_v[x]
        better = value < before
        best[x] = value if better else before
        best_u[x] = u if better else old_u
        best_v[x] = v if better else old_v


@kernel
def _try_rows(
    rows: Any, begin: int, end: int, v: int, reach: int, frame0: Any, frame1: Any, support: Any, best: Any
) -> None:
    """Try all u for one ``v`` on the given ``rows``, columns ``begin`` ... ``end`` - 1.

    ``support`` = (weights (H, 25, W), share (H, W)): of the window's pixels, and 1 / their sum.
    """
    side, count = 2 * WINDOW + 1, end - begin
    raw = np.empty((side, 2 * reach + 1, count + 2 * WINDOW), np.float32)
    order, cost = np.zeros(side, np.int64), np.empty(count, np.float32)
    held = -side - 1  # the last row in the ring
    for n in range(rows.shape[0]):
        y = rows[n]
        for line in range(max(held + 1, y - WINDOW), y + WINDOW + 1):
            _differences(line, v, begin - WINDOW, frame0, frame1, raw[line % side])
        held = y + WINDOW
        for j in range(side):
            order[j] = (y + j - WINDOW) % side
        weights = support[0][y, :, begin:end].copy()
        for u in range(-reach, reach + 1):
            _aggregate(weights, raw, order, u + reach, cost)
            extra = _MOTION * np.float32(math.sqrt(u * u + v * v))
            _keep_best(
                cost, support[1][y, begin:end], extra, np.float32(u), np.float32(v), best[0, y, begin:end],
                best[1, y, begin:end], best[2, y, begin:end],
            )  # fmt: skip


@kernel
def search(first: int, last: int, frame0: Any, frame1: Any, reach: int, best: Any) -> None:
    """Best displacement up to ``reach`` pixels in x and y for the rows ``first`` ... ``last`` - 1.

    ``frame0``, ``frame1`` = (grey, depth), (H, W) float32 each, 0..255 and metres. Fills ``best`` (3, H, W):
    cost, u, v. Only the columns and rows between the outermost pixels that do not stand still are searched.
    """
    width = frame0[0].shape[1]
    weights = np.empty((last, (2 * WINDOW + 1) ** 2, width), np.float32)
    share = np.empty((last, width), np.float32)
    for y in range(first, last):
        best[0, y, :] = np.inf
        best[1:, y, :] = 0
        _support(frame0[1], y, weights[y], share[y])
        for x in range(width):
            share[y, x] = _ONE / share[y, x]
    _try_rows(np.arange(first, last), 0, width, 0, 0, frame0, frame1, (weights, share), best)
    restless = np.empty(last - first, np.bool_)
    begin, end = width, 0
    for y in range(first, last):
        restless[y - first] = False
        for x in range(width):
            if best[0, y, x] > _REST:
                restless[y - first] = True
                begin, end = min(begin, x), max(end, x + 1)
    if begin >= end:
        return
    rows = np.arange(first, last)[restless]
    for v in range(-reach, reach + 1):
        _try_rows(rows, begin, end, v, reach, frame0, frame1, (weights, share), best)
