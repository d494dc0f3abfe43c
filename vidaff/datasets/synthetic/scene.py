"""Everything about a clip that must not depend on its action: instance, resting pose, camera, light, surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic.geometry import affine, cross, rotation
from vidaff.datasets.synthetic.grips import UP
from vidaff.datasets.synthetic.hand import HandLook
from vidaff.datasets.synthetic.materials import Material, colour, plastic, skin, surface
from vidaff.datasets.synthetic.objects import ObjectModel, ObjectType, object_types

SPLITS = ("train", "val")
CLIPS_PER_INSTANCE = {"train": 3, "val": 1}
"""Consecutive training clips share an instance, so that it shows more than one of its actions."""
SUBJECTS = {"train": (1, 40), "val": (41, 50)}
_GOLDEN = 0.6180339887498949
_INSTANCE, _SCENE, _SUBJECT, _MOTION = range(4)


@dataclass(frozen=True)
class ClipPlan:
    """What clip ``index`` of a split shows; the same for every size of the set."""

    seed: int
    split: str
    index: int
    instance: int
    kind: int
    action: str
    subject: int
    view: int

    @property
    def type(self) -> ObjectType:
        """The object's type."""
        return object_types()[self.kind]

    @property
    def name(self) -> str:
        """Recording name in the official form: subject first, action second, object last."""
        middle = f"view{self.view}_k{self.instance:04d}_{self.index:06d}"
        return f"Subject{self.subject}_{self.action}_{middle}_{self.type.official}"

    def motion_rng(self) -> np.random.Generator:
        """Random numbers that only the action's motion uses."""
        return _rng(self.seed, self.split, _MOTION, self.index)


class Camera(NamedTuple):
    """World to camera (3, 4), focal length and principal point in pixels, width and height (None: square)."""

    view: np.ndarray
    focal: float
    cx: float
    cy: float
    size: int
    height: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.height or self.size, self.size

    @property
    def field(self) -> float:
        """Width of the picture at a depth of 1, in units of the depth."""
        return self.size / self.focal

    @property
    def origin(self) -> np.ndarray:
        """Centre of the camera (3,) in the world."""
        return -self.view[:, :3].T @ self.view[:, 3]

    def rays(self) -> np.ndarray:
        """World direction (H, W, 3) float32 of every pixel centre, scaled so that its length along the axis is 1."""
        height, width = self.shape
        u, v = np.meshgrid((np.arange(width) - self.cx) / self.focal, (np.arange(height) - self.cy) / self.focal)
        local = np.stack([u, v, np.ones_like(u)], axis=-1)
        return np.ascontiguousarray(local @ self.view[:, :3], dtype=np.float32)


class Surroundings(NamedTuple):
    """Table and wall materials, wall (normal x, normal y, offset), light (7,), exposure, colour noise, noise seed."""

    table: Material
    wall_material: Material
    wall: np.ndarray
    light: np.ndarray
    exposure: float
    sigma: float
    noise: int


class Subject(NamedTuple):
    """Looks of the person."""

    hand: HandLook
    skin: Material
    sleeve: Material


@dataclass(frozen=True)
class Scene:
    """A resting object (pose (4, 4) in the world) before a camera."""

    model: ObjectModel
    pose: np.ndarray
    camera: Camera
    azimuth: float
    surroundings: Surroundings
    subject: Subject


def _rng(seed: int, split: str, stream: int, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), stream, *numbers])


@lru_cache(maxsize=4)
def _kinds(seed: int, split: str, count: int) -> tuple[tuple[int, int], ...]:
    """Type of each of ``count`` instances, and how many instances of that type came before it.

    The golden ratio spreads the types evenly by weight over every stretch of instances.
    """
    weights = np.cumsum([kind.weight for kind in object_types()])
    offset = _rng(seed, split, _INSTANCE).random()
    places = (offset + _GOLDEN * np.arange(count)) % 1.0
    kinds = np.minimum(np.searchsorted(weights / weights[-1], places, side="right"), len(weights) - 1)
    seen, found = [0] * len(weights), []
    for kind in kinds.tolist():
        found.append((kind, seen[kind]))
        seen[kind] += 1
    return tuple(found)


def plan_clips(seed: int, split: str, count: int) -> list[ClipPlan]:
    """Plans of the first ``count`` clips: the type first, then its actions in turn, so that both stay balanced."""
    share = CLIPS_PER_INSTANCE[split]
    kinds = _kinds(seed, split, -(-count // share))
    return [_plan(seed, split, index, *kinds[index // share]) for index in range(count)]


def _plan(seed: int, split: str, index: int, kind: int, rank: int) -> ClipPlan:
    share, actions = CLIPS_PER_INSTANCE[split], object_types()[kind].actions
    instance, rng = index // share, _rng(seed, split, _SCENE, index, 0)
    first, last = SUBJECTS[split]
    subject, view = int(rng.integers(first, last + 1)), int(rng.integers(1, 4))
    turn = rank + index % share
    return ClipPlan(seed, split, index, instance, kind, actions[turn % len(actions)], subject, view)


def draw_subject(seed: int, split: str, number: int) -> Subject:
    """Looks of subject ``number``, the same in all of its clips."""
    rng = _rng(seed, split, _SUBJECT, number)
    look = HandLook(rng.uniform(0.88, 1.06), rng.uniform(0.9, 1.15), rng.uniform(0.03, 0.16))
    return Subject(look, skin(rng), plastic(rng, 0, 0.12))


def draw_scene(plan: ClipPlan, size: int, attempt: int) -> Scene:
    """Scene of a clip. The action is never looked at; ``attempt`` redraws pose and camera, every 8th also the shape."""
    model = plan.type.build(_rng(plan.seed, plan.split, _INSTANCE, plan.instance, attempt // 8))
    rng = _rng(plan.seed, plan.split, _SCENE, plan.index, 1 + attempt)
    yaw, place = rng.uniform(0, 2 * np.pi), rng.uniform(-0.03, 0.03, 2)
    pose = affine(rotation(UP, yaw), (*place, 0.0))
    azimuth = np.radians(-90 + (0, -38, 38)[plan.view - 1] + rng.uniform(-9, 9))
    camera = _aim(rng, model, pose, azimuth, plan.view, size)
    subject = draw_subject(plan.seed, plan.split, plan.subject)
    return Scene(model, pose, camera, float(azimuth), draw_surroundings(rng), subject)


def look_along(forward: np.ndarray, eye: np.ndarray, roll: float) -> np.ndarray:
    """World-to-camera map (3, 4) of a camera at ``eye`` that looks along the unit vector ``forward``."""
    right = cross(forward, UP)
    right = rotation(forward, roll) @ (right / np.linalg.norm(right))
    turned = np.stack([right, cross(forward, right), forward])
    return np.concatenate([turned, -(turned @ eye)[:, None]], axis=1)


def _aim(
    rng: np.random.Generator, model: ObjectModel, pose: np.ndarray, azimuth: float, view: int, size: int
) -> Camera:
    """Camera at 0.45-0.62 m whose focal length lets the resting object fill about 50-72 % of the picture."""
    points = np.concatenate([part.mesh.vertices for part in model.parts]) @ pose[:3, :3].T + pose[:3, 3]
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    height = np.radians((46, 40, 40)[view - 1] + rng.uniform(-7, 9))
    away = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    eye = centre + rng.uniform(0.44, 0.6) * away
    view_matrix = look_along(-away, eye, rng.normal(0, np.radians(2)))
    local = points @ view_matrix[:, :3].T + view_matrix[:, 3]
    flat = local[:, :2] / local[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = float(np.clip(rng.uniform(0.56, 0.76) / (high - low).max(), 0.9, 2.6))
    slack = 1 - focal * (high - low)
    middle = (0.5, 0.54) + rng.uniform(-0.26, 0.26, 2) * slack - focal * (low + high) / 2
    cx, cy = (middle * size - 0.5).tolist()
    return Camera(view_matrix, focal * size, cx, cy, size)


def draw_surroundings(rng: np.random.Generator) -> Surroundings:
    """Table, a wall 0.3-0.6 m behind the middle of it, light and sensor noise."""
    turn = rng.normal(0, 0.12)
    wall = np.array([np.sin(turn), -np.cos(turn), 0.0])
    wall[2] = -rng.uniform(0.3, 0.6)
    angle, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(42, 80))
    towards = np.array([np.cos(angle) * np.cos(height), np.sin(angle) * np.cos(height), np.sin(height)])
    tint = np.asarray(colour(rng, (0.0, 0.12), (1.0, 1.0)))
    ambient = rng.uniform(0.3, 0.55)
    light = np.array([*towards, *(tint * (1 - ambient) * rng.uniform(0.8, 1.15)), ambient], np.float32)
    return Surroundings(
        surface(rng, (8, 40)), surface(rng, (4, 20)), wall.astype(np.float32), light,
        float(rng.uniform(0.6, 0.92)), float(rng.uniform(1.2, 2.8)), int(rng.integers(0, 2**31)),
    )  # fmt: skip
