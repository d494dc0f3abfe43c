"""Low things: phone, keypad with a dial, sponge, book."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic.geometry import Mesh, cylinder, extrude, merged, moved, rounded_rectangle, slab
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.materials import Material, colour, mostly, plastic
from vidaff.datasets.synthetic.objects import ObjectModel, Part, Use, centred

_X = np.array([1.0, 0.0, 0.0])
_Z = np.array([0.0, 0.0, 1.0])


def phone(rng: np.random.Generator) -> ObjectModel:
    """Phone in a thick case with a broad chin: type (screen), push (case)."""
    length, width, height = rng.uniform(0.15, 0.18), rng.uniform(0.078, 0.092), rng.uniform(0.014, 0.022)
    chin, edge = rng.uniform(0.032, 0.045), rng.uniform(0.008, 0.012)
    case = slab((length, width, height), radius=rng.uniform(0.006, 0.018))
    pane = (length - chin - edge, width - 2 * edge, 0.0025)
    middle = (chin - edge) / 2
    screen = slab(pane, (middle, 0, height - 0.0005), 0.004)
    icons = Material(colour(rng, (0.1, 0.8), (0.05, 0.9)), colour(rng), "icons", rng.uniform(45, 75), 2, 0.6, 0.35)
    parts = [
        Part("screen", screen, mostly(rng, icons, 0.75, plastic(rng, 0, 0.1)._replace(shine=0.6))),
        Part("case", case, plastic(rng, 0, 0.1)),
    ]
    top = height + 0.002
    uses = {
        "type": Use("screen", Grip("poke", np.array([middle, 0, top]), None, 0.01, (0.3 * pane[0], 0.25 * pane[1]))),
        "push": Use("case", Grip("side", np.array([0, 0, height / 2]), None, 0.0, (length / 2, width / 2))),
    }
    return centred(parts, uses)


def keypad(rng: np.random.Generator) -> ObjectModel:
    """Small keyboard with a dial: type (keys), rotate (dial); the base is for nothing."""
    columns, rows = int(rng.integers(5, 8)), int(rng.integers(3, 5))
    pitch, height = rng.uniform(0.019, 0.023), rng.uniform(0.012, 0.018)
    radius, tall = rng.uniform(0.027, 0.032), rng.uniform(0.024, 0.034)
    field, depth = columns * pitch, max(rows * pitch, 2 * radius + 0.006)
    length = field + 2 * radius + 0.024
    base = slab((length, depth + 0.014, height), (length / 2, 0, 0), 0.008)
    key = slab((0.84 * pitch, 0.84 * pitch, rng.uniform(0.006, 0.009)), radius=0.002)
    spots = [
        (0.008 + (i + 0.5) * pitch, (j - (rows - 1) / 2) * pitch, height - 0.001)
        for i in range(columns)
        for j in range(rows)
    ]
    keys = merged(*(moved(key, spot) for spot in spots))
    centre = np.array([length - 0.008 - radius, 0.0, height])
    dial = moved(cylinder(radius, 0, tall, 26), centre)
    ribs = Material(colour(rng), colour(rng, (0.0, 0.9), (0.1, 0.95)), "spokes", float(rng.integers(4, 8)), 2, 0.3)
    parts = [
        Part("keys", keys, plastic(rng, 0, 0.1)),
        Part("dial", dial, mostly(rng, ribs, 0.75, plastic(rng, 0, 0.05))),
        Part("base", base, plastic(rng, 0, 0.15)),
    ]
    middle = np.array([0.008 + field / 2, 0, height + 0.008])
    uses = {
        "type": Use("keys", Grip("poke", middle, None, 0.01, (0.32 * field, 0.3 * rows * pitch))),
        "rotate": Use("dial", Grip("pinch", centre + _Z * 0.55 * tall, _Z, radius)),
    }
    return centred(parts, uses)


def sponge(rng: np.random.Generator) -> ObjectModel:
    """Foam with a scouring end: squeeze (foam), push (pad)."""
    foam, pad = rng.uniform(0.075, 0.095), rng.uniform(0.034, 0.05)
    width, height = rng.uniform(0.06, 0.078), rng.uniform(0.036, 0.05)
    soft = slab((foam, width, height), (0, 0, 0), rng.uniform(0.004, 0.02))
    rough = slab(
        (pad, width * rng.uniform(0.9, 1.05), height * rng.uniform(0.9, 1.05)), ((foam + pad) / 2, 0, 0), 0.006
    )
    pores = Material(colour(rng), colour(rng, (0.3, 0.95), (0.2, 0.7)), "dots", rng.uniform(70, 120), 0, 0.0)
    felt = Material(colour(rng), colour(rng, (0.3, 0.95), (0.1, 0.5)), "noise", rng.uniform(120, 220), 0, 0.0)
    parts = [
        Part("foam", soft, mostly(rng, pores, 0.6, plastic(rng, 0, 0.1))),
        Part("pad", rough, mostly(rng, felt, 0.6, plastic(rng, 0, 0.05))),
    ]
    uses = {
        "squeeze": Use(
            "foam", Grip("block", np.array([-0.1 * foam, 0, 0.5 * height]), np.array([0, 1.0, 0]), width / 2)
        ),
        "push": Use("pad", Grip("side", np.array([foam / 2 + pad, 0, height / 2]), -_X, 0.0)),
    }
    return centred(parts, uses)


def book(rng: np.random.Generator) -> ObjectModel:
    """Book with a broad cloth spine: push (cover), grasp (spine); the pages are for nothing."""
    length, width, height = rng.uniform(0.15, 0.19), rng.uniform(0.12, 0.145), rng.uniform(0.022, 0.038)
    band, board = rng.uniform(0.036, 0.05), 0.0035
    pages = slab((length - 0.006, width - 0.01, height - 2 * board), (0, 0, board), 0.001)
    cover = merged(*(_plate(-length / 2 + band, length / 2, width, z, board) for z in (0.0, height - board)))
    spine = merged(
        *(_plate(-length / 2, -length / 2 + band, width, z, board + 0.0005) for z in (0.0, height - board)),
        slab((0.005, width, height), (-length / 2 + 0.001, 0, 0), 0.002),
    )
    paper = Material((0.9, 0.88, 0.8), (0.7, 0.68, 0.6), "stripes", 400.0, 2, 0.0)
    parts = [
        Part("cover", cover, plastic(rng, 1, 0.12)),
        Part("spine", spine, plastic(rng, 1, 0.08)),
        Part("pages", pages, paper),
    ]
    uses = {
        "push": Use("cover", Grip("flat", np.array([band / 2, 0, height]), None, 0.0)),
        "grasp": Use("spine", Grip("edge", np.array([-length / 2, 0, height]), -_X, 0.0)),
    }
    return centred(parts, uses)


def _plate(left: float, right: float, width: float, low: float, thick: float) -> Mesh:
    outline = rounded_rectangle(right - left, width, 0.002, 2) + np.array([(left + right) / 2, 0])
    return extrude(outline, low, low + thick)
