"""``vidaff synth iit-aff``: tables with one or several objects and some clutter, in the layout of IIT-AFF.

Worked example::

    from vidaff.datasets.synthetic.still_iit_aff import IitAffSettings, render_iit_aff

    render_iit_aff("data/iit-synthetic", IitAffSettings(pictures_train=1200, pictures_val=300), workers=2)

Training pictures, those of ``val.txt`` (every eighth training picture) and those of the test set show objects of
three pools of instances that share none.

Source: Nguyen et al., IROS 2017 (layout, objects and affordances of the set).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vidaff.datasets.iit_voc import Box
from vidaff.datasets.synthetic.geometry import ellipsoid, lathe, rotation, slab
from vidaff.datasets.synthetic.grips import UP
from vidaff.datasets.synthetic.materials import plastic
from vidaff.datasets.synthetic.objects import Part
from vidaff.datasets.synthetic.scene import SPLITS, Camera, draw_surroundings
from vidaff.datasets.synthetic.still_kinds import IIT_KINDS
from vidaff.datasets.synthetic.still_scene import (
    Placed,
    StillScene,
    StillShot,
    aim,
    at_rest,
    draw_until,
    towards,
    wall_behind,
)
from vidaff.datasets.synthetic.still_set import Sample, StillSettings, render_stills
from vidaff.datasets.synthetic.still_shapes import settled
from vidaff.datasets.taxonomies import IIT_AFF, Taxonomy
from vidaff.io import read_image, write_image, write_text

INSTANCES = {"train": 400, "val": 200, "holdout": 100}
"""Instances of each kind of object in a pool."""
HOLDOUT_EVERY = 8
"""Of so many training pictures, the last is in ``val.txt``, too."""
MAX_OBJECTS = 8
_POOLS = tuple(INSTANCES)
_INSTANCE, _SCENE = 20, 21
_ATTEMPTS, _PLACES = 8, 40
_MIN_SHARE = 0.0012
"""Least share of the picture that each object covers."""


class IitPlan(NamedTuple):
    """What a picture shows: objects of the instances of ``pool``, at most ``objects``."""

    seed: int
    split: str
    number: int
    objects: int

    @property
    def pool(self) -> str:
        """Whose instances are shown."""
        held = self.split == "train" and self.number % HOLDOUT_EVERY == HOLDOUT_EVERY - 1
        return "holdout" if held else self.split

    @property
    def name(self) -> str:
        """Name of the picture without suffix, in the form of the set's sensor frames."""
        return f"{SPLITS.index(self.split):02d}_{self.number + 1:08d}"

    def rng(self, *numbers: int) -> np.random.Generator:
        """Random numbers of an attempt at the scene."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), _SCENE, self.number, *numbers])

    def instance(self, kind: str, rank: int) -> list[Part]:
        """An object of the picture's pool."""
        where = (_POOLS.index(self.pool), list(IIT_KINDS).index(kind), rank)
        return IIT_KINDS[kind].build(np.random.default_rng([self.seed, _INSTANCE, *where]))


@dataclass(frozen=True, kw_only=True)
class IitAffSettings(StillSettings):
    """What is rendered of IIT-AFF.

    Args:
        objects: most objects of a picture.
    """

    dataset: ClassVar[str] = "iit-aff"
    taxonomy: ClassVar[Taxonomy] = IIT_AFF
    owned: ClassVar[tuple[str, ...]] = (
        "rgb", "affordances_labels", "object_labels", "train_and_val.txt", "val.txt", "test.txt",
    )  # fmt: skip

    objects: int = 4

    def limits(self) -> dict[str, tuple[int, int]]:
        return {**super().limits(), "objects": (1, MAX_OBJECTS)}

    def plan(self, split: str, index: int) -> IitPlan:
        """Picture ``index`` of a split."""
        return IitPlan(self.seed, split, index, self.objects)

    def complete(self, out: Path, split: str, index: int) -> bool:
        return all(path.is_file() for path in picture_files(out, self.plan(split, index).name))

    def write(self, out: Path, split: str, index: int) -> None:
        plan = self.plan(split, index)
        scene, shot = shoot(plan, self.shape)
        rgb, labels, objects = picture_files(out, plan.name)
        write_text(objects, "".join(_box_line(box) for box in object_boxes(scene, shot.parts)))
        write_text(labels, label_text(affordance_table(scene)[shot.parts]))
        write_image(rgb, shot.rgb)

    def finish(self, out: Path) -> None:
        plans = [self.plan(*each) for each in self.indices()]
        lists = {
            "train_and_val": [plan for plan in plans if plan.split == "train"],
            "val": [plan for plan in plans if plan.pool == "holdout"],
            "test": [plan for plan in plans if plan.split == "val"],
        }
        for name, chosen in lists.items():
            write_text(out / f"{name}.txt", "".join(f"{plan.name}.jpg\n" for plan in chosen))

    def samples(self, out: Path) -> list[Sample]:
        """The last 18 pictures, which are of the test set where it is large enough."""
        from vidaff.datasets.label_text import read_label_text

        found = []
        for plan in [self.plan(*each) for each in self.indices()][-18:]:
            rgb, labels, _ = picture_files(out, plan.name)
            found.append(Sample(read_image(rgb), read_label_text(labels, IIT_AFF.background), plan.name))
        return found


def render_iit_aff(out: str | Path, settings: IitAffSettings | None = None, **options: Any) -> IitAffSettings:
    """Render a set in the layout of :class:`vidaff.datasets.iit_aff.IitAff` into the folder ``out``.

    Returned are the settings of the set that is then there, which after resuming may be a larger one. ``options`` and
    what is raised: :func:`vidaff.datasets.synthetic.still_set.render_stills`.
    """
    return render_stills(out, IitAffSettings() if settings is None else settings, **options)


def picture_files(out: Path, name: str) -> list[Path]:
    """Colour, label and box file of a picture."""
    return [
        out / "rgb" / f"{name}.jpg",
        out / "affordances_labels" / f"{name}.txt",
        out / "object_labels" / f"{name}.txt",
    ]


def affordance_table(scene: StillScene) -> np.ndarray:
    """Ids on disk (P + 1,) uint8 by part number: 0 background, 1..9."""
    ids = {"": 0, **{name: number for number, name in enumerate(IIT_AFF.affordances, start=1)}}
    parts = [IIT_KINDS[scene.items[item].kind].affordances[part] for item, part in scene.numbers()]
    return np.array([0, *(ids[affordance] for affordance in parts)], np.uint8)


def object_boxes(scene: StillScene, parts: np.ndarray) -> list[Box]:
    """Boxes of what is seen of each object, ``xmax`` and ``ymax`` the last pixels inside."""
    owner = np.array([-1, *(item for item, _ in scene.numbers())])[parts]
    boxes = []
    for index, item in enumerate(scene.items):
        rows, columns = (np.flatnonzero((owner == index).any(axis=axis)) for axis in (1, 0))
        if len(rows):
            boxes.append(Box(item.kind, int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])))
    return boxes


def _box_line(box: Box) -> str:
    return f"{IIT_AFF.objects.index(box.name)} {box.xmin} {box.ymin} {box.xmax} {box.ymax}\n"


def label_text(labels: np.ndarray) -> str:
    """Rows of one-digit ids (H, W) between blanks."""
    text = np.full((labels.shape[0], 2 * labels.shape[1]), ord(" "), np.uint8)
    text[:, ::2] = labels + ord("0")
    text[:, -1] = ord("\n")
    return text.tobytes().decode("ascii")


def shoot(plan: IitPlan, shape: tuple[int, int]) -> tuple[StillScene, StillShot]:
    """Scene and picture of a plan, ``shape`` being (height, width)."""
    return draw_until(lambda attempt: _draw(plan, shape, attempt), _all_seen, _ATTEMPTS)


def _all_seen(scene: StillScene, shot: StillShot) -> bool:
    """Whether no object is nearly hidden."""
    owner = np.array([len(scene.items), *(item for item, _ in scene.numbers())])[shot.parts]
    counts = np.bincount(owner.ravel(), minlength=len(scene.items) + 1)[:-1]
    return bool(counts.min() >= _MIN_SHARE * owner.size)


def _draw(plan: IitPlan, shape: tuple[int, int], attempt: int) -> StillScene:
    rng = plan.rng(attempt)
    azimuth, height = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(22, 62))
    count = min(int(rng.choice([1, 2, 3, 4], p=[0.3, 0.25, 0.25, 0.2])), plan.objects)
    if plan.objects > 4 and rng.random() < 0.3:
        count = int(rng.integers(5, plan.objects + 1))
    kinds = [list(IIT_KINDS)[number] for number in rng.integers(0, len(IIT_KINDS), count)]
    placed: list[Placed] = []
    for kind in kinds:
        parts = plan.instance(kind, int(rng.integers(INSTANCES[plan.pool])))
        _put(rng, placed, kind, parts, azimuth if IIT_KINDS[kind].facing else None)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))):
        _put(rng, placed, "", _clutter(rng), None)
    items, clutter = ([item for item in placed if bool(item.kind) == wanted] for wanted in (True, False))
    camera = _camera(rng, items, towards(azimuth, height), shape)
    around = wall_behind(draw_surroundings(rng), placed, azimuth, rng.uniform(0.1, 0.8))
    return StillScene(tuple(items), tuple(clutter), camera, around)


def _clutter(rng: np.random.Generator) -> list[Part]:
    """A thing without a use: block, ball or cone."""
    kind, size = rng.integers(3), rng.uniform(0.03, 0.06)
    if kind == 0:
        mesh = slab((size * rng.uniform(1, 3), size * rng.uniform(1, 2), size), radius=0.004)
    elif kind == 1:
        mesh = ellipsoid((size, size * rng.uniform(0.6, 1), size * rng.uniform(0.5, 1)), 20)
    else:
        mesh = lathe([(0, 0), (size, 0), (size * rng.uniform(0.1, 0.9), 1.6 * size), (0, 1.6 * size)], 20)
    return settled([Part("clutter", mesh, plastic(rng, 2, 0.1))])


def _put(rng: np.random.Generator, placed: list[Placed], kind: str, parts: list[Part], facing: float | None) -> None:
    """Add the object where it touches none of the others, the nearer to the middle the better; else further out.

    ``facing`` is the direction that its +x looks at, to within 45 degrees; ``None``: any.
    """
    reach, taken = 0.05, [_footprint(other) for other in placed]
    corners = _footprint(at_rest(kind, parts, 0.0, np.zeros(2)))
    while True:
        for _ in range(_PLACES):
            yaw = rng.uniform(-np.pi, np.pi) if facing is None else facing + rng.uniform(-0.8, 0.8)
            place = rng.uniform(-reach, reach, 2)
            covered = corners @ rotation(UP, yaw)[:2, :2].T + place
            if not any(_touch(covered, other) for other in taken):
                placed.append(at_rest(kind, parts, yaw, place))
                return
        reach += 0.04


def _footprint(item: Placed, margin: float = 0.006) -> np.ndarray:
    """Corners (4, 2) of the object's box on the table, in turn."""
    points = np.concatenate([part.mesh.vertices for part in item.parts])[:, :2]
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
    placed: np.ndarray = corners @ item.pose[:2, :2].T + item.pose[:2, 3]
    return placed


def _touch(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two rectangles overlap: no side of either separates them."""
    for box in (first, second):
        for axis in (box[1] - box[0], box[2] - box[1]):
            one, two = first @ axis, second @ axis
            if one.max() < two.min() or two.max() < one.min():
                return False
    return True


def _camera(rng: np.random.Generator, items: list[Placed], away: np.ndarray, shape: tuple[int, int]) -> Camera:
    """Camera at 0.7-1.3 m and more, whose focal length lets the objects fill about 45-85 % of the picture."""
    points = np.concatenate([item.points() for item in items])
    low, high = points.min(axis=0), points.max(axis=0)
    distance = rng.uniform(0.6, 1.0) + float(np.linalg.norm(high - low))
    view = aim(rng, (low + high) / 2, away, distance)
    local = points @ view[:, :3].T + view[:, 3]
    flat = local[:, :2] / local[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    picture = np.array(shape[::-1], dtype=float)
    focal = float((picture / (high - low)).min() * rng.uniform(0.45, 0.85))
    slack = picture - focal * (high - low)
    centre = picture / 2 + rng.uniform(-0.35, 0.35, 2) * slack - focal * (low + high) / 2
    return Camera(view, focal, float(centre[0]), float(centre[1]), shape[1], shape[0])
