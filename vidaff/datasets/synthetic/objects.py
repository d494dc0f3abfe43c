"""The table of object types, and what an object is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic.geometry import Mesh, moved
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.materials import Material


class Part(NamedTuple):
    """A rigid piece with one material. At rest the object stands on z = 0; a tool's head is towards +x."""

    name: str
    mesh: Mesh
    material: Material


@dataclass(frozen=True)
class Use:
    """One action on an object: the part that it concerns and how the hand holds the object meanwhile."""

    part: str
    grip: Grip


@dataclass(frozen=True)
class ObjectModel:
    """One object instance. ``uses`` maps an action to its :class:`Use`; parts may have no use at all."""

    parts: tuple[Part, ...]
    uses: dict[str, Use]

    def part_index(self, name: str) -> int:
        """Position of the part called ``name``."""
        return [part.name for part in self.parts].index(name)

    def affordances(self, name: str) -> list[str]:
        """Actions that concern the part called ``name``."""
        return sorted(action for action, use in self.uses.items() if use.part == name)


@dataclass(frozen=True)
class ObjectType:
    """A kind of object: its official name on disk, its actions, its share of the set, and its builder."""

    name: str
    official: str
    actions: tuple[str, ...]
    weight: float
    build: Callable[[np.random.Generator], ObjectModel]


def object_types() -> tuple[ObjectType, ...]:
    """The 16 types. Weights keep the nine actions within a factor of two of each other (see the tests)."""
    from vidaff.datasets.synthetic import shapes_flat as flat
    from vidaff.datasets.synthetic import shapes_round as vessel
    from vidaff.datasets.synthetic import shapes_tools as tool

    return (
        ObjectType("knife", "knife", ("cut", "grasp"), 1.6, tool.knife),
        ObjectType("cleaver", "knife", ("cut", "lift"), 1.6, tool.cleaver),
        ObjectType("hammer", "hammer", ("grasp", "hammer"), 1.6, tool.hammer),
        ObjectType("mallet", "hammer", ("hammer", "push"), 1.6, tool.mallet),
        ObjectType("brush", "brush", ("grasp", "paint"), 1.6, tool.brush),
        ObjectType("roller", "brush", ("lift", "paint"), 1.6, tool.roller),
        ObjectType("phone", "smartphone", ("push", "type"), 1.6, flat.phone),
        ObjectType("keypad", "smartphone", ("rotate", "type"), 1.6, flat.keypad),
        ObjectType("bottle", "bottle", ("rotate", "squeeze"), 0.9, vessel.bottle),
        ObjectType("tube", "bottle", ("rotate", "squeeze"), 0.9, vessel.tube),
        ObjectType("sponge", "sponge", ("push", "squeeze"), 0.9, flat.sponge),
        ObjectType("ball", "ball", ("lift", "squeeze"), 0.9, vessel.ball),
        ObjectType("cup", "cup", ("grasp", "lift"), 0.65, vessel.cup),
        ObjectType("jar", "can", ("lift", "rotate"), 0.65, vessel.jar),
        ObjectType("book", "book", ("grasp", "push"), 0.65, flat.book),
        ObjectType("pitcher", "pitcher", ("lift", "push", "rotate"), 0.65, vessel.pitcher),
    )


def centred(parts: list[Part], uses: dict[str, Use]) -> ObjectModel:
    """Put the middle of the object's footprint at the origin and its lowest point on the table."""
    vertices = np.concatenate([part.mesh.vertices for part in parts])
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    shift = -np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    placed = [part._replace(mesh=moved(part.mesh, shift)) for part in parts]
    shifted = {}
    for action, use in uses.items():
        grip = use.grip
        shifted[action] = Use(use.part, Grip(grip.style, grip.point + shift, grip.axis, grip.radius, grip.span))
    return ObjectModel(tuple(placed), shifted)
