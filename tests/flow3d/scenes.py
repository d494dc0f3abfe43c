"""Analytic RGB-D pairs with known motion: a textured ball in front of a slanted textured wall, seen by a pinhole."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vidaff.flow3d import Intrinsics


class Pair(NamedTuple):
    """Two frames; ``truth`` (H, W, 3) metres on frame 0's pixels, ``moving`` (H, W) bool."""

    rgb0: np.ndarray
    depth0: np.ndarray
    rgb1: np.ndarray
    depth1: np.ndarray
    truth: np.ndarray
    moving: np.ndarray
    intrinsics: Intrinsics


def ball_pair(
    height: int = 120,
    width: int = 160,
    *,
    move: tuple[float, float, float] = (0.02, 0.01, -0.012),
    noise: bool = True,
    wall_contrast: float = 1.0,
) -> Pair:
    """A ball of 14 cm radius at 75 cm moves by ``move`` metres; ``noise`` adds what a depth camera adds."""
    camera = Intrinsics(0.824 * width, 0.824 * width, (width - 1) / 2, (height - 1) / 2)
    rng = np.random.default_rng(0)
    start = np.array([0.05, 0.0, 0.75])
    (rgb0, depth0, on_ball), (rgb1, depth1, _) = (
        _render(height, width, camera, centre, wall_contrast, rng if noise else None)
        for centre in (start, start + move)
    )
    truth = np.where(on_ball[..., None], np.array(move), 0)
    return Pair(rgb0, depth0, rgb1, depth1, truth, on_ball, camera)


def _render(
    height: int, width: int, k: Intrinsics, centre: np.ndarray, wall_contrast: float, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    v, u = np.mgrid[:height, :width].astype(float)
    rays = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones_like(u)], axis=-1)
    normal = np.array([0, -0.4, -1.0])
    wall = (normal @ np.array([0, 0, 1.1])) / (rays @ normal)
    a, b = (rays * rays).sum(-1), rays @ centre
    root = b * b - a * (centre @ centre - 0.14**2)
    on_ball = root > 0
    ball = (b - np.sqrt(np.maximum(root, 0))) / a
    depth = np.where(on_ball, ball, wall)
    points = rays * depth[..., None]
    grey = np.where(on_ball, _texture(points - centre, 2), 128 + wall_contrast * (_texture(points, 1) - 128))
    if rng is not None:
        grey, depth = grey + rng.normal(0, 2.5, grey.shape), _noisy(depth, rng)
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), depth.astype(np.float32), on_ball


def _texture(points: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    value = np.full(points.shape[:-1], 128.0)
    for _ in range(14):
        wave = rng.normal(size=3)
        wave *= np.exp(rng.uniform(np.log(20), np.log(200))) / np.linalg.norm(wave)
        value += 32 * rng.uniform(0.3, 1) * np.sin(points @ wave + rng.uniform(0, 6.28))
    return value


def _noisy(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    near = depth.astype(np.float32)
    rim = cv2.dilate(near, np.ones((3, 3))) - cv2.erode(near, np.ones((3, 3))) > 0.03
    noisy = np.round((depth + rng.normal(size=depth.shape) * (0.0012 + 0.0019 * (depth - 0.4) ** 2)) * 1000) / 1000
    noisy[rim & (rng.random(depth.shape) < 0.7)] = 0
    noisy[rng.random(depth.shape) < 0.005] = 0
    return noisy
