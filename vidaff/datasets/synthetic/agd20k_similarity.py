"""How alike two pictures of an object look, without a network: colour and outline of what is inside its mask."""

from __future__ import annotations

import cv2
import numpy as np

_HUES, _TURNS = 8, 8


def descriptor(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Unit vector (19,) float32 of the pixels of ``rgb`` (H, W, 3) uint8 inside ``mask`` (H, W) bool; zeros when empty.

    Shares of hues weighted by saturation, mean and spread of lightness, mean saturation, and shares of edge directions.
    """
    if not mask.any():
        return np.zeros(_HUES + 3 + _TURNS, np.float32)
    hue, saturation, value = (
        channel[mask].astype(np.float32) for channel in cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    )
    colours = np.bincount((hue * _HUES / 180).astype(int) % _HUES, saturation, _HUES)
    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0)[mask], cv2.Sobel(grey, cv2.CV_32F, 0, 1)[mask]
    turn = (np.arctan2(down, across) / np.pi % 1.0 * _TURNS).astype(int) % _TURNS
    edges = np.bincount(turn, np.hypot(across, down), _TURNS)
    tones = np.array([value.mean(), 2 * value.std(), saturation.mean()]) / 255
    vector = np.concatenate([_unit(colours), tones, 0.7 * _unit(edges)])
    return _unit(vector).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    length: np.ndarray = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return length
