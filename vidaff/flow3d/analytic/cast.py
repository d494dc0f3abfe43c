"""Casting rays into a scene: exact depth, which body, and where on it; and the grey picture from that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vidaff.flow3d.analytic.scene import Scene
from vidaff.flow3d.types import Intrinsics

SUBPIXELS = 4
"""Rim pixels average this many samples a side; elsewhere textures are smooth enough for one."""


class Hits(NamedTuple):
    """What rays meet: ``depth`` (N,) metres along Z, ``body`` (N,) index, -1 for nothing."""

    depth: np.ndarray
    body: np.ndarray


class View:
    """A scene at one time, seen by a camera at the origin."""

    def __init__(self, scene: Scene, time: float, camera: Intrinsics, size: tuple[int, int]) -> None:
        self.scene, self.camera, self.size = scene, camera, size
        self.poses = [body.at(time) for body in scene]

    def rays(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Pixel positions (N,) -> rays (N, 3) with z = 1, so that a ray's parameter is depth."""
        k = self.camera
        return np.stack([(columns - k.cx) / k.fx, (rows - k.cy) / k.fy, np.ones(len(rows))], axis=1)

    def pixels(self) -> np.ndarray:
        """Rays (H W, 3) of all pixel centres, row by row."""
        rows, columns = np.indices(self.size)
        return self.rays(columns.ravel(), rows.ravel())

    def cast(self, rays: np.ndarray) -> Hits:
        """The nearest surface along each of ``rays`` (N, 3)."""
        depth, body = np.full(len(rays), np.inf), np.full(len(rays), -1, np.int16)
        square = np.einsum("ij,ij->i", rays, rays)
        for index, (part, pose) in enumerate(zip(self.scene, self.poses, strict=True)):
            near = _near(rays, square, pose[:3, 3], part.shape.reach)
            t = part.shape.hit(-pose[:3, 3] @ pose[:3, :3], rays[near] @ pose[:3, :3])
            first = t < depth[near]
            depth[near[first]], body[near[first]] = t[first], index
        return Hits(depth, body)

    def body_points(self, index: int, points: np.ndarray) -> np.ndarray:
        """Camera coordinates (N, 3) -> coordinates of body ``index``."""
        pose = self.poses[index]
        there: np.ndarray = (points - pose[:3, 3]) @ pose[:3, :3]
        return there

    def grey(self, rays: np.ndarray, hits: Hits) -> np.ndarray:
        """(N,) float32 grey where the rays hit; 0 where they meet nothing."""
        grey = np.zeros(len(rays), np.float32)
        for index, part in enumerate(self.scene):
            here = np.flatnonzero(hits.body == index)
            if here.size:
                points = self.body_points(index, rays[here] * hits.depth[here, None])
                # One footprint per body and pair: a texture that sharpened on the way would not be constant.
                footprint = part.pose[2, 3] / self.camera.fx
                grey[here] = part.texture.grey(points, footprint)
        return grey

    def picture(self, rays: np.ndarray, hits: Hits) -> np.ndarray:
        """(H, W) float32 grey with smoothed rims; ``rays``, ``hits`` of all pixels."""
        grey = self.grey(rays, hits).reshape(self.size)
        rows, columns = np.nonzero(_rims(hits.body.reshape(self.size)))
        if rows.size:
            step = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
            down, right = (offset.ravel() for offset in np.meshgrid(step, step, indexing="ij"))
            fine = self.rays((columns[:, None] + right).ravel(), (rows[:, None] + down).ravel())
            grey[rows, columns] = self.grey(fine, self.cast(fine)).reshape(len(rows), -1).mean(axis=1)
        return grey


def _near(rays: np.ndarray, square: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    """Indices of the rays that pass within ``reach`` of ``centre``."""
    if not np.isfinite(reach):
        return np.arange(len(rays))
    along = rays @ centre
    return np.flatnonzero((along > 0) & (along * along >= square * (centre @ centre - reach * reach)))


def _rims(body: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels with another body beside them."""
    rim = np.zeros(body.shape, bool)
    across, along = body[:, 1:] != body[:, :-1], body[1:] != body[:-1]
    rim[:, 1:] |= across
    rim[:, :-1] |= across
    rim[1:] |= along
    rim[:-1] |= along
    return rim
