"""Things of the synthetic AGD20K: what each object of the official class list looks like and how it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from vidaff.datasets.synthetic.geometry import Mesh
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.objects import ObjectModel, Part, Use, centred


@dataclass(frozen=True)
class Handling:
    """One affordance of a thing.

    Args:
        parts: names of the parts that the affordance concerns; their pixels are the ground truth.
        grip: how the hand holds the thing meanwhile, in the thing's resting frame.
        posture: what is done with the thing (a name of :mod:`vidaff.datasets.synthetic.agd20k_postures`).
        partner: what else takes part and hides the parts in question: ``face``, ``food``, ``blade`` or nothing.
    """

    parts: tuple[str, ...]
    grip: Grip
    posture: str = "hover"
    partner: str = ""


@dataclass(frozen=True)
class Thing:
    """One instance: its parts in the resting frame, and its affordances by their official names."""

    model: ObjectModel
    handlings: dict[str, Handling]

    def region(self, verb: str) -> np.ndarray:
        """Indices of the parts that ``verb`` concerns."""
        return np.array([self.model.part_index(name) for name in self.handlings[verb].parts])


@dataclass(frozen=True)
class ThingType:
    """An object class: official name, its affordances, builder, and whether it has a front that faces the camera."""

    noun: str
    verbs: tuple[str, ...]
    build: Callable[[np.random.Generator], Thing]
    front: bool = False


def thing(parts: list[Part], handlings: dict[str, Handling]) -> Thing:
    """Put the middle of the footprint at the origin and the lowest point on the table, grips included."""
    uses = {verb: Use(handling.parts[0], handling.grip) for verb, handling in handlings.items()}
    model = centred(parts, uses)
    moved = {
        verb: Handling(handling.parts, model.uses[verb].grip, handling.posture, handling.partner)
        for verb, handling in handlings.items()
    }
    return Thing(model, moved)


def cut_mesh(mesh: Mesh, chosen: np.ndarray) -> tuple[Mesh, Mesh]:
    """Two meshes over the same vertices: the triangles that ``chosen`` (M,) marks, and the others."""
    return Mesh(mesh.vertices, mesh.triangles[chosen]), Mesh(mesh.vertices, mesh.triangles[~chosen])


def cut_above(mesh: Mesh, height: float) -> tuple[Mesh, Mesh]:
    """Split at a height: the triangles whose middle lies above it, and the others."""
    return cut_mesh(mesh, mesh.vertices[mesh.triangles].mean(axis=1)[:, 2] > height)


@cache
def thing_types() -> tuple[ThingType, ...]:
    """The 20 object classes, with 52 of the 124 official (affordance, object) pairs."""
    from vidaff.datasets.synthetic import agd20k_devices as device
    from vidaff.datasets.synthetic import agd20k_food as food
    from vidaff.datasets.synthetic import agd20k_tools as tool
    from vidaff.datasets.synthetic import agd20k_vessels as vessel

    return (
        ThingType("axe", ("hit", "hold"), tool.axe),
        ThingType("banana", ("cut", "eat", "peel"), food.banana),
        ThingType("bottle", ("drink_with", "hold", "open", "pour"), vessel.bottle),
        ThingType("bowl", ("hold", "stir", "wash"), vessel.bowl),
        ThingType("camera", ("take_photo",), device.camera, front=True),
        ThingType("carrot", ("cut", "eat", "peel", "wash"), food.carrot),
        ThingType("cell_phone", ("take_photo", "talk_on", "text_on"), device.cell_phone),
        ThingType("cup", ("drink_with", "hold", "pour", "wash"), vessel.cup),
        ThingType("fork", ("hold", "lift", "stick", "wash"), tool.fork),
        ThingType("golf_clubs", ("hold", "swing"), tool.golf_club),
        ThingType("hammer", ("hit", "hold"), tool.hammer),
        ThingType("keyboard", ("type_on",), device.keyboard),
        ThingType("knife", ("cut_with", "hold", "stick", "wash"), tool.knife),
        ThingType("laptop", ("type_on",), device.laptop, front=True),
        ThingType("microwave", ("open",), device.microwave, front=True),
        ThingType("refrigerator", ("open",), device.refrigerator, front=True),
        ThingType("scissors", ("cut_with", "hold"), tool.scissors),
        ThingType("tennis_racket", ("hit", "hold", "swing"), tool.tennis_racket),
        ThingType("toothbrush", ("brush_with", "hold", "wash"), tool.toothbrush),
        ThingType("wine_glass", ("drink_with", "hold", "pour", "wash"), vessel.wine_glass),
    )


@cache
def type_of(noun: str) -> ThingType:
    """The type called ``noun``."""
    return next(kind for kind in thing_types() if kind.noun == noun)
