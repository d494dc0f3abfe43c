"""Tools with a handle: knife, cleaver, hammer, mallet, brush, paint roller. Handle towards -x, head towards +x."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic.geometry import (
    Mesh,
    cylinder,
    extrude,
    merged,
    moved,
    rotation,
    rounded_rectangle,
    superquadric,
    sweep,
)
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.materials import Material, colour, metal, mostly, plastic, wood
from vidaff.datasets.synthetic.objects import ObjectModel, Part, Use, centred

_X = np.array([1.0, 0.0, 0.0])
_TO_Y = rotation((1, 0, 0), np.pi / 2)


def _handle(rng: np.random.Generator, length: float, width: float, height: float, middle: float) -> Mesh:
    """Bar from x = -length to 0 at height ``middle``: rounded block, or round with a waist."""
    if rng.random() < 0.5:
        return moved(superquadric((length, width, height), rng.uniform(0.25, 0.5), 16), (-length / 2, 0, middle))
    along = np.linspace(-length, 0, 7)
    bulge = 1 + rng.uniform(0, 0.14) * np.cos(np.linspace(0, rng.uniform(1, 2.2) * 2 * np.pi, 7))
    path = np.column_stack([along, 0 * along, 0 * along + middle])
    return sweep(path, width / 2 * bulge / bulge.max(), 12, flat=height / width)


def _handle_grip(length: float, middle: float, thickness: float) -> Grip:
    return Grip("bar", np.array([-0.48 * length, 0.0, middle]), _X, thickness / 2)


def _handle_material(rng: np.random.Generator) -> Material:
    return mostly(rng, wood(rng), 0.3, plastic(rng, 0, 0.08))


def _blade_tool(rng: np.random.Generator, outline: np.ndarray, other: str) -> ObjectModel:
    length, width, height = rng.uniform(0.1, 0.13), rng.uniform(0.032, 0.042), rng.uniform(0.024, 0.032)
    middle, thick = height / 2, rng.uniform(0.004, 0.007)
    if rng.random() < 0.5:
        outline = (outline * [1, -1])[::-1]
    blade = extrude(outline, middle - thick / 2, middle + thick / 2)
    parts = [
        Part("blade", blade, mostly(rng, metal(rng), 0.6, plastic(rng, 0, 0.1))),
        Part("handle", _handle(rng, length, width, height, middle), _handle_material(rng)),
    ]
    grip = _handle_grip(length, middle, height)
    return centred(parts, {"cut": Use("blade", grip), other: Use("handle", grip)})


def knife(rng: np.random.Generator) -> ObjectModel:
    """Pointed blade: cut (blade), grasp (handle)."""
    length, width = rng.uniform(0.13, 0.18), rng.uniform(0.04, 0.056)
    start, belly = -0.012, rng.uniform(0.5, 0.75)
    along = np.linspace(belly, 1, 7)
    edge = -width * 0.5 + width * rng.uniform(0.6, 1.0) * ((along - belly) / (1 - belly)) ** rng.uniform(1.6, 2.6)
    curve = np.column_stack([length * along, edge])
    spine = np.array([[0.7 * length, width * 0.5], [start, width * 0.5]])
    return _blade_tool(rng, np.concatenate([[[start, -width * 0.5]], curve, spine]), "grasp")


def cleaver(rng: np.random.Generator) -> ObjectModel:
    """Broad blade: cut (blade), lift (handle)."""
    length, width = rng.uniform(0.12, 0.16), rng.uniform(0.068, 0.09)
    outline = rounded_rectangle(length, width, rng.uniform(0.004, 0.025))
    outline = outline + np.array([length / 2 - 0.012, -0.12 * width])
    return _blade_tool(rng, outline, "lift")


def _striker(
    rng: np.random.Generator, head: Mesh, material: Material, middle: float, uses: tuple[str, Grip | None]
) -> ObjectModel:
    length, width = rng.uniform(0.16, 0.21), rng.uniform(0.028, 0.036)
    handle = moved(_handle(rng, length, width, width * 0.9, middle), (0.01, 0, 0))
    grip = Grip("bar", np.array([-0.62 * length, 0.0, middle]), _X, width * 0.45)
    other, other_grip = uses
    if other_grip is not None:
        grip_other = Grip("side", np.array([-0.5 * length, 0.0, middle]), other_grip.axis, width / 2)
    else:
        grip_other = grip
    parts = [Part("head", head, material), Part("handle", handle, _handle_material(rng))]
    return centred(parts, {"hammer": Use("head", grip), other: Use("handle", grip_other)})


def hammer(rng: np.random.Generator) -> ObjectModel:
    """Face and claw (or peen) across the handle: hammer (head), grasp (handle)."""
    radius, face, claw = rng.uniform(0.018, 0.024), rng.uniform(0.04, 0.055), rng.uniform(0.045, 0.065)
    middle = radius
    front = moved(cylinder(radius, 0, face, 18), (0, 0, middle), _TO_Y.T)
    block = moved(superquadric((0.036, 0.05, 1.7 * radius), 0.3, 14), (0, 0, middle))
    path = np.array([[0, -0.005, middle], [-0.002, -0.6 * claw, middle], [-0.022, -claw, middle]])
    back = sweep(path, [0.85 * radius, 0.6 * radius, 0.25 * radius], 10)
    head = moved(merged(front, block, back), (0.018, 0, 0))
    if rng.random() < 0.5:
        head = Mesh((head.vertices * [1, -1, 1]).astype(np.float32), head.triangles[:, ::-1].copy())
    return _striker(rng, head, mostly(rng, metal(rng, 1), 0.65, plastic(rng, 1, 0.08)), middle, ("grasp", None))


def mallet(rng: np.random.Generator) -> ObjectModel:
    """Drum- or block-shaped head: hammer (head), push (handle)."""
    length, radius = rng.uniform(0.09, 0.12), rng.uniform(0.026, 0.034)
    if rng.random() < 0.6:
        head = moved(cylinder(radius, -length / 2, length / 2, 22), (radius, 0, radius), _TO_Y)
    else:
        head = moved(superquadric((2.1 * radius, length, 2 * radius), 0.2, 18), (radius, 0, radius))
    side = np.array([0.0, rng.choice([-1.0, 1.0]), 0.0])
    push = Grip("side", np.zeros(3), side)
    return _striker(rng, head, mostly(rng, wood(rng, 1), 0.35, plastic(rng, 1, 0.1)), radius, ("push", push))


def brush(rng: np.random.Generator) -> ObjectModel:
    """Flat paint brush: paint (bristles), grasp (handle); the ferrule between them is for nothing."""
    width, thick = rng.uniform(0.056, 0.08), rng.uniform(0.02, 0.028)
    length, tuft, ferrule = rng.uniform(0.1, 0.13), rng.uniform(0.055, 0.075), rng.uniform(0.018, 0.028)
    grip_width, flare = rng.uniform(0.03, 0.038), rng.uniform(1.0, 1.12)
    along = np.array([0, -0.022, -0.05, -0.7 * length, -length])
    half = np.array([0.46 * width, 0.4 * width, 0.5 * grip_width, 0.55 * grip_width, 0.3 * grip_width])
    outline = np.concatenate([np.column_stack([along, half]), np.column_stack([along, -half])[::-1]])
    handle = extrude(outline, 0.1 * thick, 0.9 * thick)
    collar = moved(superquadric((ferrule, width, thick), 0.2, 14), (ferrule / 2, 0, thick / 2))
    end = ferrule + tuft
    tip = np.array(
        [[ferrule, -width * 0.48], [end, -width * 0.48 * flare], [end + 0.008, 0], [end, width * 0.48 * flare]]
    )
    bristles = extrude(np.concatenate([tip, [[ferrule, width * 0.48]]]), 0.08 * thick, 0.92 * thick)
    hair = Material(colour(rng, (0.1, 0.8)), colour(rng, (0.1, 0.9), (0.1, 0.6)), "fibres", 160.0, 0, 0.0)
    parts = [
        Part("bristles", bristles, mostly(rng, hair, 0.7, plastic(rng, 0, 0.06))),
        Part("handle", handle, _handle_material(rng)),
        Part("ferrule", collar, mostly(rng, metal(rng, 1), 0.7, plastic(rng, 1, 0.05))),
    ]
    grip = _handle_grip(1.15 * length, thick / 2, thick)
    return centred(parts, {"paint": Use("bristles", grip), "grasp": Use("handle", grip)})


def roller(rng: np.random.Generator) -> ObjectModel:
    """Paint roller: paint (roll), lift (handle); the wire frame is for nothing."""
    width, radius = rng.uniform(0.1, 0.135), rng.uniform(0.024, 0.031)
    length, thick = rng.uniform(0.1, 0.12), rng.uniform(0.03, 0.036)
    reach, side = rng.uniform(0.05, 0.075), rng.choice([-1.0, 1.0])
    axle = side * (width / 2 + 0.012)
    wire = np.array([[0, 0, radius], [0.35 * reach, 0, radius], [0.5 * reach, axle, radius], [reach, axle, radius]])
    wire = np.concatenate([wire, [[reach, 0.4 * axle, radius]]])
    roll = moved(cylinder(radius, -width / 2, width / 2, 22), (reach, 0, radius), _TO_Y)
    cloth = Material(
        colour(rng, (0.0, 0.6), (0.6, 0.97)), colour(rng), "noise", 120.0, 1, 0.0, seed=float(rng.uniform(0, 50))
    )
    parts = [
        Part("roll", roll, mostly(rng, cloth, 0.6, plastic(rng, 1, 0.1))),
        Part("handle", _handle(rng, length, thick, thick * 0.9, radius), _handle_material(rng)),
        Part("frame", sweep(wire, 0.0042, 8), metal(rng)),
    ]
    grip = _handle_grip(length, radius, thick * 0.9)
    return centred(parts, {"paint": Use("roll", grip), "lift": Use("handle", grip)})
