"""Triangle meshes from a few primitives. Units are metres; every primitive is closed and wound outwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Point = Sequence[float] | np.ndarray


class Mesh(NamedTuple):
    """Vertices (N, 3) float32 in metres and triangles (M, 3) int32."""

    vertices: np.ndarray
    triangles: np.ndarray


def moved(mesh: Mesh, offset: Point = (0.0, 0.0, 0.0), rotation: np.ndarray | None = None) -> Mesh:
    """Rotate by the (3, 3) matrix ``rotation``, then shift by ``offset``."""
    vertices = mesh.vertices if rotation is None else mesh.vertices @ rotation.T
    return Mesh((vertices + np.asarray(offset)).astype(np.float32), mesh.triangles)


def scaled(mesh: Mesh, factors: Point) -> Mesh:
    """Stretch along the axes by positive ``factors``."""
    return Mesh((mesh.vertices * np.asarray(factors)).astype(np.float32), mesh.triangles)


def merged(*meshes: Mesh) -> Mesh:
    """One mesh holding all the given ones."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles).astype(np.int32))


def loft(rings: np.ndarray) -> Mesh:
    """Skin a (P, N, 3) stack of rings, the first and the last of which have shrunk to (nearly) a point or a line.

    Seen from where the stack leads, the rings run counter-clockwise.
    """
    count, size = rings.shape[:2]
    i, j = np.meshgrid(np.arange(count - 1), np.arange(size), indexing="ij")
    a, b = i * size + j, i * size + (j + 1) % size
    quads = np.stack([a, b, b + size, a, b + size, a + size], axis=-1).reshape(-1, 3)
    return Mesh(rings.reshape(-1, 3).astype(np.float32), quads.astype(np.int32))


def lathe(profile: Sequence[tuple[float, float]], segments: int = 24) -> Mesh:
    """Turn a profile of (radius, height) pairs, bottom first, around z; start and end it at radius 0 to close it."""
    radius, height = np.asarray(profile, dtype=float).T
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    rings = np.stack(
        [
            np.maximum(radius, 1e-5)[:, None] * np.cos(angle),
            np.maximum(radius, 1e-5)[:, None] * np.sin(angle),
            np.broadcast_to(height[:, None], (len(height), segments)),
        ],
        axis=-1,
    )
    return loft(rings)


def cylinder(radius: float, low: float, high: float, segments: int = 24) -> Mesh:
    """Closed cylinder around z with slightly broken edges."""
    edge = min(0.12 * radius, 0.2 * (high - low))
    return lathe(
        [(0, low), (radius - edge, low), (radius, low + edge), (radius, high - edge), (radius - edge, high), (0, high)],
        segments,
    )


def ellipsoid(radii: Point, segments: int = 20) -> Mesh:
    """Ellipsoid around the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    return scaled(lathe(list(zip(np.cos(angle), np.sin(angle), strict=True)), segments), radii)


def superquadric(size: Point, roundness: float, segments: int = 20) -> Mesh:
    """Rounded block of full extents ``size``; ``roundness`` 1 is an ellipsoid, towards 0 a box."""
    lat = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)[:, None]
    lon = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)[None]

    def power(value: np.ndarray) -> np.ndarray:
        return np.sign(value) * np.abs(value) ** roundness

    unit = np.stack(
        [
            power(np.cos(lat)) * power(np.cos(lon)),
            power(np.cos(lat)) * power(np.sin(lon)),
            power(np.sin(lat)) * np.ones_like(lon),
        ],
        axis=-1,
    )
    return loft(unit * np.asarray(size) / 2)


def sweep(
    path: np.ndarray, radius: float | Sequence[float] | np.ndarray, segments: int = 10, flat: float = 1.0
) -> Mesh:
    """Round bar along the (P, 3) ``path`` with rounded ends; ``flat`` squeezes its section along the frame's normal."""
    path = np.asarray(path, dtype=float)
    radii = np.broadcast_to(np.asarray(radius, dtype=float), (len(path),))
    first, last = path[0] - path[1], path[-1] - path[-2]
    first, last = first / np.linalg.norm(first) * radii[0], last / np.linalg.norm(last) * radii[-1]
    path = np.concatenate([[path[0] + first, path[0] + 0.7 * first], path, [path[-1] + 0.7 * last, path[-1] + last]])
    radii = np.concatenate([[1e-5, 0.7 * radii[0]], radii, [0.7 * radii[-1], 1e-5]])
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = _transported(tangent)
    binormal = np.cross(tangent, normal)
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)[None, :, None]
    ring = flat * np.cos(angle) * normal[:, None] + np.sin(angle) * binormal[:, None]
    return loft(path[:, None] + radii[:, None, None] * ring)


def _transported(tangent: np.ndarray) -> np.ndarray:
    """Normals (P, 3) carried along the curve without twisting."""
    helper = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    normals = []
    for direction in tangent:
        helper = helper - direction * (helper @ direction)
        helper = helper / np.linalg.norm(helper)
        normals.append(helper)
    return np.asarray(normals)


def extrude(outline: np.ndarray, low: float, high: float) -> Mesh:
    """Prism over a counter-clockwise (N, 2) outline; every outline point must be visible from the centroid."""
    outline = np.asarray(outline, dtype=float)
    count = len(outline)
    flat = [np.column_stack([outline, np.full(count, z)]) for z in (low, high)]
    centre = outline.mean(axis=0)
    vertices = np.concatenate([*flat, [[*centre, low], [*centre, high]]])
    i = np.arange(count)
    j = (i + 1) % count
    sides = np.concatenate([np.stack([i, j, j + count], -1), np.stack([i, j + count, i + count], -1)])
    bottom = np.stack([j, i, np.full(count, 2 * count)], -1)
    top = np.stack([i + count, j + count, np.full(count, 2 * count + 1)], -1)
    return Mesh(vertices.astype(np.float32), np.concatenate([sides, bottom, top]).astype(np.int32))


def rounded_rectangle(length: float, width: float, radius: float, steps: int = 4) -> np.ndarray:
    """Counter-clockwise outline (4 * steps, 2) around the origin."""
    radius = min(radius, 0.499 * length, 0.499 * width)
    corners = []
    for quarter, (sx, sy) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        angle = np.linspace(0, np.pi / 2, steps) + quarter * np.pi / 2
        centre = np.array([sx * (length / 2 - radius), sy * (width / 2 - radius)])
        corners.append(centre + radius * np.column_stack([np.cos(angle), np.sin(angle)]))
    return np.concatenate(corners)


def slab(size: Point, offset: Point = (0.0, 0.0, 0.0), radius: float = 0.004) -> Mesh:
    """Block with rounded vertical edges; ``offset`` is the centre of its bottom face."""
    length, width, height = size
    return moved(extrude(rounded_rectangle(length, width, radius), 0.0, height), offset)


def arc(centre: Point, radius: float | tuple[float, float], start: float, stop: float, steps: int = 12) -> np.ndarray:
    """Points (steps, 3) of an (elliptic) arc in the x-z plane; angles in radians from +x to +z."""
    rx, rz = radius if isinstance(radius, tuple) else (radius, radius)
    angle = np.linspace(start, stop, steps)
    return np.asarray(centre) + np.column_stack([rx * np.cos(angle), 0 * angle, rz * np.sin(angle)])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of two vectors (3,); NumPy's own is ten times slower for a single pair."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def rotation(axis: Point, angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) by ``angle`` radians about ``axis`` (any length)."""
    x, y, z = axis
    length = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    c, s = math.cos(angle), math.sin(angle)
    d = 1 - c
    return np.array(
        [
            [c + d * x * x, d * x * y - s * z, d * x * z + s * y],
            [d * y * x + s * z, c + d * y * y, d * y * z - s * x],
            [d * z * x - s * y, d * z * y + s * x, c + d * z * z],
        ]
    )


def affine(linear: np.ndarray | None = None, offset: Point = (0.0, 0.0, 0.0)) -> np.ndarray:
    """The (4, 4) map p -> linear p + offset."""
    matrix = np.eye(4)
    if linear is not None:
        matrix[:3, :3] = linear
    matrix[:3, 3] = offset
    return matrix


def about(pivot: Point, linear: np.ndarray) -> np.ndarray:
    """The (4, 4) map that applies ``linear`` while keeping ``pivot`` where it is."""
    pivot = np.asarray(pivot, dtype=float)
    return affine(linear, pivot - linear @ pivot)
