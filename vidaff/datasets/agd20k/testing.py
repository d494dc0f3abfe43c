"""Test pictures of AGD20K with ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidaff.datasets.agd20k.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    Triple,
    as_distribution,
    network_input,
    read_map,
    read_picture,
    resize,
)
from vidaff.datasets.agd20k.samples import TestSample
from vidaff.datasets.agd20k.tree import Agd20kTree, Picture


class Agd20kTest:
    """Test pictures of one split, each with the affordance asked for.

    A sample is the whole picture and its ground truth, both resized to ``size``; see
    :class:`vidaff.datasets.agd20k.samples.TestSample`. Ground truth that is zero everywhere counts as uniform (one file
    of the set is so). Arguments and errors: :class:`vidaff.datasets.agd20k.training.Agd20kTrain`.

    Source: Xu et al., ICLR 2025, section 4.1; resizing as in the authors' code.
    """

    __test__ = False  # pytest takes it for a test by its name

    def __init__(
        self,
        root: str | Path,
        split: str = "seen",
        *,
        size: int = 224,
        mean: Triple = CLIP_MEAN,
        std: Triple = CLIP_STD,
        manifest: str | Path | None = None,
    ) -> None:
        self.tree = Agd20kTree(root, split, manifest=manifest)
        self.classes = self.tree.classes
        self.pictures: list[Picture] = self.tree.test
        self.pairs = sorted({picture.pair for picture in self.pictures})
        self._size, self._mean, self._std = (size, size), mean, std

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> TestSample:
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        rgb, truth = self._read(index)
        picture = self.pictures[index]
        return TestSample(
            image=network_input(rgb, self._size, self._mean, self._std),
            heatmap=as_distribution(resize(truth, self._size))[None],  # (1, S, S)
            verb=self.classes.affordances.index(picture.affordance),
            noun=self.classes.objects.index(picture.object),
            index=index,
        )

    def path(self, index: int) -> Path:
        """File of a picture."""
        return self.tree.path("test", "egocentric", self.pictures[index])

    def rgb(self, index: int) -> np.ndarray:
        """A picture as (H, W, 3) uint8, upright."""
        return read_picture(self.path(index))

    def ground_truth(self, index: int) -> np.ndarray:
        """Heat map (H, W) float32 at the picture's size, summing to 1."""
        return as_distribution(self._read(index)[1])

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture, and its ground truth (H, W) float32 0..255."""
        rgb = self.rgb(index)
        path = self.tree.ground_truth_path(self.pictures[index])
        truth = read_map(path, self.path(index), (rgb.shape[0], rgb.shape[1]))
        return rgb, truth.astype(np.float32)
