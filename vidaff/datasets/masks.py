"""Colour masks to class ids, before any resizing: seven of the greens differ by 20 in blue only."""

from __future__ import annotations

import cv2
import numpy as np

from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, IGNORE, MASK_COLOURS
from vidaff.errors import VidaffError

TOLERANCE = 9
"""Largest difference per channel. Half of the smallest distance (20) between two class colours, less one."""
MAX_UNKNOWN = 0.05
"""A mask with more than this share of colours that mean nothing is refused as not being a colour mask."""

_COLOURS = np.array([MASK_COLOURS[name] for name in AFFORDANCES], dtype=np.int16)
UNKNOWN = 254
"""Id that :func:`classify_colours` gives to a colour that is neither a class nor white nor black."""


def classify_colours(mask: np.ndarray, *, black: int = BACKGROUND) -> np.ndarray:
    """Class id of every pixel of a colour mask (H, W, 3) uint8 RGB -> (H, W) uint8, unknown colours :data:`UNKNOWN`.

    A pixel is a class when all channels are within :data:`TOLERANCE` of its colour; white is background, black is
    ``black`` (unlabelled pixels are white where colour was mapped to depth and black where it was not).

    Source: STCAE release, ``utils/utils.py`` (colours); its search after bilinear resizing loses every border.
    """
    labels = np.full(mask.shape[:2], UNKNOWN, dtype=np.uint8)
    labels[cv2.inRange(mask, (255 - TOLERANCE,) * 3, (255,) * 3) > 0] = BACKGROUND
    labels[cv2.inRange(mask, (0,) * 3, (TOLERANCE,) * 3) > 0] = black
    rows, columns = np.nonzero(labels == UNKNOWN)
    colours = mask[rows, columns].astype(np.int16)  # (N, 3)
    for number, colour in enumerate(_COLOURS):
        near = (np.abs(colours - colour) <= TOLERANCE).all(axis=1)
        labels[rows[near], columns[near]] = number
    return labels


def decode_mask(
    mask: np.ndarray, action: int | None, *, black_is_ignore: bool = False, where: str = "mask"
) -> np.ndarray:
    """Label picture (H, W) uint8 of a colour mask (H, W, 3): 0..8 affordances, 9 background, 255 ignore.

    Only the recording's own ``action`` is foreground, every other class becomes background; ``None`` keeps all
    classes. Raises :class:`VidaffError` when more than 5 % of the pixels have a colour that means nothing.
    """
    labels = classify_colours(mask, black=IGNORE if black_is_ignore else BACKGROUND)
    unknown = labels == UNKNOWN
    share = float(unknown.mean())
    if share > MAX_UNKNOWN:
        example = tuple(int(value) for value in mask[unknown][0])
        raise VidaffError(
            f"{where}: {share:.0%} of the pixels have a colour that is no affordance, for example RGB {example}"
        )
    labels[unknown] = BACKGROUND
    if action is not None:
        labels[(labels != action) & (labels != IGNORE)] = BACKGROUND
    return labels


def decode_labels(mask: np.ndarray, *, where: str = "mask") -> np.ndarray:
    """Check a label picture (H, W) uint8 that holds class ids already: 0..8, 9 or 255; returns it unchanged."""
    values = np.unique(mask)
    bad = values[(values > BACKGROUND) & (values != IGNORE)]
    if mask.dtype != np.uint8 or bad.size:
        raise VidaffError(f"{where}: class ids 0..9 or 255 are expected, got {bad[:5].tolist() or mask.dtype}")
    return mask
