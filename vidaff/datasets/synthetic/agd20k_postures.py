"""What a person does with a thing: where it is held in an exocentric picture, and what takes part in it.

Postures are (4, 4) maps in the thing's resting frame (z up, table at z = 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic.agd20k_scene import PARTNER, Piece
from vidaff.datasets.synthetic.agd20k_things import Handling
from vidaff.datasets.synthetic.geometry import about, affine, cross, ellipsoid, moved, rotation, slab, superquadric
from vidaff.datasets.synthetic.grips import UP, Hold
from vidaff.datasets.synthetic.materials import Material, colour, metal, plastic


class Moment(NamedTuple):
    """What a posture depends on: the thing's points (N, 3), those of the region (M, 3), how it is held.

    ``aside`` is the level unit vector across the line of sight, in the thing's frame; tilts are seen best about the
    other one.
    """

    points: np.ndarray
    region: np.ndarray
    handling: Handling
    hold: Hold
    aside: np.ndarray
    rng: np.random.Generator

    @property
    def point(self) -> np.ndarray:
        """Where the hand is."""
        return self.handling.grip.point

    @property
    def axis(self) -> np.ndarray:
        """The tool's axis, towards its head."""
        axis = self.handling.grip.axis
        return np.array([1.0, 0, 0]) if axis is None else np.asarray(axis, dtype=float)

    def roll(self, low: float, high: float) -> np.ndarray:
        """Rotation about the tool's axis, away from the arm, by ``low`` to ``high`` degrees."""
        across = cross(UP, self.axis)
        across = across * np.sign(across @ self.hold.arm)
        return rotation(cross(UP, -across), np.radians(self.rng.uniform(low, high)))

    def pitch(self, low: float, high: float) -> np.ndarray:
        """Rotation that raises the tool's head by ``low`` to ``high`` degrees."""
        return rotation(cross(self.axis, UP), np.radians(self.rng.uniform(low, high)))

    def tilt(self, low: float, high: float) -> np.ndarray:
        """Rotation of something upright towards ``aside``."""
        return rotation(cross(UP, self.aside), np.radians(self.rng.uniform(low, high)))


def posture(moment: Moment) -> np.ndarray:
    """Map (4, 4) from the resting thing to the thing in use."""
    return _POSTURES[moment.handling.posture](moment)


def _raised(moment: Moment, turn: np.ndarray, low: float, high: float) -> np.ndarray:
    """Turn about the grip, then bring the lowest point to ``low`` to ``high`` metres above the table."""
    pose = about(moment.point, turn)
    lowest = float((moment.points @ pose[2, :3]).min() + pose[2, 3])
    return affine(offset=UP * (moment.rng.uniform(low, high) - lowest)) @ pose


def _rest(moment: Moment) -> np.ndarray:
    return np.eye(4)


def _hover(moment: Moment) -> np.ndarray:
    """Held a little above the table, hardly turned; a tool with its head up and on its side."""
    if moment.handling.grip.style == "bar":
        return _raised(moment, moment.pitch(-8, 35) @ moment.roll(0, 40), 0.02, 0.09)
    return _raised(moment, moment.tilt(-14, 14), 0.02, 0.1)


def _lift(moment: Moment) -> np.ndarray:
    if moment.handling.grip.style == "bar":
        return _raised(moment, moment.pitch(15, 50), 0.05, 0.12)
    return _raised(moment, moment.tilt(-30, 30), 0.04, 0.12)


def _rise(moment: Moment) -> np.ndarray:
    return _raised(moment, moment.tilt(-6, 6), 0.01, 0.06)


def _edge(moment: Moment) -> np.ndarray:
    """A blade on its edge, close to the table."""
    return _raised(moment, moment.pitch(-6, 8) @ moment.roll(50, 75), 0.008, 0.02)


def _strike(moment: Moment) -> np.ndarray:
    return _raised(moment, moment.pitch(25, 65) @ moment.roll(30, 60), 0.02, 0.1)


def _swing(moment: Moment) -> np.ndarray:
    return _raised(moment, moment.pitch(-20, 75) @ moment.roll(0, 80), 0.02, 0.1)


def _point(moment: Moment) -> np.ndarray:
    """Head down."""
    return _raised(moment, moment.pitch(-62, -35), 0.006, 0.02)


def _pour(moment: Moment) -> np.ndarray:
    return _raised(moment, moment.tilt(55, 100), 0.05, 0.14)


def _drink(moment: Moment) -> np.ndarray:
    return _raised(moment, moment.tilt(22, 55), 0.06, 0.12)


def _brush(moment: Moment) -> np.ndarray:
    return _raised(moment, moment.pitch(-5, 25), 0.08, 0.15)


def _show(moment: Moment) -> np.ndarray:
    """Something flat held upright."""
    return _raised(moment, moment.pitch(55, 85), 0.03, 0.1)


def _talk(moment: Moment) -> np.ndarray:
    """Something flat with its face to the side."""
    return _raised(moment, moment.tilt(60, 85), 0.05, 0.12)


_POSTURES: dict[str, Callable[[Moment], np.ndarray]] = {
    "rest": _rest,
    "hover": _hover,
    "lift": _lift,
    "rise": _rise,
    "raise": _hover,
    "edge": _edge,
    "strike": _strike,
    "swing": _swing,
    "point": _point,
    "pour": _pour,
    "drink": _drink,
    "brush": _brush,
    "show": _show,
    "talk": _talk,
}


def partners(moment: Moment, move: np.ndarray, skin: Material) -> list[Piece]:
    """What else takes part, in the thing's resting frame; it hides (some of) the region in question."""
    if not moment.handling.partner:
        return []
    region = moment.region @ move[:3, :3].T + move[:3, 3]
    return _PARTNERS[moment.handling.partner](moment, move, region, skin)


def _face(moment: Moment, move: np.ndarray, region: np.ndarray, skin: Material) -> list[Piece]:
    """A head whose mouth is at the region: a plain egg with hair and a nose."""
    ahead = {"brush": move[:3, :3] @ moment.axis, "talk": move[:3, 2]}.get(moment.handling.posture, moment.aside)
    ahead = ahead * [1, 1, 0]
    ahead = ahead / np.linalg.norm(ahead)
    size = moment.rng.uniform(0.9, 1.1)
    middle = region.mean(axis=0)
    depth = float(((region - middle) @ ahead).max())
    centre = middle + ahead * (0.5 * depth + 0.035 * size) + UP * 0.02
    hair = Material(colour(moment.rng, (0.1, 0.6), (0.05, 0.6)), (0.1, 0.08, 0.05), "fibres", 120.0, 2, 0.1)
    egg = ellipsoid(np.array([0.062, 0.062, 0.082]) * size, 20)
    nose = ellipsoid(np.array([0.012, 0.012, 0.016]) * size, 10)
    crown = ellipsoid(np.array([0.068, 0.068, 0.062]) * size, 18)
    return [
        Piece(moved(egg, centre), skin, PARTNER),
        Piece(moved(nose, centre - ahead * 0.062 * size + UP * 0.004), skin, PARTNER),
        Piece(moved(crown, centre + ahead * 0.016 + UP * 0.034 * size), hair, PARTNER),
    ]


def _morsel(moment: Moment, move: np.ndarray, region: np.ndarray, skin: Material) -> list[Piece]:
    """Food or cloth on the table into which the head of the tool goes."""
    rng = moment.rng
    low, high = float(region[:, 2].min()), float(region[:, 2].max())
    spot = region.mean(axis=0)
    if moment.handling.posture == "point":
        spot = region[region[:, 2] < low + 0.25 * (high - low)].mean(axis=0)
    top = max(low + rng.uniform(0.35, 0.65) * (high - low), 0.015)
    size = (rng.uniform(0.07, 0.11), rng.uniform(0.06, 0.1), 2 * top)
    mesh = superquadric(size, rng.uniform(0.2, 0.8), 18)
    # Centred on the table's top: the lower half is under it and not seen.
    turned = moved(mesh, (spot[0], spot[1], 0.0), rotation(UP, rng.uniform(0, np.pi)))
    return [Piece(turned, plastic(rng, 0, 0.08), PARTNER)]


def _slicer(moment: Moment, move: np.ndarray, region: np.ndarray, skin: Material) -> list[Piece]:
    """A blade across what is cut, with the stump of a handle."""
    rng, middle = moment.rng, region.mean(axis=0)
    long, tall, side = rng.uniform(0.1, 0.14), rng.uniform(0.03, 0.05), float(rng.choice([-1.0, 1.0]))
    x = middle[0] + rng.uniform(0.0, 0.03)
    blade = slab((0.005, long, tall), (x, middle[1] + side * 0.2 * long, 0.001), 0.001)
    stump = superquadric((0.024, 0.08, 0.03), 0.4, 14)
    stump = moved(stump, (x, middle[1] + side * (0.7 * long + 0.036), 0.8 * tall))
    return [Piece(blade, metal(rng, 1), PARTNER), Piece(stump, plastic(rng, 1, 0.06), PARTNER)]


_PARTNERS: dict[str, Callable[[Moment, np.ndarray, np.ndarray, Material], list[Piece]]] = {
    "face": _face,
    "food": _morsel,
    "blade": _slicer,
}
