"""Scenes of the still sets: objects at rest on a table, and the picture, depth and part map of one view of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic.geometry import affine, rotation
from vidaff.datasets.synthetic.grips import UP
from vidaff.datasets.synthetic.objects import Part
from vidaff.datasets.synthetic.scene import Camera, Surroundings, look_along

_ROUGHLY_LEVEL = np.radians(1.5)


class Placed(NamedTuple):
    """An object's kind, its parts, and its pose (4, 4) in the world. Clutter has the kind ``""``."""

    kind: str
    parts: list[Part]
    pose: np.ndarray

    def points(self) -> np.ndarray:
        """Vertices (N, 3) in the world."""
        vertices = np.concatenate([part.mesh.vertices for part in self.parts])
        placed: np.ndarray = vertices @ self.pose[:3, :3].T + self.pose[:3, 3]
        return placed


@dataclass(frozen=True)
class StillScene:
    """Objects before a camera. Part numbers of a picture count the parts of all ``items`` in turn, from 1."""

    items: tuple[Placed, ...]
    clutter: tuple[Placed, ...]
    camera: Camera
    surroundings: Surroundings

    def numbers(self) -> list[tuple[int, str]]:
        """Object and part name of every part number, the first standing for number 1."""
        return [(index, part.name) for index, item in enumerate(self.items) for part in item.parts]


class StillShot(NamedTuple):
    """rgb (H, W, 3) uint8; depth (H, W) uint16 mm, 0 = hole; parts (H, W) uint8, 0 where no part of an item is."""

    rgb: np.ndarray
    depth: np.ndarray
    parts: np.ndarray


def render_still(scene: StillScene) -> StillShot:
    """The picture of a scene."""
    from vidaff.datasets.synthetic.render import Renderer, stack_bodies

    placed = [*scene.items, *scene.clutter]
    parts = [part for item in placed for part in item.parts]
    counted = len(scene.numbers())
    labels = [number if number <= counted else 0 for number in range(1, len(parts) + 1)]
    bodies = stack_bodies([part.mesh for part in parts], [part.material for part in parts], labels)
    maps = np.stack([item.pose for item in placed for _ in item.parts])
    frame = Renderer(scene, bodies).frame(0, maps, maps)
    return StillShot(frame.rgb, frame.depth, frame.parts)


def draw_until(
    draw: Callable[[int], StillScene], good: Callable[[StillScene, StillShot], bool], attempts: int
) -> tuple[StillScene, StillShot]:
    """First of ``draw(0), draw(1), ...`` whose picture is good, or the last one; a scene without items has none."""
    for attempt in range(attempts):
        scene = draw(attempt)
        shot = render_still(scene)
        if good(scene, shot):
            break
    return scene, shot


def at_rest(kind: str, parts: list[Part], yaw: float, place: np.ndarray) -> Placed:
    """The object on the table at ``place`` (2,) metres, turned by ``yaw`` radians."""
    return Placed(kind, parts, affine(rotation(UP, yaw), (*place, 0.0)))


def towards(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector (3,) from a point on the table to a camera; angles in radians."""
    flat = np.cos(elevation)
    return np.array([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(elevation)])


def aim(rng: np.random.Generator, target: np.ndarray, away: np.ndarray, distance: float) -> np.ndarray:
    """World-to-camera map (3, 4) that sees ``target`` in the middle, from ``distance`` metres along ``away``."""
    return look_along(-away, target + distance * away, rng.normal(0, _ROUGHLY_LEVEL))


def wall_behind(around: Surroundings, items: list[Placed], azimuth: float, gap: float) -> Surroundings:
    """The surroundings with their wall across the view, ``gap`` metres behind the furthest of the objects."""
    back = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    turn = rotation(UP, float(around.wall[0]))
    normal = turn @ back
    points = np.concatenate([item.points() for item in items])
    wall = np.array([normal[0], normal[1], float((points @ normal).min()) - gap], np.float32)
    return around._replace(wall=wall)
