"""Devices of IIT-AFF: cordless drill, television or monitor, racket."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic.geometry import (
    Mesh,
    arc,
    cylinder,
    extrude,
    lathe,
    merged,
    moved,
    rotation,
    slab,
    superquadric,
    sweep,
)
from vidaff.datasets.synthetic.materials import Material, colour, metal, mostly, plastic
from vidaff.datasets.synthetic.objects import Part
from vidaff.datasets.synthetic.still_shapes import bar, handle, handle_material, plate, settled, turned

_TO_X = rotation((0, 1, 0), np.pi / 2)
_FLAT = rotation((1, 0, 0), np.pi / 2)


def drill(rng: np.random.Generator) -> list[Part]:
    """Pistol drill, on its battery or on its side: motor, chuck, handle, battery."""
    length, radius = rng.uniform(0.1, 0.13), rng.uniform(0.026, 0.034)
    share = np.array([0, 0.06, 0.25, 0.7, 0.85, 1.0])
    profile = zip(radius * np.array([0.8, 1.0, 1.0, 0.96, 0.8, 0.66]), share * length, strict=True)
    motor = moved(lathe([(0, 0), *profile, (0, length)], 26), rotation=_TO_X)
    reach = rng.uniform(0.032, 0.044)
    cone = lathe([(0, 0), (0.6 * radius, 0), (0.6 * radius, 0.6 * reach), (0.25 * radius, reach), (0, reach)], 20)
    bit = cylinder(rng.uniform(0.0025, 0.0045), reach - 0.004, reach + rng.uniform(0.03, 0.07), 10)
    chuck = moved(moved(merged(cone, bit), rotation=_TO_X), (length - 0.002, 0, 0))
    drop, lean = rng.uniform(0.09, 0.115), rng.uniform(0.01, 0.035)
    at = length * rng.uniform(0.25, 0.4)
    path = np.array([[at, 0, -0.5 * radius], [at - 0.4 * lean, 0, -0.5 * drop], [at - lean, 0, -drop - 0.5 * radius]])
    grip = bar(path, [0.022, 0.018, 0.021], 14, flat=rng.uniform(1.0, 1.3))
    block = slab((rng.uniform(0.075, 0.095), rng.uniform(0.05, 0.062), 0.034), radius=0.01)
    battery = moved(block, (at - lean, 0, -drop - radius - 0.012))
    shell = plastic(rng, 0, 0.12)
    parts = [
        Part("motor", motor, shell),
        Part("chuck", chuck, mostly(rng, metal(rng), 0.6, plastic(rng))),
        Part("handle", grip, mostly(rng, shell, 0.4, plastic(rng, 2, 0.08))),
        Part("battery", battery, plastic(rng, 0, 0.1)),
    ]
    if rng.random() < 0.5:
        parts = [part._replace(mesh=turned(part.mesh, (1, 0, 0), float(rng.choice([-90, 90])))) for part in parts]
    return settled(parts)


def monitor(rng: np.random.Generator) -> list[Part]:
    """Flat screen on a foot or a deep old television, seen from +x: screen, case, foot."""
    wide, ratio = rng.uniform(0.22, 0.34), rng.uniform(0.56, 0.78)
    tall, old = wide * ratio, rng.random() < 0.35
    edge = rng.uniform(0.014, 0.024) if old else rng.uniform(0.005, 0.014)
    low = 0.006 if old else rng.uniform(0.035, 0.07)
    chin = edge * (rng.uniform(1, 3) if old else rng.uniform(1, 2))
    pane = superquadric((0.003, wide - 2 * edge, tall - edge - chin), 0.1, 20)
    case = _deep_case(wide, tall, rng) if old else superquadric((0.02, wide, tall), 0.08, 20)
    picture = Material(
        colour(rng), colour(rng), str(rng.choice(["icons", "checker", "noise", "stripes"])), 30.0, 0, 0.5
    )
    picture = picture._replace(scale=float(rng.uniform(10, 45)), glow=float(rng.uniform(0.1, 0.5)))
    dark = Material((0.05, 0.05, 0.07), (0.09, 0.09, 0.12), "noise", 20.0, 0, 0.8)
    parts = [
        Part(
            "screen", moved(pane, (0.0105, 0, low + chin + (tall - edge - chin) / 2)), mostly(rng, picture, 0.7, dark)
        ),
        Part("case", moved(case, (0, 0, low + tall / 2)), plastic(rng, 2, 0.2)),
        Part("foot", _foot(wide, low + 0.3 * tall, old), plastic(rng, 2, 0.2)),
    ]
    return settled(parts)


def _deep_case(wide: float, tall: float, rng: np.random.Generator) -> Mesh:
    """Case of a picture tube around the origin, narrower towards its back at -x."""
    deep = wide * rng.uniform(0.5, 0.75)
    along = np.array([-deep, -0.45 * deep, -0.1 * deep, 0.01])
    half, high = np.array([0.55, 0.75, 1, 1]) * wide / 2, np.array([0.5, 0.75, 1, 1]) * tall / 2
    return plate(along, -half, half, np.array([-1, -1, -1, -1]) * tall / 2, high)


def _foot(wide: float, neck: float, old: bool) -> Mesh:
    if old:
        return slab((0.06, 0.7 * wide, 0.007), (-0.05, 0, 0), 0.004)
    plate_ = slab((0.12, 0.5 * wide, 0.008), (-0.01, 0, 0), 0.02)
    return merged(plate_, slab((0.016, 0.14 * wide, neck), (-0.014, 0, 0), 0.004))


def racket(rng: np.random.Generator) -> list[Part]:
    """Table-tennis bat, or a strung racket: face, rim, handle, and the throat of a strung one."""
    if rng.random() < 0.45:
        return _bat(rng)
    long, broad = rng.uniform(0.1, 0.125), rng.uniform(0.075, 0.095)
    tube, stem = rng.uniform(0.0055, 0.008), rng.uniform(0.12, 0.17)
    gap = rng.uniform(0.03, 0.06)
    face = extrude(_oval(long, broad), -0.0012, 0.0012)
    strings = Material(
        colour(rng, (0.0, 0.3), (0.75, 0.97)), colour(rng, (0.0, 0.6), (0.1, 0.5)), "weave", 70.0, 2, 0.1
    )
    rim = sweep(arc((0, 0, 0), (long, broad), 0, 2 * np.pi, 29) @ _FLAT.T, tube, 10)
    start = -long - gap
    fork = [np.array([[-0.93 * long, side * 0.36 * broad, 0], [start, side * 0.005, 0]]) for side in (1, -1)]
    look = plastic(rng, 0, 0.15)
    grip = moved(handle(rng, stem, 0.03, 0.026), (start + 0.006, 0, 0))
    parts = [
        Part("face", face, mostly(rng, strings, 0.8, plastic(rng, 2, 0.1))),
        Part("rim", rim, look),
        Part("throat", merged(*(sweep(path, 0.8 * tube, 10) for path in fork)), look),
        Part("handle", grip, handle_material(rng)),
    ]
    return settled(parts)


def _bat(rng: np.random.Generator) -> list[Part]:
    """Rubber on both sides of a wooden blade."""
    long, broad, thick = rng.uniform(0.078, 0.09), rng.uniform(0.07, 0.08), rng.uniform(0.009, 0.014)
    wood_ = extrude(_oval(long, broad), -0.25 * thick, 0.25 * thick)
    sheet = _oval(0.985 * long, 0.985 * broad)
    rubber = merged(extrude(sheet, 0.24 * thick, thick / 2), extrude(sheet, -thick / 2, -0.24 * thick))
    grip = moved(handle(rng, rng.uniform(0.09, 0.115), 0.03, 0.024), (-long + 0.016, 0, 0))
    red = Material(colour(rng, (0.6, 0.95), (0.3, 0.9)), colour(rng), "noise", 60.0, 2, 0.15)
    parts = [
        Part("face", rubber, mostly(rng, red, 0.7, plastic(rng, 2, 0.1))),
        Part("rim", wood_, handle_material(rng)),
        Part("handle", grip, handle_material(rng)),
    ]
    return settled(parts)


def _oval(long: float, broad: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.column_stack([long * np.cos(angle), broad * np.sin(angle)])
