"""One clip: a scene, an action, and the frames that come of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidaff.datasets.synthetic.geometry import affine
from vidaff.datasets.synthetic.grips import UP, Hold, holds
from vidaff.datasets.synthetic.hand import pose_hand
from vidaff.datasets.synthetic.motions import Plot, Pose, Tempo, pose_at
from vidaff.datasets.synthetic.render import Renderer, gather_bodies, part_coverage
from vidaff.datasets.synthetic.scene import ClipPlan, Scene, draw_scene

MIN_SHARE = 0.012
MIN_VISIBLE = 0.35
_ATTEMPTS = 64


@dataclass(frozen=True)
class RenderedClip:
    """rgb (T, H, W, 3) uint8; depth (T, H, W) uint16 mm; parts (T, H, W) uint8, part + 1; flow (T, H, W, 3) int16.

    ``flow`` is the exact scene flow in units of 0.1 mm, on the current frame's pixels, in camera axes (X right, Y down,
    Z away): how each point came from where it was one frame before.
    """

    plan: ClipPlan
    scene: Scene
    attempt: int
    rgb: np.ndarray
    depth: np.ndarray
    parts: np.ndarray
    flow: np.ndarray


def settle_scene(plan: ClipPlan, size: int) -> tuple[Scene, int]:
    """First scene in which every part with a use can be seen well at rest, and the number of the attempt."""
    best_score = -1.0
    for attempt in range(_ATTEMPTS):
        scene = draw_scene(plan, size, attempt)
        score = _visibility(scene)
        if score > best_score:
            best, best_score = (scene, attempt), score
        if score >= 1:
            break
    return best


def _visibility(scene: Scene) -> float:
    """How far the worst part is from the demanded visibility; 1 or more is fine."""
    seen, alone = part_coverage(scene)
    used = [scene.model.part_index(use.part) for use in scene.model.uses.values()]
    shares = seen[used] / MIN_SHARE
    visible = seen[used] / np.maximum(alone[used], 1e-9) / MIN_VISIBLE
    return float(min(shares.min(), visible.min()))


def choose_hold(scene: Scene, options: list[Hold], rng: np.random.Generator) -> Hold:
    """A way to hold on in which the arm comes from a side, neither out of the wall nor right in front of the lens."""
    turn = scene.pose[:3, :3]
    arms = np.abs(_bearing(scene, np.array([turn @ hold.arm for hold in options])))
    centre = np.mean([hold.frame[:3, 3] for hold in options], axis=0)
    hands = np.array([turn @ (hold.frame[:3, 3] - centre) for hold in options])
    hiding = (np.abs(_bearing(scene, hands)) < np.radians(40)) & (np.linalg.norm(hands[:, :2], axis=1) > 0.03)
    cost = np.maximum(np.radians(40) - arms, 0) + 2 * np.maximum(arms - np.radians(105), 0) + 0.15 * hiding
    return options[int(rng.choice(np.flatnonzero(cost <= cost.min() + 1e-3)))]


def _bearing(scene: Scene, directions: np.ndarray) -> np.ndarray:
    """Level angle (N,) in radians between directions (N, 3) and the direction to the camera."""
    angles = np.arctan2(directions[:, 1], directions[:, 0]) - scene.azimuth
    return (angles + np.pi) % (2 * np.pi) - np.pi


class Stage:
    """Places the poses of an action into the world of a scene."""

    def __init__(self, scene: Scene, hold: Hold) -> None:
        self.scene, self.hold = scene, hold
        self.arm = scene.pose[:3, :3] @ hold.arm
        self.parts = len(scene.model.parts)
        level = self.arm * [1, 1, 0] + UP * 0.2
        self.way = level / np.linalg.norm(level)

    def bodies(self, pose: Pose, part: int, retreat: float) -> np.ndarray:
        """World affines (B, 4, 4) of the object's parts and the hand's bones."""
        scene = self.scene
        maps = np.tile(scene.pose @ pose.whole, (self.parts, 1, 1))
        maps[part] = maps[part] @ pose.part
        path = self.way * retreat * pose.away**1.25 + UP * 0.045 * np.sin(np.pi * min(pose.away, 0.5))
        hand = affine(offset=path) @ scene.pose @ pose.hand
        look = scene.subject.hand
        return np.concatenate([maps, pose_hand(hand, pose.fingers, self.arm, look, self.hold.mirror)])

    def retreat(self, pose: Pose, part: int, points: np.ndarray, body: np.ndarray) -> float:
        """Shortest way in metres that takes the whole hand out of the picture in ``pose``."""
        mine = body >= self.parts
        for distance in np.arange(0.3, 2.0, 0.05):
            maps = self.bodies(pose, part, float(distance))[body[mine]]
            world = np.einsum("vij,vj->vi", maps[:, :3, :3], points[mine]) + maps[:, :3, 3]
            if not _in_picture(self.scene, world):
                return float(distance) + 0.02
        return 2.0


def _in_picture(scene: Scene, points: np.ndarray, margin: float = 3.0) -> bool:
    camera = scene.camera
    local = points @ camera.view[:, :3].T + camera.view[:, 3]
    ahead = local[local[:, 2] > 0.01]
    pixel = camera.focal * ahead[:, :2] / ahead[:, 2:] + (camera.cx, camera.cy)
    return bool(((pixel > -margin) & (pixel < camera.size + margin)).all(axis=1).any())


def render_clip(plan: ClipPlan, size: int, frames: int) -> RenderedClip:
    """Render one clip of ``frames`` square pictures of side ``size``."""
    scene, attempt = settle_scene(plan, size)
    rng = plan.motion_rng()
    use = scene.model.uses[plan.action]
    hold = choose_hold(scene, holds(use.grip), rng)
    distance = float(np.linalg.norm(scene.camera.origin - scene.pose[:3, 3]))
    plot = Plot(scene.model, use, hold, Tempo.draw(rng), scene.camera.field * distance)
    part = scene.model.part_index(use.part)
    poses = [pose_at(plot, plan.action, time) for time in np.linspace(0, 1, frames)]
    bodies, stage = gather_bodies(scene), Stage(scene, hold)
    retreat = max(stage.retreat(pose, part, bodies.points, bodies.point_body) for pose in (poses[0], poses[-1]))
    maps = [stage.bodies(pose, part, retreat) for pose in poses]
    renderer = Renderer(scene, bodies)
    shots = [renderer.frame(i, maps[i], maps[max(i - 1, 0)]) for i in range(frames)]
    stacked = [np.stack(arrays) for arrays in zip(*shots, strict=True)]
    return RenderedClip(plan, scene, attempt, *stacked)
