"""Did a pixel move as the 2D flow says, stay where it was, or is neither certain?

Optical flow smears motion into plain surroundings and invents some where a surface is hidden in the other frame. With
a second hypothesis, "this point stands still", and depth to test it, both show: on rendered hand clips at 128x128 this
cut the error over still surfaces to a third. A moving camera refutes the hypothesis nearly everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vidaff.flow3d.lift import pixel_grid

WINDOW = 7
"""Side of the window, in pixels, over which grey differences are averaged."""
MARGIN = 0.5
"""Grey levels by which the flow must explain a pixel better than standing still."""
NOISE_FACTOR = 1.5
"""A point also stands still if its grey changes by less than this times the quietest quarter of the picture ..."""
NOISE_LIMIT = 4.0
"""... which is the camera's noise, unless the camera moves: so at most this many grey levels."""
WORST = 12.0
"""Mean grey difference up to which a match may be right whatever the texture ..."""
WORST_SHARE = 1.2
"""... and as a share of the texture's own contrast: unrelated patches differ by about 1.4 times that."""
HIDDEN_COST = 8.0
"""Grey difference that a match must beat where the point would be hidden, if it stood still (nothing to compare)."""
DEPTH_TOLERANCE_M = (0.010, 0.006)
"""Depth change of a still point: a + b (Z - 0.4)^2 metres, four times a Kinect's noise averaged over 3x3."""


class Verdict(NamedTuple):
    """(H, W) bool masks: ``moved``: the flow holds; ``still``: take no motion; ``hidden``: that could not be seen."""

    moved: np.ndarray
    still: np.ndarray
    hidden: np.ndarray


def settings() -> dict[str, object]:
    """The numbers above, to be stored with the data."""
    return {
        "window": WINDOW,
        "margin": MARGIN,
        "noise_factor": NOISE_FACTOR,
        "noise_limit": NOISE_LIMIT,
        "worst": WORST,
        "worst_share": WORST_SHARE,
        "hidden_cost": HIDDEN_COST,
        "depth_tolerance_m": list(DEPTH_TOLERANCE_M),
    }


def weigh(
    grey0: np.ndarray,
    grey1: np.ndarray,
    motion: np.ndarray,
    depths: tuple[np.ndarray, np.ndarray] | None = None,
    possible: np.ndarray | None = None,
) -> Verdict:
    """Weigh ``motion`` (H, W, 2) pixels against standing still.

    ``grey0``, ``grey1`` (H, W) uint8; ``depths`` both (H, W) metres, 0 = missing; ``possible`` (H, W) bool: where
    depth allows the motion at all.
    """
    where = motion + pixel_grid(*grey0.shape)
    matched = cv2.remap(grey1, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    contrast = _mean(cv2.absdiff(grey0, cv2.blur(grey0, (WINDOW, WINDOW))))
    cost_moved, cost_still = _mean(cv2.absdiff(grey0, matched)), _mean(cv2.absdiff(grey0, grey1))
    holds = cost_moved <= np.maximum(WORST, WORST_SHARE * contrast)
    if possible is not None:
        holds &= possible
    cost_moved[~holds] = np.inf
    # In plain regions a match fits the noise better than no motion does, so noise must count for nothing.
    noise = min(NOISE_LIMIT, NOISE_FACTOR * float(np.percentile(cost_still[::4, ::4], 25)))
    hidden, gone = _depth_says(*depths) if depths is not None else (np.zeros_like(holds), np.zeros_like(holds))
    cost_still = np.where(hidden, np.maximum(HIDDEN_COST, WORST_SHARE * contrast), cost_still)
    still = ~gone & (cost_still <= np.maximum(cost_moved + MARGIN, noise))
    return Verdict(holds & ~still, still, hidden)


def _mean(image: np.ndarray) -> np.ndarray:
    averaged: np.ndarray = cv2.boxFilter(image, cv2.CV_32F, (WINDOW, WINDOW))
    return averaged


def _depth_says(depth0: np.ndarray, depth1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a still point would be ``hidden`` (something nearer is there in the other frame), or is ``gone`` for sure.

    Gone: the other frame sees behind it. Neither where one depth is missing.
    """
    both = ((depth0 > 0) & (depth1 > 0)).astype(np.float32)
    weight = np.maximum(cv2.blur(both, (3, 3)), np.float32(0.1))
    change = cv2.blur((depth1 - depth0) * both, (3, 3)) / weight
    tolerance = DEPTH_TOLERANCE_M[0] + DEPTH_TOLERANCE_M[1] * np.square(depth0 - np.float32(0.4))
    return change < -tolerance, change > tolerance
