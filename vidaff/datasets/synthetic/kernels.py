"""Per-pixel and per-vertex work of the renderer, fused into float32 numba kernels that keep no state.

Random numbers are hashes of (seed, pixel), so that a frame does not depend on the order in which frames are made.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, uint32

from vidaff.flow3d.store import STEP_M

# Any: numba's functions take and give plain and NumPy scalars alike.
_kernel: Any = njit(cache=True, fastmath=True, nogil=True)
_FLOW_UNIT = np.float32(1 / STEP_M)
_FAR = np.float32(20.0)
TILE = 2
"""Side in pixels of the squares in which rays are cast or not."""


@_kernel
def _hash(a: int, b: int, c: int) -> Any:
    value = uint32(a) * uint32(0x9E3779B1) ^ uint32(b) * uint32(0x85EBCA77) ^ uint32(c) * uint32(0xC2B2AE3D)
    value ^= value >> uint32(15)
    value = uint32(value * uint32(0x2C1B3C6D))
    value ^= value >> uint32(12)
    value = uint32(value * uint32(0x297A2D39))
    return uint32(value ^ (value >> uint32(15)))


@_kernel
def _uniform(a: int, b: int, c: int) -> Any:
    return np.float32(_hash(a, b, c) >> uint32(8)) * np.float32(1.0 / 16777216.0)


@_kernel
def _normal(a: int, b: int, c: int) -> Any:
    """Nearly normal: four bytes summed."""
    value = _hash(a, b, c)
    total = (value & uint32(255)) + ((value >> uint32(8)) & uint32(255))
    total += ((value >> uint32(16)) & uint32(255)) + (value >> uint32(24))
    return (np.float32(total) - np.float32(510.0)) * np.float32(1.0 / 147.8)


@_kernel
def _value_noise(x: float, y: float, z: float) -> Any:
    ix, iy, iz = math.floor(x), math.floor(y), math.floor(z)
    fx, fy, fz = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    total = np.float32(0.0)
    for corner in range(8):
        dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (fx if dx else 1 - fx) * (fy if dy else 1 - fy) * (fz if dz else 1 - fz)
        total += weight * _uniform(int(ix) + dx, int(iy) + dy, int(iz) + dz)
    return total


@_kernel
def _edge(value: float) -> Any:
    """A soft step of a wave in -1..1."""
    return min(max(np.float32(0.5) + np.float32(2.5) * value, np.float32(0.0)), np.float32(1.0))


@_kernel
def _pattern(kind: int, u: float, v: float, w: float, scale: float, seed: float) -> Any:
    """Share 0..1 of the second colour at (u, v, w) metres, u along the material's main axis."""
    turn = np.float32(6.2831853) * scale
    if kind == 1:
        return _edge(math.sin(turn * u))
    if kind == 2:
        return _edge(math.sin(turn * u + seed) * math.sin(turn * v + 0.7) * 1.6)
    if kind == 3:
        return _edge((_value_noise(u * scale + seed, v * scale, w * scale) - 0.5) * 0.9)
    if kind == 4:
        fu, fv, fw = u * scale, v * scale, w * scale
        du, dv, dw = fu - math.floor(fu) - 0.5, fv - math.floor(fv) - 0.5, fw - math.floor(fw) - 0.5
        return _edge((0.16 - du * du - dv * dv - 0.5 * dw * dw) * 4)
    if kind == 5:
        return _edge(math.sin(scale * math.atan2(v, w) + seed))
    if kind == 6:
        wave = 3 * _value_noise(u * scale * 0.08 + seed, v * scale * 0.6, w * scale * 0.6)
        return np.float32(0.5) + np.float32(0.5) * math.sin(6.28 * wave + v * scale * 0.5)
    if kind == 7:
        return _value_noise(u * 8 + seed, v * scale * 4, w * scale * 4)
    if kind == 8:
        return (
            np.float32(0.5) + np.float32(0.5) * _edge(math.sin(turn * u)) - np.float32(0.5) * _edge(math.sin(turn * v))
        )
    if kind == 9:
        fu, fv = v * scale, w * scale
        cell = _uniform(math.floor(fu), math.floor(fv), int(seed))
        du, dv = abs(fu - math.floor(fu) - 0.5), abs(fv - math.floor(fv) - 0.5)
        return cell if max(du, dv) < 0.36 else np.float32(0.0)
    return np.float32(0.0)


@_kernel
def _albedo(row: np.ndarray, x: float, y: float, z: float, out: np.ndarray) -> None:
    axis = int(row[8])
    u, v, w = x, y, z
    if axis == 1:
        u, v, w = y, z, x
    elif axis == 2:
        u, v, w = z, x, y
    share = _pattern(int(row[6]), u, v, w, row[7], row[11])
    grain = np.float32(0.94) + np.float32(0.12) * _value_noise(x * 300 + row[11], y * 300, z * 300)
    for channel in range(3):
        out[channel] = (row[channel] * (1 - share) + row[3 + channel] * share) * grain


@_kernel
def pose_vertices(points: np.ndarray, body: np.ndarray, maps: np.ndarray, out: np.ndarray) -> None:
    """Write maps[body] applied to points (V, 3) into ``out``; maps is (B, 3, 4)."""
    for i in range(points.shape[0]):
        m, x, y, z = maps[body[i]], points[i, 0], points[i, 1], points[i, 2]
        for k in range(3):
            out[i, k] = m[k, 0] * x + m[k, 1] * y + m[k, 2] * z + m[k, 3]


@_kernel
def mark_tiles(
    points: np.ndarray, triangles: np.ndarray, view: np.ndarray, lens: np.ndarray, shape: tuple[int, int],
    marks: np.ndarray,
) -> None:  # fmt: skip
    """Set the :data:`TILE` x TILE squares of the picture that the boxes around the projected triangles touch.

    ``view`` (3, 4) is world to camera and ``lens`` (focal, cx, cy); ``marks`` uint8, ceil(H / TILE) by
    ceil(W / TILE), for a picture of ``shape`` (H, W).
    """
    height, width = shape
    count = points.shape[0]
    pixel = np.empty((count, 2), np.float32)
    for i in range(count):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        depth = view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3]
        if depth < 0.02:
            pixel[i, 0] = np.float32(1e9)
            continue
        scale = lens[0] / depth
        pixel[i, 0] = scale * (view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3]) + lens[1]
        pixel[i, 1] = scale * (view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3]) + lens[2]
    for t in range(triangles.shape[0]):
        left, top, right, bottom = np.float32(1e9), np.float32(1e9), np.float32(-1e9), np.float32(-1e9)
        behind = False
        for k in range(3):
            u, v = pixel[triangles[t, k], 0], pixel[triangles[t, k], 1]
            behind = behind or u > 1e8
            left, right, top, bottom = min(left, u), max(right, u), min(top, v), max(bottom, v)
        if behind:
            marks[:] = 1  # a triangle that passes the lens may be anywhere
            return
        if right < 0 or bottom < 0 or left > width - 1 or top > height - 1:
            continue
        first, last = max(int(left), 0) // TILE, min(int(right) + 1, width - 1) // TILE
        for row in range(max(int(top), 0) // TILE, min(int(bottom) + 1, height - 1) // TILE + 1):
            marks[row, first : last + 1] = 1


@_kernel
def camera_rays(marks: np.ndarray, origin: np.ndarray, rays: np.ndarray, out: np.ndarray, index: np.ndarray) -> int:
    """Rays (N, 6) of the pixels in marked tiles, and those pixels (N, 2); returns how many."""
    count = 0
    for v in range(rays.shape[0]):
        for u in range(rays.shape[1]):
            if marks[v // TILE, u // TILE]:
                for k in range(3):
                    out[count, k], out[count, 3 + k] = origin[k], rays[v, u, k]
                index[count, 0], index[count, 1] = v, u
                count += 1
    return count


@_kernel
def corner_normals(points: np.ndarray, triangles: np.ndarray, crease: float) -> np.ndarray:
    """Normals (M, 3, 3) of the triangles' corners, smoothed over neighbours up to the crease (a cosine)."""
    count = triangles.shape[0]
    face = np.zeros((count, 3), np.float32)
    start = np.zeros(points.shape[0] + 1, np.int32)
    for t in range(count):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        face[t] = np.cross(b - a, c - a)
        for k in range(3):
            start[triangles[t, k] + 1] += 1
    start = np.cumsum(start).astype(np.int32)
    fill, member = start[:-1].copy(), np.empty(3 * count, np.int32)
    for t in range(count):
        for k in range(3):
            member[fill[triangles[t, k]]] = t
            fill[triangles[t, k]] += 1
    length = np.sqrt((face * face).sum(axis=1)) + np.float32(1e-20)
    out = np.zeros((count, 3, 3), np.float32)
    for t in range(count):
        for k in range(3):
            vertex = triangles[t, k]
            for m in range(start[vertex], start[vertex + 1]):
                other = member[m]
                if other == t or (face[t] * face[other]).sum() > crease * length[t] * length[other]:
                    out[t, k] += face[other]
    return out


@_kernel
def paint_background(
    origin: np.ndarray,
    rays: np.ndarray,
    wall: np.ndarray,
    rows: np.ndarray,
    light: np.ndarray,
    shade: np.ndarray,
    lit: np.ndarray,
    depth: np.ndarray,
    facing: np.ndarray,
) -> None:
    """Table (z = 0) and wall, once a clip: depth (H, W), cosine of the view (H, W), lit and shaded colour (H, W, 6).

    ``wall`` is (normal, offset); ``rows`` the two materials; ``light`` (direction towards it, r, g, b, ambient).
    """
    albedo = np.zeros(3, np.float32)
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            d = rays[v, u]
            table = -origin[2] / d[2] if d[2] < -1e-6 else _FAR
            slope = wall[0] * d[0] + wall[1] * d[1]
            gap = (wall[2] - wall[0] * origin[0] - wall[1] * origin[1]) / slope if slope < -1e-6 else _FAR
            z = min(table, gap, _FAR)
            x, y, h = origin[0] + z * d[0], origin[1] + z * d[1], origin[2] + z * d[2]
            norm = math.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            if table <= gap:
                _albedo(rows[0], x, y, h, albedo)
                lambert, facing[v, u] = max(light[2], np.float32(0)), -d[2] / norm
            else:
                _albedo(rows[1], x, y, h, albedo)
                lambert = max(light[0] * wall[0] + light[1] * wall[1], np.float32(0))
                facing[v, u] = -slope / norm
            depth[v, u] = z
            for k in range(3):
                shade[v, u, k] = albedo[k] * light[6]
                lit[v, u, k] = albedo[k] * (light[6] + light[3 + k] * lambert)


@_kernel
def _apply(m: np.ndarray, x: float, y: float, z: float, out: np.ndarray) -> None:
    for k in range(3):
        out[k] = m[k, 0] * x + m[k, 1] * y + m[k, 2] * z + m[k, 3]


@_kernel
def _turn_normal(
    corners: np.ndarray, w1: float, w2: float, inverse: np.ndarray, ray: np.ndarray, out: np.ndarray
) -> Any:
    """Interpolated unit normal in the world, towards the viewer; returns the cosine between it and the ray."""
    w0 = 1 - w1 - w2
    s0 = w0 * corners[0, 0] + w1 * corners[1, 0] + w2 * corners[2, 0]
    s1 = w0 * corners[0, 1] + w1 * corners[1, 1] + w2 * corners[2, 1]
    s2 = w0 * corners[0, 2] + w1 * corners[1, 2] + w2 * corners[2, 2]
    square, along, ray_square = np.float32(1e-20), np.float32(0), np.float32(0)
    for k in range(3):
        out[k] = inverse[0, k] * s0 + inverse[1, k] * s1 + inverse[2, k] * s2
        square += out[k] * out[k]
        along += out[k] * ray[k]
        ray_square += ray[k] * ray[k]
    scale = (np.float32(-1) if along > 0 else np.float32(1)) / math.sqrt(square)
    for k in range(3):
        out[k] *= scale
    return abs(along) / math.sqrt(square * ray_square)


@_kernel
def _light_up(row: np.ndarray, n: np.ndarray, ray: np.ndarray, light: np.ndarray, albedo: np.ndarray) -> None:
    """Turn the albedo into the reflected colour: ambient from above, Lambert, and a highlight."""
    length = math.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
    lambert, shine, half = np.float32(0), np.float32(0), np.float32(1e-6)
    for k in range(3):
        middle = light[k] - ray[k] / length
        lambert += n[k] * light[k]
        shine += n[k] * middle
        half += middle * middle
    gloss = row[9] * max(shine / math.sqrt(half), np.float32(0)) ** 24
    sky = light[6] * (np.float32(0.8) + np.float32(0.2) * n[2]) + row[10]
    for k in range(3):
        albedo[k] = albedo[k] * (sky + light[3 + k] * max(lambert, np.float32(0))) + gloss * light[3 + k]


@_kernel
def paint_bodies(
    index: np.ndarray, hit: np.ndarray, primitive: np.ndarray, bary: np.ndarray, body: np.ndarray,
    normals: np.ndarray, maps: np.ndarray, rows: np.ndarray, part: np.ndarray, origin: np.ndarray,
    rays: np.ndarray, view: np.ndarray, light: np.ndarray, colour: np.ndarray, depth: np.ndarray,
    facing: np.ndarray, label: np.ndarray, flow: np.ndarray,
) -> None:  # fmt: skip
    """Write colour, depth, view cosine, part label and packed flow of those pixels ``index`` (N, 2) that hit a body.

    ``maps`` (2, B, 3, 4): from the world to each body now, and from each body to the world one frame before.
    """
    albedo, n = np.zeros(3, np.float32), np.zeros(3, np.float32)
    own, old = np.zeros(3, np.float32), np.zeros(3, np.float32)
    for i in range(hit.shape[0]):
        v, u, z = index[i, 0], index[i, 1], hit[i]
        if not z < depth[v, u]:
            continue
        d, t = rays[v, u], primitive[i]
        b = body[t]
        x, y, h = origin[0] + z * d[0], origin[1] + z * d[1], origin[2] + z * d[2]
        _apply(maps[0, b], x, y, h, own)
        facing[v, u] = _turn_normal(normals[t], bary[i, 0], bary[i, 1], maps[0, b], d, n)
        _albedo(rows[b], own[0], own[1], own[2], albedo)
        _light_up(rows[b], n, d, light, albedo)
        _apply(maps[1, b], own[0], own[1], own[2], old)
        depth[v, u], label[v, u] = z, part[b]
        for k in range(3):
            colour[v, u, k] = albedo[k]
            moved = view[k, 0] * (x - old[0]) + view[k, 1] * (y - old[1]) + view[k, 2] * (h - old[2])
            flow[v, u, k] = np.int16(min(max(round(moved * _FLOW_UNIT), -32767), 32767))


@_kernel
def shadow_rays(
    marks: np.ndarray, depth: np.ndarray, label: np.ndarray, origin: np.ndarray, rays: np.ndarray, light: np.ndarray,
    out: np.ndarray, index: np.ndarray,
) -> int:  # fmt: skip
    """Rays (N, 6) from the background pixels in marked tiles to the light, and those pixels; returns how many."""
    count = 0
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            if label[v, u] != 255 or not marks[v // TILE, u // TILE]:
                continue
            z = depth[v, u]
            for k in range(3):
                out[count, k] = origin[k] + z * rays[v, u, k] + np.float32(1e-3) * light[k]
                out[count, 3 + k] = light[k]
            index[count, 0], index[count, 1] = v, u
            count += 1
    return count


@_kernel
def cast_shadow(index: np.ndarray, count: int, hidden: np.ndarray, shade: np.ndarray, colour: np.ndarray) -> None:
    """Replace the lit colour by the shaded one where the light is hidden."""
    for i in range(count):
        if hidden[i]:
            v, u = index[i, 0], index[i, 1]
            for k in range(3):
                colour[v, u, k] = np.float32(0.15) * colour[v, u, k] + np.float32(0.85) * shade[v, u, k]


@_kernel
def develop(colour: np.ndarray, exposure: float, sigma: float, seed: int, out: np.ndarray) -> None:
    """Slight lens blur, exposure, sensor noise: linear colour (H, W, 3) to uint8 RGB."""
    height, width = colour.shape[:2]
    for v in range(height):
        up, down = max(v - 1, 0), min(v + 1, height - 1)
        for u in range(width):
            left, right = max(u - 1, 0), min(u + 1, width - 1)
            for k in range(3):
                cross = colour[up, u, k] + colour[down, u, k] + colour[v, left, k] + colour[v, right, k]
                value = np.float32(0.6) * colour[v, u, k] + np.float32(0.1) * cross
                value = math.sqrt(max(value * exposure, np.float32(0))) * np.float32(255)
                value += sigma * _normal(seed, v * width + u, k + 17)
                out[v, u, k] = np.uint8(min(max(value + np.float32(0.5), np.float32(0)), np.float32(255)))


@_kernel
def measure_depth(depth: np.ndarray, facing: np.ndarray, seed: int, out: np.ndarray) -> None:
    """Depth in metres to uint16 mm with a time-of-flight camera's noise and holes (0).

    Noise 1.2 mm + 1.9 mm (z - 0.4 m)^2; holes at 45 % of the pixels beside jumps over 2 cm, at 70 % of those seen at
    |cos| < 0.18, and at 0.4 % of all.
    """
    height, width = depth.shape
    for v in range(height):
        for u in range(width):
            z, jump = depth[v, u], np.float32(0)
            if u > 0:
                jump = max(jump, abs(depth[v, u - 1] - z))
            if u < width - 1:
                jump = max(jump, abs(depth[v, u + 1] - z))
            if v > 0:
                jump = max(jump, abs(depth[v - 1, u] - z))
            if v < height - 1:
                jump = max(jump, abs(depth[v + 1, u] - z))
            share = np.float32(0.004)
            if jump > 0.02:
                share = np.float32(0.45)
            if facing[v, u] < 0.18:
                share = np.float32(0.7)
            pixel = v * width + u
            if z >= 8 or _uniform(seed, pixel, 3) < share:
                out[v, u] = 0
                continue
            sigma = np.float32(0.0012) + np.float32(0.0019) * (z - np.float32(0.4)) ** 2
            out[v, u] = np.uint16(max((z + sigma * _normal(seed, pixel, 5)) * np.float32(1000) + np.float32(0.5), 0))
