"""What a scene is made of: shapes with a ray intersection, textures fixed to the body, and rigid motions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from vidaff.flow3d.types import Intrinsics

FOCAL_PER_WIDTH = 263.7 / 320
"""Focal length over picture width of the PD-Flow program's camera: 62.5 degrees horizontally."""


class Shape(Protocol):
    """A surface in body coordinates; ``reach`` is the radius of a sphere round the origin that holds it."""

    @property
    def reach(self) -> float: ...

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Smallest positive t with ``origin + t rays`` on the surface: ``origin`` (3,), ``rays`` (N, 3) -> (N,).

        Infinite where a ray misses. The origin lies outside.
        """


@dataclass(frozen=True)
class Plane:
    """The plane z = 0, without end."""

    reach: float = np.inf

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            t = -origin[2] / rays[:, 2]
        return np.where(t > 0, t, np.inf)


@dataclass(frozen=True)
class Ball:
    """An ellipsoid with these three semi-axes in metres; a sphere when they are equal."""

    radii: tuple[float, float, float]

    @property
    def reach(self) -> float:
        return max(self.radii)

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        start, steps = origin / self.radii, rays / self.radii
        a = np.einsum("ij,ij->i", steps, steps)
        b = steps @ start
        root = b * b - a * (start @ start - 1)
        t = (-b - np.sqrt(np.maximum(root, 0))) / a
        return np.where((root >= 0) & (t > 0), t, np.inf)


@dataclass(frozen=True)
class Box:
    """A box with these three half sides in metres."""

    half: tuple[float, float, float]

    @property
    def reach(self) -> float:
        return float(np.linalg.norm(self.half))

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        rays = np.where(rays == 0, 1e-300, rays)
        first, second = (-origin - self.half) / rays, (-origin + self.half) / rays
        entry = np.minimum(first, second).max(axis=1)
        leave = np.maximum(first, second).min(axis=1)
        return np.where((entry <= leave) & (entry > 0), entry, np.inf)


@dataclass(frozen=True)
class Motion:
    """A steady rigid motion: turn about a pivot that itself travels.

    ``velocity`` (3,) metres and ``turn`` (3,) a rotation vector in radians, both per frame; ``pivot`` (3,) metres, its
    place at time 0. All in the coordinates of what the body belongs to.
    """

    velocity: tuple[float, float, float]
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def at(self, time: float) -> np.ndarray:
        """(4, 4) motion since time 0; ``time`` in frames."""
        pivot = np.array(self.pivot)
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(time * np.array(self.turn))
        matrix[:3, 3] = pivot + time * np.array(self.velocity) - matrix[:3, :3] @ pivot
        return matrix


class Texture(NamedTuple):
    """A sum of sines over body coordinates: ``waves`` (K, 3) rad/m, ``phases`` (K,), ``sizes`` (K,) grey levels."""

    waves: np.ndarray
    phases: np.ndarray
    sizes: np.ndarray
    base: float

    def grey(self, points: np.ndarray, footprint: float) -> np.ndarray:
        """(N, 3) body coordinates -> (N,) grey, as a pixel of ``footprint`` metres sees it: fine waves fade."""
        length = np.linalg.norm(self.waves, axis=1)
        sizes = self.sizes * np.exp(-0.5 * (0.5 * footprint * length) ** 2)
        angles = points.astype(np.float32) @ self.waves.T.astype(np.float32)
        angles += self.phases.astype(np.float32)
        grey: np.ndarray = np.sin(angles, out=angles) @ sizes.astype(np.float32)
        return grey + np.float32(self.base)


@dataclass(frozen=True, eq=False)
class Body:
    """A textured shape. ``pose`` (4, 4) takes body to camera coordinates at time 0; ``motions`` act innermost first."""

    shape: Shape
    texture: Texture
    pose: np.ndarray
    motions: tuple[Motion, ...] = ()

    def at(self, time: float) -> np.ndarray:
        """(4, 4) body to camera coordinates at ``time``, in frames."""
        pose = self.pose
        for motion in self.motions:
            pose = motion.at(time) @ pose
        return pose

    def moves(self, start: float, end: float) -> bool:
        return not np.allclose(self.at(start), self.at(end), rtol=0, atol=1e-9)


Scene = tuple[Body, ...]
"""The bodies of a scene; together they must fill the picture (a :class:`Plane` behind everything does)."""


def camera_of(size: tuple[int, int]) -> Intrinsics:
    """The pinhole camera for (height, width) pixels: f = 263.7 at a width of 320, centred."""
    height, width = size
    focal = FOCAL_PER_WIDTH * width
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2)


def rotation(vector: np.ndarray) -> np.ndarray:
    """(3, 3) rotation by the angle ``|vector|`` about ``vector``."""
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned


def pose(place: tuple[float, float, float] | np.ndarray, turn: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """(4, 4) of a rotation vector in radians and a place in metres."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(np.array(turn, float)), place
    return matrix
