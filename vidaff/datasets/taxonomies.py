"""Classes of the data sets: names, ids and colours.

Everywhere in vidaff the affordances of a set of K are 0..K-1, the background is K, and 255 is not judged. Static sets
number theirs from 1 on disk, with 0 for the background: an id here is theirs less one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidaff.datasets import taxonomy as sor3d
from vidaff.errors import VidaffError

Colour = tuple[int, int, int]
IGNORE = sor3d.IGNORE


@dataclass(frozen=True)
class Taxonomy:
    """Affordances of a data set with an RGB colour each, its background's colour, and the names of its objects."""

    affordances: tuple[str, ...]
    colours: tuple[Colour, ...]
    objects: tuple[str, ...]
    background_colour: Colour = (255, 255, 255)

    @property
    def background(self) -> int:
        """Id of the background, which is also the number of affordances."""
        return len(self.affordances)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by id, the background last."""
        return (*self.affordances, "background")

    def from_disk(self) -> np.ndarray:
        """(256,) uint8 table from a static set's ids on disk (0 background, 1..K) to ids here; all others 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[0] = self.background
        table[1 : self.background + 1] = np.arange(self.background)
        return table

    def to_disk(self) -> np.ndarray:
        """(256,) uint8 table from ids here to a static set's ids on disk; what is not judged becomes background."""
        table = np.zeros(256, np.uint8)
        table[: self.background] = np.arange(1, self.background + 1)
        return table


SOR3D_AFF = Taxonomy(sor3d.AFFORDANCES, tuple(sor3d.DISPLAY_COLOURS.values()), sor3d.OBJECTS)

UMD = Taxonomy(
    affordances=("grasp", "cut", "scoop", "contain", "pound", "support", "wrap-grasp"),
    colours=(
        (46, 204, 64), (255, 140, 0), (150, 90, 230), (52, 120, 246), (231, 60, 60), (240, 220, 60), (64, 220, 230),
    ),
    objects=(
        "bowl", "cup", "hammer", "knife", "ladle", "mallet", "mug", "pot", "saw", "scissors", "scoop", "shears",
        "shovel", "spoon", "tenderizer", "trowel", "turner",
    ),
)  # fmt: skip
"""Ids on disk less one. The set prescribes no colours; these are ours.

Source: the set's README; Myers et al., ICRA 2015.
"""

IIT_AFF = Taxonomy(
    affordances=("contain", "cut", "display", "engine", "grasp", "hit", "pound", "support", "w-grasp"),
    colours=(
        (0, 0, 205), (34, 139, 34), (192, 192, 128), (165, 42, 42), (128, 64, 128), (204, 102, 0), (184, 134, 11),
        (0, 153, 153), (0, 134, 141),
    ),
    objects=("bowl", "tvm", "pan", "hammer", "knife", "cup", "drill", "racket", "spatula", "bottle"),
    background_colour=(200, 222, 250),
)  # fmt: skip
"""Ids on disk less one, with the colours of the authors' code.

Source: Nguyen et al., IROS 2017, and the AffordanceNet release.
"""

TAXONOMIES: dict[str, Taxonomy] = {
    "sor3d-aff": SOR3D_AFF, "own-clips": SOR3D_AFF, "umd": UMD, "iit-aff": IIT_AFF,
}  # fmt: skip
"""By data set. UTKinect has actions (:data:`vidaff.datasets.utkinect.ACTIONS`) and no affordances."""


def taxonomy_of(dataset: str) -> Taxonomy:
    """Classes of the data set ``dataset``; raise :class:`VidaffError` when it has none."""
    if dataset not in TAXONOMIES:
        raise VidaffError(f"{dataset!r} has no affordance labels; data sets with labels: {', '.join(TAXONOMIES)}")
    return TAXONOMIES[dataset]


def taxonomy_of_model(info: Mapping[str, Any]) -> Taxonomy:
    """Classes that a model's ``info`` says it was trained on; those of SOR3D-AFF where it says nothing.

    Raises :class:`VidaffError` for classes that are of no known data set.
    """
    classes = info.get("classes")
    if classes is None:
        return SOR3D_AFF
    found = next((each for each in TAXONOMIES.values() if list(each.classes) == classes), None)
    if found is None:
        raise VidaffError(f"the checkpoint's classes {classes} are those of no known data set")
    return found


def disk_ids(taxonomy: Taxonomy) -> np.ndarray:
    """(256,) uint8 table from ids here to those of label pictures on disk, by which a set's own tools read them.

    Static sets: :meth:`Taxonomy.to_disk`. SOR3D-AFF, whose masks are colours: as here.
    """
    return np.arange(256, dtype=np.uint8) if taxonomy == SOR3D_AFF else taxonomy.to_disk()
