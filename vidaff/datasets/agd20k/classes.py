"""Affordances and objects of AGD20K, and which of them each split holds. Light on purpose: every verb may import it.

Ids are positions in the lists. Deviation from the authors of WSAG-PLSP: they number what a scan of ``Seen/trainset``
finds, so that ids depend on the files there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from vidaff.errors import VidaffError
from vidaff.io import read_json

AFFORDANCES: Final = (
    "beat", "boxing", "brush_with", "carry", "catch", "cut", "cut_with", "drag", "drink_with", "eat", "hit", "hold",
    "jump", "kick", "lie_on", "lift", "look_out", "open", "pack", "peel", "pick_up", "pour", "push", "ride", "sip",
    "sit_on", "stick", "stir", "swing", "take_photo", "talk_on", "text_on", "throw", "type_on", "wash", "write",
)  # fmt: skip

OBJECTS: Final = (
    "apple", "axe", "badminton_racket", "banana", "baseball", "baseball_bat", "basketball", "bed", "bench", "bicycle",
    "binoculars", "book", "bottle", "bowl", "broccoli", "camera", "carrot", "cell_phone", "chair", "couch", "cup",
    "discus", "drum", "fork", "frisbee", "golf_clubs", "hammer", "hot_dog", "javelin", "keyboard", "knife", "laptop",
    "microwave", "motorcycle", "orange", "oven", "pen", "punching_bag", "refrigerator", "rugby_ball", "scissors",
    "skateboard", "skis", "snowboard", "soccer_ball", "suitcase", "surfboard", "tennis_racket", "toothbrush",
    "wine_glass",
)  # fmt: skip

UNSEEN_AFFORDANCES: Final = tuple(
    name
    for name in AFFORDANCES
    if name not in {"beat", "boxing", "brush_with", "drag", "lift", "look_out", "pack", "stir", "talk_on", "text_on",
                    "write"}
)  # fmt: skip
"""The 25 affordances of the split ``unseen``. Source: the LOCATE and OOAL releases, as the lists below."""
UNSEEN_TEST_OBJECTS: Final = (
    "axe", "banana", "basketball", "bed", "bicycle", "broccoli", "camera", "cup", "golf_clubs", "knife", "laptop",
    "refrigerator", "skis", "soccer_ball",
)  # fmt: skip
UNSEEN_TRAIN_OBJECTS: Final = tuple(
    name for name in OBJECTS if name not in {*UNSEEN_TEST_OBJECTS, "binoculars", "drum", "pen"}
)

LAST_HARD_TRAIN_OBJECT: Final = "hot_dog"
"""The split ``hard`` trains on the objects up to this one in the alphabet (28), and tests on the others (22).

Source: the AffordanceLLM release, both for its supervised pictures and for the weakly supervised baseline.
"""


class Classes(NamedTuple):
    """Names of the affordances (verbs) and objects (nouns) of a tree; an id is a position."""

    affordances: tuple[str, ...] = AFFORDANCES
    objects: tuple[str, ...] = OBJECTS


def read_classes(root: Path) -> Classes:
    """Classes of a tree: those of its ``classes.json``, or AGD20K's; raise :class:`VidaffError` for a broken file."""
    path = root / "classes.json"
    if not path.is_file():
        return Classes()
    value = read_json(path)
    lists = [value.get(key) if isinstance(value, dict) else None for key in Classes._fields]
    if not all(_is_list_of_names(names) for names in lists):
        raise VidaffError(f'{path}: {{"affordances": [names], "objects": [names]}} is expected, each name once')
    return Classes(*(tuple(names) for names in lists if names))


def _is_list_of_names(names: object) -> bool:
    if not isinstance(names, list) or not names:
        return False
    return all(isinstance(name, str) and name and "/" not in name for name in names) and len(set(names)) == len(names)
