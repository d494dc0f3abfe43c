"""Round things: bottle, tube, jar, cup, pitcher, ball."""

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
    scaled,
    sweep,
)
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.materials import Material, colour, mostly, plastic
from vidaff.datasets.synthetic.objects import ObjectModel, Part, Use, centred

_TO_X = rotation((0, 1, 0), np.pi / 2)
_Z = np.array([0.0, 0.0, 1.0])


def _cap_material(rng: np.random.Generator) -> Material:
    """Something that shows a twist: spokes (as ribs) in most cases."""
    ribs = Material(
        colour(rng, (0.1, 0.95)), colour(rng, (0.0, 0.9), (0.1, 0.95)), "spokes", float(rng.integers(5, 10)), 2, 0.2
    )
    return mostly(rng, ribs, 0.7, plastic(rng, 2, 0.04))


def bottle(rng: np.random.Generator) -> ObjectModel:
    """Upright bottle: rotate (cap), squeeze (body)."""
    height, radius = rng.uniform(0.1, 0.135), rng.uniform(0.032, 0.042)
    neck, cap, tall = rng.uniform(0.016, 0.022), rng.uniform(0.024, 0.031), rng.uniform(0.032, 0.044)
    waist = rng.uniform(0.82, 1.0)
    shoulder = height + rng.uniform(0.012, 0.03)
    body = lathe(
        [
            *((0, 0), (radius - 0.004, 0), (radius, 0.006), (radius * waist, height * 0.5), (radius, height * 0.85)),
            *((radius * 0.9, height), (neck, shoulder), (neck, shoulder + 0.006), (0, shoulder + 0.006)),
        ]
    )
    if rng.random() < 0.35:
        body = scaled(body, (1.15, 0.85, 1))
    lid = moved(cylinder(cap, 0, tall, 24), (0, 0, shoulder + 0.004))
    parts = [Part("cap", lid, _cap_material(rng)), Part("body", body, plastic(rng, 2, 0.1))]
    twist = Grip("pinch", np.array([0, 0, shoulder + 0.5 * tall]), _Z, cap)
    squeeze = Grip("cylinder", np.array([0, 0, 0.52 * height]), _Z, radius * 0.95)
    return centred(parts, {"rotate": Use("cap", twist), "squeeze": Use("body", squeeze)})


def tube(rng: np.random.Generator) -> ObjectModel:
    """Lying tube with a flat end: rotate (cap, about the lying axis), squeeze (body)."""
    length, radius, cap = rng.uniform(0.1, 0.13), rng.uniform(0.026, 0.033), rng.uniform(0.024, 0.029)
    tall = rng.uniform(0.038, 0.05)
    along = np.linspace(0, 1, 8)
    flat, broad = radius * (1 - 0.93 * along**1.5), radius * (1 + 0.25 * along)
    angle = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    rings = [
        np.column_stack([np.full(22, -length * s), b * np.cos(angle), f * np.sin(angle)])
        for s, b, f in zip([0.0, *along, 1.0], [1e-5, *broad, 1e-5], [1e-5, *flat, 1e-5], strict=True)
    ]
    body = _stacked(np.asarray(rings))
    lid = moved(cylinder(cap, 0, tall, 24), rotation=_TO_X)
    ribs = _cap_material(rng)
    parts = [
        Part("cap", moved(lid, (-0.002, 0, radius)), ribs._replace(axis=0)),
        Part("body", moved(body, (0, 0, radius)), plastic(rng, 0, 0.1)),
    ]
    twist = Grip("endpinch", np.array([0.5 * tall, 0, radius]), np.array([1.0, 0, 0]), cap)
    squeeze = Grip("block", np.array([-0.4 * length, 0, radius]), np.array([0, 1.0, 0]), radius * 1.08)
    return centred(parts, {"rotate": Use("cap", twist), "squeeze": Use("body", squeeze)})


def _stacked(rings: np.ndarray) -> Mesh:
    count, size = rings.shape[:2]
    i, j = np.meshgrid(np.arange(count - 1), np.arange(size), indexing="ij")
    a, b = i * size + j, i * size + (j + 1) % size
    triangles = np.stack([a, b + size, b, a, a + size, b + size], axis=-1).reshape(-1, 3)
    return Mesh(rings.reshape(-1, 3).astype(np.float32), triangles.astype(np.int32))


def jar(rng: np.random.Generator) -> ObjectModel:
    """Jar or tin with a large lid: rotate (lid), lift (body). On disk it is a can."""
    height, radius, tall = rng.uniform(0.075, 0.11), rng.uniform(0.038, 0.046), rng.uniform(0.022, 0.034)
    rim = radius * rng.uniform(0.86, 1.0)
    body = lathe(
        [(0, 0), (radius - 0.006, 0), (radius, 0.008), (radius, 0.8 * height), (rim * 0.96, height), (0, height)]
    )
    lid = moved(cylinder(rim + 0.002, 0, tall, 28), (0, 0, height - 0.003))
    parts = [Part("lid", lid, _cap_material(rng)), Part("body", body, plastic(rng, 2, 0.1))]
    twist = Grip("pinch", np.array([0, 0, height + 0.5 * tall]), _Z, rim)
    lift = Grip("cylinder", np.array([0, 0, 0.5 * height]), _Z, radius)
    return centred(parts, {"rotate": Use("lid", twist), "lift": Use("body", lift)})


def _open_body(height: float, bottom: float, top: float, belly: float = 1.0) -> Mesh:
    """Hollow vessel with a wall of 3 mm."""
    middle = (bottom + top) / 2 * belly
    outer = [(0, 0), (bottom - 0.004, 0), (bottom, 0.005), (middle, height / 2), (top, height)]
    inner = [(top - 0.003, height), (middle - 0.004, height / 2), (bottom - 0.005, 0.008), (0, 0.008)]
    return lathe(outer + inner, 28)


def _ear(radius: float, top: float, bottom: float, reach: float, thick: float) -> Mesh:
    """Handle on the +x side of a wall at ``radius``."""
    path = arc((radius - 0.004, 0, (top + bottom) / 2), (reach, (top - bottom) / 2), -np.pi / 2, np.pi / 2)
    return sweep(path, thick, 10, flat=1.0)


def cup(rng: np.random.Generator) -> ObjectModel:
    """Mug: grasp (handle), lift (body)."""
    height, bottom = rng.uniform(0.085, 0.12), rng.uniform(0.032, 0.042)
    top = bottom * rng.uniform(1.0, 1.25)
    reach, thick = rng.uniform(0.038, 0.05), rng.uniform(0.0085, 0.0115)
    wall = (bottom + top) / 2
    ear = _ear(wall, 0.84 * height, 0.2 * height, reach, thick)
    body = _open_body(height, bottom, top)
    parts = [Part("handle", ear, plastic(rng, 2, 0.05)), Part("body", body, plastic(rng, 2, 0.1))]
    grasp = Grip("cylinder", np.array([wall + reach - 0.004, 0, 0.52 * height]), _Z, thick)
    lift = Grip("cylinder", np.array([0, 0, 0.5 * height]), _Z, wall)
    return centred(parts, {"grasp": Use("handle", grasp), "lift": Use("body", lift)})


def pitcher(rng: np.random.Generator) -> ObjectModel:
    """Pitcher: lift (handle), rotate (lid), push (body)."""
    height, bottom = rng.uniform(0.12, 0.155), rng.uniform(0.042, 0.052)
    top = bottom * rng.uniform(0.82, 1.0)
    wall, belly = (bottom + top) / 2, rng.uniform(1.0, 1.12)
    ear = _ear(wall * belly * 0.98, 0.86 * height, 0.2 * height, rng.uniform(0.042, 0.055), rng.uniform(0.01, 0.013))
    spout = scaled(ellipsoid((0.022, 0.016, 0.02), 12), (1, 1, 1))
    body = merged(_open_body(height, bottom, top, belly), moved(spout, (-top - 0.002, 0, height - 0.014)))
    rise, knob = rng.uniform(0.012, 0.02), rng.uniform(0.017, 0.022)
    high = height + rise + rng.uniform(0.022, 0.03)
    lid = lathe(
        [
            *((0, height - 0.004), (top + 0.003, height - 0.004), (top + 0.003, height + 0.006)),
            *((knob * 0.8, height + rise), (knob, height + rise + 0.006), (knob, high - 0.005), (knob * 0.8, high)),
            (0, high),
        ]
    )
    parts = [
        Part("handle", ear, plastic(rng, 2, 0.05)),
        Part("lid", lid, _cap_material(rng)),
        Part("body", body, plastic(rng, 2, 0.12)),
    ]
    reach = float(ear.vertices[:, 0].max()) - 0.012
    uses = {
        "lift": Use("handle", Grip("cylinder", np.array([reach, 0, 0.55 * height]), _Z, 0.012)),
        "rotate": Use("lid", Grip("pinch", np.array([0, 0, (height + rise + high) / 2]), _Z, knob)),
        "push": Use("body", Grip("side", np.array([0, 0, 0.4 * height]), None, wall * belly)),
    }
    return centred(parts, uses)


def ball(rng: np.random.Generator) -> ObjectModel:
    """Soft ball with a carrying loop: squeeze (body), lift (loop)."""
    radius, thick = rng.uniform(0.042, 0.052), rng.uniform(0.0085, 0.011)
    flat = rng.uniform(0.9, 1.0)
    body = moved(ellipsoid((radius, radius, radius * flat), 24), (0, 0, radius * flat))
    high, wide = rng.uniform(0.04, 0.055), rng.uniform(0.03, 0.038)
    top = 2 * radius * flat - 0.012
    loop = sweep(arc((0, 0, top), (wide, high), 0, np.pi, 12), thick, 10)
    parts = [Part("loop", loop, plastic(rng, 0, 0.04)), Part("body", body, plastic(rng, 2, 0.09))]
    lift = Grip("bar", np.array([0, 0, top + high]), np.array([1.0, 0, 0]), thick)
    squeeze = Grip("cylinder", np.array([0, 0, radius * flat]), _Z, radius)
    return centred(parts, {"squeeze": Use("body", squeeze), "lift": Use("loop", lift)})
