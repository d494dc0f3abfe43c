"""Grasp candidates in the picture, and their order by the heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vidaff.flow3d import Intrinsics
from vidaff.grasp.candidates import Grasps, as_grasps, as_pose

BEHIND = "behind the camera"
OUTSIDE = "outside the picture"
NEAREST_M = 1e-3
"""Points nearer than this to the camera's plane, or behind it, are not projected."""
Axis = Literal["x", "y", "z"]
AXES: tuple[Axis, ...] = ("x", "y", "z")


@dataclass(frozen=True)
class Ranking:
    """Grasps in the order of a heat map; arrays are in the order in which the grasps came.

    order: (N,) int64, numbers of the grasps (from 0), best first. heat: (N,) float64, 0..1, share of the map's peak at
    the grasp's pixel, 0 for grasps that are not seen. pixels: (N, 2) float64 (x, y), NaN behind the camera. distance:
    (N,) float64 metres from the camera's plane, negative behind it. problems: a text a grasp, ``""`` where it is seen.
    grasps: the candidates in the camera's frame.
    """

    order: np.ndarray
    heat: np.ndarray
    pixels: np.ndarray
    distance: np.ndarray
    problems: tuple[str, ...]
    grasps: Grasps

    @property
    def best(self) -> int | None:
        """Number of the best grasp; None where the map is zero at all of them, or none is seen."""
        return int(self.order[0]) if len(self.order) and self.heat[self.order[0]] > 0 else None

    def to_list(self) -> list[dict[str, Any]]:
        """One JSON-able record a grasp, best first: index, rank (from 1), heat, pixel, distance_m, problem."""
        records = []
        for place, index in enumerate(self.order.tolist(), start=1):
            behind = self.problems[index] == BEHIND
            pixel = None if behind else [round(float(value), 2) for value in self.pixels[index]]
            record: dict[str, Any] = {"rank": place, "index": index, "heat": round(float(self.heat[index]), 6)}
            record |= {"pixel": pixel, "distance_m": round(float(self.distance[index]), 4)}
            if self.grasps.scores is not None:
                record["planner_score"] = float(self.grasps.scores[index])
            records.append(record | {"problem": self.problems[index]})
        return records


def rank(
    heatmap: np.ndarray,
    grasps: Any,
    intrinsics: Intrinsics | np.ndarray | Sequence[float],
    pose: Any = None,
    *,
    approach: Axis = "x",
    reach: float = 0.0,
) -> Ranking:
    """Order grasp candidates by the heat map's value where they touch the object.

    The contact, ``position + reach * approach axis``, is projected by the pinhole camera, and the map is read there,
    between pixels. Grasps of equal heat are ordered by the planner's own score, then as they came. Grasps behind the
    camera or outside the picture have heat 0 and come last, below seen ones of heat 0. That something hides a contact
    is not found out: planners work on what the camera sees.

    Args:
        heatmap: (H, W) >= 0, in any unit.
        grasps: :class:`vidaff.grasp.Grasps`, or an array as :func:`vidaff.grasp.as_grasps` takes it; metres.
        intrinsics: of the picture: :class:`vidaff.flow3d.Intrinsics`, a matrix (3, 3), or (fx, fy, cx, cy) in pixels.
        pose: (4, 4) or (3, 4) from the grasps' frame to the camera's (X right, Y down, Z away); None: they are there.
        approach: the gripper's axis along which it moves to the object: x in GraspNet, z in the frame of Panda's hand.
        reach: metres from the position to the contact: 0 where positions lie on the object (GraspNet), 0.1034 where
            they are Panda's wrist.

    Raises:
        ValueError: naming the argument that is wrong.
    """
    heat = _checked_map(heatmap)
    camera = as_camera(intrinsics)
    if approach not in AXES:
        raise ValueError(f"approach: must be one of {', '.join(AXES)}, got {approach!r}")
    if not np.isfinite(reach) or abs(reach) > 1:
        raise ValueError(f"reach: must be metres within -1..1, got {reach!r}")
    placed = as_grasps(grasps)
    if pose is not None:
        placed = placed.moved(as_pose(pose))
    contacts = placed.positions + reach * placed.rotations[:, :, AXES.index(approach)]
    pixels = project(contacts, camera)
    height, width = heat.shape
    behind = np.isnan(pixels[:, 0])
    x, y = np.where(behind, -1.0, pixels[:, 0]), np.where(behind, -1.0, pixels[:, 1])
    seen = ~behind & (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    values = np.zeros(len(placed))
    values[seen] = _sample(heat, x[seen], y[seen])
    own = np.zeros(len(placed)) if placed.scores is None else placed.scores
    problems = tuple(BEHIND if b else "" if s else OUTSIDE for b, s in zip(behind, seen, strict=True))
    return Ranking(np.lexsort((-own, ~seen, -values)), values, pixels, contacts[:, 2], problems, placed)


def project(points: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Pixels (N, 2) float64 (x, y) of points (N, 3) metres in the camera's frame; NaN behind the camera."""
    front = points[:, 2] > NEAREST_M
    z = np.where(front, points[:, 2], np.nan)
    return np.stack([camera.fx * points[:, 0] / z + camera.cx, camera.fy * points[:, 1] / z + camera.cy], axis=1)


def as_camera(intrinsics: Intrinsics | np.ndarray | Sequence[float]) -> Intrinsics:
    """A pinhole camera of its class, of a matrix (3, 3) or of four numbers; raise :class:`ValueError` otherwise."""
    if isinstance(intrinsics, Intrinsics):
        return intrinsics
    try:
        array = np.asarray(intrinsics, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"intrinsics: must be numbers, got {type(intrinsics).__name__}") from error
    if array.shape == (4,):
        return Intrinsics(*array.tolist())
    if array.shape != (3, 3) or abs(array[0, 1]) > 1e-6 or np.abs(array[[1, 2, 2], [0, 0, 1]]).max() > 1e-6:
        raise ValueError(f"intrinsics: must be (fx, fy, cx, cy) or a (3, 3) matrix without skew, got {array.shape}")
    return Intrinsics(array[0, 0], array[1, 1], array[0, 2], array[1, 2])


def _checked_map(heatmap: np.ndarray) -> np.ndarray:
    """The map as shares of its peak, float64."""
    heat = np.asarray(heatmap)
    if heat.ndim != 2 or not heat.size or heat.dtype.kind not in "fiu":
        raise ValueError(f"heatmap: must be (H, W) numbers, got {heat.shape} {heat.dtype}")
    heat = heat.astype(np.float64)
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise ValueError("heatmap: values must be finite and not negative")
    peak = heat.max()
    return heat / peak if peak > 0 else heat


def _sample(heat: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values (N,) at pixel positions; beyond the centres of the outer pixels, those of the edge."""
    height, width = heat.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = x - left, y - top
    upper = heat[top, left] * (1 - dx) + heat[top, right] * dx
    lower = heat[bottom, left] * (1 - dx) + heat[bottom, right] * dx
    blended: np.ndarray = upper * (1 - dy) + lower * dy
    return blended
