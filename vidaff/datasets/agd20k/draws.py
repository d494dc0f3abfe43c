"""What is random in a training sample, drawn apart from the pixels, so that a sample can be made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np

from vidaff.datasets.agd20k.labels import Box
from vidaff.datasets.agd20k.tree import Picture

Item = TypeVar("Item")
NEGATIVES: Final = ("irrelevant", "other_verb")
TOP: Final = 10
"""Exocentric objects, by similarity, among which one is drawn."""


class Stitch(NamedTuple):
    """Three pictures of other things, and the quadrant of the sample's own: 0, 1 top, 2, 3 bottom, left first."""

    negatives: tuple[Picture, Picture, Picture]
    quadrant: int


class Draw(NamedTuple):
    """Random choices of a sample: exocentric objects, the crop's first row and column, mirroring, other pictures."""

    exo: tuple[Box, ...]
    top: int
    left: int
    flip: bool
    stitch: Stitch | None


class NegativePictures:
    """Pictures of other objects to stitch to one.

    ``irrelevant``: of objects that share no affordance with the picture's; an object, then one of its affordances, then
    a picture, each with equal chances. ``other_verb``: of another affordance, maybe of the same object; an affordance,
    then an object, then a picture. Where ``irrelevant`` finds nothing, ``other_verb`` is used. The authors' code draws
    in the first way for Seen and in the second for Unseen; the paper describes the first.
    """

    def __init__(self, pictures: Sequence[Picture], rule: str) -> None:
        self._rule = rule
        self._by_pair: dict[tuple[str, str], list[Picture]] = {}
        self._verbs: dict[str, list[str]] = {}
        self._nouns: dict[str, list[str]] = {}
        for picture in pictures:
            self._by_pair.setdefault(picture.pair, []).append(picture)
        for verb, noun in self._by_pair:
            self._verbs.setdefault(noun, []).append(verb)
            self._nouns.setdefault(verb, []).append(noun)

    def irrelevant(self, noun: str) -> list[str]:
        """Objects that share no affordance with ``noun``."""
        own = set(self._verbs[noun])
        return [other for other, verbs in self._verbs.items() if own.isdisjoint(verbs)]

    def draw(self, picture: Picture, rng: np.random.Generator) -> Picture | None:
        """A picture by the rule, None when there is no other."""
        nouns = self.irrelevant(picture.object) if self._rule == "irrelevant" else []
        if nouns:
            noun = _one(nouns, rng)
            return _one(self._by_pair[_one(self._verbs[noun], rng), noun], rng)
        verbs = [verb for verb in self._nouns if verb != picture.affordance]
        if not verbs:
            return None
        verb = _one(verbs, rng)
        return _one(self._by_pair[verb, _one(self._nouns[verb], rng)], rng)

    def stitch(self, picture: Picture, rng: np.random.Generator) -> Stitch | None:
        """Three pictures, with replacement, and a quadrant."""
        first, second, third = (self.draw(picture, rng) for _ in range(3))
        if first is None or second is None or third is None:
            return None
        return Stitch((first, second, third), int(rng.integers(4)))


def _one(items: Sequence[Item], rng: np.random.Generator) -> Item:
    return items[int(rng.integers(len(items)))]


def most_similar(row: np.ndarray, columns: Sequence[Box]) -> list[Box]:
    """The columns of the highest similarity in ``row``, at most :data:`TOP`, the best last; NaN counts as none."""
    order = np.argsort(np.where(np.isnan(row), -np.inf, row), kind="stable")
    return [columns[number] for number in order[-TOP:]]
