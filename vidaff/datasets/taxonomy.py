"""Names, ids and colours of SOR3D-AFF. Light on purpose: every verb may import it.

Source: the authors' STCAE release (``misc``, ``utils/utils.py``); class ids serve the actions and the masks alike.
"""

from __future__ import annotations

from typing import Final

from vidaff.errors import VidaffError

AFFORDANCES: Final = ("cut", "grasp", "hammer", "lift", "paint", "push", "rotate", "squeeze", "type")
NUM_AFFORDANCES: Final = len(AFFORDANCES)
BACKGROUND: Final = 9
IGNORE: Final = 255
CLASSES: Final = (*AFFORDANCES, "background")

OBJECTS: Final = (
    "ball", "book", "bottle", "brush", "can", "cup", "hammer", "knife", "pitcher", "smartphone", "sponge",
)  # fmt: skip

MASK_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "cut": (255, 165, 0),
    "grasp": (0, 255, 0),
    "hammer": (0, 255, 100),
    "lift": (0, 255, 40),
    "paint": (0, 255, 200),
    "push": (120, 255, 240),
    "rotate": (0, 255, 60),
    "squeeze": (0, 255, 160),
    "type": (0, 255, 240),
}
"""RGB colours of the masks on disk. Seven of them differ only in blue."""

DISPLAY_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "cut": (255, 140, 0),
    "grasp": (46, 204, 64),
    "hammer": (231, 60, 60),
    "lift": (52, 120, 246),
    "paint": (224, 64, 208),
    "push": (64, 220, 230),
    "rotate": (240, 220, 60),
    "squeeze": (150, 90, 230),
    "type": (250, 160, 190),
}
"""RGB colours for overlays. Deviation from the authors: their greens cannot be told apart by eye."""


def affordance_id(name: str, *, where: str = "") -> int:
    """Id of an affordance name; raise :class:`VidaffError` for an unknown one (the authors made it background)."""
    try:
        return AFFORDANCES.index(name)
    except ValueError:
        place = f"{where}: " if where else ""
        raise VidaffError(f"{place}unknown affordance {name!r}; known: {', '.join(AFFORDANCES)}") from None


def object_id(name: str, *, where: str = "") -> int:
    """Id of an object name; raise :class:`VidaffError` for an unknown one."""
    try:
        return OBJECTS.index(name)
    except ValueError:
        place = f"{where}: " if where else ""
        raise VidaffError(f"{place}unknown object {name!r}; known: {', '.join(OBJECTS)}") from None
