"""Samples of AGD20K as the networks take them; ``default_collate`` makes batches of the same types."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class TrainSample(NamedTuple):
    """One egocentric picture with its pseudo-label and n exocentric ones. S = 224 pixels, patches of 16:

    image (3, 224, 224) float32, normalised; heatmap (1, 224, 224) float32 >= 0 with sum 1; verb and noun ids of the
    affordance and the object; pair, the position in the data set's ``pairs``; exo (n, 3, 224, 224) float32, normalised;
    exo_mask (n, 196) float32, 1 where a patch touches the object; index of the picture.
    """

    image: np.ndarray
    heatmap: np.ndarray
    verb: int
    noun: int
    pair: int
    exo: np.ndarray
    exo_mask: np.ndarray
    index: int  # type: ignore[assignment]  # hides tuple.index


class TestSample(NamedTuple):
    """One whole picture and where its affordance is: ground truth, or the pseudo-label of a training picture.

    Fields as in :class:`TrainSample`.
    """

    image: np.ndarray
    heatmap: np.ndarray
    verb: int
    noun: int
    index: int  # type: ignore[assignment]  # hides tuple.index


TestSample.__test__ = False  # type: ignore[attr-defined]  # or pytest takes it for a test by its name
