"""Which exocentric pictures belong to an egocentric one: boxes of both views, and how alike their objects look."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.agd20k.draws import most_similar
from vidaff.datasets.agd20k.labels import Box, SimilarityTable
from vidaff.datasets.agd20k.places import LabelPlaces
from vidaff.datasets.agd20k.tree import Agd20kTree, Picture
from vidaff.errors import VidaffError

Pair = tuple[str, str]


class ExocentricBoxes:
    """Boxes of both views and the similarity between them; :class:`VidaffError` without exocentric boxes."""

    def __init__(self, tree: Agd20kTree, places: LabelPlaces) -> None:
        boxes = places.boxes("exocentric")
        if boxes is None:
            raise VidaffError(
                f"{places.folder}: holds no boxes of the objects in exocentric pictures (boxes/exocentric.json, or the "
                "authors' det_wholeobj_exo.pth); vidaff label objects makes them, num_exo 0 does without"
            )
        self._boxes = boxes
        self._ego = places.boxes("egocentric") or {}
        self._columns: dict[Pair, list[Box]] = {}
        for picture in tree.exocentric:
            found = [Box(picture.file, number) for number in range(len(boxes.get(picture.name, ())))]
            self._columns.setdefault(picture.pair, []).extend(found)
        self._tables = {pair: places.similarity(*pair) for pair in self._columns}
        self._pools = {
            (pair, row): most_similar(values, columns)
            for pair, table in self._tables.items() if table is not None
            for columns, similarity in [self._present(pair, table)] if columns
            for row, values in zip(table.rows, similarity, strict=True)
        }  # fmt: skip

    def _present(self, pair: Pair, table: SimilarityTable) -> tuple[list[Box], np.ndarray]:
        """Columns of a table whose picture and box are there, and its numbers for them."""
        known = set(self._columns[pair])
        kept = [number for number, column in enumerate(table.columns) if column in known]
        return [table.columns[number] for number in kept], table.similarity[:, kept]

    def columns(self, pair: Pair) -> list[Box]:
        """All exocentric boxes of a pair."""
        return self._columns.get(pair, [])

    def count(self, picture: Picture) -> int:
        return len(self._ego.get(picture.name, ()))

    def box(self, picture: Picture, number: int) -> np.ndarray:
        """(5,) left, top, right, bottom, score of an exocentric box."""
        return self._boxes[picture.name][number]

    def pool(self, picture: Picture, number: int, *, similar: bool) -> list[Box]:
        everything = self.columns(picture.pair)
        return self._pools.get((picture.pair, Box(picture.file, number)), everything) if similar else everything

    def missing(self, picture: Picture) -> str | None:
        """Why exocentric objects are drawn without regard to similarity; None where they are not."""
        if self._tables.get(picture.pair) is None:
            return "no similarity table for its affordance and object"
        if not self.count(picture):
            return "no box of its object"
        rows = [(picture.pair, Box(picture.file, number)) in self._pools for number in range(self.count(picture))]
        return None if all(rows) else "not in the similarity table"
