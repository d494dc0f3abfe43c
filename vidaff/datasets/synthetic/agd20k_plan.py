"""Which pictures a synthetic AGD20K holds, and the random numbers of each."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from vidaff.datasets.synthetic.agd20k_things import ThingType, thing_types, type_of

Pair = tuple[str, str]
"""Affordance and object."""
ROLES = ("train", "exo", "test")
"""Egocentric for training, exocentric for training, egocentric for the test. No instance has two roles."""
SPLITS = ("Seen", "Unseen")
UNSEEN_TEST = ("axe", "banana", "camera", "cup", "golf_clubs", "knife", "laptop", "refrigerator")
"""Objects of the official Unseen test set among ours."""
NOT_UNSEEN = ("brush_with", "lift", "stir", "talk_on", "text_on")
"""Affordances of ours that the official Unseen split does not have."""
_FIRST_NUMBER = {"train": 1, "exo": 500_001, "test": 900_001}
_TAG = 20


@dataclass(frozen=True)
class PicturePlan:
    """Picture ``index`` of a pair in a role; the same in both splits and in sets of any size."""

    seed: int
    role: str
    verb: str
    noun: str
    index: int

    @property
    def type(self) -> ThingType:
        """The object's type."""
        return type_of(self.noun)

    @property
    def stem(self) -> str:
        """File name without suffix: the object's name and a number that no other picture of the object has."""
        verbs = self.type.verbs
        return f"{self.noun}_{_FIRST_NUMBER[self.role] + self.index * len(verbs) + verbs.index(self.verb):06d}"

    @property
    def name(self) -> str:
        """``affordance/object/file``, as the loader of AGD20K calls a picture."""
        return f"{self.verb}/{self.noun}/{self.stem}.jpg"

    def rng(self, stream: str, *numbers: int) -> np.random.Generator:
        """Random numbers of this picture alone, for one purpose."""
        return self._rng(stream, self.verb, self.index, *numbers)

    def instance_rng(self, attempt: int = 0) -> np.random.Generator:
        """Random numbers of the object instance, which the pictures of all its affordances with this index share."""
        return self._rng("instance", "", self.index, attempt)

    def _rng(self, stream: str, verb: str, *numbers: int) -> np.random.Generator:
        words = [zlib.crc32(word.encode()) for word in (self.role, stream, verb, self.noun)]
        return np.random.default_rng([self.seed, _TAG, *words, *numbers])


@cache
def pairs(split: str, side: str) -> tuple[Pair, ...]:
    """Sorted (affordance, object) pairs on the ``train`` or ``test`` side of ``Seen`` or ``Unseen``."""
    every = sorted((verb, kind.noun) for kind in thing_types() for verb in kind.verbs)
    if split == "Seen":
        return tuple(every)
    wanted = side == "test"
    return tuple(pair for pair in every if (pair[1] in UNSEEN_TEST) == wanted and pair[0] not in NOT_UNSEEN)


def plan_split(seed: int, split: str, role: str, count: int, per_picture: int = 1) -> list[PicturePlan]:
    """Plans of ``count`` pictures (times ``per_picture``), spread evenly over the pairs."""
    chosen = pairs(split, "test" if role == "test" else "train")
    base, more = divmod(count, len(chosen))
    return [
        PicturePlan(seed, role, verb, noun, index)
        for rank, (verb, noun) in enumerate(chosen)
        for index in range((base + (rank < more)) * per_picture)
    ]
