"""Pictures of a labelling run with the labels made so far."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vidaff.datasets.agd20k.labels import Boxes, LabelFolder, SimilarityTable
from vidaff.datasets.agd20k.pixels import read_map
from vidaff.datasets.agd20k.tree import Picture
from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.labels.engine.types import Item


class Places(Protocol):
    """Where boxes, masks and similarities are; :class:`vidaff.datasets.agd20k.places.LabelPlaces` is one."""

    folder: Path

    def find_mask(self, kind: str, picture: Picture) -> Path | None: ...

    def boxes(self, view: str) -> Boxes | None: ...

    def similarity(self, affordance: str, thing: str) -> SimilarityTable | None: ...


class OwnLabels:
    """Our label folder as a place."""

    def __init__(self, folder: str | Path) -> None:
        self.labels = LabelFolder(folder)
        self.folder = self.labels.folder

    def find_mask(self, kind: str, picture: Picture) -> Path | None:
        """File of a mask that is there."""
        return self.labels.find_mask(kind, picture)

    def boxes(self, view: str) -> Boxes | None:
        """Boxes of a view, None when nothing was detected yet."""
        return self.labels.read_boxes(view)

    def similarity(self, affordance: str, thing: str) -> SimilarityTable | None:
        """Table of a pair, None when there is none."""
        return self.labels.read_similarity(affordance, thing)


class LabelledPictures:
    """Pictures by view, read with their masks; those that are known to be bad are left out.

    Args:
        items: pictures of both views.
        places: their labels.
    """

    def __init__(self, items: Iterable[Item], places: Places) -> None:
        self.places = places
        self._items = {(item.view, item.picture): item for item in items if not item.problem}
        self.egocentric = [picture for view, picture in self._items if view == "egocentric"]
        self.exocentric = [picture for view, picture in self._items if view == "exocentric"]

    def read(self, view: str, picture: Picture) -> np.ndarray:
        """A picture (H, W, 3) uint8 RGB; raise :class:`VidaffError` when it is not there or unreadable."""
        from vidaff.labels.engine.pictures import read_item

        if (view, picture) not in self._items:
            raise VidaffError(f"{view} {picture.name}: no such picture; were the labels made of other data?")
        image: np.ndarray = read_item(self._items[view, picture])
        return image

    def mask(self, kind: str, picture: Picture, size: tuple[int, int]) -> np.ndarray | None:
        """(H, W) bool of a kind of :data:`vidaff.datasets.agd20k.labels.MASKS`, None where there is none."""
        path = self.places.find_mask(kind, picture)
        if path is None:
            return None
        item = self._items["exocentric" if kind.endswith("exocentric") else "egocentric", picture]
        source = Path(item.source.path) if item.source is not None else path
        grid: np.ndarray = read_map(path, source, size) >= 128
        return grid
