"""The clean-up of raw labels: regions of each object's box that lie within the raw label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vidaff.datasets.agd20k.labels import Boxes
from vidaff.labels.detectors import for_picture
from vidaff.labels.engine import Item, Outcome, mask_file
from vidaff.labels.label_recipe import CleanSettings
from vidaff.labels.ops import crop_of, select_regions
from vidaff.labels.pictures import LabelledPictures, OwnLabels
from vidaff.labels.regions import FelzenszwalbRegions
from vidaff.labels.segmenters import load_proposer
from vidaff.labels.settings import SegmenterSettings
from vidaff.labels.steps.base import ModelWork
from vidaff.labels.types import RegionProposer


class CleanWork(ModelWork):
    """Refined labels out of raw ones.

    Args:
        settings: who proposes regions, and which are kept.
        segmenter: that of the parts, which proposes where no other one is named.
        items: egocentric pictures.
        out: label folder with raw labels and the boxes of objects.
        device: of the proposer.

    Source: Xu et al., ICLR 2025, section 3.3; regions of each object's box, as in the authors' code (paper: of the
    whole picture). A proposer of files gives regions of whole pictures, which are cut.
    """

    name = "clean"
    _proposer: RegionProposer
    _pictures: LabelledPictures
    _boxes: Boxes

    def __init__(
        self,
        settings: CleanSettings,
        segmenter: SegmenterSettings,
        items: Sequence[Item],
        out: str,
        *,
        device: str = "auto",
    ) -> None:
        self.settings, self.segmenter = settings, segmenter
        self.items, self.out, self.device = list(items), out, device

    def load(self) -> None:
        """Load the proposer and the boxes."""
        if self.settings.regions == "felzenszwalb":
            self._proposer = FelzenszwalbRegions(self.settings.felzenszwalb)
        else:
            self._proposer = load_proposer(self.settings.proposer or self.segmenter, device=self.device)
        self._pictures = LabelledPictures(self.items, OwnLabels(self.out))
        self._boxes = self._pictures.places.boxes("egocentric") or {}

    def fingerprint(self) -> str:
        """What tells proposers apart; it must be loaded."""
        return self._proposer.fingerprint()

    def run(self, item: Item, image: np.ndarray) -> Outcome:
        """The regions within the raw label; no file when there are none, and the initial label counts."""
        shape = (image.shape[0], image.shape[1])
        raw = self._pictures.mask("raw", item.picture, shape)
        record: dict[str, Any] = {"raw": 0.0 if raw is None else round(float(raw.mean()), 4), "regions": 0, "area": 0.0}
        if raw is None:
            return Outcome([], record)
        label = np.zeros(shape, bool)
        for box in self._boxes.get(item.picture.name, np.zeros((0, 5), np.float32)):
            place = crop_of(box[:4], shape)
            if place is None:
                continue
            regions = self._regions(item, image, place)
            record["regions"] += len(regions)
            settings = self.settings
            label[place] |= select_regions(
                regions, raw[place], overlap=settings.overlap, best=settings.best, whole=settings.whole
            )
        record["area"] = round(float(label.mean()), 4)
        return Outcome([mask_file("refined", item.picture, label)] if label.any() else [], record)

    def _regions(self, item: Item, image: np.ndarray, place: tuple[slice, slice]) -> np.ndarray:
        proposer = for_picture(self._proposer, item.name, item.view)
        assert proposer is not None  # for the type checker
        if proposer.name == "file":
            return proposer.generate(image)[(slice(None), *place)]
        return proposer.generate(np.ascontiguousarray(image[place]))
