"""Regions without a network."""

from __future__ import annotations

import hashlib

import numpy as np
from skimage.segmentation import felzenszwalb

from vidaff.labels.label_recipe import FelzenszwalbSettings


class FelzenszwalbRegions:
    """Connected regions of even colour, which never overlap: a stand-in for SAM's where no weights are at hand.

    They follow colour, not things: a shadow may cut a part in two, and two parts of one colour are one.

    Source: Felzenszwalb and Huttenlocher, IJCV 2004, by scikit-image.
    """

    name = "felzenszwalb"

    def __init__(self, settings: FelzenszwalbSettings) -> None:
        self.settings = settings

    def generate(self, image: np.ndarray) -> np.ndarray:
        """Regions (K, H, W) bool of ``image`` (H, W, 3) uint8 RGB."""
        own = self.settings
        labels = felzenszwalb(image, scale=own.scale, sigma=own.sigma, min_size=own.min_size, channel_axis=-1)
        return np.arange(labels.max() + 1)[:, None, None] == labels[None]

    def fingerprint(self) -> str:
        """Hash of the settings."""
        return f"felzenszwalb-{hashlib.sha256(self.settings.model_dump_json().encode()).hexdigest()[:16]}"
