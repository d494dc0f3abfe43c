"""A hand with a forearm and a sleeve: rigid bones with meshes that are built once and posed by affine maps."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic.geometry import Mesh, cross, superquadric, sweep
from vidaff.datasets.synthetic.grips import UP, HandShape

_KNUCKLES = np.array([[0.044, 0.033, 0.0], [0.047, 0.011, 0.002], [0.044, -0.011, 0.001], [0.038, -0.032, -0.002]])
_FINGERS = np.array([[0.044, 0.026, 0.021], [0.048, 0.03, 0.022], [0.044, 0.028, 0.021], [0.035, 0.021, 0.019]])
_FINGER_RADII = (0.0102, 0.0094, 0.0086)
_FLEX = np.radians([72.0, 88.0, 52.0])
_SPREAD = np.radians([5.0, 1.5, -2.0, -6.0])
_THUMB_BASE = np.array([-0.024, 0.034, -0.008])
_THUMB = (0.044, 0.035, 0.027)
_THUMB_RADII = (0.0135, 0.0115, 0.0102)
_WRIST = np.array([-0.042, 0.0, 0.0])
BODIES = 18
"""Palm, 12 finger bones, 3 thumb bones, forearm, sleeve."""


class HandLook(NamedTuple):
    """Overall size (1 is an adult's mean hand), thickness of the fingers, and where the sleeve begins (metres)."""

    size: float
    thickness: float
    cuff: float


@cache
def hand_meshes() -> tuple[Mesh, ...]:
    """Meshes of the :data:`BODIES` bones, each in its own frame, pointing along x from its joint."""
    bones = [superquadric((0.104, 0.09, 0.03), 0.55, 16)]
    for lengths in _FINGERS:
        bones += [_bone(length, radius) for length, radius in zip(lengths, _FINGER_RADII, strict=True)]
    bones += [_bone(length, radius) for length, radius in zip(_THUMB, _THUMB_RADII, strict=True)]
    reach = np.array([0.0, 0.06, 0.16, 0.42])[:, None] * [1.0, 0.0, 0.0]
    bones.append(sweep(reach, [0.025, 0.026, 0.032, 0.038], 12, flat=0.8))
    bones.append(sweep(reach[:3] / 0.16 * 0.34, [0.035, 0.038, 0.044], 12, flat=0.85))
    return tuple(bones)


def _bone(length: float, radius: float) -> Mesh:
    return sweep(np.array([[0.0, 0, 0], [length, 0, 0]]), [radius, 0.94 * radius], 8)


def pose_hand(frame: np.ndarray, shape: HandShape, arm: np.ndarray, look: HandLook, mirror: bool) -> np.ndarray:
    """Affine maps (BODIES, 4, 4) from the bones' frames to the world.

    ``frame`` (4, 4) is the hand's pose and ``arm`` (3,) the world direction from the wrist to the elbow.
    """
    flip = np.diag([1.0, -1.0 if mirror else 1.0, 1.0, 1.0])
    base = frame @ flip @ np.diag([look.size, look.size, look.size, 1.0])
    local = np.concatenate([np.eye(4)[None], _fingers(shape.curl), _thumb(shape.thumb)])
    local[1:, :3, 1:3] *= look.thickness
    wrist = (base @ np.append(_WRIST, 1.0))[:3]
    return np.concatenate([base @ local, _arm(wrist, arm, frame[:3, 2], look)])


def _fingers(curl: np.ndarray) -> np.ndarray:
    """Four chains of three bones (12, 4, 4), flexing towards the palm."""
    flex = np.cumsum(curl[:, None] * _FLEX, axis=1)
    spread = _SPREAD * (1 - 0.7 * curl)
    side = np.stack([-np.sin(spread), np.cos(spread), 0 * spread], axis=-1)[:, None]
    ahead = np.stack([np.cos(spread), np.sin(spread), 0 * spread], axis=-1)[:, None]
    along = np.cos(flex)[..., None] * ahead - np.sin(flex)[..., None] * UP
    above = np.sin(flex)[..., None] * ahead + np.cos(flex)[..., None] * UP
    steps = np.cumsum(along * _FINGERS[..., None], axis=1)
    joints = _KNUCKLES[:, None] + np.concatenate([0 * steps[:, :1], steps[:, :-1]], axis=1)
    poses = np.zeros((4, 3, 4, 4))
    poses[..., :3, 0], poses[..., :3, 1], poses[..., :3, 2] = along, np.broadcast_to(side, along.shape), above
    poses[..., :3, 3], poses[..., 3, 3] = joints, 1.0
    return poses.reshape(12, 4, 4)


def _thumb(directions: np.ndarray) -> np.ndarray:
    point, poses = _THUMB_BASE, np.tile(np.eye(4), (3, 1, 1))
    for bone, direction in enumerate(directions):
        poses[bone, :3, :3], poses[bone, :3, 3] = _towards(direction, np.array([0.0, 0, 1])), point
        point = point + poses[bone, :3, 0] * _THUMB[bone]
    return poses


def _arm(wrist: np.ndarray, arm: np.ndarray, back: np.ndarray, look: HandLook) -> np.ndarray:
    poses = np.tile(np.eye(4), (2, 1, 1))
    turned = _towards(arm, back)
    poses[:, :3, :3] = turned * look.size
    poses[0, :3, 3] = wrist
    poses[1, :3, 3] = wrist + turned[:, 0] * look.cuff
    return poses


def _towards(direction: np.ndarray, upward: np.ndarray) -> np.ndarray:
    """Rotation whose x axis is ``direction`` and whose z axis is close to ``upward``."""
    x = direction / np.linalg.norm(direction)
    z = upward - x * (x @ upward)
    if np.linalg.norm(z) < 1e-3:
        z = cross(x, np.eye(3)[np.argmin(np.abs(x))])
    z = z / np.linalg.norm(z)
    return np.stack([x, cross(z, x), z], axis=1)
