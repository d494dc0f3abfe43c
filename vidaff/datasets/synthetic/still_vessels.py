"""Vessels of the still sets: bowl, cup, mug, flower pot, pan and bottle. None has the shape of a SOR3D-AFF object."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic.geometry import Mesh, cylinder, lathe, moved, sweep
from vidaff.datasets.synthetic.materials import Material, mostly, plastic
from vidaff.datasets.synthetic.objects import Part
from vidaff.datasets.synthetic.still_shapes import handle, handle_material, settled, squared, steel, turned, vessel

Profile = list[tuple[float, float]]


def _curve(foot: float, rim: float, height: float, power: float, steps: int = 12) -> Profile:
    """From the foot to the rim: a bowl for a power below 1, a trumpet above."""
    share = np.linspace(0, 1, steps)
    return list(zip(foot + (rim - foot) * share**power, height * share, strict=True))


def _open(
    rng: np.random.Generator,
    profile: Profile,
    wall: float,
    *,
    segments: int = 36,
    square: float = 2.0,
    outer: Material | None = None,
) -> list[Part]:
    """Inside and outside of a vessel; the inside is glazed like the outside in 60 % of the cases."""  # fmt: skip
    outside, inside = (squared(mesh, square) for mesh in vessel(profile, wall, segments))
    look = plastic(rng, 2, 0.1) if outer is None else outer
    lining = mostly(rng, look, 0.6, plastic(rng, 2, 0.15))
    return [Part("inside", inside, lining), Part("outside", outside, look)]


def bowl(rng: np.random.Generator) -> list[Part]:
    """Round, squarish or eight-sided bowl on a foot: inside, outside."""
    rim, height = rng.uniform(0.055, 0.085), rng.uniform(0.04, 0.07)
    foot = rim * rng.uniform(0.35, 0.6)
    profile = [(foot, 0.0), *[(r, h + 0.005) for r, h in _curve(foot, rim, height, rng.uniform(0.32, 0.7))]]
    if rng.random() < 0.4:
        profile.append((rim + rng.uniform(0.006, 0.014), height + 0.007))
    square, segments = (rng.uniform(3, 6), 48) if rng.random() < 0.25 else (2.0, int(rng.choice([8, 36, 36])))
    return settled(_open(rng, profile, 0.0035, segments=segments, square=square))


def cup(rng: np.random.Generator) -> list[Part]:
    """Beaker without an ear, much wider at its rim, smooth or with facets: inside, outside."""
    height, foot = rng.uniform(0.08, 0.125), rng.uniform(0.023, 0.032)
    rim = foot * rng.uniform(1.3, 1.65)
    profile = _curve(foot, rim, height, rng.uniform(0.75, 1.5))
    if rng.random() < 0.5:
        profile += [(rim + 0.0025, height + 0.0015), (rim + 0.0025, height + 0.004)]
    return settled(_open(rng, profile, 0.0028, segments=int(rng.choice([6, 8, 10, 36, 36]))))


def mug(rng: np.random.Generator) -> list[Part]:
    """Barrel, waisted or square body with an angular strap for an ear: inside, outside, handle."""
    height, radius = rng.uniform(0.08, 0.115), rng.uniform(0.034, 0.044)
    share = np.linspace(0, 1, 11)
    swell = rng.choice([-1.0, 1.0]) * rng.uniform(0.08, 0.22)
    profile = list(zip(radius * (1 + swell * np.sin(np.pi * share)), height * share, strict=True))
    square = float(rng.choice([2.0, 2.0, 5.0]))
    parts = _open(rng, profile, 0.0035, segments=48, square=square)
    top, low = height * rng.uniform(0.78, 0.9), height * rng.uniform(0.18, 0.32)
    tube = rng.uniform(0.0065, 0.009)
    # A bar's rounded end reaches one radius further than its path, and must stay within the wall.
    at = [np.interp(z / height, share, [r for r, _ in profile]) + tube - 0.0025 for z in (top, low)]
    out, drop = radius + rng.uniform(0.03, 0.042), rng.uniform(0.0, 0.012)
    path = np.array([[at[0], 0, top], [out - 0.006, 0, top], [out, 0, top - 0.008], [out - drop, 0, low + 0.012]])
    path = np.concatenate([path, [[out - drop - 0.008, 0, low], [at[1], 0, low]]])
    ear = sweep(path, tube, 8, flat=rng.uniform(0.6, 1.0))
    look = mostly(rng, parts[1].material, 0.5, plastic(rng, 2, 0.05))
    return settled([*parts, Part("handle", ear, look)])


def pot(rng: np.random.Generator) -> list[Part]:
    """Flower pot with a collar: inside, outside."""
    height, foot = rng.uniform(0.075, 0.125), rng.uniform(0.032, 0.048)
    rim, collar = foot * rng.uniform(1.3, 1.6), height * rng.uniform(0.18, 0.3)
    under = rim - rng.uniform(0.004, 0.008)
    profile = [*_curve(foot, under, height - collar, 1.0, 6), (rim, height - collar + 0.002), (rim * 1.03, height)]
    return settled(_open(rng, profile, 0.0055, segments=int(rng.choice([6, 8, 36, 36, 36]))))


def pan(rng: np.random.Generator) -> list[Part]:
    """Frying pan or saucepan with a long handle: inside, outside, handle."""
    rim, deep = rng.uniform(0.075, 0.11), rng.random() < 0.35
    height = rng.uniform(0.06, 0.085) if deep else rng.uniform(0.028, 0.045)
    foot = rim * (rng.uniform(0.9, 1.0) if deep else rng.uniform(0.68, 0.86))
    profile = _curve(foot, rim, height, rng.uniform(0.5, 1.0))
    parts = _open(rng, profile, 0.003, segments=40, outer=steel(rng, 2))
    length, width = rng.uniform(0.13, 0.18), rng.uniform(0.02, 0.03)
    grip = turned(handle(rng, length, width, width * rng.uniform(0.5, 0.9)), (0, 1, 0), rng.uniform(3, 14))
    grip = moved(grip, (-rim + 0.004, 0, height * rng.uniform(0.7, 0.86)))
    return settled([*parts, Part("handle", grip, handle_material(rng))])


def bottle(rng: np.random.Generator) -> list[Part]:
    """Tall bottle with a long slender neck, round or square: body, neck, cap. It stands, or lies in a third."""
    radius, tall = rng.uniform(0.03, 0.042), rng.uniform(0.11, 0.165)
    slope, neck, rise = rng.uniform(0.03, 0.075), rng.uniform(0.0105, 0.0145), rng.uniform(0.035, 0.07)
    square = float(rng.choice([2.0, 2.0, 5.0]))
    body = lathe([(0, 0), (radius - 0.004, 0), (radius, 0.005), (radius, tall), (0, tall)], 36)
    share = np.linspace(0, 1, 9)[1:]
    shoulder = neck + (radius - neck) * (0.5 + 0.5 * np.cos(np.pi * share)) ** rng.uniform(0.6, 1.4)
    end = tall + slope + rise
    neck_profile = [(0, tall), (radius, tall), *zip(shoulder, tall + slope * share, strict=True)]
    upper = lathe([*neck_profile, (neck, end), (0, end)], 36)
    lid = cylinder(neck + rng.uniform(0.001, 0.004), end - 0.012, end + rng.uniform(0.004, 0.012), 20)
    glass = plastic(rng, 2, 0.12)._replace(shine=float(rng.uniform(0.3, 0.9)))
    parts = [
        Part("body", squared(body, square), glass),
        Part("neck", _squared_below(upper, square, tall, slope), mostly(rng, glass, 0.75, plastic(rng, 2, 0.06))),
        Part("cap", lid, plastic(rng, 2, 0.03)),
    ]
    if rng.random() < 1 / 3:
        parts = [part._replace(mesh=turned(part.mesh, (0, 1, 0), 90)) for part in parts]
    return settled(parts)


def _squared_below(mesh: Mesh, power: float, low: float, span: float) -> Mesh:
    """Squared at height ``low``, round from ``low + span`` on."""
    round_, square = mesh.vertices, squared(mesh, power).vertices
    share = np.clip((round_[:, 2:] - low) / span, 0, 1)
    return Mesh((share * round_ + (1 - share) * square).astype(np.float32), mesh.triangles)
