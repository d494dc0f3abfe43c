"""The named scenes: a hand over a table before a wall, and what else a flow method should face."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vidaff.flow3d.analytic.scene import Ball, Body, Box, Motion, Plane, Scene, Shape, Texture, pose

WAVES = 24
SHORTEST_M, LONGEST_M = 0.018, 0.3
"""Wavelengths of the textures: 18 mm are 6 pixels at 0.74 m and a width of 320."""
CONTRAST = 30.0
"""Standard deviation of the texture's grey."""

Vector = tuple[float, float, float]


def named_scene(name: str, seed: int = 0) -> Scene:
    """The bodies of a named scene; ``ValueError`` naming ``scene`` when it is unknown."""
    if name not in SCENES:
        raise ValueError(f"scene: unknown {name!r}; known: {', '.join(SCENES)}")
    return SCENES[name](np.random.default_rng([seed, 0]))


def texture(rng: np.random.Generator, base: float, contrast: float = CONTRAST) -> Texture:
    """A random smooth texture of mean ``base`` and standard deviation ``contrast`` grey levels."""
    waves = rng.normal(size=(WAVES, 3))
    length = np.exp(rng.uniform(np.log(SHORTEST_M), np.log(LONGEST_M), WAVES))
    waves *= (2 * np.pi / length / np.linalg.norm(waves, axis=1))[:, None]
    # Long waves are stronger, as in pictures of real things; equal ones would look like fringes and repeat.
    sizes = rng.uniform(0.3, 1, WAVES) * np.sqrt(length)
    sizes *= contrast / np.sqrt((sizes**2).sum() / 2)
    return Texture(waves, rng.uniform(0, 2 * np.pi, WAVES), sizes, base)


def room(rng: np.random.Generator, contrast: float = CONTRAST / 2) -> list[Body]:
    """A table seen from above, slanted away by about 30 degrees, and the wall behind it."""
    table = pose((0, 0, rng.uniform(1.0, 1.1)), (np.pi - rng.uniform(0.42, 0.62), 0, 0))
    table[:3, :3] = table[:3, :3] @ pose((0, 0, 0), (0, rng.uniform(-0.12, 0.12), 0))[:3, :3]
    wall = pose((0, -0.42, rng.uniform(1.2, 1.35)), (np.pi + rng.uniform(0.9, 1.05), 0, rng.uniform(-0.2, 0.2)))
    return [Body(Plane(), texture(rng, base, contrast), place) for base, place in ((110, table), (150, wall))]


def hand(
    rng: np.random.Generator,
    motions: tuple[Motion, ...],
    *,
    distance: float = 0.7,
    contrast: float = CONTRAST,
    curl: float = 0.0,
) -> Scene:
    """A sleeved forearm, palm, thumb and four fingers over a block they hold, about ``distance`` metres away.

    The fingers bend by ``curl`` radians per frame.
    """
    place = pose(
        (rng.uniform(-0.04, 0.04), rng.uniform(-0.05, 0.01), distance + rng.uniform(-0.02, 0.02)),
        (rng.uniform(-0.55, -0.2), rng.uniform(-0.25, 0.25), rng.uniform(-0.5, 0.5)),
    )
    skin, sleeve, block = (texture(rng, base, contrast) for base in (175, 90, 130))
    parts: list[tuple[Shape, Vector, Vector, Texture, float]] = [
        (Ball((0.048, 0.06, 0.022)), (0, 0, 0), (0, 0, 0), skin, 0),
        (Ball((0.034, 0.12, 0.028)), (0, 0.1, 0.005), (0, 0, 0), skin, 0),
        (Ball((0.05, 0.24, 0.045)), (0, 0.3, 0.01), (0, 0, 0), sleeve, 0),
        (Ball((0.014, 0.045, 0.014)), (-0.062, -0.02, 0.0), (0, 0, -0.7), skin, 0),
        (Box((0.07, 0.05, 0.025)), (0, -0.08, 0.04), (0, 0, 0.2), block, 0),
    ]
    for index, length in enumerate((0.036, 0.042, 0.045, 0.04)):
        centre, turn = (-0.036 + 0.024 * index, -0.045 - 0.8 * length, 0), (0.12, 0, 0.06 * index - 0.09)
        parts.append((Ball((0.0115, length, 0.011)), centre, turn, skin, 1))
    return tuple(
        Body(shape, look, place @ pose(centre, turn), (*_curl(place, centre, bends * curl), *motions))
        for shape, centre, turn, look, bends in parts
    )


def _curl(place: np.ndarray, centre: Vector, angle: float) -> tuple[Motion, ...]:
    """A finger bends about its knuckle, where it leaves the palm."""
    if angle == 0:
        return ()
    knuckle = place @ np.array([centre[0], -0.045, 0, 1])
    turn = place[:3, 0] * angle
    return (Motion((0, 0, 0), _vector(turn), _vector(knuckle[:3])),)


def sweep(rng: np.random.Generator, metres: float, turn: float, pivot: Vector = (0, 0, 0.7)) -> Motion:
    """Mostly sideways by ``metres`` a frame in a random direction, turning by ``turn`` radians."""
    angle = rng.uniform(0, 2 * np.pi)
    along = rng.choice([-1, 1]) * rng.uniform(0.15, 0.4)
    velocity = metres * np.array([np.cos(angle), np.sin(angle), along]) / np.hypot(1, along)
    axis = rng.normal(size=3) * (0.5, 0.5, 1.0)
    return Motion(_vector(velocity), _vector(turn * axis / np.linalg.norm(axis)), pivot)


def _vector(values: np.ndarray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _hand_scene(
    metres: float, turn: float, curl: float, *, distance: float = 0.7, contrast: float = CONTRAST
) -> Callable[[np.random.Generator], Scene]:
    def build(rng: np.random.Generator) -> Scene:
        motion = sweep(rng, metres * rng.uniform(0.95, 1.05), turn, (0, 0, distance))
        background = room(rng, contrast / 2)
        return (*background, *hand(rng, (motion,), distance=distance, contrast=contrast, curl=curl))

    return build


def _ball(rng: np.random.Generator) -> Scene:
    wall = pose((0, 0, 1.1), (np.pi - 0.38, rng.uniform(-0.1, 0.1), 0))
    centre = (rng.uniform(-0.08, 0.08), rng.uniform(-0.05, 0.05), 0.75)
    motion = sweep(rng, 0.027, 0.03, centre)
    return (
        Body(Plane(), texture(rng, 128), wall),
        Body(Ball((0.14, 0.14, 0.14)), texture(rng, 128), pose(centre), (motion,)),
    )


def _camera(rng: np.random.Generator) -> Scene:
    """The world moves as one, which is what a moving camera sees."""
    motion = sweep(rng, 0.02, 0.02, (0, 0, 0))
    bodies = (*room(rng), *hand(rng, ()))
    return tuple(Body(body.shape, body.texture, body.pose, (motion,)) for body in bodies)


SCENES: dict[str, Callable[[np.random.Generator], Scene]] = {
    "still": _hand_scene(0, 0, 0),
    "slow": _hand_scene(0.0083, 0.02, 0.03, distance=0.85),
    "hand": _hand_scene(0.025, 0.06, 0.08, distance=0.85),
    "mid": _hand_scene(0.045, 0.08, 0.1, distance=0.74),
    "fast": _hand_scene(0.111, 0.12, 0.1, distance=0.74),
    "ball": _ball,
    "camera": _camera,
    "plain": _hand_scene(0.025, 0.06, 0.08, distance=0.85, contrast=CONTRAST / 10),
}
"""Name -> builder; see :mod:`vidaff.flow3d.analytic` for what each shows and how fast it moves."""
