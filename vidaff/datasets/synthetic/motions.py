"""What happens in a clip: the hand comes, performs an action on the object, and leaves.

Motions are written in the object's resting frame (z up, resting on z = 0), so that every start is derived from the end:
the transform of the last frame is the identity for every action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidaff.datasets.synthetic.geometry import about, affine, cross, rotation
from vidaff.datasets.synthetic.grips import UP, HandShape, Hold, blend
from vidaff.datasets.synthetic.objects import ObjectModel, Use

_APPROACH, _LEAVE = 0.2, 0.8


@dataclass(frozen=True)
class Tempo:
    """Individual style of a clip: cycles, amplitude factor, phase (radians), side (+-1) and shift of the timeline."""

    cycles: float
    amplitude: float
    phase: float
    side: float
    shift: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Tempo:
        """Draw a style; at most two cycles, so that ten frames sample a motion densely enough."""
        cycles, amplitude = rng.uniform(1.4, 1.9), rng.uniform(0.85, 1.2)
        phase, side = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
        return Tempo(float(cycles), float(amplitude), float(phase), float(side), float(rng.uniform(-0.03, 0.03)))

    def wave(self, phase: float) -> float:
        """Sine through the action's phase 0..1."""
        return float(np.sin(2 * np.pi * self.cycles * phase + self.phase))

    def pulse(self, phase: float) -> float:
        """From 0 to 1 and back once or twice: 0 at both ends of the action."""
        count = 2 if self.cycles > 1.5 else 1
        return 0.5 - 0.5 * float(np.cos(2 * np.pi * count * phase))


@dataclass(frozen=True)
class Pose:
    """One instant: the object (4, 4), the concerned part on top of it (4, 4), hand frame (4, 4), its fingers.

    All in the object's resting frame. ``away`` 0 means in contact, 1 means out of the picture.
    """

    whole: np.ndarray
    part: np.ndarray
    hand: np.ndarray
    fingers: HandShape
    away: float


@dataclass(frozen=True)
class Plot:
    """Everything that an action's motion depends on; ``room`` is how many metres the picture spans at the object."""

    model: ObjectModel
    use: Use
    hold: Hold
    tempo: Tempo
    room: float


def _smooth(value: float) -> float:
    value = float(np.clip(value, 0.0, 1.0))
    return value * value * (3 - 2 * value)


def _envelope(phase: float, edge: float = 0.22) -> float:
    """0 at the ends of the action, 1 in between."""
    return _smooth(phase / edge) * _smooth((1 - phase) / edge)


def pose_at(plot: Plot, action: str, time: float) -> Pose:
    """The pose at ``time`` 0..1 of the clip: 20 % coming, 60 % acting, 20 % leaving."""
    local = time + plot.tempo.shift * _envelope(time, 0.15)
    phase = float(np.clip((local - _APPROACH) / (_LEAVE - _APPROACH), 0.0, 1.0))
    whole, part, slip = _MOTIONS[action](plot, phase)
    coming, leaving = 1 - local / _APPROACH, (local - _LEAVE) / (1 - _LEAVE)
    away = float(np.clip(max(coming, leaving), 0.0, 1.0))
    grip = _smooth(1 - 2.2 * away)
    fingers = blend(plot.hold.opened, _fingers(plot, action, phase), grip)
    return Pose(whole, part, whole @ slip @ plot.hold.frame, fingers, away)


def _fingers(plot: Plot, action: str, phase: float) -> HandShape:
    closed = plot.hold.closed
    if action == "squeeze":
        return closed._replace(curl=closed.curl + 0.24 * plot.tempo.pulse(phase))
    if action == "type":
        wiggle = np.sin(2 * np.pi * (2 * plot.tempo.cycles * phase + np.arange(4) / 4))
        return closed._replace(curl=closed.curl + 0.1 * wiggle)
    return closed


Motion = tuple[np.ndarray, np.ndarray, np.ndarray]
_STILL = np.eye(4)


def _settled(plot: Plot, pose: np.ndarray, clearance: float, *, only_up: bool = False) -> np.ndarray:
    """Shift the object up or down until its lowest point is ``clearance`` above the table."""
    points = np.concatenate([part.mesh.vertices for part in plot.model.parts])
    lift = clearance - float((points @ pose[2, :3]).min() + pose[2, 3])
    return affine(offset=UP * (max(lift, 0.0) if only_up else lift)) @ pose


def _tool_axes(plot: Plot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grip point, tool axis, and the level direction across it from which the arm comes."""
    axis = plot.use.grip.axis
    axis = np.array([1.0, 0, 0]) if axis is None else axis
    across = cross(UP, axis)
    return plot.use.grip.point, axis, across * np.sign(across @ plot.hold.arm)


def _cut(plot: Plot, phase: float) -> Motion:
    """Blade on edge, sawing along its length close to the table."""
    (point, axis, across), tempo, share = _tool_axes(plot), plot.tempo, _envelope(phase)
    roll = rotation(cross(UP, -across), np.radians(62) * share)
    pose = about(point, roll)
    pose = affine(offset=axis * 0.04 * tempo.amplitude * tempo.wave(phase) * share) @ pose
    return _settled(plot, pose, 0.012 * share), _STILL, _STILL


def _hammer(plot: Plot, phase: float) -> Motion:
    """Strikes: the head swings up about the wrist and down to the table."""
    (point, axis, across), tempo, share = _tool_axes(plot), plot.tempo, _envelope(phase)
    roll = rotation(cross(UP, -across), np.radians(48) * share)
    angle = np.radians(26 + 24 * np.cos(2 * np.pi * tempo.cycles * phase + tempo.phase)) * tempo.amplitude
    pitch = rotation(cross(axis, UP), angle * share)
    pose = affine(offset=UP * 0.02 * share) @ about(point, pitch @ roll)
    return _settled(plot, pose, 0.0, only_up=True), _STILL, _STILL


def _paint(plot: Plot, phase: float) -> Motion:
    """Strokes from side to side with the tail raised and the head on the table."""
    (point, axis, _), tempo, share = _tool_axes(plot), plot.tempo, _envelope(phase)
    swing = tempo.wave(phase) * share * tempo.amplitude
    tail_up = rotation(cross(UP, axis), np.radians(17) * share)
    turned = about(point - axis * 0.05, rotation(UP, np.radians(14) * swing)) @ about(point, tail_up)
    pose = affine(offset=cross(UP, axis) * 0.042 * swing) @ turned
    return _settled(plot, pose, 0.001), _STILL, _STILL


def _grasp(plot: Plot, phase: float) -> Motion:
    """The hand closes and raises its side a little; the far side stays on the table."""
    points = np.concatenate([part.mesh.vertices for part in plot.model.parts])
    lever = plot.use.grip.point * [1, 1, 0]
    outward = lever / max(float(np.linalg.norm(lever)), 1e-6)
    pivot = outward * float((points @ outward).min())
    reach = float((plot.use.grip.point - pivot) @ outward)
    rise = 0.024 * plot.tempo.amplitude * _envelope(phase, 0.5)
    pose = about(pivot, rotation(cross(outward, UP), rise / reach))
    return _settled(plot, pose, 0.0), _STILL, _STILL


def _lift(plot: Plot, phase: float) -> Motion:
    """The whole object goes clearly up and comes down again."""
    rise = min(0.1, 0.28 * plot.room) * plot.tempo.amplitude * _envelope(phase, 0.45)
    lean = rotation((np.cos(plot.tempo.phase), np.sin(plot.tempo.phase), 0), np.radians(5) * _envelope(phase, 0.45))
    pose = affine(offset=UP * rise) @ about(plot.use.grip.point, lean)
    return _settled(plot, pose, 0.0, only_up=True), _STILL, _STILL


def _push(plot: Plot, phase: float) -> Motion:
    """The object slides along the table to where it comes to rest."""
    back = min(0.1, 0.25 * plot.room) * plot.tempo.amplitude * (1 - _smooth(phase * 1.08))
    return affine(offset=-plot.hold.push * back), _STILL, _STILL


def _rotate(plot: Plot, phase: float) -> Motion:
    """The part twists about its axis and back, and the hand with it."""
    tempo, axis = plot.tempo, plot.use.grip.axis
    angle = np.radians(42) * tempo.amplitude * tempo.wave(phase) * _envelope(phase, 0.18)
    twist = about(plot.use.grip.point, rotation(UP if axis is None else axis, angle))
    return _STILL, twist, twist


def _squeeze(plot: Plot, phase: float) -> Motion:
    """The part gets thin between the fingers and recovers, twice."""
    press = plot.tempo.pulse(phase)
    across = plot.hold.frame[:3, 2]
    side = cross(UP, across)
    strength = press * min(plot.tempo.amplitude, 1.1)
    thin = np.eye(3) - 0.38 * strength * np.outer(across, across) + 0.12 * strength * np.outer(side, side)
    squeezed = about(plot.use.grip.point * [1, 1, 0], thin)
    inward = -across * 0.34 * plot.use.grip.radius * press
    return _STILL, squeezed, affine(offset=inward)


def _type(plot: Plot, phase: float) -> Motion:
    """The finger tips tap on one spot after the other."""
    tempo, span = plot.tempo, plot.use.grip.span
    share = _envelope(phase, 0.15)
    tap = 0.028 * tempo.amplitude * (0.5 - 0.5 * np.cos(2 * np.pi * 2 * tempo.cycles * phase)) * share
    drift = tempo.wave(0.6 * phase) * share
    offset = np.array([span[0] * drift, span[1] * drift * tempo.side, tap])
    return _STILL, _STILL, affine(offset=offset)


_MOTIONS: dict[str, Callable[[Plot, float], Motion]] = {
    "cut": _cut,
    "grasp": _grasp,
    "hammer": _hammer,
    "lift": _lift,
    "paint": _paint,
    "push": _push,
    "rotate": _rotate,
    "squeeze": _squeeze,
    "type": _type,
}
