"""Flow for people: a panel of picture, depth and flow, and point clouds with motion vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vidaff.errors import VidaffError
from vidaff.flow3d.types import Flow, Intrinsics
from vidaff.io import atomic_path
from vidaff.visualize import colour_depth, draw_text

VECTOR_STEP = 4
"""Pixels between motion vectors."""
VECTOR_LEAST_M = 0.005
"""Motions below are drawn as no vector: they are noise."""
VECTOR_COLOUR = (1.0, 0.25, 0.1)


def panel(rgb: np.ndarray, depth_m: np.ndarray | None, colour: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Picture, depth (where there is one) and coloured flow side by side: (H, n W, 3) uint8.

    ``span`` = (near, far) metres of the depth colours.
    """
    views = {"picture": rgb.copy()}
    if depth_m is not None:
        views["depth"] = colour_depth(depth_m, near=span[0], far=span[1])
    views["flow  R: vertical  G: horizontal  B: depth" if rgb.shape[1] >= 320 else "flow"] = colour.copy()
    for text, view in views.items():
        if min(view.shape[:2]) >= 96:
            draw_text(view, text, (6, 5), size=12)
    return np.concatenate(list(views.values()), axis=1)


def depth_span(depth_m: np.ndarray | None) -> tuple[float, float]:
    """Near and far metres that hold nearly all of a depth map."""
    known = np.zeros(0) if depth_m is None else depth_m[depth_m > 0]
    if not known.size:
        return 0.2, 5.0
    near, far = np.percentile(known, [1, 99])
    return float(near), float(max(far, near + 0.05))


def write_clouds(
    stem: Path, rgb: np.ndarray, depth_m: np.ndarray, result: Flow, camera: Intrinsics, *, arriving: bool
) -> None:
    """Write ``<stem>_cloud.ply``, a coloured point cloud, and ``<stem>_motion.ply``, a line per moving point.

    ``arriving``: the flow tells how points got to their place (a stream), so lines end at them; else they begin there.
    """
    import open3d as o3d

    rows, columns = np.nonzero(depth_m > 0)
    points = _points(rows, columns, depth_m, camera)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.colors = o3d.utility.Vector3dVector(rgb[rows, columns] / 255)
    if len(points):  # a frame without any depth is no reason to stop; Open3D refuses to write empty sets
        _write(o3d.io.write_point_cloud, stem.with_name(stem.name + "_cloud.ply"), cloud)

    rows, columns = (index.ravel() for index in np.mgrid[: rgb.shape[0] : VECTOR_STEP, : rgb.shape[1] : VECTOR_STEP])
    moving = result.valid[rows, columns] & (np.linalg.norm(result.flow[rows, columns], axis=-1) >= VECTOR_LEAST_M)
    rows, columns = rows[moving], columns[moving]
    here = _points(rows, columns, depth_m, camera)
    motion = result.flow[rows, columns]
    ends = (here - motion, here) if arriving else (here, here + motion)
    count = len(rows)
    lines = o3d.geometry.LineSet(
        o3d.utility.Vector3dVector(np.concatenate(ends).reshape(-1, 3)),
        o3d.utility.Vector2iVector(np.stack([np.arange(count), count + np.arange(count)], axis=1).reshape(-1, 2)),
    )
    lines.colors = o3d.utility.Vector3dVector(np.tile(VECTOR_COLOUR, (count, 1)).reshape(-1, 3))
    if count:
        _write(o3d.io.write_line_set, stem.with_name(stem.name + "_motion.ply"), lines)


def _points(rows: np.ndarray, columns: np.ndarray, depth_m: np.ndarray, k: Intrinsics) -> np.ndarray:
    """Pixels (N,) -> (N, 3) float64 metres."""
    z = depth_m[rows, columns].astype(np.float64)
    return np.stack([(columns - k.cx) / k.fx * z, (rows - k.cy) / k.fy * z, z], axis=-1)


def _write(writer: Any, path: Path, geometry: Any) -> None:
    with atomic_path(path) as temporary:
        if not writer(str(temporary), geometry):
            raise VidaffError(f"{path}: could not be written; is the disk full?")
