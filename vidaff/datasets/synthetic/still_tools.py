"""Tools of the still sets: hammer, mallet, tenderizer, knife, saw, scissors, shears. Makes that SOR3D-AFF has not."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic.geometry import (
    Mesh,
    arc,
    cylinder,
    ellipsoid,
    lathe,
    merged,
    moved,
    rotation,
    slab,
    superquadric,
    sweep,
)
from vidaff.datasets.synthetic.materials import Material, mostly, plastic, wood
from vidaff.datasets.synthetic.objects import Part
from vidaff.datasets.synthetic.still_shapes import (
    bar,
    handle,
    handle_material,
    mirrored,
    plank,
    plate,
    settled,
    steel,
    turned,
)

_TO_Y = rotation((1, 0, 0), -np.pi / 2)
_FLAT = rotation((1, 0, 0), np.pi / 2)
"""Lays a curve of the x-z plane on the table."""


def _struck(rng: np.random.Generator, head: Mesh, look: Material, span: tuple[float, float]) -> list[Part]:
    """A head around the origin on a handle of random length and the given width and height."""
    length = rng.uniform(0.17, 0.23)
    grip = moved(handle(rng, length, *span), (0.012, 0, 0))
    parts = [Part("head", head, look), Part("handle", grip, handle_material(rng))]
    if rng.random() < 0.5:
        parts = [part._replace(mesh=mirrored(part.mesh)) for part in parts]
    return settled(parts)


def hammer(rng: np.random.Generator) -> list[Part]:
    """Eight-sided sledge, ball-peen or cross-peen hammer: head, handle."""
    kind, radius = rng.integers(3), rng.uniform(0.015, 0.021)
    if kind == 0:
        half, radius = rng.uniform(0.036, 0.05), radius * 1.25
        profile = [(0, -half), (0.8 * radius, -half), (radius, -0.8 * half), (radius, 0.8 * half), (0.8 * radius, half)]
        head = moved(lathe([*profile, (0, half)], 8), rotation=_TO_Y)
    else:
        face = moved(lathe(_face(radius, rng.uniform(0.035, 0.045)), 20), rotation=_TO_Y)
        cheek = superquadric((2.0 * radius, 2.4 * radius, 1.9 * radius), 0.45, 16)
        head = merged(face, cheek, _ball(radius) if kind == 1 else _wedge(radius, rng.uniform(0.03, 0.045)))
    width = rng.uniform(0.022, 0.029)
    return _struck(rng, head, steel(rng, 1), (width, width * rng.uniform(0.75, 1.0)))


def _face(radius: float, reach: float) -> list[tuple[float, float]]:
    """Profile of a hammer's face: a slender throat, then the striking disc."""
    throat = 0.72 * radius
    return [(0, 0), (throat, 0), (throat, 0.55 * reach), (radius, 0.7 * reach), (radius, reach), (0, reach)]


def _ball(radius: float) -> Mesh:
    reach = 2.0 * radius
    stalk = moved(cylinder(0.6 * radius, -reach, 0, 16), rotation=_TO_Y)
    return merged(stalk, moved(ellipsoid((0.95 * radius,) * 3, 18), (0, -reach, 0)))


def _wedge(radius: float, reach: float) -> Mesh:
    """Peen that narrows to an edge across the handle."""
    along = np.array([0, 0.5, 1.0]) * reach
    half, high = np.array([0.9, 0.95, 1.05]) * radius, np.array([0.9, 0.55, 0.12]) * radius
    return moved(plate(along, -half, half, -high, high), rotation=rotation((0, 0, 1), -np.pi / 2))


def mallet(rng: np.random.Generator) -> list[Part]:
    """Joiner's wedge, rubber barrel, or the carver's mallet whose head sits around the handle: head, handle."""
    kind, look = rng.integers(3), mostly(rng, wood(rng, 1), 0.45, plastic(rng, 1, 0.1))
    width = rng.uniform(0.022, 0.028)
    if kind == 0:
        half, tall = rng.uniform(0.05, 0.065), rng.uniform(0.042, 0.056)
        inner, outer = 0.75 * half, half
        along = np.array([-0.45, 0.55]) * 2 * half * rng.uniform(0.75, 0.95)
        head = plate(along, [-inner, -outer], [inner, outer], -tall / 2, tall / 2)
        return _struck(rng, head, look, (width, 0.8 * width))
    share = np.linspace(0, 1, 9)
    if kind == 1:
        half, radius = rng.uniform(0.045, 0.06), rng.uniform(0.026, 0.034)
        bulge = radius * (1 - rng.uniform(0.1, 0.25) * (2 * share - 1) ** 2)
        ends = [(0, -half), *zip(bulge, half * (2 * share - 1), strict=True), (0, half)]
        return _struck(rng, moved(lathe(ends, 24), rotation=_TO_Y), look, (width, width))
    long, radius = rng.uniform(0.085, 0.115), rng.uniform(0.034, 0.044)
    cone = [(0, 0), *zip(radius * (0.72 + 0.28 * share**0.7), long * share, strict=True), (0, long * 1.03)]
    head = moved(lathe(cone, 26), rotation=rotation((0, 1, 0), np.pi / 2))
    return _struck(rng, head, look._replace(axis=0), (width, width))


def tenderizer(rng: np.random.Generator) -> list[Part]:
    """Meat tenderizer: a square head with teeth on both faces, on a slender handle. Parts: head, handle."""
    side, half = rng.uniform(0.04, 0.052), rng.uniform(0.024, 0.034)
    count = int(rng.integers(4, 6))
    pitch = 0.94 * side / count
    tooth = lathe([(0, 0), (0.6 * pitch, 0), (0, 0.75 * pitch)], 4)
    spots = (np.arange(count) - (count - 1) / 2) * pitch
    up = merged(*(moved(tooth, (x, z, half)) for x in spots for z in spots))
    teeth = moved(up, rotation=_TO_Y)
    block = superquadric((side, 2 * half, side), 0.12, 20)
    waist = rng.uniform(0.5, 0.85)
    block = Mesh((block.vertices * _waisted(block.vertices[:, 1] / half, waist)).astype(np.float32), block.triangles)
    head = merged(block, teeth, moved(teeth, rotation=rotation((0, 0, 1), np.pi)))
    width = rng.uniform(0.016, 0.023)
    return _struck(rng, head, steel(rng, 1), (width, width * rng.uniform(0.7, 1.0)))


def _waisted(place: np.ndarray, waist: float) -> np.ndarray:
    """Factors (N, 3) that narrow a block in its middle, ``place`` being -1..1 along y."""
    factor = waist + (1 - waist) * np.clip(np.abs(place), 0, 1) ** 2
    return np.column_stack([factor, np.ones_like(factor), factor])


def knife(rng: np.random.Generator) -> list[Part]:
    """Bread knife, santoku, dagger or table knife, with a flat riveted or a round handle: blade, handle."""
    length, half, thick = rng.uniform(0.12, 0.19), rng.uniform(0.012, 0.021), rng.uniform(0.0025, 0.004)
    share = np.linspace(0, 1, 41)
    low, high = _KNIVES[int(rng.integers(len(_KNIVES)))](share, rng)
    blade = plate(share * length, half * low, half * high, -thick / 2, thick / 2)
    reach, width = rng.uniform(0.095, 0.125), rng.uniform(0.022, 0.03)
    look = handle_material(rng)
    if rng.random() < 0.6:
        flat = rng.uniform(0.014, 0.02)
        grip = plank(rng, reach, width, flat)
        spots = np.linspace(-0.78, -0.2, int(rng.integers(2, 4))) * reach
        rivets = [moved(cylinder(0.0032, -0.43 * flat, 0.43 * flat, 10), (x, 0, 0)) for x in spots]
        grip = merged(grip, *rivets)
    else:
        grip = handle(rng, reach, width, 0.8 * width)
    parts = [Part("blade", blade, steel(rng)), Part("handle", moved(grip, (0.006, 0, 0)), look)]
    if rng.random() < 0.5:
        parts = [part._replace(mesh=mirrored(part.mesh)) for part in parts]
    return settled(parts)


def _bread(share: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Long and straight with waves along its edge and a blunt end."""
    waves = 0.1 * np.cos(2 * np.pi * 10 * share)
    end = np.clip((1 - share) / 0.06, 0, 1) ** 0.5
    return -(0.85 + waves) * (0.35 + 0.65 * end), 0.9 * (0.2 + 0.8 * end) + 0 * share


def _santoku(share: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Straight edge, back that drops to it in a curve."""
    drop = np.clip((share - rng.uniform(0.55, 0.7)) / 0.35, 0, 1)
    return -1.1 + 0.12 * share, 1.05 - 2.0 * drop**2.2


def _dagger(share: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two edges that meet in a point."""
    half = np.clip(1 - share ** rng.uniform(2.5, 5), 0.02, 1) * (0.85 + 0.15 * np.cos(6 * share))
    return -half, half


def _table(share: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Slender at the handle, rounded at its end."""
    belly = 0.45 + 0.5 * share ** rng.uniform(0.7, 1.3)
    end = np.sqrt(np.clip(1 - np.clip((share - 0.88) / 0.12, 0, 1) ** 2, 0.0, 1))
    return -belly * end, 0.55 * end


_KNIVES = (_bread, _santoku, _dagger, _table)


def saw(rng: np.random.Generator) -> list[Part]:
    """Hand saw: a toothed blade and a closed grip. Parts: blade, handle."""
    length, root, front = rng.uniform(0.19, 0.26), rng.uniform(0.06, 0.08), rng.uniform(0.02, 0.04)
    teeth = int(rng.integers(26, 40))
    share = np.linspace(0, 1, 2 * teeth + 1)
    bite = np.where(np.arange(len(share)) % 2 == 0, 0.0, rng.uniform(0.003, 0.0045))
    blade = plate(share * length, -bite - 0.012, -0.012 + root + (front - root) * share, -0.001, 0.001)
    high, reach = rng.uniform(0.042, 0.052), rng.uniform(0.034, 0.045)
    ring = arc((-reach, 0, 0), (reach, high), 0.0, 2 * np.pi, 21) @ _FLAT.T
    loop = moved(sweep(ring, rng.uniform(0.009, 0.012), 10, flat=0.8), (0, 0.3 * root, 0))
    cheek = superquadric((0.04, 0.8 * root, 0.018), 0.35, 16)
    grip = merged(loop, moved(cheek, (0.008, 0.3 * root, 0)))
    parts = [Part("blade", blade, steel(rng)), Part("handle", grip, handle_material(rng))]
    if rng.random() < 0.5:
        parts = [part._replace(mesh=mirrored(part.mesh)) for part in parts]
    return settled(parts)


def _crossed(first: tuple[Mesh, Mesh], second: tuple[Mesh, Mesh], open_: float) -> tuple[Mesh, Mesh]:
    """Blades and handles of two halves that turn against each other by ``open_`` degrees about the origin."""
    halves = [
        [moved(turned(mesh, (0, 0, 1), side * open_ / 2), (0, 0, side * 0.0015)) for mesh in half]
        for side, half in ((1.0, first), (-1.0, second))
    ]
    rivet = cylinder(0.005, -0.005, 0.005, 14)
    return merged(halves[0][0], halves[1][0], rivet), merged(halves[0][1], halves[1][1])


def scissors(rng: np.random.Generator) -> list[Part]:
    """Household scissors, a little open, with a loop for the thumb and a larger one: blade, handle."""
    length, half = rng.uniform(0.08, 0.12), rng.uniform(0.007, 0.011)
    shank, tube = rng.uniform(0.03, 0.045), rng.uniform(0.0042, 0.006)
    along = np.array([-0.01, 0.3, 0.7, 0.94, 1.0]) * length
    blade = plate(along, -half * np.array([0.7, 0.8, 0.6, 0.25, 0.04]), 0.8 * half, -0.0012, 0.0012)
    halves = []
    for size in (1.0, rng.uniform(1.0, 1.45)):
        wide, long = rng.uniform(0.015, 0.018), rng.uniform(0.021, 0.026) * size
        ring = arc((-shank - long, 0, 0), (long, wide), 0.0, 2 * np.pi, 21) @ _FLAT.T
        loop = moved(sweep(ring, tube, 10), (0, 0.75 * wide, 0))
        path = np.array([[0.004, 0, 0], [-0.5 * shank, 0, 0], [-shank, 0.55 * wide, 0]])
        halves.append(merged(loop, sweep(path, 0.8 * tube, 10)))
    # The loop of the half whose blade is turned up lies below the axis, and the other way round.
    blades, loops = _crossed((blade, mirrored(halves[0])), (mirrored(blade), halves[1]), rng.uniform(4, 30))
    return settled([Part("blade", blades, steel(rng)), Part("handle", loops, plastic(rng, 0, 0.05))])


def shears(rng: np.random.Generator) -> list[Part]:
    """Garden shears: a broad blade and a hook, and two stout bent handles. Parts: blade, handle."""
    length, stem = rng.uniform(0.055, 0.08), rng.uniform(0.11, 0.14)
    share = np.linspace(0, 1, 12)
    broad = plate(
        share * length, -0.004 - 0.003 * share, 0.02 * np.sin(np.pi * (0.3 + 0.7 * share)) ** 0.7 - 0.005 * share,
        -0.0018, 0.0018,
    )  # fmt: skip
    bend = 0.012 * np.sin(np.pi * share)
    hook = plate(share * 0.95 * length, -bend - 0.012 * (1 - share) - 0.002, -bend + 0.003 * share, -0.002, 0.002)
    thick, out = rng.uniform(0.008, 0.011), rng.uniform(0.016, 0.026)
    path = np.array([[0.006, 0, 0], [-0.12 * stem, 0.006, 0], [-0.4 * stem, out, 0], [-stem, 0.7 * out, 0]])
    arm = bar(path, [0.005, 0.75 * thick, thick, rng.uniform(0.85, 1.1) * thick], 12, flat=0.85)
    blades, bars = _crossed((broad, mirrored(arm)), (hook, arm), rng.uniform(6, 26))
    base = slab((0.024, 0.02, 0.005), (-0.002, 0, -0.0025), 0.008)
    return settled([Part("blade", merged(blades, base), steel(rng)), Part("handle", bars, plastic(rng, 0, 0.08))])
