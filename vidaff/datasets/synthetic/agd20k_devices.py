"""Devices: keyboard, laptop, cell phone, camera, refrigerator, microwave. The latter two are a doll's house's."""

from __future__ import annotations

import numpy as np

from vidaff.datasets.synthetic import shapes_flat
from vidaff.datasets.synthetic.agd20k_things import Handling, Thing, thing
from vidaff.datasets.synthetic.geometry import Mesh, cylinder, merged, moved, rotation, slab, superquadric, sweep
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.materials import Material, colour, metal, mostly, plastic
from vidaff.datasets.synthetic.objects import Part

_Y = np.array([0.0, 1.0, 0.0])
_Z = np.array([0.0, 0.0, 1.0])


def _keys(columns: int, rows: int, pitch: float, low: float, tall: float) -> Mesh:
    """Field of keys around the origin."""
    key = slab((0.82 * pitch, 0.82 * pitch, tall), radius=0.002)
    spots = [
        ((i - (columns - 1) / 2) * pitch, (j - (rows - 1) / 2) * pitch, low)
        for i in range(columns)
        for j in range(rows)
    ]
    return merged(*(moved(key, spot) for spot in spots))


def _type_on(columns: int, rows: int, pitch: float, top: float) -> Handling:
    return Handling(
        ("keys",),
        Grip("poke", np.array([0.0, 0, top]), None, 0.01, (0.3 * columns * pitch, 0.3 * rows * pitch)),
        "rest",
    )


def keyboard(rng: np.random.Generator) -> Thing:
    """Keys on a board with a broad edge and a rest for the wrists."""
    columns, rows, pitch = int(rng.integers(9, 13)), int(rng.integers(4, 6)), rng.uniform(0.018, 0.022)
    edge, rest, height = rng.uniform(0.012, 0.025), rng.uniform(0.02, 0.06), rng.uniform(0.012, 0.018)
    size = (columns * pitch + 2 * edge, rows * pitch + edge + rest, height)
    board = slab(size, (0, (edge - rest) / 2, 0), 0.012)
    tall = rng.uniform(0.006, 0.009)
    parts = [
        Part("keys", _keys(columns, rows, pitch, height - 0.001, tall), plastic(rng, 0, 0.1)),
        Part("board", board, plastic(rng, 0, 0.2)),
    ]
    return thing(parts, {"type_on": _type_on(columns, rows, pitch, height + tall)})


def laptop(rng: np.random.Generator) -> Thing:
    """Keys on a base, with a screen standing behind."""
    columns, rows, pitch = int(rng.integers(8, 11)), int(rng.integers(4, 6)), rng.uniform(0.016, 0.019)
    height, edge, rest = rng.uniform(0.01, 0.014), rng.uniform(0.012, 0.02), rng.uniform(0.035, 0.055)
    width, depth = columns * pitch + 2 * edge, rows * pitch + edge + rest
    back = (depth + edge - rest) / 2
    base = slab((width, depth, height), (0, (edge - rest) / 2, 0), 0.008)
    tall, lean = rng.uniform(0.1, 0.135), np.radians(rng.uniform(8, 32))
    hinge = rotation((1, 0, 0), -lean)
    lid = moved(slab((width, 0.008, tall), (0, 0, 0), 0.003), (0, back, height - 0.002), hinge)
    pane = moved(slab((width - 0.018, 0.004, tall - 0.02), (0, -0.004, 0.01), 0.001), (0, back, height - 0.002), hinge)
    shell, glow = plastic(rng, 0, 0.2), rng.uniform(0.1, 0.4)
    picture = Material(colour(rng, (0.1, 0.8), (0.05, 0.9)), colour(rng), "icons", rng.uniform(25, 60), 1, 0.6, glow)
    parts = [
        Part("keys", _keys(columns, rows, pitch, height - 0.001, 0.004), plastic(rng, 0, 0.1)),
        Part("screen", pane, picture),
        Part("base", merged(base, lid), shell),
    ]
    return thing(parts, {"type_on": _type_on(columns, rows, pitch, height + 0.004)})


def cell_phone(rng: np.random.Generator) -> Thing:
    """Screen in a thick case, lying."""
    model = shapes_flat.phone(rng)
    vertices = np.concatenate([part.mesh.vertices for part in model.parts])
    width, height = float(np.ptp(vertices[:, 1])), float(vertices[:, 2].max())
    grip = Grip("block", np.array([-0.02, 0, 0.5 * height]), _Y, width / 2)
    poke = model.uses["type"].grip
    # On its back the phone is held by its edges: upright for a photo, at the cheek for a talk.
    handlings = {
        "take_photo": Handling(("screen", "case"), grip, "show"),
        "talk_on": Handling(("screen",), grip, "talk", "face"),
        "text_on": Handling(("screen",), poke, "rest"),
    }
    return thing(list(model.parts), handlings)


def camera(rng: np.random.Generator) -> Thing:
    """Body with a lens in front and a bulging grip at one end; its front is towards -y."""
    width, depth, height = rng.uniform(0.1, 0.13), rng.uniform(0.036, 0.048), rng.uniform(0.066, 0.085)
    lens, long = rng.uniform(0.026, 0.034), rng.uniform(0.03, 0.07)
    bulge = rng.uniform(0.02, 0.026)
    body = slab((width, depth, height), (0, 0, 0), 0.008)
    hump = slab((0.042, depth * 0.8, 0.018), (-0.005, 0, height - 0.001), 0.006)
    turn = rotation((1, 0, 0), np.pi / 2)
    tube = moved(cylinder(lens, 0.0, long, 24), (-0.012, -depth / 2 + 0.004, 0.5 * height), turn)
    eye = moved(cylinder(lens * 0.8, 0.0, 0.004, 20), (-0.012, -depth / 2 - long + 0.003, 0.5 * height), turn)
    side = width / 2 + 0.3 * bulge
    hold = moved(
        superquadric((2 * bulge, depth + 1.5 * bulge, height * 0.98), 0.45, 18), (side, -0.35 * bulge, height * 0.49)
    )
    shell = mostly(
        rng, Material(colour(rng, (0.0, 0.2), (0.08, 0.35)), (0.1, 0.1, 0.1), "noise", 90.0), 0.5, plastic(rng, 0, 0.1)
    )
    glass = Material(colour(rng, (0.2, 0.8), (0.05, 0.3)), (0.05, 0.05, 0.08), "plain", 10.0, 0, 0.9)
    parts = [
        Part("grip", hold, mostly(rng, shell, 0.3, plastic(rng, 2, 0.05))),
        Part("lens", tube, mostly(rng, metal(rng, 1), 0.3, plastic(rng, 1, 0.06))),
        Part("body", merged(body, hump), shell),
        Part("glass", eye, glass),
    ]
    around = Grip("cylinder", np.array([side + 0.2 * bulge, -0.01, 0.5 * height]), _Z, bulge)
    return thing(parts, {"take_photo": Handling(("grip",), around, "raise")})


def _handle(x: float, y: float, low: float, high: float, thick: float) -> Mesh:
    """Upright bow in front of a door."""
    out = y - 0.026
    path = np.array([[x, y + 0.004, low], [x, out, low + 0.012], [x, out, high - 0.012], [x, y + 0.004, high]])
    return sweep(path, thick, 10)


def _opened(x: float, y: float, height: float, thick: float) -> Handling:
    return Handling(("handle",), Grip("cylinder", np.array([x, y - 0.026, height]), _Z, thick), "rest")


def refrigerator(rng: np.random.Generator) -> Thing:
    """Tall box with one or two doors; the handle is on the large one. Front towards -y."""
    width, depth, height = rng.uniform(0.13, 0.18), rng.uniform(0.11, 0.15), rng.uniform(0.26, 0.34)
    split, side, thick = rng.uniform(0.6, 0.72) * height, float(rng.choice([-1.0, 1.0])), rng.uniform(0.0095, 0.0125)
    front, door = -depth / 2 - 0.01, 0.012
    shell = mostly(rng, metal(rng, 2), 0.3, plastic(rng, 2, 0.3))
    x, long = side * (width / 2 - 0.02), rng.uniform(0.085, 0.115)
    middle = max(0.6 * split, 0.07)
    panels = merged(
        slab((width - 0.004, door, split - 0.014), (0, front + 0.004, 0.01), 0.003),
        slab((width - 0.004, door, height - split - 0.01), (0, front + 0.004, split + 0.004), 0.003),
    )
    parts = [
        Part(
            "handle",
            _handle(x, front, middle - long / 2, middle + long / 2, thick),
            mostly(rng, metal(rng, 2), 0.5, plastic(rng, 2, 0.05)),
        ),
        Part("door", panels, mostly(rng, shell, 0.7, plastic(rng, 2, 0.2))),
        Part("box", slab((width, depth, height), (0, 0, 0), 0.006), shell),
    ]
    return thing(parts, {"open": _opened(x, front, middle, thick)})


def microwave(rng: np.random.Generator) -> Thing:
    """Low box with a window, knobs and an upright handle. Front towards -y."""
    width, depth, height = rng.uniform(0.21, 0.27), rng.uniform(0.12, 0.16), rng.uniform(0.13, 0.16)
    panel, side, thick = rng.uniform(0.045, 0.06), float(rng.choice([-1.0, 1.0])), rng.uniform(0.0085, 0.0115)
    front = -depth / 2
    shell = plastic(rng, 2, 0.3)
    pane = slab(
        (width - panel - 0.07, 0.006, height - 0.05), (-side * (panel / 2 + 0.016), front - 0.002, 0.025), 0.002
    )
    turn = rotation((1, 0, 0), np.pi / 2)
    knobs = [
        moved(cylinder(0.013, 0, 0.016, 18), (side * (width - panel) / 2, front + 0.002, z * height), turn)
        for z in (0.35, 0.7)
    ]
    x, half = side * (width / 2 - panel - 0.012), 0.36 * height
    dark = Material(colour(rng, (0.0, 0.4), (0.04, 0.25)), colour(rng, (0, 0.3), (0.1, 0.4)), "dots", 90.0, 1, 0.7)
    parts = [
        Part(
            "handle",
            _handle(x, front, 0.5 * height - half, 0.5 * height + half, thick),
            mostly(rng, metal(rng, 2), 0.5, plastic(rng, 2, 0.05)),
        ),
        Part("window", pane, mostly(rng, dark, 0.7, plastic(rng, 0, 0.1))),
        Part("knobs", merged(*knobs), plastic(rng, 1, 0.03)),
        Part("box", slab((width, depth, height), (0, 0, 0), 0.006), shell),
    ]
    return thing(parts, {"open": _opened(x, front, 0.5 * height, thick)})
