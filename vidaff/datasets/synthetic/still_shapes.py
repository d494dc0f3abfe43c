"""Building blocks of the objects of the still sets: plates, curved sheets, open vessels and handles.

Builders of objects are plain functions of a random generator that return named parts, a tool's head towards +x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vidaff.datasets.synthetic.geometry import Mesh, Point, lathe, loft, moved, rotation, sweep
from vidaff.datasets.synthetic.materials import Material, metal, mostly, plastic, wood
from vidaff.datasets.synthetic.objects import Part, centred

Builder = Callable[[np.random.Generator], list[Part]]
Line = float | Sequence[float] | np.ndarray
_BACK = rotation((0, 1, 0), -np.pi / 2)
LINER = 0.0006
"""Thickness in metres of the skin that makes the inside of a vessel a part of its own."""


def settled(parts: list[Part]) -> list[Part]:
    """The parts with the middle of their footprint at the origin and their lowest point on the table."""
    return list(centred(parts, {}).parts)


def turned(mesh: Mesh, axis: Point, degrees: float) -> Mesh:
    """The mesh turned about an axis through the origin."""
    return moved(mesh, rotation=rotation(axis, np.radians(degrees)))


def mirrored(mesh: Mesh) -> Mesh:
    """The mesh with y and -y exchanged, still wound outwards."""
    return Mesh((mesh.vertices * [1, -1, 1]).astype(np.float32), mesh.triangles[:, ::-1].copy())


def smooth(path: np.ndarray) -> np.ndarray:
    """The path (N, D) with its corners cut twice; both ends stay."""
    for _ in range(2):
        cut = np.stack([0.75 * path[:-1] + 0.25 * path[1:], 0.25 * path[:-1] + 0.75 * path[1:]], axis=1)
        path = np.concatenate([path[:1], cut.reshape(-1, path.shape[1])[1:-1], path[-1:]])
    return path


def bar(path: np.ndarray, radii: Line, segments: int = 12, flat: float = 1.0) -> Mesh:
    """Bent round bar along a path (N, 3) with smoothed corners; ``radii`` is a number or (N,)."""
    radii = np.broadcast_to(np.asarray(radii, dtype=float), (len(path),))
    line = smooth(np.column_stack([path, radii]))
    return sweep(line[:, :3], line[:, 3], segments, flat)


def plate(along: np.ndarray, low: Line, high: Line, bottom: Line, top: Line) -> Mesh:
    """Bar along x which at every ``along`` (N,) spans low..high in y and bottom..top in z, each a number or (N,)."""
    lines = [np.broadcast_to(np.asarray(line, dtype=float), along.shape) for line in (low, high, bottom, top)]
    y = np.stack([lines[0], lines[1], lines[1], lines[0]], axis=1)
    z = np.stack([lines[2], lines[2], lines[3], lines[3]], axis=1)
    rings = np.stack([np.repeat(along[:, None], 4, axis=1), y, z], axis=-1)  # (N, 4, 3)
    ends = [np.repeat(rings[end].mean(axis=0)[None], 4, axis=0)[None] for end in (0, -1)]
    return loft(np.concatenate([ends[0], rings, ends[1]]))


def shell(along: np.ndarray, half: Line, floor: Line, rise: Line, thick: float, power: float = 2.0) -> Mesh:
    """Curved sheet along x: y = half * s and z = floor + rise * |s| ** power for s in -1..1.

    ``half``, ``floor`` and ``rise`` are numbers or (N,) at ``along`` (N,). The sheet is ``thick`` upwards, and tapers
    to an edge at both ends.
    """
    s = np.linspace(-1, 1, 17)
    half, floor, rise = (np.broadcast_to(np.asarray(line, dtype=float), along.shape) for line in (half, floor, rise))
    y = half[:, None] * s
    z = floor[:, None] + rise[:, None] * np.abs(s) ** power
    upper = z + np.where((np.arange(len(along)) % (len(along) - 1)) == 0, 0.0, thick)[:, None]
    x = np.broadcast_to(along[:, None], y.shape)
    under, over = np.stack([x, y, z], axis=-1), np.stack([x, y, upper], axis=-1)[:, ::-1]
    return loft(np.concatenate([under, over], axis=1))


def vessel(profile: Sequence[tuple[float, float]], wall: float, segments: int = 32) -> tuple[Mesh, Mesh]:
    """Outside and inside of an open vessel by its outer (radius, height) profile from foot to rim.

    The inside is a skin of :data:`LINER` on the wall, so that a part mask tells what a pixel looks at.
    """
    inner = [(max(radius - wall, 1e-3), max(height, profile[0][1] + wall)) for radius, height in profile]
    floor = inner[0][1]
    outside = [(0.0, profile[0][1]), *profile, *inner[::-1], (0.0, floor)]
    skin = [(max(radius - LINER, 5e-4), height + (LINER if height <= floor else 0)) for radius, height in inner]
    inside = [(0.0, floor), *inner, *skin[::-1], (0.0, floor + LINER)]
    return lathe(outside, segments), lathe(inside, segments)


def squared(mesh: Mesh, power: float) -> Mesh:
    """Turn the circles around z into rounded squares: ``power`` 2 leaves them, more makes them squarer."""
    x, y = mesh.vertices[:, 0].astype(float), mesh.vertices[:, 1].astype(float)
    radius = np.hypot(x, y) + 1e-12
    factor = (np.abs(x / radius) ** power + np.abs(y / radius) ** power) ** (-1 / power)
    vertices = mesh.vertices * np.column_stack([factor, factor, np.ones_like(factor)])
    return Mesh(vertices.astype(np.float32), mesh.triangles)


def handle(rng: np.random.Generator, length: float, width: float, height: float, middle: float = 0.0) -> Mesh:
    """Handle from x = -length to 0 around z = ``middle``: turned with a knob, a plank, or eight-sided."""
    kind = rng.integers(3)
    if kind == 0:
        return plank(rng, length, width, height, middle)
    share = np.linspace(0, 1, 9)
    if kind == 1:
        waist = 0.78 + 0.22 * np.cos(2 * np.pi * rng.uniform(0.8, 1.6) * share + rng.uniform(0, 6))
        waist[-2:] = rng.uniform(0.95, 1.25)
        round_ = [(0, 0), *zip(waist * width / 2, share * length, strict=True), (0, length * 1.02)]
        return _along(lathe(round_, 18), height / width, middle)
    taper = rng.uniform(0.7, 1.0) + rng.uniform(0, 0.35) * share
    edges = [(0, 0), *zip(taper * width / 2, share * length, strict=True), (0, length)]
    return _along(lathe(edges, 8), height / width, middle)


def _along(mesh: Mesh, flat: float, middle: float) -> Mesh:
    """A lathed handle laid from the origin towards -x, its height squeezed by ``flat``."""
    lying = moved(mesh, rotation=_BACK)
    return Mesh((lying.vertices * [1, 1, flat] + [0, 0, middle]).astype(np.float32), lying.triangles)


def plank(rng: np.random.Generator, length: float, width: float, height: float, middle: float = 0.0) -> Mesh:
    """Flat handle from x = -length to 0, with a flared or rounded end."""
    along = np.linspace(-length, 0, 12)
    share = -along / length
    half = width / 2 * (1 - rng.uniform(0.1, 0.35) * np.sin(np.pi * share)) * (1 + rng.uniform(-0.2, 0.25) * share)
    half[0], half[1] = 0.55 * half[1], 0.9 * half[1]
    return plate(along, -half, half, middle - 0.4 * height, middle + 0.4 * height)


def handle_material(rng: np.random.Generator) -> Material:
    """Wood, or anything."""
    return mostly(rng, wood(rng), 0.4, plastic(rng, 0, 0.08))


def steel(rng: np.random.Generator, axis: int = 0) -> Material:
    """Metal in most cases, else painted or moulded."""
    return mostly(rng, metal(rng, axis), 0.7, plastic(rng, axis, 0.1))
