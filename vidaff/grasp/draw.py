"""Grippers for people: drawn in a picture, and as points of a cloud."""

from __future__ import annotations

import cv2
import numpy as np

from vidaff.flow3d import Intrinsics
from vidaff.grasp.ranking import AXES, Axis, Ranking, project
from vidaff.visualize import Colour, colour_table, draw_text

SHOWN = 50
"""Grippers drawn, the best ones; a planner's thousands would hide the picture."""
BEST: Colour = (60, 240, 110)
FINGER_M, TAIL_M = 0.05, 0.04
WIDTH_M = 0.08
"""Between the fingers, where the planner does not say."""
DOT_M = 0.002
"""Between the points that stand for a gripper in a cloud."""


def gripper_lines(ranking: Ranking, index: int, *, approach: Axis = "x", reach: float = 0.0) -> np.ndarray:
    """Strokes (4, 2, 3) metres of a parallel gripper whose finger tips close on the contact.

    The fingers close along y, or along x where y is the approach.
    """
    grasps, axis = ranking.grasps, AXES.index(approach)
    rotation = grasps.rotations[index]
    forward, across = rotation[:, axis], rotation[:, 1 if axis != 1 else 0]
    tip = grasps.positions[index] + reach * forward
    half = (WIDTH_M if grasps.widths is None else float(grasps.widths[index])) / 2 * across
    palm = tip - FINGER_M * forward
    tail = [palm - TAIL_M * forward, palm]
    return np.array([tail, [palm - half, palm + half], [palm - half, tip - half], [palm + half, tip + half]])


def drawn(ranking: Ranking) -> list[int]:
    """Numbers of the grasps that are shown, the best last, so that it is drawn over the others."""
    seen = [index for index in ranking.order.tolist() if not ranking.problems[index]]
    return seen[:SHOWN][::-1]


def draw_grasps(
    picture: np.ndarray, ranking: Ranking, camera: Intrinsics, *, approach: Axis = "x", reach: float = 0.0
) -> np.ndarray:
    """A copy of ``picture`` (H, W, 3) uint8 with the best grippers: coloured by heat, the best one green and thick."""
    canvas = np.ascontiguousarray(picture).copy()
    unit = max(1, round(min(canvas.shape[:2]) / 400))
    for index in drawn(ranking):
        best = index == ranking.best
        colour, thick = grasp_colour(ranking, index), (3 if best else 1) * unit
        lines = gripper_lines(ranking, index, approach=approach, reach=reach)
        ends = project(lines.reshape(-1, 3), camera).reshape(-1, 2, 2)
        for start, end in ends:
            if np.isfinite([start, end]).all() and np.abs([start, end]).max() < 1e5:
                pixels = [tuple(np.rint(point).astype(int).tolist()) for point in (start, end)]
                cv2.line(canvas, pixels[0], pixels[1], colour, thick, cv2.LINE_AA)
        if best:
            x, y = np.rint(ranking.pixels[index]).astype(int)
            draw_text(canvas, "1", (int(x) + 4 * unit, int(y) + 4 * unit), size=14 * unit, colour=BEST, bold=True)
    return canvas


def grasp_colour(ranking: Ranking, index: int) -> Colour:
    """Green for the best grasp, for the others a colour of their heat (blue is cold)."""
    if index == ranking.best:
        return BEST
    red, green, blue = colour_table("cool")[round(float(ranking.heat[index]) * 255)].tolist()
    return red, green, blue


def gripper_points(
    ranking: Ranking, *, approach: Axis = "x", reach: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shown grippers as dots: positions (M, 3) metres, colours (M, 3) uint8, and heat (M,) of their grasps."""
    points, colours, heat = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)], [np.zeros(0)]
    for index in drawn(ranking):
        for start, end in gripper_lines(ranking, index, approach=approach, reach=reach):
            count = 2 + int(np.linalg.norm(end - start) / DOT_M)
            points.append(start + np.linspace(0, 1, count)[:, None] * (end - start))
            colours.append(np.tile(np.array(grasp_colour(ranking, index), np.uint8), (count, 1)))
            heat.append(np.full(count, ranking.heat[index]))
    return np.concatenate(points), np.concatenate(colours), np.concatenate(heat)
