"""Things to scoop, spread and turn with: spoon, ladle, scoop, trowel, shovel, turner. Parts: bowl or blade, handle."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic.geometry import Mesh, merged, moved
from vidaff.datasets.synthetic.materials import Material, mostly, plastic, wood
from vidaff.datasets.synthetic.objects import Part
from vidaff.datasets.synthetic.still_shapes import bar, handle, handle_material, plank, plate, settled, shell, steel


def _hollow(half_length: float, half_width: float, depth: float, thick: float) -> Mesh:
    """Bowl of a spoon from x = 0 to twice ``half_length``, its rim level at z = ``depth``."""
    u = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 17))
    across = np.sqrt(np.maximum(1 - u**2, 1e-4))
    return shell(half_length * (1 + u), half_width * across, depth * u**2, depth * (1 - u**2), thick)


def _one_piece(rng: np.random.Generator, head: Material) -> Material:
    """Material of a handle that is made of the same piece as the head in half of the cases."""
    return mostly(rng, head, 0.5, handle_material(rng))


def spoon(rng: np.random.Generator) -> list[Part]:
    """Table spoon or wooden spoon."""
    length, width, depth = rng.uniform(0.028, 0.04), rng.uniform(0.019, 0.027), rng.uniform(0.008, 0.014)
    wooden = rng.random() < 0.4
    look = wood(rng) if wooden else steel(rng)
    stem = rng.uniform(0.13, 0.19)
    if wooden:
        grip = moved(plank(rng, stem, rng.uniform(0.014, 0.02), 0.011), (0.006, 0, depth))
    else:
        arch = rng.uniform(0.0, 0.012)
        path = np.array([[0.004, 0, depth], [-0.3 * stem, 0, depth + arch], [-stem, 0, 0.35 * depth]])
        grip = bar(path, [0.004, 0.0045, rng.uniform(0.008, 0.012)], 10, flat=0.5)
    parts = [Part("bowl", _hollow(length, width, depth, 0.0022), look), Part("handle", grip, _one_piece(rng, look))]
    return settled(parts)


def ladle(rng: np.random.Generator) -> list[Part]:
    """Deep bowl on a long arm."""
    radius, depth = rng.uniform(0.032, 0.045), rng.uniform(0.026, 0.04)
    look, stem = steel(rng), rng.uniform(0.17, 0.23)
    rise = depth + rng.uniform(0.012, 0.03)
    path = np.array(
        [[0.003, 0, depth], [-0.05 * stem, 0, rise], [-0.2 * stem, 0, rise + 0.006], [-0.62 * stem, 0, 0.75 * depth]]
    )
    path = np.concatenate([path, [[-stem, 0, 0.012]]])
    grip = bar(path, [0.005, 0.005, 0.006, 0.008, rng.uniform(0.009, 0.013)], 12, flat=rng.uniform(0.55, 1.0))
    cup = _hollow(radius, radius * rng.uniform(0.9, 1.05), depth, 0.0025)
    return settled([Part("bowl", cup, look), Part("handle", grip, _one_piece(rng, look))])


def scoop(rng: np.random.Generator) -> list[Part]:
    """Half a drum with a back wall, open in front."""
    length, half, depth = rng.uniform(0.08, 0.11), rng.uniform(0.026, 0.036), rng.uniform(0.026, 0.04)
    along = np.concatenate([[0.0, 0.0015], np.linspace(0.006, 1, 12)]) * length
    share = along / length
    floor = depth * np.clip(1 - along / rng.uniform(0.008, 0.02), 0, 1)
    lip = 1 - rng.uniform(0.35, 0.7) * np.clip((share - 0.55) / 0.45, 0, 1) ** 1.5
    cup = shell(along, half * (0.9 + 0.1 * share), floor, (depth - floor) * lip, 0.0025, 2.6)
    grip = handle(rng, rng.uniform(0.085, 0.115), rng.uniform(0.02, 0.027), 0.02, depth * 0.75)
    look = steel(rng)
    return settled([Part("bowl", cup, look), Part("handle", moved(grip, (0.003, 0, 0)), _one_piece(rng, look))])


def _neck(start: float, height: float, rng: np.random.Generator) -> Mesh:
    """Bent rod between a blade at x = 0 and a handle that begins at x = -start."""
    path = np.array([[0.012, 0, 0.004], [-0.25 * start, 0, 0.006], [-0.55 * start, 0, height], [-start, 0, height]])
    return bar(path, rng.uniform(0.0055, 0.0075), 10)


def _garden_tool(rng: np.random.Generator, blade: Mesh, middle: float) -> list[Part]:
    """A blade on a bent neck (which is grasped, too) with a stout handle."""
    start, look = rng.uniform(0.03, 0.05), steel(rng)
    width = rng.uniform(0.024, 0.031)
    grip = moved(handle(rng, rng.uniform(0.1, 0.13), width, width, middle), (-start + 0.004, 0, 0))
    parts = [Part("blade", blade, look), Part("handle", grip, handle_material(rng))]
    return settled([*parts, Part("neck", _neck(start, middle, rng), mostly(rng, look, 0.8, plastic(rng)))])


def trowel(rng: np.random.Generator) -> list[Part]:
    """Pointed, hollow garden trowel: blade, handle, neck."""
    length, half = rng.uniform(0.11, 0.15), rng.uniform(0.03, 0.042)
    share = np.linspace(0, 1, 18)
    outline = half * np.minimum(0.35 + 3.4 * share, 1.0) * np.sqrt(np.clip(1 - share ** rng.uniform(2.2, 4.5), 1e-3, 1))
    blade = shell(share * length, outline, 0.006 * share, outline * rng.uniform(0.35, 0.6), 0.0024)
    return _garden_tool(rng, blade, rng.uniform(0.022, 0.032))


def shovel(rng: np.random.Generator) -> list[Part]:
    """Broad hand shovel with a straight edge and raised sides: blade, handle, neck."""
    length, half = rng.uniform(0.1, 0.13), rng.uniform(0.04, 0.054)
    share = np.linspace(0, 1, 16)
    outline = half * np.minimum(0.5 + 3.5 * share, 1.0) * (1 + 0.08 * share)
    rise = rng.uniform(0.014, 0.024) * (1 - rng.uniform(0.6, 0.9) * share)
    back = 0.012 * np.clip(1 - share / 0.18, 0, 1)
    blade = shell(share * length, outline, back, rise, 0.0024, rng.uniform(5, 9))
    return _garden_tool(rng, blade, rng.uniform(0.022, 0.032))


def turner(rng: np.random.Generator) -> list[Part]:
    """Kitchen turner or spatula, slotted or not, of wood or with a bent stem: blade, handle."""
    length, root, front = rng.uniform(0.075, 0.105), rng.uniform(0.02, 0.032), rng.uniform(0.034, 0.046)
    wooden = rng.random() < 0.35
    look = wood(rng) if wooden else steel(rng)
    thick = 0.006 if wooden else 0.0028
    blade = _slotted(rng, length, root, front, thick) if rng.random() < 0.5 else _spread(0, length, root, front, thick)
    stem = rng.uniform(0.15, 0.2)
    if wooden:
        grip = moved(plank(rng, stem, 2 * root * rng.uniform(0.5, 0.7), 0.011), (0.008, 0, 0.5 * thick))
    else:
        lift = rng.uniform(0.018, 0.035)
        path = np.array([[0.01, 0, 0.003], [-0.03, 0, lift], [-0.45 * stem, 0, lift + 0.008], [-stem, 0, 0.4 * lift]])
        grip = bar(path, [0.005, 0.005, 0.008, rng.uniform(0.009, 0.012)], 12, flat=0.6)
    return settled([Part("blade", blade, look), Part("handle", grip, _one_piece(rng, look))])


def _spread(start: float, stop: float, root: float, front: float, thick: float) -> Mesh:
    """Blade whose half width grows from ``root`` to ``front``, its corners rounded."""
    along = np.linspace(start, stop, 14)
    share = np.linspace(0, 1, 14)
    half = root + (front - root) * share**0.8
    half[-1], half[-2], half[0] = 0.86 * half[-1], 0.98 * half[-2], 0.7 * half[0]
    return plate(along, -half, half, 0.0, thick)


def _slotted(rng: np.random.Generator, length: float, root: float, front: float, thick: float) -> Mesh:
    """Blade of bars between its root and its front edge."""
    count, share = int(rng.integers(4, 7)), rng.uniform(0.45, 0.65)
    low, high = 0.28 * length, 0.84 * length
    middle = root + (front - root) * 0.3
    pieces = [_spread(0, low, root, middle, thick), _spread(high, length, 0.98 * front, front, thick)]
    for place in np.linspace(-1, 1, count) * (1 - share / count):
        along = np.array([low - 0.003, high + 0.003])
        centre, half = place * np.array([middle, 0.96 * front]), share / count * np.array([middle, front])
        pieces.append(plate(along, centre - half, centre + half, 0.0, thick))
    return merged(*pieces)
