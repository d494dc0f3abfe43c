"""Which part of a still picture the model sees, and at what scale.

A model knows parts at the size that they had in its training pictures. The paper's were 300x300 windows, brought to
the model's input; here 300 recorded pixels become the model's input in the views ``centre`` and ``tiled``, whatever
size that input has (64x64 for the shipped checkpoint). In ``whole`` the picture is smaller to the model.

``centre``  the centre square of 300 pixels: what the paper shows.
``tiled``   squares of 300 pixels that cover the picture, neighbours sharing half of their width or more. Each is run
            alone; where they overlap, probabilities are averaged with weights that fall towards a tile's edge, where
            the model lacks what is around.
``whole``   the picture in one go, its proportions kept: its sides are at least those of the model's input.

Pictures with a side below 300 pixels have squares of that side, as when the data set itself crops them.
Source: Thermos et al., ICASSP 2020, section 4.3 (the centre crop).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vidaff.datasets.geometry import Size, Window

VIEWS = ("centre", "whole", "tiled")


@dataclass(frozen=True)
class Plan:
    """``region`` of the picture that is judged, on its recorded grid, and the ``tiles`` of it that the model sees.

    A tile is a window into the recorded picture; its ``size`` is that of the model's input.
    """

    region: Window
    tiles: tuple[Window, ...]


def plan_view(view: str, grid: Size, side: int, input_size: Size) -> Plan:
    """How a picture of (height, width) pixels is looked at; ``side`` of the squares in recorded pixels.

    Raises:
        ValueError: an unknown ``view``.
    """
    height, width = grid
    side = min(side, height, width)
    if view == "centre":
        top, left = (height - side) // 2, (width - side) // 2
        return Plan(Window(top, left, side, side, (side, side)), (Window(top, left, side, side, input_size),))
    region = Window(0, 0, height, width, grid)
    if view == "whole":
        scale = max(input_size[0] / height, input_size[1] / width)
        size = (max(8, round(height * scale)), max(8, round(width * scale)))
        return Plan(region, (Window(0, 0, height, width, size),))
    if view == "tiled":
        corners = [(top, left) for top in starts(height, side) for left in starts(width, side)]
        return Plan(region, tuple(Window(top, left, side, side, input_size) for top, left in corners))
    raise ValueError(f"view: one of {', '.join(VIEWS)} is expected, got {view!r}")


def starts(length: int, side: int) -> list[int]:
    """Evenly spaced places of tiles that cover ``length`` pixels, each sharing half of its width or more."""
    steps = math.ceil((length - side) / (side / 2))
    return [round(index * (length - side) / max(1, steps)) for index in range(steps + 1)]


def tile_weights(side: int) -> np.ndarray:
    """(side, side) float32 weights of a tile's pixels, 1 in its middle and near 0, but not 0, at its edge."""
    ramp = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / (side / 2)
    return np.outer(ramp, ramp).astype(np.float32)
