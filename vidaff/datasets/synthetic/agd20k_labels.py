"""Labels of rendered pictures: ground-truth heatmaps, and pseudo-labels with the faults of a part detector.

Faults are not spread evenly, since what goes wrong everywhere by chance averages out in training, and a detector's
blind spots do not. The pairs of :data:`WEAK` are those for which the paper found its labels wanting and refines them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from vidaff.datasets.synthetic.agd20k_plan import PicturePlan

FAULTS = ("good", "whole", "other", "shifted", "missing")
"""Right part; whole object; another part (for whole-object affordances: half of it); shifted; no label at all."""
STEADY = (0.68, 0.12, 0.06, 0.08, 0.06)
"""Shares of the faults in most pairs."""
WEAK_SHARES = (0.25, 0.42, 0.15, 0.08, 0.10)
"""Shares of the faults in the pairs of :data:`WEAK`."""
WEAK = frozenset(
    {
        ("hit", "tennis_racket"), ("hold", "tennis_racket"), ("swing", "tennis_racket"), ("hold", "fork"),
        ("hold", "hammer"), ("hold", "scissors"), ("hold", "toothbrush"), ("hold", "wine_glass"),
        ("pour", "wine_glass"),
    }
)  # fmt: skip
"""Pairs with poor labels. Source: Xu et al., ICLR 2025, released code (the pairs that it refines)."""
_GOLDEN = 0.6180339887498949
_POINTS = 60
_SIGMA = 0.04
_BOX_JITTER = 0.02


def fault_of(plan: PicturePlan) -> str:
    """What is wrong with the initial label of a training picture: one of :data:`FAULTS`."""
    shares = WEAK_SHARES if (plan.verb, plan.noun) in WEAK else STEADY
    # The golden ratio spreads the faults evenly over every stretch of a pair's pictures.
    place = (replace(plan, index=0).rng("fault").random() + _GOLDEN * plan.index) % 1.0
    return FAULTS[min(int(np.searchsorted(np.cumsum(shares), place, side="right")), len(FAULTS) - 1)]


def initial_label(plan: PicturePlan, parts: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """Imperfect mask (H, W) bool of a picture, or None where the detector found nothing.

    ``parts`` (H, W) uint8 is part + 1 of the thing, and ``region`` the parts (N,) that the affordance concerns.
    """
    kind, rng = fault_of(plan), plan.rng("label")
    if kind == "missing":
        return None
    truth = np.isin(parts, region + 1)
    mask = _FAULTY[kind](rng, truth, parts > 0)
    rough = roughened(rng, mask)
    return rough if rough.any() else mask


def _half(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """What lies on one side of a line through the middle."""
    rows, columns = np.nonzero(mask)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.indices(mask.shape)
    return mask & ((x - columns.mean()) * np.cos(angle) + (y - rows.mean()) * np.sin(angle) >= 0)


def _other(rng: np.random.Generator, truth: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """The rest of the thing; half of the truth when there is hardly any rest."""
    rest = thing & ~truth
    return rest if rest.sum() > 0.1 * thing.sum() else _half(rng, truth)


def _shifted(rng: np.random.Generator, truth: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """The truth moved by 15 to 35 % of the thing's size, unless less than a quarter would stay in the picture."""
    rows, columns = np.nonzero(thing)
    step = max(np.ptp(rows), np.ptp(columns)) * rng.uniform(0.15, 0.35)
    angle = rng.uniform(0, 2 * np.pi)
    shift = np.array([[1, 0, step * np.cos(angle)], [0, 1, step * np.sin(angle)]], np.float32)
    moved = cv2.warpAffine(truth.astype(np.uint8), shift, truth.shape[::-1], flags=cv2.INTER_NEAREST) > 0
    return moved if 4 * moved.sum() >= truth.sum() else truth


_FAULTY: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]] = {
    "good": lambda rng, truth, thing: truth,
    "whole": lambda rng, truth, thing: thing,
    "other": _other,
    "shifted": _shifted,
}


def roughened(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A mask whose border strays by about 1 % of the picture, as a segmenter's does."""
    size = max(mask.shape)
    noise = cv2.GaussianBlur(rng.normal(0, 1, mask.shape).astype(np.float32), (0, 0), 0.03 * size)
    noise /= max(float(noise.std()), 1e-9)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    rough: np.ndarray = inside - outside + 0.008 * size * noise > 0
    return rough


def detected_box(plan: PicturePlan, mask: np.ndarray) -> list[list[float]]:
    """Boxes (1, 5) of the object: left, top, right, bottom in pixels, each about 2 % of the side off, and a score.

    Empty when the mask is.
    """
    rng = plan.rng("box")
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return []
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
    sides = np.tile([box[2] - box[0], box[3] - box[1]], 2)
    box = box + rng.normal(0, _BOX_JITTER, 4) * sides
    limits = np.tile(mask.shape[::-1], 2).astype(float)
    return [[*np.clip(box, 0, limits).round(2).tolist(), round(float(rng.uniform(0.55, 0.98)), 3)]]


def heatmap(plan: PicturePlan, truth: np.ndarray) -> np.ndarray:
    """Ground truth (H, W) uint8: points inside the region, spread by a Gaussian, the largest value 255.

    Source: Luo et al., CVPR 2022 (points of annotators, smoothed); how many and how wide is ours.
    """
    rows, columns = np.nonzero(truth)
    picked = plan.rng("points").integers(0, len(rows), _POINTS) if len(rows) else np.empty(0, int)
    density = np.zeros(truth.shape, np.float32)
    np.add.at(density, (rows[picked], columns[picked]), 1.0)
    heat = cv2.GaussianBlur(density, (0, 0), _SIGMA * max(truth.shape), borderType=cv2.BORDER_CONSTANT)
    peak = float(heat.max())
    return np.round(heat * (255 / peak)).astype(np.uint8) if peak > 0 else np.zeros(truth.shape, np.uint8)
