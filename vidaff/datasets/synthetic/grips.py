"""How the hand takes hold of a part: frames of the hand in the object's frame, and the shape of its fingers.

Hand frame of a right hand: origin in the palm, x towards the finger tips, y towards the thumb, z out of the back of
the hand. A left hand is the mirror image in y.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic.geometry import cross, rotation

UP = np.array([0.0, 0.0, 1.0])
_PALM = 0.014
_FREE = tuple(np.linspace(0, 2 * np.pi, 24, endpoint=False))


class HandShape(NamedTuple):
    """Curl (4,) of the fingers, 0 straight to 1 fist, and thumb (3, 3): direction of each of its bones."""

    curl: np.ndarray
    thumb: np.ndarray


def blend(first: HandShape, second: HandShape, share: float) -> HandShape:
    """Shape between two shapes; ``share`` 0 gives the first."""
    return HandShape(*(a + (b - a) * share for a, b in zip(first, second, strict=True)))


def _shape(curl: float, thumb: tuple[tuple[float, float, float], ...], fan: float = 0.0) -> HandShape:
    return HandShape(curl + fan * np.array([0.0, 0.3, 0.7, 1.0]), np.asarray(thumb, dtype=float))


_THUMB_OPEN = ((0.6, 0.75, -0.2), (0.8, 0.55, -0.2), (0.92, 0.35, -0.2))
_THUMB_WRAP = ((0.5, 0.5, -0.7), (0.75, -0.1, -0.65), (0.7, -0.5, -0.5))
OPEN = _shape(0.16, _THUMB_OPEN)


def _pinch(gap: float) -> HandShape:
    """Thumb parallel to the fingers, ``gap`` metres below them."""
    drop = min(0.97, max(0.3, (gap - 0.01) / 0.055))
    return _shape(0.22, ((np.sqrt(1 - drop**2), -0.35, -drop), (0.95, -0.2, -0.25), (1.0, -0.1, 0.08)))


@dataclass(frozen=True)
class Grip:
    """Where and how a part is handled, in the object's frame (metres).

    ``style``: bar, cylinder, pinch, endpinch, block, flat, poke, edge or side. ``axis`` is the bar's direction (towards
    the tool's head), the twist axis, the direction across a block, out of an edge, or of a push (None: any).
    ``radius`` is half the thickness of what is held; ``span`` (2,) is half the size of the area that is typed on, or
    of the rectangle that is pushed.
    """

    style: str
    point: np.ndarray
    axis: np.ndarray | None = None
    radius: float = 0.02
    span: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Hold:
    """One way to carry out a grip: frame (4, 4) of the hand in the object, arm direction (wrist to elbow), fingers."""

    frame: np.ndarray
    arm: np.ndarray
    closed: HandShape
    opened: HandShape = OPEN
    mirror: bool = False
    push: np.ndarray = field(default_factory=lambda: np.zeros(3))


def holds(grip: Grip) -> list[Hold]:
    """All the ways to carry out a grip (sides, azimuths, both hands), to be chosen from by the camera's view."""
    return _STYLES[grip.style](grip)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _frame(x: np.ndarray, z: np.ndarray, origin: np.ndarray) -> np.ndarray:
    z = _unit(z)
    x = _unit(x - z * (x @ z))
    frame = np.eye(4)
    frame[:3] = np.stack([x, cross(z, x), z, origin], axis=1)
    return frame


def _level(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle), 0.0])


def _axis(grip: Grip) -> np.ndarray:
    return np.array([1.0, 0, 0]) if grip.axis is None else np.asarray(grip.axis, dtype=float)


def _bar(grip: Grip) -> list[Hold]:
    """Power grip from above around a lying bar, thumb towards its head."""
    axis, found = _axis(grip), []
    for side in (1.0, -1.0):
        out = side * cross(UP, axis)
        frame = _frame(-out, UP, grip.point + UP * (grip.radius + _PALM) + out * 0.03)
        closed = _shape(0.98 - 9 * grip.radius, _THUMB_WRAP)
        for lean in (0.15, 0.5, 0.9, 1.4):
            arm = _unit(out - lean * axis + 0.3 * UP)
            found.append(Hold(frame, arm, closed, mirror=bool(frame[:3, 1] @ axis < 0)))
    return found


def _cylinder(grip: Grip) -> list[Hold]:
    """Palm against the side of an upright round part, thumb up, fingers around it."""
    found = []
    for angle in _FREE:
        out = _level(angle)
        for mirror in (False, True):
            x = cross(UP, out) * (-1 if mirror else 1)
            frame = _frame(x, out, grip.point + out * (grip.radius + _PALM) - x * 0.03)
            arm = _unit(-0.8 * x + 0.4 * out + 0.25 * UP)
            curl = float(np.clip(1.02 - 10 * grip.radius, 0.3, 0.9))
            wide = ((0.45, 0.5, -0.7), (0.8, 0.15, -0.6), (0.8, -0.1, -0.6))
            closed = _shape(curl, wide if grip.radius > 0.02 else _THUMB_WRAP)
            found.append(Hold(frame, arm, closed, mirror=mirror))
    return found


def _pinch_down(grip: Grip) -> list[Hold]:
    """Fingers and thumb around an upright knob or lid, from above."""
    found, tilt = [], np.radians(62)
    for angle in _FREE:
        away = _level(angle)
        x = -away * np.cos(tilt) - UP * np.sin(tilt)
        z = UP * np.cos(tilt) - away * np.sin(tilt)
        frame = _frame(x, z, grip.point - x * 0.1 + z * (grip.radius + 0.004))
        found.append(Hold(frame, _unit(-x + 0.15 * away), _pinch(2 * grip.radius), mirror=bool(angle > np.pi)))
    return found


def _pinch_end(grip: Grip) -> list[Hold]:
    """Fingers and thumb on both sides of a lying cap, from its end or aslant."""
    found = []
    for turn in (-0.8, -0.4, 0.0, 0.4, 0.8):
        ahead = rotation(UP, turn) @ _axis(grip)
        x = -ahead * np.cos(0.45) - UP * np.sin(0.45)
        for side in (1.0, -1.0):
            z = side * cross(UP, ahead)
            frame = _frame(x, z, grip.point - x * 0.1 + z * (grip.radius + 0.004))
            arm = _unit(ahead + 0.5 * UP)
            found.append(Hold(frame, arm, _pinch(2 * grip.radius), mirror=bool(frame[2, 1] < 0)))
    return found


def _block(grip: Grip) -> list[Hold]:
    """Thumb on one side of a low part and fingers on the other, from above."""
    found, tilt = [], np.radians(68)
    across = _axis(grip)
    for side in (1.0, -1.0):
        for turn in (1.0, -1.0):
            away = turn * cross(UP, across)
            x = -away * np.cos(tilt) - UP * np.sin(tilt)
            z = side * across
            frame = _frame(x, z, grip.point - x * 0.09 + z * (grip.radius + 0.004))
            arm = _unit(-x + 0.2 * away)
            found.append(Hold(frame, arm, _pinch(2 * grip.radius), mirror=side * turn < 0))
    return found


def _flat(grip: Grip) -> list[Hold]:
    """Flat hand on top of a part."""
    found = []
    for angle in _FREE:
        away = _level(angle)
        frame = _frame(-away, UP, grip.point + UP * 0.016 + away * 0.03)
        closed = _shape(0.05, _THUMB_OPEN)
        for turn in (-0.9, 0.0, 0.9):
            push = _level(angle + np.pi + turn)
            found.append(Hold(frame, _unit(away + 0.4 * UP), closed, closed, bool(angle > np.pi), push))
    return found


def _poke(grip: Grip) -> list[Hold]:
    """Bent fingers above keys or a screen."""
    found = []
    for angle in _FREE:
        away = _level(angle)
        x = -away * np.cos(0.3) - UP * np.sin(0.3)
        frame = _frame(x, UP, grip.point + away * 0.085 + UP * 0.058)
        shape = _shape(0.42, ((0.8, 0.4, -0.4), (0.9, 0.2, -0.4), (0.9, 0.1, -0.4)), 0.12)
        found.append(Hold(frame, _unit(away + 0.3 * UP), shape, shape, mirror=bool(angle > np.pi)))
    return found


def _edge(grip: Grip) -> list[Hold]:
    """Fingers over and thumb under an edge."""
    out = _axis(grip)
    frame = _frame(-out, UP, grip.point + out * 0.04 + UP * (grip.radius + 0.006))
    closed = _shape(0.22, ((0.6, 0.4, -0.7), (0.9, 0.1, -0.4), (0.95, 0.0, -0.1)))
    return [Hold(frame, _unit(out + 0.3 * UP), closed, mirror=mirror) for mirror in (False, True)]


def _directions(grip: Grip) -> list[np.ndarray]:
    """Where a part may be pushed to: its axis, across the sides of a rectangle (``span``), or anywhere."""
    if grip.axis is not None:
        return [_axis(grip)]
    return [_level(angle) for angle in (_FREE[::6] if any(grip.span) else _FREE)]


def _side(grip: Grip) -> list[Hold]:
    """Upright palm behind a part, to push it ahead."""
    found = []
    for ahead in _directions(grip):
        reach = float(np.abs(ahead[:2] * grip.span).sum())
        point = grip.point - ahead * (grip.radius + reach + _PALM)
        point = np.array([point[0], point[1], max(grip.point[2], 0.046)])
        for turn in (1.0, -1.0):
            frame = _frame(0.6 * UP + turn * 0.8 * cross(UP, ahead), -ahead, point)
            shape = _shape(0.1, _THUMB_OPEN)
            arm = _unit(-ahead - turn * 0.35 * cross(UP, ahead) + 0.3 * UP)
            found.append(Hold(frame, arm, shape, shape, mirror=turn < 0, push=ahead))
    return found


_STYLES = {
    "bar": _bar,
    "cylinder": _cylinder,
    "pinch": _pinch_down,
    "endpinch": _pinch_end,
    "block": _block,
    "flat": _flat,
    "poke": _poke,
    "edge": _edge,
    "side": _side,
}
