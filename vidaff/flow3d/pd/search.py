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

from vidaff.flow3d.pd.sweep import kernel

WINDOW = 2
"""Half the side of the 5x5 window."""
SURFACE_M = 0.04
"""A neighbour this close in depth is on the same surface."""
UNKNOWN_WEIGHT, OTHER_WEIGHT = 0.3, 0.02
"""Weight of a neighbour whose depth is missing, and of one on another surface."""
GREY_LIMIT = 40.0
"""Grey differences count up to this; beyond, they are all equally wrong."""
DEPTH_LIMIT_M = 0.15
DEPTH_WEIGHT = 100.0
"""Grey levels that a metre of depth change costs: 1 cm as much as one grey level."""
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
def _differences(grey0: Any, depth0: Any, grey1: Any, depth1: Any, out: Any) -> None:
    for x in range(out.shape[0]):
        a, b = depth0[x], depth1[x]
        change = min(abs(a - b), _DEPTH) * _WEIGHT
        change = _MISSING if a == 0 or b == 0 else change
        out[x] = min(abs(grey0[x] - grey1[x]), _GREY) + change


@kernel
def _add_weighted(total: Any, weight: Any, line: Any) -> None:
    for x in range(total.shape[0]):
        total[x] += weight[x] * line[x]


@kernel
def _keep_best(cost: Any, total: Any, extra: Any, u: int, v: int, best: Any, best_u: Any, best_v: Any) -> None:
    for x in range(best.shape[0]):
        value, before, old_u, old_v = cost[x] / total[x] + extra, best[x], best_u[x], best_v[x]
        better = value < before
        best[x] = value if better else before
        best_u[x] = np.float32(u) if better else old_u
        best_v[x] = np.float32(v) if better else old_v


@kernel
def _try(
    y: int, u: int, v: int, first: int, last: int, frame0: Any, frame1: Any, weights: Any, total: Any, raw: Any,
    cost: Any, best: Any,
) -> None:  # fmt: skip
    """Try displacement (u, v) for pixels ``first`` ... ``last`` - 1 of row ``y``."""
    height, width = frame0[0].shape
    side = 2 * WINDOW + 1
    for j in range(side):
        here, there = y + j - WINDOW, y + j - WINDOW + v
        line = raw[j]
        line[:] = _WORST
        begin, end = max(first - WINDOW, 0, -u), min(last + WINDOW, width, width - u)
        if 0 <= here < height and 0 <= there < height and begin < end:
            _differences(
                frame0[0][here, begin:end], frame0[1][here, begin:end],
                frame1[0][there, begin + u : end + u], frame1[1][there, begin + u : end + u],
                line[WINDOW + begin : WINDOW + end],
            )  # fmt: skip
    cost[first:last] = 0
    for j in range(side):
        for i in range(side):
            _add_weighted(cost[first:last], weights[j * side + i, first:last], raw[j, first + i : last + i])
    extra = _MOTION * np.float32(math.sqrt(u * u + v * v))
    _keep_best(
        cost[first:last], total[first:last], extra, u, v, best[0, y, first:last], best[1, y, first:last],
        best[2, y, first:last],
    )  # fmt: skip


@kernel
def search(first: int, last: int, frame0: Any, frame1: Any, reach: int, best: Any) -> None:
    """Best displacement up to ``reach`` pixels in x and y for the rows ``first`` ... ``last`` - 1.

    ``frame0``, ``frame1`` = (grey, depth), (H, W) float32 each, 0..255 and metres. Fills ``best`` (3, H, W):
    cost, u, v. A row is searched from its first to its last pixel that does not stand still.
    """
    width = frame0[0].shape[1]
    side = 2 * WINDOW + 1
    weights = np.empty((side * side, width), np.float32)
    total, cost = np.empty(width, np.float32), np.empty(width, np.float32)
    raw = np.empty((side, width + 2 * WINDOW), np.float32)
    for y in range(first, last):
        best[0, y, :] = np.inf
        best[1:, y, :] = 0
        _support(frame0[1], y, weights, total)
        _try(y, 0, 0, 0, width, frame0, frame1, weights, total, raw, cost, best)
        begin, end = width, 0
        for x in range(width):
            if best[0, y, x] > _REST:
                begin, end = min(begin, x), x + 1
        if begin >= end:
            continue
        for v in range(-reach, reach + 1):
            for u in range(-reach, reach + 1):
                _try(y, u, v, begin, end, frame0, frame1, weights, total, raw, cost, best)
