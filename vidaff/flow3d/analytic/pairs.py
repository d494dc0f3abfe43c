"""Pairs and clips of a scene with exact flow, and what a depth camera does to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vidaff.flow3d.analytic.cast import Hits, View
from vidaff.flow3d.analytic.scene import Scene, camera_of
from vidaff.flow3d.analytic.scenes import named_scene
from vidaff.flow3d.types import Intrinsics

GREY_SIGMA = 2.5
RIM_M = 0.03
"""Depth step between neighbours from which on a pixel belongs to a rim."""
RIM_DROPS = 0.7
HOLES = 0.005
HIDDEN_M = 0.002
"""A point is hidden when something else is nearer by more than this where it should be."""


class Pair(NamedTuple):
    """Two frames, and the truth on frame 0's pixels, pointing to frame 1.

    ``rgb0``, ``rgb1`` (H, W, 3) uint8; ``depth0``, ``depth1`` (H, W) float32 metres, 0 = hole;
    ``flow`` (H, W, 3) float32 metres X1 - X0, also under holes; ``motion`` (H, W, 2) float32 pixels;
    ``valid`` (H, W) bool: frame 0 has depth; ``moving``: pixels of moving bodies (of all when the camera moves);
    ``hidden``: the point is covered, or out of the picture, in frame 1.
    """

    rgb0: np.ndarray
    depth0: np.ndarray
    rgb1: np.ndarray
    depth1: np.ndarray
    flow: np.ndarray
    motion: np.ndarray
    valid: np.ndarray
    moving: np.ndarray
    hidden: np.ndarray
    intrinsics: Intrinsics


class Clip(NamedTuple):
    """Frames of a steady motion, and the truth as :class:`vidaff.flow3d.SceneFlow` gives it.

    ``rgb`` (T, H, W, 3) uint8, ``depth`` (T, H, W) float32 metres; ``flow`` (T, H, W, 3) float32 metres on each frame's
    own pixels, how the point got there from the frame before, 0 in frame 0; ``valid``, ``moving``, ``hidden``
    (T, H, W) bool, ``hidden``: not to be seen in the frame before.
    """

    rgb: np.ndarray
    depth: np.ndarray
    flow: np.ndarray
    valid: np.ndarray
    moving: np.ndarray
    hidden: np.ndarray
    intrinsics: Intrinsics


class _Truth(NamedTuple):
    flow: np.ndarray
    motion: np.ndarray
    moving: np.ndarray
    hidden: np.ndarray


class _Frame(NamedTuple):
    view: View
    rays: np.ndarray
    hits: Hits
    rgb: np.ndarray
    depth: np.ndarray


def make_pair(scene: str | Scene, *, size: tuple[int, int] = (240, 320), noise: bool = True, seed: int = 0) -> Pair:
    """A pair of ``scene``, one of :data:`SCENES` or bodies of your own; ``size`` (height, width) scales the camera.

    ``noise``: grey sigma 2.5; depth sigma 1.2 mm + 1.9 mm (z - 0.4)^2, steps of 1 mm, 70 % of the rims and 0.5 % of all
    pixels dropped. ``seed`` jitters a named scene's textures, poses and motions, and draws the noise; with and without
    noise the scene is the same. Frame 0 is half a frame before the scene's time 0, frame 1 half a frame after.
    Raises ``ValueError`` naming ``scene`` (unknown, or bodies that leave pixels empty) or ``size``.
    """
    bodies, rng, camera = _set_up(scene, seed, size)
    first, second = (_frame(bodies, time, camera, size, rng if noise else None) for time in (-0.5, 0.5))
    truth = _truth(first, second)
    return Pair(
        first.rgb, first.depth, second.rgb, second.depth, truth.flow, truth.motion, first.depth > 0,
        truth.moving, truth.hidden, camera,
    )  # fmt: skip


def make_clip(
    scene: str | Scene, *, frames: int = 10, size: tuple[int, int] = (240, 320), noise: bool = True, seed: int = 0
) -> Clip:
    """``frames`` frames of ``scene`` in steady motion, time 0 in the middle; arguments as in :func:`make_pair`."""
    if frames < 1:
        raise ValueError(f"frames: must be at least 1, got {frames}")
    bodies, rng, camera = _set_up(scene, seed, size)
    times = np.arange(frames) - (frames - 1) / 2
    shots = [_frame(bodies, time, camera, size, rng if noise else None) for time in times]
    truths = [_truth(shots[index], shots[max(index - 1, 0)]) for index in range(frames)]
    depth = np.stack([shot.depth for shot in shots])
    return Clip(
        np.stack([shot.rgb for shot in shots]),
        depth,
        0 - np.stack([truth.flow for truth in truths]),
        depth > 0,
        np.stack([truth.moving for truth in truths]),
        np.stack([truth.hidden for truth in truths]),
        camera,
    )


def _set_up(scene: str | Scene, seed: int, size: tuple[int, int]) -> tuple[Scene, np.random.Generator, Intrinsics]:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size: must be (height, width) of at least 1 pixel, got {size}")
    bodies = named_scene(scene, seed) if isinstance(scene, str) else scene
    return bodies, np.random.default_rng([seed, 1]), camera_of(size)


def _frame(
    bodies: Scene, time: float, camera: Intrinsics, size: tuple[int, int], rng: np.random.Generator | None
) -> _Frame:
    view = View(bodies, time, camera, size)
    rays = view.pixels()
    hits = view.cast(rays)
    if (hits.body < 0).any():
        raise ValueError("scene: leaves pixels empty; put a Plane behind it")
    grey, depth = view.picture(rays, hits), hits.depth.reshape(size)
    if rng is not None:
        grey = grey + GREY_SIGMA * rng.standard_normal(size, np.float32)
        depth = _measured(depth, hits.body.reshape(size), rng)
    rgb = np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return _Frame(view, rays, hits, rgb, depth.astype(np.float32))


def _truth(here: _Frame, there: _Frame) -> _Truth:
    """Flow from ``here`` to ``there`` on ``here``'s pixels."""
    size, k, scene = here.view.size, here.view.camera, here.view.scene
    points = here.rays * here.hits.depth[:, None]
    after, moving = points.copy(), np.zeros(len(points), bool)
    for index in range(len(scene)):
        start, end = here.view.poses[index], there.view.poses[index]
        if np.allclose(start, end, rtol=0, atol=1e-9):
            continue
        on = here.hits.body == index
        after[on] = here.view.body_points(index, points[on]) @ end[:3, :3].T + end[:3, 3]
        moving[on] = True
    columns, rows = after[:, 0] / after[:, 2] * k.fx + k.cx, after[:, 1] / after[:, 2] * k.fy + k.cy
    inside = (columns > -0.5) & (columns < size[1] - 0.5) & (rows > -0.5) & (rows < size[0] - 0.5)
    hidden = ~inside
    hidden[inside] = there.view.cast(there.view.rays(columns[inside], rows[inside])).depth < after[inside, 2] - HIDDEN_M
    y, x = np.indices(size)
    motion = np.stack([columns.reshape(size) - x, rows.reshape(size) - y], axis=-1)
    return _Truth(
        (after - points).astype(np.float32).reshape(*size, 3),
        np.where(moving.reshape(*size, 1), motion, 0).astype(np.float32),
        moving.reshape(size),
        hidden.reshape(size),
    )


def _measured(depth: np.ndarray, body: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a depth camera of the Kinect's kind makes of exact ``depth`` (H, W) metres."""
    noise = rng.standard_normal(depth.shape, np.float32) * (0.0012 + 0.0019 * (depth - 0.4) ** 2)
    measured = np.round((depth + noise) * 1000) / 1000
    # A slanted plane may fall by more than RIM_M from row to row; only where bodies meet is there a rim.
    rim = (_spread(depth) > RIM_M) & (_spread(body) > 0)
    measured[rim & (rng.random(depth.shape, np.float32) < RIM_DROPS)] = 0
    measured[rng.random(depth.shape, np.float32) < HOLES] = 0
    return measured


def _spread(values: np.ndarray) -> np.ndarray:
    """Largest minus smallest of each pixel's 3x3 neighbours."""
    low = high = np.pad(values, 1, mode="edge")
    low, high = np.minimum(low[:-2], low[2:]), np.maximum(high[:-2], high[2:])
    middle = np.pad(values, ((0, 0), (1, 1)), mode="edge")
    low, high = np.minimum(low, middle), np.maximum(high, middle)
    low = np.minimum(np.minimum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    high = np.maximum(np.maximum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    spread: np.ndarray = high - low
    return spread
