"""What the still sets show: builders of their categories, and what each named part affords.

UMD: every rank row is one that real frames hold; where the crops at hand show none (saw), that of the nearest kind.
IIT-AFF: the affordances that the set gives its objects. Its labels say nothing of a bottle's parts that we could
read; ours are the body for the hand, neck and cap for what it holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic import still_devices as device
from vidaff.datasets.synthetic import still_tools as tool
from vidaff.datasets.synthetic import still_utensils as utensil
from vidaff.datasets.synthetic import still_vessels as vessel
from vidaff.datasets.synthetic.objects import Part
from vidaff.datasets.synthetic.still_shapes import Builder

Ranks = tuple[int, ...]
_HANDLE, _STRIKING_HANDLE = (1, 9, 9, 9, 9, 9, 9), (1, 9, 9, 9, 2, 9, 9)
_INSIDE, _HEAD = (9, 9, 2, 1, 9, 9, 9), (2, 9, 9, 9, 1, 9, 9)
_EDGE, _HOLLOW = (9, 1, 9, 9, 9, 9, 9), (9, 9, 1, 2, 9, 3, 9)


def _any_cup(rng: np.random.Generator) -> list[Part]:
    """With an ear or without."""
    return vessel.mug(rng) if rng.random() < 0.6 else vessel.cup(rng)


class UmdKind(NamedTuple):
    """A category of UMD: its builder and, by part, ranks of grasp, cut, scoop, contain, pound, support, wrap-grasp."""

    build: Builder
    ranks: dict[str, Ranks]


class IitKind(NamedTuple):
    """An object of IIT-AFF: its builder and the affordance of each part, ``""`` for none.

    ``facing``: it is worth a look from +x only.
    """

    build: Builder
    affordances: dict[str, str]
    facing: bool = False


UMD_KINDS: dict[str, UmdKind] = {
    "bowl": UmdKind(vessel.bowl, {"inside": _INSIDE, "outside": _INSIDE}),
    "cup": UmdKind(vessel.cup, {"inside": _INSIDE, "outside": (9, 9, 9, 9, 2, 9, 1)}),
    "hammer": UmdKind(tool.hammer, {"head": _HEAD, "handle": _STRIKING_HANDLE}),
    "knife": UmdKind(tool.knife, {"blade": (9, 1, 3, 9, 9, 2, 9), "handle": _HANDLE}),
    "ladle": UmdKind(utensil.ladle, {"bowl": (9, 9, 2, 1, 9, 3, 9), "handle": _HANDLE}),
    "mallet": UmdKind(tool.mallet, {"head": _HEAD, "handle": _STRIKING_HANDLE}),
    "mug": UmdKind(vessel.mug, {"inside": _INSIDE, "outside": (2, 9, 9, 9, 9, 9, 1), "handle": (1, 9, 9, 9, 9, 9, 2)}),
    "pot": UmdKind(vessel.pot, {"inside": _INSIDE, "outside": (2, 9, 9, 9, 9, 9, 1)}),
    "saw": UmdKind(tool.saw, {"blade": _EDGE, "handle": _HANDLE}),
    "scissors": UmdKind(tool.scissors, {"blade": _EDGE, "handle": _HANDLE}),
    "scoop": UmdKind(utensil.scoop, {"bowl": _HOLLOW, "handle": _HANDLE}),
    "shears": UmdKind(tool.shears, {"blade": _EDGE, "handle": _HANDLE}),
    "shovel": UmdKind(utensil.shovel, {"blade": (9, 9, 2, 3, 9, 1, 9), "handle": _HANDLE, "neck": _HANDLE}),
    "spoon": UmdKind(utensil.spoon, {"bowl": _HOLLOW, "handle": _HANDLE}),
    "tenderizer": UmdKind(tool.tenderizer, {"head": _HEAD, "handle": _HANDLE}),
    "trowel": UmdKind(utensil.trowel, {"blade": _HOLLOW, "handle": _HANDLE, "neck": _HANDLE}),
    "turner": UmdKind(utensil.turner, {"blade": (9, 9, 2, 9, 9, 1, 9), "handle": _HANDLE}),
}
UMD_NOVEL = frozenset(("cup", "ladle", "pot", "saw", "scoop", "shears", "shovel", "tenderizer", "trowel"))
"""Categories that the official ``novel_split.txt`` tests on."""

IIT_KINDS: dict[str, IitKind] = {
    "bowl": IitKind(vessel.bowl, {"inside": "contain", "outside": "w-grasp"}),
    "tvm": IitKind(device.monitor, {"screen": "display", "case": "", "foot": ""}, facing=True),
    "pan": IitKind(vessel.pan, {"inside": "contain", "outside": "contain", "handle": "grasp"}),
    "hammer": IitKind(tool.hammer, {"head": "pound", "handle": "grasp"}),
    "knife": IitKind(tool.knife, {"blade": "cut", "handle": "grasp"}),
    "cup": IitKind(_any_cup, {"inside": "contain", "outside": "w-grasp", "handle": "w-grasp"}),
    "drill": IitKind(device.drill, {"motor": "engine", "chuck": "engine", "handle": "grasp", "battery": "grasp"}),
    "racket": IitKind(device.racket, {"face": "hit", "rim": "hit", "throat": "grasp", "handle": "grasp"}),
    "spatula": IitKind(utensil.turner, {"blade": "support", "handle": "grasp"}),
    "bottle": IitKind(vessel.bottle, {"body": "w-grasp", "neck": "contain", "cap": "contain"}),
}
