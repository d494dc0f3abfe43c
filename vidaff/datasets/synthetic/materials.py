"""Procedural surface materials: two colours mixed by a solid pattern, evaluated per pixel in the part's own frame."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np

PATTERNS = ("plain", "stripes", "checker", "noise", "dots", "spokes", "wood", "fibres", "weave", "icons")
"""Pattern names; the position is the number that the shading kernel switches on."""


class Material(NamedTuple):
    """Two RGB colours in 0..1, a pattern of :data:`PATTERNS`, its cells per metre, main axis 0..2, shine and glow."""

    first: tuple[float, float, float]
    second: tuple[float, float, float]
    pattern: str = "plain"
    scale: float = 60.0
    axis: int = 0
    shine: float = 0.1
    glow: float = 0.0
    seed: float = 0.0

    def row(self) -> np.ndarray:
        """The (12,) float32 vector that the kernel reads."""
        number = float(PATTERNS.index(self.pattern))
        values = (number, self.scale, float(self.axis), self.shine, self.glow, self.seed)
        return np.array([*self.first, *self.second, *values], np.float32)


def colour(
    rng: np.random.Generator,
    saturation: tuple[float, float] = (0.25, 0.95),
    value: tuple[float, float] = (0.3, 0.95),
) -> tuple[float, float, float]:
    """A random RGB colour, hue uniform."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def plastic(rng: np.random.Generator, axis: int = 0, size: float = 0.1) -> Material:
    """Any everyday surface: coloured, printed or woven; ``size`` in metres sets how fine the pattern is."""
    pattern = str(rng.choice(["plain", "plain", "stripes", "checker", "noise", "dots", "wood", "weave"]))
    grey = rng.random() < 0.2
    saturation = (0.0, 0.12) if grey else (0.3, 0.95)
    first = colour(rng, saturation, (0.15, 0.97))
    second = colour(rng, (0.0, 0.9), (0.1, 0.97)) if rng.random() < 0.5 else _shade(first, rng.uniform(0.45, 1.5))
    cells = rng.uniform(3, 8) / size
    return Material(first, second, pattern, cells, axis, float(rng.uniform(0.0, 0.5)), 0.0, float(rng.uniform(0, 50)))


def metal(rng: np.random.Generator, axis: int = 0) -> Material:
    """Bright or dark grey, a little tinted, with brushed streaks."""
    value = rng.uniform(0.4, 0.85)
    tint = rng.normal(0, 0.025, 3)
    first = _clip(value + tint)
    return Material(
        first, _shade(first, 0.8), "fibres", 90.0, axis, float(rng.uniform(0.4, 0.9)), 0.0, rng.uniform(0, 50)
    )


def wood(rng: np.random.Generator, axis: int = 0) -> Material:
    """Brown with grain along ``axis``."""
    first = colorsys.hsv_to_rgb(rng.uniform(0.04, 0.11), rng.uniform(0.35, 0.7), rng.uniform(0.35, 0.85))
    return Material(first, _shade(first, 0.62), "wood", rng.uniform(60, 140), axis, 0.1, 0.0, float(rng.uniform(0, 50)))


def mostly(rng: np.random.Generator, usual: Material, share: float, other: Material) -> Material:
    """``usual`` in ``share`` of the cases, so that a material hints at a part and never decides it."""
    return usual if rng.random() < share else other


def surface(rng: np.random.Generator, scale: tuple[float, float]) -> Material:
    """A table top or a wall: calm colours, ``scale`` cells per metre."""
    pattern = str(rng.choice(["plain", "noise", "wood", "checker", "stripes", "weave", "dots"]))
    first = colour(rng, (0.0, 0.5), (0.25, 0.95))
    second = _shade(first, rng.uniform(0.6, 1.25))
    axis = int(rng.integers(0, 2))
    return Material(first, second, pattern, rng.uniform(*scale), axis, 0.0, 0.0, float(rng.uniform(0, 50)))


def skin(rng: np.random.Generator) -> Material:
    """Skin from pale to dark; one subject in six wears a glove of any colour."""
    if rng.random() < 1 / 6:
        glove = colour(rng, (0.1, 0.9), (0.2, 0.95))
        return Material(glove, _shade(glove, 0.85), "noise", 120.0, 0, 0.1)
    tone = rng.random()
    pale, dark = np.array([0.93, 0.74, 0.62]), np.array([0.34, 0.21, 0.15])
    first = _clip((1 - tone) * pale + tone * dark + rng.normal(0, 0.02, 3))
    return Material(first, _shade(first, 0.88), "noise", 90.0, 0, 0.12)


def _shade(base: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return _clip(np.asarray(base) * factor)


def _clip(value: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = np.clip(value, 0.03, 0.97)
    return float(red), float(green), float(blue)
