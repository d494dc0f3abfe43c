"""Frames of one scene: triangles are cast with Open3D, pixels are finished by the kernels. One thread."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import open3d as o3d

from vidaff.datasets.synthetic import kernels
from vidaff.datasets.synthetic.geometry import Mesh
from vidaff.datasets.synthetic.hand import hand_meshes
from vidaff.datasets.synthetic.materials import Material
from vidaff.datasets.synthetic.scene import Camera, Scene, Surroundings

_CREASE = 0.6
NO_PART = 255
"""Label of the background while rendering; 0 is the hand, parts count from 1."""


class View(Protocol):
    """What a scene says of a picture of it."""

    @property
    def camera(self) -> Camera:
        """The camera."""

    @property
    def surroundings(self) -> Surroundings:
        """Table, wall, light and noise."""


class Bodies(NamedTuple):
    """Moving meshes in one array: points, triangles, their bodies, corner normals, and per body material and part."""

    points: np.ndarray
    triangles: np.ndarray
    point_body: np.ndarray
    triangle_body: np.ndarray
    normals: np.ndarray
    rows: np.ndarray
    part: np.ndarray


def _normals(mesh: Mesh) -> np.ndarray:
    return kernels.corner_normals(mesh.vertices, mesh.triangles, _CREASE)


@cache
def _hand_normals() -> np.ndarray:
    return np.concatenate([_normals(mesh) for mesh in hand_meshes()])


class Frame(NamedTuple):
    """rgb (H, W, 3) uint8, depth (H, W) uint16 mm, parts (H, W) uint8 (part + 1), flow (H, W, 3) int16 0.1 mm."""

    rgb: np.ndarray
    depth: np.ndarray
    parts: np.ndarray
    flow: np.ndarray


def gather_bodies(scene: Scene) -> Bodies:
    """The object's parts, then the hand's bones."""
    subject, parts, bones = scene.subject, scene.model.parts, hand_meshes()
    meshes = [*(part.mesh for part in parts), *bones]
    materials = [*(part.material for part in parts), *[subject.skin] * (len(bones) - 1), subject.sleeve]
    labels = [*range(1, len(parts) + 1), *[0] * len(bones)]
    normals = [*(_normals(part.mesh) for part in parts), _hand_normals()]
    return _stack(meshes, materials, labels, normals)


def stack_bodies(meshes: list[Mesh], materials: list[Material], labels: list[int]) -> Bodies:
    """Bodies of any meshes; ``labels`` is what a picture's ``parts`` say where each is seen, 0..254."""
    return _stack(meshes, materials, labels, [_normals(mesh) for mesh in meshes])


def _stack(meshes: list[Mesh], materials: list[Material], labels: list[int], normals: list[np.ndarray]) -> Bodies:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    points = np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32)
    triangles = np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)])
    numbers = np.arange(len(meshes), dtype=np.int32)
    return Bodies(
        points,
        triangles.astype(np.uint32),
        np.repeat(numbers, [len(mesh.vertices) for mesh in meshes]),
        np.repeat(numbers, [len(mesh.triangles) for mesh in meshes]),
        np.concatenate(normals),
        np.stack([material.row() for material in materials]),
        np.asarray(labels, np.uint8),
    )


def raycaster(points: np.ndarray, triangles: np.ndarray) -> o3d.t.geometry.RaycastingScene:
    """Acceleration structure over one mesh."""
    caster = o3d.t.geometry.RaycastingScene(nthreads=1)
    caster.add_triangles(o3d.core.Tensor.from_numpy(points), o3d.core.Tensor.from_numpy(triangles))
    return caster


def _maps(affines: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(affines[..., :3, :], dtype=np.float32)


class Renderer:
    """Renders the frames of one scene. The still background is painted once."""

    def __init__(self, scene: View, bodies: Bodies) -> None:
        camera, around = scene.camera, scene.surroundings
        self.camera, self.around, self.bodies = camera, around, bodies
        self.origin = camera.origin.astype(np.float32)
        self.directions = camera.rays()
        self.view = camera.view.astype(np.float32)
        self.lens = np.array([camera.focal, camera.cx, camera.cy], np.float32)
        shape = camera.shape
        self.lit, self.shade = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
        self.far, self.far_facing = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        rows = np.stack([around.table.row(), around.wall_material.row()])
        kernels.paint_background(
            self.origin, self.directions, around.wall, rows, around.light,
            self.shade, self.lit, self.far, self.far_facing,
        )  # fmt: skip
        self.posed = np.empty_like(bodies.points)
        self.rays = np.empty((shape[0] * shape[1], 6), np.float32)
        self.index = np.empty((shape[0] * shape[1], 2), np.int32)

    def frame(self, number: int, now: np.ndarray, before: np.ndarray) -> Frame:
        """Frame ``number`` with the bodies' world affines (B, 4, 4) now and one frame before."""
        shape, bodies = self.camera.shape, self.bodies
        kernels.pose_vertices(bodies.points, bodies.point_body, _maps(now), self.posed)
        caster = raycaster(self.posed, bodies.triangles)
        colour, depth, facing = self.lit.copy(), self.far.copy(), self.far_facing.copy()
        label, flow = np.full(shape, NO_PART, np.uint8), np.zeros((*shape, 3), np.int16)
        self._cast(caster, now, before, (colour, depth, facing, label, flow))
        self._shadow(caster, depth, label, colour)
        rgb, depth_mm = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint16)
        seed = (self.around.noise + 7919 * number) % 2**31
        kernels.develop(colour, np.float32(self.around.exposure), np.float32(self.around.sigma), seed, rgb)
        kernels.measure_depth(depth, facing, seed, depth_mm)
        return Frame(rgb, depth_mm, np.where(label == NO_PART, 0, label).astype(np.uint8), flow)

    def _marks(self, points: np.ndarray) -> np.ndarray:
        height, width = self.camera.shape
        marks = np.zeros((-(-height // kernels.TILE), -(-width // kernels.TILE)), np.uint8)
        kernels.mark_tiles(points, self.bodies.triangles, self.view, self.lens, (height, width), marks)
        return marks

    def _cast(
        self, caster: o3d.t.geometry.RaycastingScene, now: np.ndarray, before: np.ndarray, out: tuple[np.ndarray, ...]
    ) -> None:
        bodies = self.bodies
        count = kernels.camera_rays(self._marks(self.posed), self.origin, self.directions, self.rays, self.index)
        if not count:
            return
        found = caster.cast_rays(o3d.core.Tensor.from_numpy(self.rays[:count]), nthreads=1)
        maps = _maps(np.stack([np.linalg.inv(now), before]))
        hits = (found["t_hit"].numpy(), found["primitive_ids"].numpy(), found["primitive_uvs"].numpy())
        surface = (bodies.triangle_body, bodies.normals, maps, bodies.rows, bodies.part)
        camera = (self.origin, self.directions, self.view, self.around.light)
        kernels.paint_bodies(self.index, *hits, *surface, *camera, *out)

    def _shadow(
        self, caster: o3d.t.geometry.RaycastingScene, depth: np.ndarray, label: np.ndarray, colour: np.ndarray
    ) -> None:
        """Shadows of the bodies on the table: cast only near where the bodies, slid along the light, fall."""
        light = self.around.light
        ground = self.posed - (self.posed[:, 2:] / light[2]) * light[:3]
        count = kernels.shadow_rays(
            self._marks(ground), depth, label, self.origin, self.directions, light, self.rays, self.index
        )
        if count:
            hidden = caster.test_occlusions(o3d.core.Tensor.from_numpy(self.rays[:count]), nthreads=1)
            kernels.cast_shadow(self.index, count, hidden.numpy(), self.shade, colour)


def part_coverage(scene: Scene, size: int = 72) -> tuple[np.ndarray, np.ndarray]:
    """Share of the picture (P,) that each part of the resting object covers, and what it would cover alone (P,)."""
    camera = scene.camera
    ratio = size / camera.size
    small = Camera(
        camera.view, camera.focal * ratio, (camera.cx + 0.5) * ratio - 0.5, (camera.cy + 0.5) * ratio - 0.5, size
    )
    turn = scene.pose[:3, :3].T.astype(np.float32)
    shift = scene.pose[:3, 3].astype(np.float32)
    posed = [part.mesh.vertices @ turn + shift for part in scene.model.parts]
    tensor = o3d.core.Tensor.from_numpy(_rays_towards(small, np.concatenate(posed)))
    whole, alone = o3d.t.geometry.RaycastingScene(nthreads=1), []
    for points, part in zip(posed, scene.model.parts, strict=True):
        triangles = part.mesh.triangles.astype(np.uint32)
        whole.add_triangles(o3d.core.Tensor.from_numpy(points), o3d.core.Tensor.from_numpy(triangles))
        hit = raycaster(points, triangles).cast_rays(tensor, nthreads=1)["t_hit"].numpy()
        alone.append(np.isfinite(hit).sum() / size**2)
    numbers = whole.cast_rays(tensor, nthreads=1)["geometry_ids"].numpy()
    seen = [(numbers == k).sum() / size**2 for k in range(len(posed))]
    return np.asarray(seen), np.asarray(alone)


def _rays_towards(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Rays (h, w, 6) of the pixels in the box around the points (N, 3), which lie before the camera."""
    local = points @ camera.view[:, :3].T + camera.view[:, 3]
    pixel = camera.focal * local[:, :2] / local[:, 2:] + (camera.cx, camera.cy)
    left, top = np.clip(np.floor(pixel.min(axis=0)) - 1, 0, camera.size).astype(int)
    right, bottom = np.clip(np.ceil(pixel.max(axis=0)) + 2, 0, camera.size).astype(int)
    rays = camera.rays()[top:bottom, left:right]
    origin = np.broadcast_to(camera.origin.astype(np.float32), rays.shape)
    return np.concatenate([origin, rays], axis=-1)
