"""``vidaff synth umd``: tools on a table in the layout of UMD, a frame a turn of the tool.

Worked example::

    from vidaff.datasets.synthetic.still_umd import UmdSettings, render_umd

    render_umd("data/umd-synthetic", UmdSettings(pictures_train=1200, pictures_val=300), workers=2)

Frames 1, 4, 7 .. of a tool are called ``manual`` and the others ``automatic``, as the set does, though all labels are
exact alike. Instances are numbered oddly in training and evenly in the test set; unlike the published set, a tool's
frames differ in camera, light and table, not in its turn alone.

Source: Myers et al., ICRA 2015 (layout, affordances and ranks of the set).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vidaff.datasets.synthetic.scene import SPLITS, Camera, draw_surroundings
from vidaff.datasets.synthetic.still_kinds import UMD_KINDS, UMD_NOVEL
from vidaff.datasets.synthetic.still_scene import (
    StillScene,
    StillShot,
    aim,
    at_rest,
    draw_until,
    towards,
    wall_behind,
)
from vidaff.datasets.synthetic.still_set import Sample, StillSettings, render_stills
from vidaff.datasets.taxonomies import UMD, Taxonomy
from vidaff.datasets.umd import CAMERA, GRID, NUM_RANKS, SIDES
from vidaff.io import atomic_path, read_image, write_image, write_text

_INSTANCE, _CATEGORY, _SCENE = 10, 11, 12
_SUFFIXES = ("rgb.jpg", "depth.png", "label.mat", "label_rank.mat")
_ATTEMPTS = 8
_MIN_SHARE = 0.0035
"""Least share of the picture that a tool covers."""
_MAT_HEAD = b"MATLAB 5.0 MAT-file, vidaff"
_MAT_TEXT = 116


class UmdPlan(NamedTuple):
    """What a picture shows: frame ``frame`` (from 1) of instance ``rank`` of a category."""

    seed: int
    split: str
    category: str
    rank: int
    frame: int

    @property
    def tool(self) -> str:
        """``bowl_01``: instances of the two splits take turns in the numbers."""
        return f"{self.category}_{2 * self.rank + 1 + SPLITS.index(self.split):02d}"

    @property
    def stem(self) -> str:
        """What the names of the frame's files begin with."""
        return f"{self.tool}_{self.frame:08d}"

    def rng(self, stream: int, *numbers: int) -> np.random.Generator:
        """Random numbers of one use."""
        kind = list(UMD_KINDS).index(self.category)
        return np.random.default_rng([self.seed, SPLITS.index(self.split), stream, kind, self.rank, *numbers])


@dataclass(frozen=True, kw_only=True)
class UmdSettings(StillSettings):
    """What is rendered of UMD.

    Args:
        frames: frames of each tool.
    """

    dataset: ClassVar[str] = "umd"
    taxonomy: ClassVar[Taxonomy] = UMD
    owned: ClassVar[tuple[str, ...]] = ("tools", "category_split.txt", "novel_split.txt", "tool_categories.txt")

    frames: int = 10

    def limits(self) -> dict[str, tuple[int, int]]:
        return {**super().limits(), "frames": (1, 99_999_999)}

    def plan(self, split: str, index: int) -> UmdPlan:
        """Picture ``index`` of a split. Categories take turns, in an order of every round's own."""
        tool, frame = divmod(index, self.frames)
        rank, place = divmod(tool, len(UMD_KINDS))
        order = np.random.default_rng([self.seed, SPLITS.index(split), _CATEGORY, rank]).permutation(len(UMD_KINDS))
        return UmdPlan(self.seed, split, list(UMD_KINDS)[order[place]], rank, frame + 1)

    def complete(self, out: Path, split: str, index: int) -> bool:
        return all(path.is_file() for path in frame_files(out, self.plan(split, index)))

    def write(self, out: Path, split: str, index: int) -> None:
        plan = self.plan(split, index)
        scene, shot = shoot(plan, self.shape)
        ranks = rank_table(scene, plan.category)[shot.parts]  # (H, W, 7)
        labels = np.where(shot.parts > 0, ranks.argmin(axis=2) + 1, 0).astype(np.uint8)
        rgb, depth, label, rank = frame_files(out, plan)
        write_mat(rank, {"gt_label": ranks})
        write_mat(label, {"gt_label": labels, "gt_type": "manual" if plan.frame % 3 == 1 else "automatic"})
        write_image(depth, shot.depth)
        write_image(rgb, shot.rgb)

    def finish(self, out: Path) -> None:
        sides = {self.plan(*each).tool: SIDES[each[0]] for each in self.indices()}
        kinds = {tool: tool.rpartition("_")[0] for tool in sides}
        novel = {tool: SIDES["val"] if kinds[tool] in UMD_NOVEL else SIDES["train"] for tool in sides}
        numbers = {tool: list(UMD_KINDS).index(kinds[tool]) + 1 for tool in sides}
        for name, table in (("category_split", sides), ("novel_split", novel), ("tool_categories", numbers)):
            lines = [f"{table[tool]} {tool}\n" for tool in sorted(table)]
            write_text(out / f"{name}.txt", "".join(lines))

    def samples(self, out: Path) -> list[Sample]:
        """A picture of every category, of the test set where it has one."""
        from vidaff.datasets.umd import read_labels

        plans = [self.plan(*each) for each in self.indices()]
        chosen = {plan.category: plan for plan in plans}  # the last of its kind
        picked = [chosen[category] for category in UMD_KINDS if category in chosen]
        files = [frame_files(out, plan) for plan in picked]
        return [
            Sample(read_image(rgb), read_labels(label), plan.stem)
            for plan, (rgb, _, label, _) in zip(picked, files, strict=True)
        ]


def render_umd(out: str | Path, settings: UmdSettings | None = None, **options: Any) -> UmdSettings:
    """Render a set in the layout of :class:`vidaff.datasets.umd.Umd` into the folder ``out``.

    Returned are the settings of the set that is then there, which after resuming may be a larger one. ``options`` and
    what is raised: :func:`vidaff.datasets.synthetic.still_set.render_stills`.
    """
    return render_stills(out, UmdSettings() if settings is None else settings, **options)


def frame_files(out: Path, plan: UmdPlan) -> list[Path]:
    """Colour, depth, label and rank file of a frame."""
    return [out / "tools" / plan.tool / f"{plan.stem}_{suffix}" for suffix in _SUFFIXES]


def rank_table(scene: StillScene, category: str) -> np.ndarray:
    """Ranks (P + 1, 7) uint8 by part number; the background has 0."""
    rows = [UMD_KINDS[category].ranks[part] for _, part in scene.numbers()]
    return np.array([(0,) * NUM_RANKS, *rows], np.uint8)


def shoot(plan: UmdPlan, shape: tuple[int, int]) -> tuple[StillScene, StillShot]:
    """Scene and picture of a plan, ``shape`` being (height, width)."""
    parts = UMD_KINDS[plan.category].build(plan.rng(_INSTANCE))

    def draw(attempt: int) -> StillScene:
        rng = plan.rng(_SCENE, plan.frame, attempt)
        item = at_rest(plan.category, parts, rng.uniform(0, 2 * np.pi), np.zeros(2))
        azimuth, height = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(28, 62))
        away = towards(azimuth, height)
        camera = _camera(rng, item.points(), away, shape)
        around = wall_behind(draw_surroundings(rng), [item], azimuth, rng.uniform(0.15, 0.6))
        return StillScene((item,), (), camera, around)

    return draw_until(draw, lambda _, shot: bool((shot.parts > 0).mean() >= _MIN_SHARE), _ATTEMPTS)


def _camera(rng: np.random.Generator, points: np.ndarray, away: np.ndarray, shape: tuple[int, int]) -> Camera:
    """The set's nominal camera at 0.5-1 m, the tool 170-300 of 480 pixels long and near the middle.

    So most of a tool lies in the centre square of 300 pixels that the paper of the video model looks at.
    """
    scale = shape[0] / GRID[0]
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float(np.linalg.norm(high - low))
    length = rng.uniform(170, 300)
    distance = float(np.clip(CAMERA.fx * extent / length, 0.5, 1.0))
    view = aim(rng, (low + high) / 2, away, distance)
    slack = max(20.0, 150 - CAMERA.fx * extent / distance / 2)
    # The principal point is fixed, so the camera is shifted sideways instead.
    view[:2, 3] += rng.uniform(-slack, slack, 2) / CAMERA.fx * distance
    return Camera(view, CAMERA.fx * scale, CAMERA.cx * scale, CAMERA.cy * scale, shape[1], shape[0])


def write_mat(path: Path, variables: dict[str, Any]) -> None:
    """Write a compressed MATLAB 5 file atomically, without the date that SciPy puts into its head."""
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)
    data = _MAT_HEAD.ljust(_MAT_TEXT) + buffer.getvalue()[_MAT_TEXT:]
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
