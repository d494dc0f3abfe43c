"""Vessels: cup, wine glass, bottle, bowl, all upright."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic import shapes_round
from vidaff.datasets.synthetic.agd20k_things import Handling, Thing, cut_above, cut_mesh, thing
from vidaff.datasets.synthetic.geometry import Mesh, cylinder, lathe, merged, moved
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.materials import Material, colour, mostly, plastic
from vidaff.datasets.synthetic.objects import Part

_X = np.array([1.0, 0.0, 0.0])
_Z = np.array([0.0, 0.0, 1.0])


def _round(height: float, radius: float) -> Grip:
    return Grip("cylinder", np.array([0, 0, height]), _Z, radius)


def cup(rng: np.random.Generator) -> Thing:
    """Mug with an ear; the rim is the upper third of its wall, without a mark of its own."""
    model = shapes_round.cup(rng)
    handle, body = model.parts
    height, wall = float(body.mesh.vertices[:, 2].max()), model.uses["lift"].grip.radius
    rim, rest = cut_above(body.mesh, 0.62 * height)
    centre = model.uses["lift"].grip.point
    around, ear = Grip("cylinder", centre, _Z, wall), model.uses["grasp"].grip
    ear_only = handle._replace(mesh=_outside(handle.mesh, body.mesh, centre, height))
    parts = [ear_only, Part("rim", rim, body.material), Part("body", rest, body.material)]
    handlings = {
        "drink_with": Handling(("rim",), around if rng.random() < 0.5 else ear, "drink", "face"),
        "hold": Handling(("handle",), ear),
        "pour": Handling(("handle",), ear, "pour"),
        "wash": Handling(("body", "rim"), around, "lift"),
    }
    return thing(parts, handlings)


def _outside(ear: Mesh, wall: Mesh, centre: np.ndarray, height: float) -> Mesh:
    """The ear without its ends, which would show inside the cup."""
    level = wall.vertices[:, 2] / height
    radius = np.linalg.norm(wall.vertices[:, :2] - centre[:2], axis=1)
    low, high = (float(radius[near].max()) for near in (level < 0.1, level > 0.95))
    away = np.linalg.norm(ear.vertices[:, :2] - centre[:2], axis=1)
    beyond = away > low + (high - low) * ear.vertices[:, 2] / height - 0.0025
    return cut_mesh(ear, beyond[ear.triangles].all(axis=1))[0]


def wine_glass(rng: np.random.Generator) -> Thing:
    """Bowl, stem and foot; the rim is the upper part of the bowl."""
    foot, stem, thin = rng.uniform(0.034, 0.044), rng.uniform(0.06, 0.085), rng.uniform(0.0075, 0.0105)
    deep, belly = rng.uniform(0.07, 0.095), rng.uniform(0.038, 0.048)
    mouth = belly * rng.uniform(0.82, 1.05)
    low = 0.008 + stem
    base = lathe([(0, 0), (foot, 0), (foot, 0.004), (thin * 1.4, 0.011), (thin, 0.018), (0, 0.018)], 24)
    rod = cylinder(thin, 0.014, low + 0.008, 14)
    outer = [
        (0, low),
        (thin * 1.5, low + 0.002),
        (0.8 * belly, low + 0.22 * deep),
        (belly, low + 0.48 * deep),
        (mouth, low + deep),
    ]
    inner = [
        (mouth - 0.003, low + deep),
        (belly - 0.004, low + 0.48 * deep),
        (0.7 * belly, low + 0.24 * deep),
        (0, low + 0.08 * deep),
    ]
    rim, bowl = cut_above(lathe(_finer(outer + inner), 26), low + 0.66 * deep)
    glass = mostly(rng, _glass(rng), 0.7, plastic(rng, 2, 0.1))
    parts = [
        Part("stem", rod, mostly(rng, glass, 0.6, plastic(rng, 2, 0.05))),
        Part("rim", rim, glass),
        Part("bowl", bowl, glass),
        Part("foot", base, glass),
    ]
    around, pinch = _round(low + 0.45 * deep, belly), _round(0.01 + 0.6 * stem, thin)
    handlings = {
        "drink_with": Handling(("rim",), pinch, "drink", "face"),
        "hold": Handling(("stem",), pinch),
        "pour": Handling(("stem",), pinch, "pour"),
        "wash": Handling(("bowl", "rim"), around, "lift"),
    }
    return thing(parts, handlings)


def _finer(profile: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The profile with two points put into every stretch, so that it can be cut at a height."""
    points = np.asarray(profile)
    steps = np.arange(0, len(points) - 1 + 1e-6, 1 / 3)
    return list(zip(*(np.interp(steps, np.arange(len(points)), points[:, k]) for k in (0, 1)), strict=True))


def _glass(rng: np.random.Generator) -> Material:
    """Pale and shiny, since nothing here is transparent."""
    first = colour(rng, (0.03, 0.25), (0.7, 0.97))
    return Material(first, colour(rng, (0.03, 0.3), (0.6, 0.9)), "noise", rng.uniform(20, 60), 2, 0.9)


def bottle(rng: np.random.Generator) -> Thing:
    """Tall bottle: cap and body."""
    height, radius = rng.uniform(0.13, 0.185), rng.uniform(0.031, 0.041)
    neck, long = rng.uniform(0.015, 0.021), rng.uniform(0.02, 0.05)
    shoulder = height + long
    cap, tall = neck + rng.uniform(0.005, 0.009), rng.uniform(0.03, 0.044)
    body = lathe(
        [
            *((0, 0), (radius - 0.004, 0), (radius, 0.006), (radius * rng.uniform(0.84, 1.0), 0.5 * height)),
            *((radius, 0.82 * height), (radius * 0.85, height), (neck, shoulder), (0, shoulder)),
        ]
    )
    lid = moved(cylinder(cap, 0, tall, 22), (0, 0, shoulder - 0.004))
    parts = [
        Part("cap", lid, mostly(rng, plastic(rng, 2, 0.04), 0.9, _glass(rng))),
        Part("body", body, plastic(rng, 2, 0.12)),
    ]
    hold = _round(0.5 * height, radius * 0.97)
    twist = Grip("pinch", np.array([0, 0, shoulder + 0.45 * tall]), _Z, cap)
    handlings = {
        "drink_with": Handling(("cap",), hold, "drink", "face"),
        "hold": Handling(("body",), hold),
        "open": Handling(("cap",), twist, "rest"),
        "pour": Handling(("body",), hold, "pour"),
    }
    return thing(parts, handlings)


def bowl(rng: np.random.Generator) -> Thing:
    """Open bowl: outside, inside, and the band at its rim."""
    height, foot, mouth = rng.uniform(0.05, 0.075), rng.uniform(0.032, 0.045), rng.uniform(0.075, 0.1)
    belly = rng.uniform(0.7, 0.86) * mouth
    outer = [(0, 0), (foot, 0), (foot, 0.006), (belly, 0.45 * height), (mouth, height)]
    inner = [(mouth - 0.005, height), (belly - 0.007, 0.45 * height), (foot * 0.8, 0.012), (0, 0.012)]
    mesh = lathe(_finer(outer + inner), 30)
    # The triangles of a lathe follow its profile, so the outside comes first.
    first = np.arange(len(mesh.triangles)) < len(mesh.triangles) * len(outer) / (len(outer) + len(inner) - 1)
    outside, inside = cut_mesh(mesh, first)
    rim_out, outside = cut_above(outside, 0.68 * height)
    rim_in, inside = cut_above(inside, 0.68 * height)
    shell = plastic(rng, 2, 0.1)
    parts = [
        Part("inside", inside, mostly(rng, shell, 0.5, plastic(rng, 2, 0.1))),
        Part("rim", merged(rim_out, rim_in), shell),
        Part("outside", outside, shell),
    ]
    edge = Grip("edge", np.array([mouth, 0, height]), _X, 0.004)
    handlings = {
        "hold": Handling(("rim",), edge, "rise"),
        "stir": Handling(("inside",), Grip("poke", np.array([0, 0, 0.3 * height]), None, 0.01), "rest"),
        "wash": Handling(("inside", "outside", "rim"), _round(0.6 * height, belly), "lift"),
    }
    return thing(parts, handlings)
