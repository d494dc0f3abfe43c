"""Food without parts that matter: banana and carrot. Every affordance concerns the whole."""

from __future__ import annotations

import colorsys

import numpy as np

from vidaff.datasets.synthetic.agd20k_things import Handling, Thing, thing
from vidaff.datasets.synthetic.geometry import merged, rotation, sweep
from vidaff.datasets.synthetic.grips import Grip
from vidaff.datasets.synthetic.materials import Material
from vidaff.datasets.synthetic.objects import Part

_Y = np.array([0.0, 1.0, 0.0])


def _peel(rng: np.random.Generator, hue: tuple[float, float], pattern: str, scale: float) -> Material:
    base = (rng.uniform(*hue), rng.uniform(0.6, 0.95), rng.uniform(0.6, 0.97))
    darker = colorsys.hsv_to_rgb(base[0], base[1], 0.7 * base[2])
    return Material(colorsys.hsv_to_rgb(*base), darker, pattern, scale, 0, 0.2, 0.0, float(rng.uniform(0, 50)))


def banana(rng: np.random.Generator) -> Thing:
    """Bent, lying on its side."""
    bend, radius, thick = rng.uniform(1.2, 1.9), rng.uniform(0.07, 0.095), rng.uniform(0.017, 0.022)
    angle = np.linspace(-bend / 2, bend / 2, 13)
    path = np.column_stack([radius * np.sin(angle), radius * (1 - np.cos(angle)), 0 * angle + thick])
    width = thick * np.array([0.35, 0.5, 0.75, 0.92, 1, 1, 1, 1, 1, 0.92, 0.75, 0.45, 0.3])
    fruit = Part("fruit", sweep(path, width, 7), _peel(rng, (0.12, 0.17), "noise", 40.0))
    end = Part(
        "stalk",
        sweep(path[:2] + np.array([[-0.018, 0.012, 0], [-0.004, 0, 0]]), 0.3 * thick, 7),
        _peel(rng, (0.1, 0.2), "plain", 9.0),
    )
    return _food([fruit, end], thick, {"cut": "blade", "eat": "face", "peel": ""})


def carrot(rng: np.random.Generator) -> Thing:
    """Cone with a tuft of leaves."""
    length, thick = rng.uniform(0.15, 0.2), rng.uniform(0.019, 0.025)
    along = np.linspace(0, 1, 8)
    path = np.column_stack([length * along, 0.004 * np.sin(5 * along), 0 * along + thick])
    root = Part("root", sweep(path, thick * (1 - 0.8 * along**1.3), 12), _peel(rng, (0.045, 0.085), "stripes", 60.0))
    stems = []
    for turn in rng.uniform(-0.6, 0.6, 5):
        ahead = rotation((0, 0, 1), turn) @ np.array([-1.0, 0, 0])
        start = np.array([0.004, 0, thick])
        stems.append(
            sweep(
                np.stack([start, start + 0.03 * ahead, start + rng.uniform(0.04, 0.06) * ahead]),
                [0.003, 0.004, 0.006],
                6,
            )
        )
    leaves = Part("leaves", merged(*stems), _peel(rng, (0.25, 0.38), "noise", 90.0))
    return _food([root, leaves], thick, {"cut": "blade", "eat": "face", "peel": "", "wash": ""})


def _food(parts: list[Part], thick: float, partners: dict[str, str]) -> Thing:
    vertices = parts[0].mesh.vertices
    middle = vertices.mean(axis=0)
    pinned = Grip("block", np.array([middle[0] - 0.03, middle[1], thick]), _Y, thick)
    bar = Grip("bar", np.array([middle[0] - 0.015, middle[1], thick]), np.array([1.0, 0, 0]), thick)
    postures = {"cut": ("rest", pinned), "eat": ("brush", bar), "peel": ("lift", bar), "wash": ("rise", bar)}
    return thing(
        parts,
        {
            verb: Handling((parts[0].name,), postures[verb][1], postures[verb][0], partner)
            for verb, partner in partners.items()
        },
    )
