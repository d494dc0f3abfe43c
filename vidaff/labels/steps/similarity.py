"""Similarity tables: how alike the egocentric and exocentric objects of a pair look."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from vidaff.datasets.agd20k.labels import Box, Boxes, LabelFolder, SimilarityTable
from vidaff.datasets.agd20k.tree import Picture
from vidaff.labels.engine import Item, Outcome
from vidaff.labels.frozen import FrozenEncoder
from vidaff.labels.label_recipe import EncoderSettings
from vidaff.labels.pictures import LabelledPictures, OwnLabels
from vidaff.labels.steps.base import ModelWork


class SimilarityWork(ModelWork):
    """One table a pair: cosines of averaged features of a frozen encoder.

    Args:
        settings: the encoder.
        items: pictures of both views.
        out: label folder with the boxes of both.
        device: of the encoder.

    Source: Xu et al., ICLR 2025, equation 4.
    """

    name = "similarity"
    _encoder: FrozenEncoder
    _pictures: LabelledPictures
    _boxes: dict[str, Boxes]

    def __init__(self, settings: EncoderSettings, items: Sequence[Item], out: str, *, device: str = "auto") -> None:
        self.settings, self.items, self.out, self.device = settings, list(items), out, device

    def load(self) -> None:
        """Load the encoder, the lists of pictures and the boxes."""
        self._encoder = FrozenEncoder(self.settings, device=self.device)
        self._pictures = LabelledPictures(self.items, OwnLabels(self.out))
        self._boxes = {view: self._pictures.places.boxes(view) or {} for view in ("egocentric", "exocentric")}

    def fingerprint(self) -> str:
        """What tells encoders apart; it must be loaded."""
        return self._encoder.fingerprint()

    def run(self, item: Item, image: np.ndarray) -> Outcome:
        """The table of the pair that ``item`` names."""
        pair = (item.affordance, item.object)
        rows, ego = self._side("egocentric", self._pictures.egocentric, pair)
        columns, exo = self._side("exocentric", self._pictures.exocentric, pair)
        if not rows or not columns:
            return Outcome([], {"rows": len(rows), "columns": len(columns)})
        table = SimilarityTable((ego @ exo.T).astype(np.float32), tuple(rows), tuple(columns))
        values = table.similarity
        record = {"rows": len(rows), "columns": len(columns), "mean": round(float(values.mean()), 4)}
        return Outcome([similarity_file(pair, table)], record)

    def _side(self, view: str, pictures: Sequence[Picture], pair: tuple[str, str]) -> tuple[list[Box], np.ndarray]:
        """Names of all boxes of a pair in a view, and their features (n, D)."""
        names: list[Box] = []
        features: list[np.ndarray] = []
        for picture in pictures:
            boxes = self._boxes[view].get(picture.name, np.zeros((0, 5), np.float32))
            if picture.pair == pair and len(boxes):
                names += [Box(picture.file, number) for number in range(len(boxes))]
                features.append(self._encoder.objects(self._pictures.read(view, picture), boxes))
        return names, np.concatenate(features) if features else np.zeros((0, 1), np.float32)


def similarity_file(pair: tuple[str, str], table: SimilarityTable) -> tuple[str, bytes]:
    """A table as a file of an :class:`vidaff.labels.engine.Outcome`, as label folders have it.

    Written by hand, since the library orders the metadata differently from run to run.
    """
    values = np.ascontiguousarray(table.similarity, "<f4")
    header = {
        "__metadata__": {"columns": json.dumps(table.columns), "rows": json.dumps(table.rows)},
        "similarity": {"dtype": "F32", "shape": list(values.shape), "data_offsets": [0, values.nbytes]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = LabelFolder("").similarity_path(*pair).as_posix()
    return path, len(text).to_bytes(8, "little") + text + values.tobytes()
