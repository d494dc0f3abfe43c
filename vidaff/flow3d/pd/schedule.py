"""What a PD-Flow solver is asked to do: pyramid levels, iterations, warps and weights."""

from __future__ import annotations

from dataclasses import dataclass

MIN_SIDE = 15
"""The authors' coarsest level is 15 rows high."""
MAX_LEVELS = 6


@dataclass(frozen=True)
class Stage:
    """One pyramid level's work.

    ``level`` 0 is the finest. ``iterations`` of the primal-dual loop follow each of the ``warps``, then, if
    ``median``, the weighted 3x3 median.
    """

    level: int
    iterations: int
    warps: int = 1
    median: bool = True


@dataclass(frozen=True)
class Schedule:
    """A whole solve; the defaults are the authors'.

    ``stages``: coarse to fine, consecutive levels. ``lambda_i``, ``lambda_d``: smoothness of image and of depth
    motion. ``mu``: weight of the depth term; that of the grey term is 1. ``limit_px``: clamp of each warp's
    increment, in pixels of its level. ``keep_duals``: dual variables go on over a change of level and over the
    warps of one level. ``masked`` (ours): no data terms where the warp leaves the picture or meets another surface
    more than ``jump_m`` metres away, and no depth term where a depth is missing.
    """

    stages: tuple[Stage, ...]
    lambda_i: float = 0.04
    lambda_d: float = 0.35
    mu: float = 75.0
    limit_px: float = 1.0
    keep_duals: bool = True
    masked: bool = False
    jump_m: float = 0.05


def authors(rows: int) -> Schedule:
    """The authors' schedule for pictures whose smaller side is ``rows`` pixels.

    100 iterations at the finest level, 15 fewer per coarser one; the picture is halved while its smaller side stays
    at least 15 pixels, up to 6 levels. Raises ``ValueError`` naming ``rows`` when it is not positive.
    """
    if rows < 1:
        raise ValueError(f"rows: must be at least 1, got {rows}")
    levels = 1
    while levels < MAX_LEVELS and rows >> levels >= MIN_SIDE:
        levels += 1
    return Schedule(tuple(Stage(level, 100 - 15 * level) for level in reversed(range(levels))))
