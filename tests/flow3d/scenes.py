"""A pair with known motion for the tests of the methods: a textured ball in front of a slanted textured wall."""

from __future__ import annotations

import numpy as np

from vidaff.flow3d.analytic import Ball, Body, Motion, Pair, Plane, make_pair
from vidaff.flow3d.analytic.scene import pose
from vidaff.flow3d.analytic.scenes import texture


def ball_pair(
    height: int = 120,
    width: int = 160,
    *,
    move: tuple[float, float, float] = (0.02, 0.01, -0.012),
    noise: bool = True,
    wall_contrast: float = 1.0,
) -> Pair:
    """A ball of 14 cm radius at 75 cm moves by ``move`` metres; ``noise`` adds what a depth camera adds."""
    rng = np.random.default_rng(0)
    ball = texture(rng, 128, 40)
    wall = texture(rng, 128, 40 * wall_contrast)
    scene = (
        Body(Plane(), wall, pose((0, 0, 1.1), (np.pi - 0.38, 0, 0))),
        Body(Ball((0.14, 0.14, 0.14)), ball, pose((0.05, 0, 0.75)), (Motion(move),)),
    )
    return make_pair(scene, size=(height, width), noise=noise)
