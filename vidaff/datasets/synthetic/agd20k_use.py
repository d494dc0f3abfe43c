"""Exocentric pictures: a hand with its forearm that uses a thing, and so hides the part in question."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vidaff.datasets.synthetic.agd20k_plan import PicturePlan
from vidaff.datasets.synthetic.agd20k_postures import Moment, partners, posture
from vidaff.datasets.synthetic.agd20k_scene import (
    HAND,
    PARTNER,
    Piece,
    Setting,
    Still,
    aim,
    draw_setting,
    placed,
    render_still,
    thing_only,
)
from vidaff.datasets.synthetic.clip import choose_hold
from vidaff.datasets.synthetic.geometry import moved
from vidaff.datasets.synthetic.grips import Hold, holds
from vidaff.datasets.synthetic.hand import hand_meshes, pose_hand
from vidaff.datasets.synthetic.scene import Scene

_ATTEMPTS = 12
_MIN_THING, _MIN_HAND = 0.03, 0.03
_ARM_BONES = 2


def render_exo(plan: PicturePlan, size: int) -> Still:
    """The thing in use. Redrawn until thing and hand show on 3 % of the picture each."""
    best_score = -1.0
    for attempt in range(_ATTEMPTS):
        still = _render_once(plan, size, attempt)
        mine = still.parts > 0
        score = min(
            (mine & (still.parts < PARTNER)).mean() / _MIN_THING,
            (still.parts == HAND).mean() / _MIN_HAND,
        )
        if score > best_score:
            best, best_score = still, score
        if score >= 1:
            break
    return thing_only(best)


def _render_once(plan: PicturePlan, size: int, attempt: int) -> Still:
    setting, rng = draw_setting(plan, size, attempt), plan.rng("use", attempt)
    scene, thing = setting.scene, setting.thing
    hold = _choose_hold(setting, plan, rng)
    vertices = [part.mesh.vertices for part in thing.model.parts]
    region = np.concatenate([vertices[k] for k in thing.region(plan.verb)])
    moment = Moment(np.concatenate(vertices), region, thing.handlings[plan.verb], hold, _aside(scene, rng), rng)
    move = posture(moment)
    pose = scene.pose @ move
    hand = _hand(scene, pose, hold)
    pieces = [
        Piece(moved(piece.mesh, scene.pose[:3, 3], scene.pose[:3, :3]), piece.material, piece.label)
        for piece in partners(moment, move, scene.subject.skin)
    ]
    points = np.concatenate([placed(thing, pose), _palm(hand)])
    camera = aim(rng, points, scene.azimuth, rng.uniform(12, 48), (0.5, 0.86), size)
    maps = np.tile(pose, (len(vertices), 1, 1))
    return render_still(replace(scene, camera=camera), maps, pieces + setting.clutter, hand)


def _choose_hold(setting: Setting, plan: PicturePlan, rng: np.random.Generator) -> Hold:
    """A hold that suits the camera; at a front, one whose hand is before it."""
    options = holds(setting.thing.handlings[plan.verb].grip)
    if plan.type.front and plan.verb != "type_on":
        options = [option for option in options if option.frame[1, 2] < -0.5]
    if plan.verb == "type_on":
        options = [option for option in options if option.arm[1] < -0.5]
    return choose_hold(setting.scene, options, rng)


def _aside(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Level direction across the line of sight, left or right, in the thing's resting frame."""
    turn = float(rng.choice([-1.0, 1.0])) * np.pi / 2 + rng.normal(0, 0.3)
    bearing = scene.azimuth + turn
    return scene.pose[:3, :3].T @ np.array([np.cos(bearing), np.sin(bearing), 0.0])


def _hand(scene: Scene, pose: np.ndarray, hold: Hold) -> np.ndarray:
    """World maps (BODIES, 4, 4) of the bones. The forearm turns with the thing, but never comes out of the table."""
    arm = pose[:3, :3] @ hold.arm
    arm[2] = max(arm[2], 0.1)
    return pose_hand(pose @ hold.frame, hold.closed, arm / np.linalg.norm(arm), scene.subject.hand, hold.mirror)


def _palm(hand: np.ndarray) -> np.ndarray:
    """Points of the hand without the arm."""
    bones = zip(hand_meshes()[:-_ARM_BONES], hand[:-_ARM_BONES], strict=True)
    return np.concatenate([mesh.vertices @ bone[:3, :3].T + bone[:3, 3] for mesh, bone in bones])
