"""IIT-AFF: cluttered scenes and web pictures of ten kinds of objects, labelled with nine affordances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from vidaff.datasets.base import ClipInfo, ObjectBox
from vidaff.datasets.geometry import Size, same_aspect
from vidaff.datasets.iit_voc import Box, find_voc
from vidaff.datasets.label_text import parse_numbers, read_bytes, read_label_text, read_list
from vidaff.datasets.stills import Still, StillDataset
from vidaff.datasets.taxonomies import IIT_AFF
from vidaff.errors import VidaffError
from vidaff.io import read_image

FOLDER = "IIT_Affordances_2017"
OFFICIAL_COUNTS = {"train": 6184, "val": 2651}
"""Pictures of ``train_and_val.txt`` and of ``test.txt``."""
LISTS = ("train_and_val", "val", "test")
PROTOCOLS = ("official", "holdout")


class Tree(Protocol):
    """One of the two forms in which the set is handed on."""

    root: Path

    @property
    def has_boxes(self) -> bool:
        """Whether the boxes were handed on, too."""

    def names(self, which: str) -> list[str]:
        """Pictures of one of :data:`LISTS`, without suffix, in the order of the list."""

    def picture(self, name: str) -> Path:
        """Colour picture."""

    def has_labels(self, name: str) -> bool:
        """Whether the picture's labels are there."""

    def labels(self, name: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..9, 255 for ids out of range."""

    def boxes(self, name: str) -> list[Box]:
        """All boxes, the empty ones included."""


class IitAff(StillDataset):
    """One split of IIT-AFF; the official test set is ``val``.

    On disk, ROOT being ``IIT_Affordances_2017`` or the folder that holds it; unzipped folders may be nested twice
    (``rgb/rgb/``)::

        ROOT/rgb/<id>.jpg                      mixed sizes
             affordances_labels/<id>.txt       a line a row, ids 0..9 between blanks; 0 background
             object_labels/<id>.txt            lines "object xmin ymin xmax ymax", objects 0..9
             train_and_val.txt, val.txt, test.txt

    or in the Pascal-VOC form of AffordanceNet, see :mod:`vidaff.datasets.iit_voc`. The form is found out.

    Option ``protocol``: ``official`` is ``train_and_val.txt`` and ``test.txt``; ``holdout`` trains without the
    pictures of ``val.txt``, which are part of ``train_and_val.txt``, and validates on those. ``size`` and
    ``centre_crop``: :class:`StillDataset`. A sample is a :class:`vidaff.datasets.Clip` of one frame without depth
    (the set's depth files have no known unit), see :mod:`vidaff.datasets.stills`. Listed pictures that are missing or
    unlabelled are left out, their names are in ``skipped``. Ids out of range become 255.
    :meth:`object_boxes` gives the boxes on the grid of the sample, :meth:`boxes` as recorded.

    Raises :class:`VidaffError` when a list or all its pictures are missing; on reading, when a label does not fit
    its picture.

    Source: Nguyen et al., IROS 2017; the AffordanceNet release.
    """

    taxonomy = IIT_AFF
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"protocol": PROTOCOLS}

    def __init__(
        self, root: str | Path, split: str, *, size: Size | None = None, centre_crop: int | None = None, **options: Any
    ) -> None:
        picked = self.pick("iit-aff", options)
        self.tree = find_tree(Path(root))
        listed = split_names(self.tree, picked["protocol"], split)
        names = [name for name in listed if self.tree.picture(name).is_file() and self.tree.has_labels(name)]
        self.skipped = sorted(set(listed) - set(names))
        if not names:
            raise VidaffError(f"{self.tree.root}: none of the {len(listed)} pictures of split {split!r} is there")
        super().__init__([ClipInfo(name, -1, "", "") for name in names], picked, size=size, centre_crop=centre_crop)

    def still(self, index: int) -> Still:
        name = self.name(index)
        path = self.tree.picture(name)
        rgb = read_image(path)
        return Still(rgb, None, fit_labels(self.tree.labels(name), (rgb.shape[0], rgb.shape[1]), path))

    @property
    def object_kinds(self) -> tuple[str, ...]:
        return IIT_AFF.objects if self.tree.has_boxes else ()

    def object_boxes(self, index: int) -> tuple[ObjectBox, ...] | None:
        """What is seen of the objects of picture ``index``, on the clip's grid; less than a pixel is left out.

        ``None`` for a tree without ``object_labels/``. A box's last pixels, which the files name, belong to it.
        """
        if not self.tree.has_boxes:
            return None
        boxes = self.boxes(index)
        picture = read_image(self.tree.picture(self.name(index)))
        window = self.window((picture.shape[0], picture.shape[1]))
        seen = [
            ObjectBox(box.name, *window.box(box.xmin, box.ymin, box.xmax + 1, box.ymax + 1)) for box in boxes
        ]  # fmt: skip
        return tuple(each for each in seen if each.x1 - each.x0 >= 1 and each.y1 - each.y0 >= 1)

    def boxes(self, index: int) -> list[Box]:
        """Objects of picture ``index`` in pixels of the recorded picture, boxes without area left out."""
        return [box for box in self.tree.boxes(self.name(index)) if not box.empty]


def fit_labels(labels: np.ndarray, grid: Size, path: Path) -> np.ndarray:
    """Labels on the picture's grid: as they are, or by nearest pixel when they show the same view in another size."""
    found = (labels.shape[0], labels.shape[1])
    if found == grid:
        return labels
    if not same_aspect(found, grid):
        raise VidaffError(f"{path}: the picture is {grid[1]}x{grid[0]}, its label {found[1]}x{found[0]} pixels")
    resized: np.ndarray = cv2.resize(labels, grid[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def split_names(tree: Tree, protocol: str, split: str) -> list[str]:
    """Names listed for a split, each once."""
    if split not in OFFICIAL_COUNTS:
        raise VidaffError(f"iit-aff: the splits are train and val (the official test set), got {split!r}")
    if protocol == "official":
        return tree.names("train_and_val" if split == "train" else "test")
    held = tree.names("val")
    if split == "val":
        return held
    return [name for name in tree.names("train_and_val") if name not in set(held)]


def find_tree(root: Path) -> Tree:
    """The set under ``root``, in either form; raise :class:`VidaffError` saying what was looked for."""
    for folder in (root, root / FOLDER):
        if (folder / "rgb").is_dir():
            return NativeTree(folder)
    voc = find_voc(root)
    if voc is None:
        raise VidaffError(f"{root}: has no rgb/ folder with affordances_labels/ beside it, and no VOCdevkit2012/")
    return voc


class NativeTree:
    """The form that the authors give out: text files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rgb, self._labels, self._objects = (
            _unnested(root / name) for name in ("rgb", "affordances_labels", "object_labels")
        )

    @property
    def has_boxes(self) -> bool:
        return self._objects.is_dir()

    def names(self, which: str) -> list[str]:
        return read_list(self.root / f"{which}.txt")

    def picture(self, name: str) -> Path:
        return self._rgb / f"{name}.jpg"

    def has_labels(self, name: str) -> bool:
        return (self._labels / f"{name}.txt").is_file()

    def labels(self, name: str) -> np.ndarray:
        return read_label_text(self._labels / f"{name}.txt", IIT_AFF.background)

    def boxes(self, name: str) -> list[Box]:
        path = self._objects / f"{name}.txt"
        data = read_bytes(path)
        if not data.strip():
            return []
        rows = parse_numbers(data, path)
        if rows.shape[1] != 5 or rows.dtype.kind != "i" or not ((rows[:, 0] >= 0) & (rows[:, 0] < _OBJECTS)).all():
            raise VidaffError(f"{path}: lines 'object xmin ymin xmax ymax' with objects 0..{_OBJECTS - 1} are expected")
        return [Box(IIT_AFF.objects[row[0]], *row[1:]) for row in rows.tolist()]


_OBJECTS = len(IIT_AFF.objects)


def _unnested(folder: Path) -> Path:
    """``rgb/rgb`` where unzipping made that, else ``rgb``."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder
