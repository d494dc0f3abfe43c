"""Things with a handle: knife, scissors, fork, hammer, axe, toothbrush, racket, golf club. Head towards +x, lying."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic import shapes_tools
from vidaff.datasets.synthetic.agd20k_things import Handling, Thing, thing
from vidaff.datasets.synthetic.geometry import (
    Mesh,
    cylinder,
    ellipsoid,
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
from vidaff.datasets.synthetic.objects import ObjectModel, Part

_X = np.array([1.0, 0.0, 0.0])
_TO_X = rotation((0, 1, 0), np.pi / 2)
_TO_Y = rotation((1, 0, 0), np.pi / 2)


def _bar(middle: float, height: float, thick: float) -> Grip:
    """Hand around a lying handle, ``middle`` metres along x, at ``height`` above the table."""
    return Grip("bar", np.array([middle, 0.0, height]), _X, min(thick / 2, 0.022))


def _over(middle: float, top: float) -> Grip:
    """Flat hand on a lying head."""
    return Grip("flat", np.array([middle, 0.0, top]), None, 0.0)


def _rod(length: float, width: float, flat: float, height: float, rng: np.random.Generator) -> Mesh:
    """Handle from x = -length to 0, a little fatter in places."""
    along = np.linspace(-length, 0, 7)
    bulge = 1 + rng.uniform(0, 0.16) * np.cos(np.linspace(0, rng.uniform(0.8, 2.0) * 2 * np.pi, 7))
    path = np.column_stack([along, 0 * along, 0 * along + height])
    return sweep(path, width / 2 * bulge / bulge.max(), 12, flat=flat)


def _handle_material(rng: np.random.Generator) -> Material:
    return mostly(rng, wood(rng), 0.35, plastic(rng, 0, 0.08))


def _reused(model: ObjectModel, action: str, held: dict[str, tuple[str, str, str]]) -> dict[str, Handling]:
    """Affordances of a tool of the clips: ``held`` maps each to (part, posture, partner); the grip is ``action``'s."""
    grip = model.uses[action].grip
    return {verb: Handling((part,), grip, *rest) for verb, (part, *rest) in held.items()}


def knife(rng: np.random.Generator) -> Thing:
    """Pointed or broad blade with a handle."""
    build = shapes_tools.knife if rng.random() < 0.75 else shapes_tools.cleaver
    model = build(rng)
    held = {
        "cut_with": ("blade", "edge", "food"),
        "hold": ("handle", "hover", ""),
        "stick": ("blade", "point", "food"),
    }
    blade = model.parts[model.part_index("blade")].mesh.vertices
    wash = _over(float(blade[:, 0].mean()), float(blade[:, 2].max()))
    return Thing(model, {**_reused(model, "cut", held), "wash": Handling(("blade",), wash, "rest")})


def hammer(rng: np.random.Generator) -> Thing:
    """Hammer or mallet."""
    build = shapes_tools.hammer if rng.random() < 0.65 else shapes_tools.mallet
    model = build(rng)
    held = {"hit": ("handle", "strike", ""), "hold": ("handle", "hover", "")}
    return Thing(model, _reused(model, "hammer", held))


def axe(rng: np.random.Generator) -> Thing:
    """Wedge across the end of a long handle."""
    length, width = rng.uniform(0.24, 0.32), rng.uniform(0.028, 0.036)
    reach, edge, neck = rng.uniform(0.075, 0.105), rng.uniform(0.075, 0.11), rng.uniform(0.036, 0.048)
    middle, thick = width * 0.45, rng.uniform(0.012, 0.02)
    back = rng.uniform(0.012, 0.03)
    bow = np.linspace(-1, 1, 6)
    front = np.column_stack([edge / 2 * bow, -reach - 0.016 * (1 - bow**2)])
    outline = np.concatenate([front, [[neck / 2, -0.01], [neck / 2, back], [-neck / 2, back], [-neck / 2, -0.01]]])
    outline = outline + np.array([-neck / 2, 0.0])
    if rng.random() < 0.5:
        outline = (outline * [1, -1])[::-1]
    head = extrude(outline, middle - thick / 2, middle + thick / 2)
    hold = _bar(-0.62 * length, middle, width * 0.9)
    parts = [
        Part("head", head, mostly(rng, metal(rng, 1), 0.65, plastic(rng, 1, 0.08))),
        Part("handle", moved(_rod(length, width, 0.8, middle, rng), (0.01, 0, 0)), _handle_material(rng)),
    ]
    return thing(parts, {"hit": Handling(("handle",), hold, "strike"), "hold": Handling(("handle",), hold)})


def scissors(rng: np.random.Generator) -> Thing:
    """Two blades, a little open, with a ring behind each."""
    length, width, gap = rng.uniform(0.1, 0.135), rng.uniform(0.018, 0.026), np.radians(rng.uniform(4, 17))
    ring, thick = rng.uniform(0.024, 0.031), rng.uniform(0.0068, 0.0088)
    shank, flat = rng.uniform(0.04, 0.06), 0.006
    blades, rings = [], []
    for side in (1.0, -1.0):
        outline = np.array(
            [[-0.008, -0.5 * width], [length, -0.12 * width], [0.7 * length, 0.5 * width], [-0.008, 0.5 * width]]
        )
        if side < 0:
            outline = (outline * [1, -1])[::-1]
        blade = extrude(outline, 0.004 + 0.5 * flat * (side > 0), 0.004 + 0.5 * flat * (1 + (side > 0)))
        turn = np.linspace(0, 2 * np.pi, 15)
        loop = np.column_stack([ring * 1.25 * np.cos(turn), ring * np.sin(turn), 0 * turn + thick])
        loop = loop + np.array([-shank - 1.2 * ring, -side * (ring + 0.004), 0.0])
        stem = np.array([[-0.002, 0, thick], [-0.6 * shank, -side * 0.5 * ring, thick], [-shank, -side * ring, thick]])
        spin = rotation((0, 0, 1), side * gap / 2)
        blades.append(moved(blade, rotation=spin))
        rings += [moved(sweep(loop, thick, 8), rotation=spin), moved(sweep(stem, thick, 8), rotation=spin)]
    hold = _bar(-shank - 1.1 * ring, thick, 0.03)
    parts = [
        Part("blade", merged(*blades), mostly(rng, metal(rng), 0.65, plastic(rng, 0, 0.08))),
        Part("handle", merged(*rings), plastic(rng, 0, 0.05)),
    ]
    cutting = Handling(("blade",), hold, "edge", "food")
    return thing(parts, {"cut_with": cutting, "hold": Handling(("handle",), hold)})


def fork(rng: np.random.Generator) -> Thing:
    """Three to five tines on a palm, with a broad handle."""
    count, pitch = int(rng.integers(3, 6)), rng.uniform(0.0105, 0.0135)
    length, palm, tine = rng.uniform(0.1, 0.13), rng.uniform(0.028, 0.042), rng.uniform(0.045, 0.062)
    width, height = rng.uniform(0.02, 0.028), rng.uniform(0.011, 0.016)
    spread = (count - 1) * pitch
    plate = extrude(rounded_rectangle(palm, spread + 0.009, 0.008) + np.array([palm / 2, 0.0]), 0.006, 0.012)
    prongs = [
        sweep(np.array([[palm - 0.004, y, 0.009], [palm + 0.7 * tine, y, 0.006], [palm + tine, y, 0.008]]), 0.0036, 8)
        for y in np.linspace(-spread / 2, spread / 2, count)
    ]
    shine = mostly(rng, metal(rng), 0.6, plastic(rng, 0, 0.08))
    hold, middle = _bar(-0.5 * length, 0.6 * height, height), palm + 0.5 * tine
    parts = [
        Part("tines", merged(plate, *prongs), shine),
        Part(
            "handle",
            _rod(length, width, height / width, 0.6 * height, rng),
            mostly(rng, shine, 0.3, _handle_material(rng)),
        ),
    ]
    handlings = {
        "hold": Handling(("handle",), hold),
        "lift": Handling(("handle",), hold, "lift"),
        "stick": Handling(("tines",), hold, "point", "food"),
        "wash": Handling(("tines",), _over(middle - 0.02, 0.012), "rest"),
    }
    return thing(parts, handlings)


def toothbrush(rng: np.random.Generator) -> Thing:
    """Oversized brush: tuft on a head, neck, handle."""
    length, width = rng.uniform(0.1, 0.13), rng.uniform(0.02, 0.026)
    head, broad = rng.uniform(0.045, 0.06), rng.uniform(0.022, 0.03)
    neck, height = rng.uniform(0.02, 0.035), rng.uniform(0.014, 0.02)
    tuft = rng.uniform(0.014, 0.022)
    plate = extrude(rounded_rectangle(head, broad, 0.01) + np.array([neck + head / 2, 0.0]), 0.002, 0.01)
    hair = extrude(
        rounded_rectangle(0.86 * head, 0.82 * broad, 0.006) + np.array([neck + head / 2, 0.0]), 0.009, 0.009 + tuft
    )
    link = sweep(np.array([[-0.01, 0, 0.5 * height], [0.6 * neck, 0, 0.008], [neck + 0.006, 0, 0.006]]), 0.0055, 8)
    skin = plastic(rng, 0, 0.1)
    pattern = str(rng.choice(["fibres", "stripes", "plain"]))
    bristle = Material(colour(rng, (0.0, 0.7), (0.5, 0.97)), colour(rng), pattern, 90.0, 0, 0.0)
    parts = [
        Part("head", merged(plate, hair), bristle),
        Part("handle", _rod(length, width, height / width, 0.5 * height, rng), skin),
        Part("neck", link, skin),
    ]
    hold, middle = _bar(-0.5 * length, 0.5 * height, height), neck + head / 2
    handlings = {
        "brush_with": Handling(("head",), hold, "brush", "face"),
        "hold": Handling(("handle",), hold),
        "wash": Handling(("head",), _over(middle, 0.009 + tuft), "rest"),
    }
    return thing(parts, handlings)


def tennis_racket(rng: np.random.Generator) -> Thing:
    """Strung oval on a handle, at two thirds of its true length."""
    length, width = rng.uniform(0.16, 0.21), rng.uniform(0.031, 0.038)
    long, broad, bar = rng.uniform(0.1, 0.125), rng.uniform(0.08, 0.1), rng.uniform(0.0075, 0.0105)
    throat, z = rng.uniform(0.045, 0.075), 0.5 * width
    turn = np.linspace(-np.pi, np.pi, 26)
    centre = throat + long
    rim = np.column_stack([centre + long * np.cos(turn), broad * np.sin(turn), 0 * turn + z])
    struts = [
        np.array(
            [
                [-0.01, side * 0.006, z],
                [throat * 0.6, side * 0.3 * broad, z],
                [throat + 0.2 * long, side * 0.62 * broad, z],
            ]
        )
        for side in (1.0, -1.0)
    ]
    pitch = rng.uniform(0.014, 0.02)
    strings = [
        _string(centre, long, broad, z, place, along)
        for along in (True, False)
        for place in _places(long, broad, pitch, along)
    ]
    frame = plastic(rng, 0, 0.12)
    parts = [
        Part("handle", _rod(length, width, 0.9, z, rng), _handle_material(rng)),
        Part("frame", merged(sweep(rim, bar, 8), *(sweep(strut, bar * 0.9, 8) for strut in struts)), frame),
        Part("strings", merged(*strings), plastic(rng, 0, 0.1)._replace(pattern="plain")),
    ]
    hold = _bar(-0.55 * length, z, width)
    verbs = {"hit": "strike", "hold": "hover", "swing": "swing"}
    return thing(parts, {verb: Handling(("handle",), hold, posture) for verb, posture in verbs.items()})


def _places(long: float, broad: float, pitch: float, along: bool) -> np.ndarray:
    half = (broad if along else long) - 0.6 * pitch
    return np.arange(-half, half, pitch) + 0.5 * pitch


def _string(centre: float, long: float, broad: float, z: float, place: float, along: bool) -> Mesh:
    """One string of the oval, along x or across it."""
    across = broad if along else long
    half = (long if along else broad) * np.sqrt(max(1 - (place / across) ** 2, 0.02))
    ends = [[centre - half, place, z], [centre + half, place, z]]
    if not along:
        ends = [[centre + place, -half, z], [centre + place, half, z]]
    return sweep(np.array(ends), 0.0014, 4)


def golf_club(rng: np.random.Generator) -> Thing:
    """Grip, thin shaft and a head aslant, at half of its true length."""
    length, width = rng.uniform(0.14, 0.18), rng.uniform(0.027, 0.033)
    shaft, thin, z = rng.uniform(0.16, 0.23), rng.uniform(0.0055, 0.0075), 0.5 * width
    rod = moved(cylinder(thin, 0.0, shaft, 12), (-0.004, 0, z), _TO_X)
    side = float(rng.choice([-1.0, 1.0]))
    if rng.random() < 0.5:
        head = moved(ellipsoid((0.034, 0.048, 0.022), 18), (shaft + 0.006, side * 0.03, 0.022))
    else:
        plate = superquadric((0.02, rng.uniform(0.085, 0.11), 0.045), 0.35, 16)
        head = moved(plate, (shaft + 0.004, side * 0.036, 0.023), rotation((0, 1, 0), rng.uniform(-0.6, 0.2)))
    parts = [
        Part("handle", _rod(length, width, 1.0, z, rng), mostly(rng, plastic(rng, 0, 0.06), 0.8, wood(rng))),
        Part("shaft", rod, mostly(rng, metal(rng), 0.7, plastic(rng, 0, 0.1))),
        Part("head", head, mostly(rng, metal(rng, 1), 0.5, plastic(rng, 1, 0.08))),
    ]
    hold = _bar(-0.5 * length, z, width)
    return thing(parts, {"hold": Handling(("handle",), hold), "swing": Handling(("handle",), hold, "swing")})
