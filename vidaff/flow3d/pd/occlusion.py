"""Which pixels were matched wrongly because they are hidden in the other frame, and how they moved nevertheless.

Two pixels of frame 0 cannot arrive at one place of frame 1: the worse match is refused. A refused pixel, or one close
by, takes the motion of its own surface as seen further away, if that explains it: depth then shows something nearer at
the place where it should have arrived, or the pictures agree there.

Ours, not part of PD-Flow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vidaff.flow3d.pd.compiling import kernel

MARGIN = 1.0
"""Grey levels by which a rival must explain a place better."""
APART_PX, APART = 1.5, 0.005
"""Rivals are pixels whose motions differ by more than this, and by this share of the larger side."""
ALIKE = 0.015
"""A pixel leaving the picture believes those of its surface that move as it does, up to this share of the side."""
DIRECTIONS = 16
"""Directions in which a pixel looks for the rest of its surface."""
SURFACE_M = 0.03
SLOPE = 0.6
"""A surface's depth may change by this times the distance in space, and by ``SURFACE_M``."""
IN_FRONT_M = 0.05
"""Depth by which something must be nearer to hide a point."""
GOOD_ENOUGH = 0.5
"""Grey levels by which the surface's motion may be worse than the pixel's own."""
DEPTH_WEIGHT = 100.0
"""Grey levels that a metre of unexplained depth costs ..."""
DEPTH_LIMIT_M = 0.3
"""... up to this depth."""
NO_DEPTH_COST = 3.0
"""Grey levels that a place without depth costs."""

SEEN, SURFACE, HIDDEN, LONELY = 0, 1, 2, 3
"""Verdicts: keeps its motion; took its surface's; took it, and is hidden; nothing of its surface was found."""


def settings() -> dict[str, float]:
    """The numbers above, to be stored with the data."""
    return {
        "margin": MARGIN,
        "apart_px": APART_PX,
        "apart": APART,
        "alike": ALIKE,
        "directions": DIRECTIONS,
        "surface_m": SURFACE_M,
        "slope": SLOPE,
        "in_front_m": IN_FRONT_M,
        "good_enough": GOOD_ENOUGH,
        "depth_weight": DEPTH_WEIGHT,
        "depth_limit_m": DEPTH_LIMIT_M,
        "no_depth_cost": NO_DEPTH_COST,
    }


_MARGIN, _GOOD, _FRONT = np.float32(MARGIN), np.float32(GOOD_ENOUGH), np.float32(IN_FRONT_M)
_WEIGHT, _FAR, _NO_DEPTH = np.float32(DEPTH_WEIGHT), np.float32(DEPTH_LIMIT_M), np.float32(NO_DEPTH_COST)
_APART, _APART_SHARE, _NEAR, _SLOPE = np.float32(APART_PX), np.float32(APART), np.float32(SURFACE_M), np.float32(SLOPE)
_HALF, _ALIKE = np.float32(0.5), np.float32(ALIKE)


@kernel
def _place(position: int, motion: Any) -> int:
    return math.floor(np.float32(position) + motion + _HALF)


@kernel
def claim(total: Any, cost: Any, known: Any, owner: Any) -> None:
    """``owner`` (H, W) int32: for every place of frame 1 the index of the cheapest pixel that went there, or -1."""
    height, width = cost.shape
    owner[:] = -1
    for y in range(height):
        for x in range(width):
            tx, ty = _place(x, total[0, y, x]), _place(y, total[1, y, x])
            if known[y, x] and 0 <= tx < width and 0 <= ty < height:
                rival = owner[ty, tx]
                if rival < 0 or cost[rival // width, rival % width] > cost[y, x]:
                    owner[ty, tx] = y * width + x


@kernel
def refuse(first: int, last: int, total: Any, cost: Any, known: Any, owner: Any, refused: Any) -> None:
    """Fill rows ``first`` ... ``last`` - 1 of ``refused`` (H, W) uint8: 1 where the match is wrong or unknown."""
    height, width = cost.shape
    apart = max(_APART, _APART_SHARE * max(height, width))
    for y in range(first, last):
        for x in range(width):
            tx, ty = _place(x, total[0, y, x]), _place(y, total[1, y, x])
            lost = not known[y, x] or tx < 0 or ty < 0 or tx >= width or ty >= height
            if not lost:
                for yy in range(max(ty - 1, 0), min(ty + 2, height)):
                    for xx in range(max(tx - 1, 0), min(tx + 2, width)):
                        rival = owner[yy, xx]
                        if rival < 0:
                            continue
                        ry, rx = rival // width, rival % width
                        du, dv = total[0, ry, rx] - total[0, y, x], total[1, ry, rx] - total[1, y, x]
                        lost |= cost[ry, rx] + _MARGIN < cost[y, x] and du * du + dv * dv > apart * apart
            refused[y, x] = lost


def rays(reach: int) -> np.ndarray:
    """(DIRECTIONS, n, 3) float32: dy, dx and length of the places a pixel looks at, out to ``reach`` pixels.

    Every pixel nearby, then ever longer steps: far away the surface is only sampled.
    """
    lengths = [1]
    while lengths[-1] < reach:
        lengths.append(lengths[-1] + 1 + lengths[-1] // 6)
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    steps = np.array(lengths)[None, :]
    dy, dx = np.rint(np.sin(angles)[:, None] * steps), np.rint(np.cos(angles)[:, None] * steps)
    return np.stack(np.broadcast_arrays(dy, dx, steps), axis=-1).astype(np.float32)


@kernel
def _surface_motion(y: int, x: int, total: Any, doubt: Any, depth: Any, slope: Any, looks: Any, found: Any) -> int:
    """Collect u, v, w of the pixel's surface in every direction, beyond the doubtful zone; returns how many."""
    height, width = depth.shape
    centre, count = depth[y, x], 0
    for k in range(looks.shape[0]):
        for n in range(looks.shape[1]):
            yy, xx = y + int(looks[k, n, 0]), x + int(looks[k, n, 1])
            if xx < 0 or yy < 0 or xx >= width or yy >= height:
                break
            if doubt[yy, xx]:
                continue
            if centre > 0 and abs(depth[yy, xx] - centre) > _NEAR + slope * looks[k, n, 2] * centre:
                continue
            for plane in range(3):
                found[plane, count] = total[plane, yy, xx]
            count += 1
            break
    return count


@kernel
def _like_minded(found: Any, count: int, u: Any, v: Any, alike: Any) -> int:
    """Keep the motions within ``alike`` pixels of (u, v), or all if there are none; returns how many."""
    kept = 0
    for n in range(count):
        if abs(found[0, n] - u) < alike and abs(found[1, n] - v) < alike:
            for plane in range(3):
                found[plane, kept], found[plane, n] = found[plane, n], found[plane, kept]
            kept += 1
    return kept if kept > 0 else count


@kernel
def _difference(y: int, x: int, ty: int, tx: int, grey0: Any, grey1: Any) -> Any:
    """Mean grey difference of the 5x5 windows around a pixel and a place."""
    height, width = grey0.shape
    total, count = np.float32(0), np.float32(0)
    for j in range(-2, 3):
        for i in range(-2, 3):
            if 0 <= y + j < height and 0 <= x + i < width and 0 <= ty + j < height and 0 <= tx + i < width:
                total += abs(np.float32(grey0[y + j, x + i]) - np.float32(grey1[ty + j, tx + i]))
                count += 1
    return total / count


@kernel
def settle(
    first: int, last: int, total: Any, cost: Any, refused: Any, doubt: Any, frame0: Any, frame1: Any, shift: Any,
    focal: Any, looks: Any, out: Any, verdict: Any,
) -> None:  # fmt: skip
    """Decide rows ``first`` ... ``last`` - 1 of the doubtful pixels between their own motion and their surface's.

    ``total``, ``out`` (3, H, W): u, v, w before and after. ``frame0``, ``frame1`` = (grey uint8, depth metres).
    ``shift``: the camera's depth motion, which costs nothing. ``looks``: :func:`rays`. ``verdict`` (H, W) uint8.
    """
    height, width = cost.shape
    found, slope = np.empty((3, DIRECTIONS), np.float32), _SLOPE / focal
    alike = _ALIKE * max(height, width)
    for y in range(first, last):
        out[:, y] = total[:, y]
        verdict[y, :] = SEEN
        for x in range(width):
            if not doubt[y, x]:
                continue
            count = _surface_motion(y, x, total, doubt, frame0[1], slope, looks, found)
            if count == 0:
                verdict[y, x] = LONELY if refused[y, x] else SEEN
                continue
            own_u, own_v = total[0, y, x], total[1, y, x]
            if not (0 <= _place(x, own_u) < width and 0 <= _place(y, own_v) < height):
                # On its way out of the picture nothing contradicts a motion that its surface shares.
                count = _like_minded(found, count, own_u, own_v, alike)
            u, v, w = np.median(found[0, :count]), np.median(found[1, :count]), np.median(found[2, :count])
            tx, ty, centre = _place(x, u), _place(y, v), frame0[1][y, x]
            choice = SURFACE if refused[y, x] else SEEN
            if tx < 0 or ty < 0 or tx >= width or ty >= height:
                choice = HIDDEN
            elif centre > 0:
                there = frame1[1][ty, tx]
                if there > 0 and there < centre + w - _FRONT:
                    choice = HIDDEN
                elif choice == SEEN:
                    price = _difference(y, x, ty, tx, frame0[0], frame1[0])
                    price += _WEIGHT * min(abs(there - centre - shift), _FAR) if there > 0 else _NO_DEPTH
                    choice = SURFACE if price <= cost[y, x] + _GOOD else SEEN
            verdict[y, x] = choice
            if choice != SEEN:
                out[0, y, x], out[1, y, x], out[2, y, x] = u, v, w
