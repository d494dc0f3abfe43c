"""A thing at rest on a table before a camera, alone, with odds and ends around it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vidaff.datasets.synthetic.agd20k_plan import PicturePlan
from vidaff.datasets.synthetic.agd20k_things import Thing
from vidaff.datasets.synthetic.geometry import Mesh, affine, cylinder, ellipsoid, moved, rotation, slab, superquadric
from vidaff.datasets.synthetic.grips import UP
from vidaff.datasets.synthetic.materials import Material, plastic
from vidaff.datasets.synthetic.render import Renderer, part_coverage, stack_bodies
from vidaff.datasets.synthetic.scene import Camera, Scene, draw_subject, draw_surroundings, look_along

CLUTTER, HAND, PARTNER = 254, 253, 252
"""Labels of what is neither background (0) nor part k of the thing (k + 1)."""
MIN_SHARE, MIN_VISIBLE = 0.012, 0.35
_ATTEMPTS = 40
_SUBJECTS = 40
_MAX_CLUTTER = 3


class Piece(NamedTuple):
    """Something in the picture besides the thing and the hand: mesh in the world, material and label."""

    mesh: Mesh
    material: Material
    label: int


class Still(NamedTuple):
    """One picture: rgb (H, W, 3) uint8 and parts (H, W) uint8: part + 1 of the thing, 0 all else."""

    rgb: np.ndarray
    parts: np.ndarray


class Setting(NamedTuple):
    """A drawn scene with its thing and what lies around it."""

    scene: Scene
    thing: Thing
    clutter: list[Piece]


def draw_setting(plan: PicturePlan, size: int, attempt: int) -> Setting:
    """Scene of a picture; ``attempt`` redraws pose and camera, and every 8th the shape, too."""
    thing = plan.type.build(plan.instance_rng(attempt // 8))
    rng = plan.rng("scene", attempt)
    azimuth = np.radians(-90 + rng.uniform(-48, 48))
    # A thing with a front (towards its -y) turns it to the camera.
    yaw = azimuth + np.pi / 2 + np.radians(rng.uniform(-50, 50)) if plan.type.front else rng.uniform(0, 2 * np.pi)
    pose = affine(rotation(UP, yaw), (*rng.uniform(-0.02, 0.02, 2), 0.0))
    subject = draw_subject(plan.seed, "train", int(rng.integers(1, _SUBJECTS + 1)))
    around = draw_surroundings(rng)
    wall = around.wall.copy()
    wall[2] -= rng.uniform(0.0, 0.6)
    points = placed(thing, pose)
    camera = aim(rng, points, azimuth, rng.uniform(*((10, 42) if plan.type.front else (24, 70))), (0.5, 0.86), size)
    scene = Scene(thing.model, pose, camera, float(azimuth), around._replace(wall=wall), subject)
    return Setting(scene, thing, _draw_clutter(rng, points, azimuth))


def placed(thing: Thing, pose: np.ndarray) -> np.ndarray:
    """Points (N, 3) of the whole thing in the world."""
    points = np.concatenate([part.mesh.vertices for part in thing.model.parts])
    return points @ pose[:3, :3].T + pose[:3, 3]


def aim(
    rng: np.random.Generator, points: np.ndarray, azimuth: float, height: float, fill: tuple[float, float], size: int
) -> Camera:
    """Camera ``height`` degrees above the points (N, 3), which span a share within ``fill`` of the picture."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    up = np.radians(height)
    away = np.array([np.cos(azimuth) * np.cos(up), np.sin(azimuth) * np.cos(up), np.sin(up)])
    eye = centre + (0.12 + rng.uniform(2.0, 3.4) * radius) * away
    view = look_along(-away, eye, rng.normal(0, np.radians(5)))
    local = points @ view[:, :3].T + view[:, 3]
    flat = local[:, :2] / local[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = float(rng.uniform(*fill) / (high - low).max())
    slack = np.maximum(1 - focal * (high - low), 0)
    middle = 0.5 + rng.uniform(-0.42, 0.42, 2) * slack - focal * (low + high) / 2
    cx, cy = (middle * size - 0.5).tolist()
    return Camera(view, focal * size, cx, cy, size)


def _draw_clutter(rng: np.random.Generator, points: np.ndarray, azimuth: float) -> list[Piece]:
    """Up to three plain solids behind the thing or beside it, so that they never hide it."""
    reach = float(np.linalg.norm(points[:, :2], axis=1).max())
    found = []
    for _ in range(int(rng.integers(0, _MAX_CLUTTER + 1))):
        half = float(np.clip(reach * rng.uniform(0.15, 0.5), 0.015, 0.09))
        bearing = azimuth + np.radians(rng.uniform(85, 275))
        far = reach + half * 1.5 + rng.uniform(0.01, 0.12)
        spot = (far * np.cos(bearing), far * np.sin(bearing), 0.0)
        mesh = moved(_solid(rng, half), spot, rotation(UP, rng.uniform(0, 2 * np.pi)))
        found.append(Piece(mesh, plastic(rng, int(rng.integers(0, 3)), 2 * half), CLUTTER))
    return found


def _solid(rng: np.random.Generator, half: float) -> Mesh:
    """A lying rod, a box, a can or a ball on the table."""
    kind, tall = int(rng.integers(0, 4)), half * rng.uniform(0.5, 2.0)
    if kind == 0:
        rod = superquadric((2.4 * half, 0.5 * half, 0.5 * half), 0.5, 14)
        return moved(rod, (0, 0, 0.25 * half))
    if kind == 1:
        return slab((2 * half, half * rng.uniform(0.8, 2.0), tall), radius=0.1 * half)
    if kind == 2:
        return cylinder(0.8 * half, 0.0, tall, 18)
    return moved(ellipsoid((half, half, 0.8 * half), 16), (0, 0, 0.8 * half))


def render_still(scene: Scene, part_maps: np.ndarray, pieces: list[Piece], hand_maps: np.ndarray | None) -> Still:
    """Render the thing with its parts at ``part_maps`` (P, 4, 4), pieces, and perhaps a hand (bones' maps)."""
    from vidaff.datasets.synthetic.hand import hand_meshes

    model, subject = scene.model, scene.subject
    meshes = [part.mesh for part in model.parts] + [piece.mesh for piece in pieces]
    materials = [part.material for part in model.parts] + [piece.material for piece in pieces]
    labels = [*range(1, len(model.parts) + 1), *(piece.label for piece in pieces)]
    maps = [part_maps, np.tile(np.eye(4), (len(pieces), 1, 1))]
    if hand_maps is not None:
        bones = hand_meshes()
        meshes += bones
        materials += [*[subject.skin] * (len(bones) - 1), subject.sleeve]
        labels += [HAND] * len(bones)
        maps.append(hand_maps)
    where = np.concatenate(maps)
    frame = Renderer(scene, stack_bodies(meshes, materials, labels)).frame(0, where, where)
    return Still(frame.rgb, frame.parts)


def render_ego(plan: PicturePlan, size: int) -> Still:
    """The thing alone and at rest, so that what its affordance concerns can be seen well.

    The first of 40 draws that shows at least :data:`MIN_VISIBLE` of it, on :data:`MIN_SHARE` of the picture; else the
    best of them.
    """
    best_score = -1.0
    for attempt in range(_ATTEMPTS):
        setting = draw_setting(plan, size, attempt)
        score = _visibility(setting, plan.verb)
        if score > best_score:
            best, best_score = setting, score
        if score >= 1:
            break
    maps = np.tile(best.scene.pose, (len(best.thing.model.parts), 1, 1))
    return thing_only(render_still(best.scene, maps, best.clutter, None))


def _visibility(setting: Setting, verb: str) -> float:
    seen, alone = part_coverage(setting.scene)
    region = setting.thing.region(verb)
    share = float(seen[region].sum())
    return min(share / MIN_SHARE, share / max(float(alone[region].sum()), 1e-9) / MIN_VISIBLE)


def thing_only(still: Still) -> Still:
    """The same with the labels of hand, partner and clutter set to 0."""
    return still._replace(parts=np.where(still.parts >= PARTNER, 0, still.parts).astype(np.uint8))
