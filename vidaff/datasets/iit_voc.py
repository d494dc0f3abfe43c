"""IIT-AFF in the Pascal-VOC form of the AffordanceNet release, whose masks are pickles.

::

    DATA/VOCdevkit2012/VOC2012/JPEGImages/<id>.jpg
                               Annotations/<id>.xml
                               ImageSets/Main/{train,test}.txt
    DATA/cache/GTsegmask_VOC_2012_{train,test}/<id>_<k>_segmask.sm     object k = 1, 2, .. of the XML

``train.txt`` holds the pictures of ``train_and_val.txt``. A mask has the size of the picture and the affordances of
one object; pixels claimed by several belong to the last.

Source: the AffordanceNet release, ``utils/convert_instance_png_to_sm.py`` and ``data``.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vidaff.datasets.label_text import known_ids, read_list
from vidaff.datasets.taxonomies import IIT_AFF
from vidaff.datasets.xml_file import parse_xml
from vidaff.errors import VidaffError
from vidaff.unpickle import load_array

_LISTS = {"train_and_val": "train", "test": "test", "val": "val"}
_SETS = ("train", "test")


class Box(NamedTuple):
    """An object's name and its box in pixels of the recorded picture, edges as the file gives them."""

    name: str
    xmin: int
    ymin: int
    xmax: int
    ymax: int

    @property
    def empty(self) -> bool:
        """Whether the box has no area, as a few of the set have."""
        return self.xmax <= self.xmin or self.ymax <= self.ymin


def find_voc(root: Path) -> VocTree | None:
    """The tree whose ``VOCdevkit2012`` lies in ``root`` or in ``root/data``."""
    for folder in (root, root / "data"):
        if (folder / "VOCdevkit2012" / "VOC2012" / "JPEGImages").is_dir():
            return VocTree(folder)
    return None


class VocTree:
    """Pictures, boxes from XML and masks from pickles, which are read without running them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._voc = root / "VOCdevkit2012" / "VOC2012"
        self._masks = [root / "cache" / f"GTsegmask_VOC_2012_{name}" for name in _SETS]

    @property
    def has_boxes(self) -> bool:
        return True

    def names(self, which: str) -> list[str]:
        return read_list(self._voc / "ImageSets" / "Main" / f"{_LISTS[which]}.txt")

    def picture(self, name: str) -> Path:
        return self._voc / "JPEGImages" / f"{name}.jpg"

    def has_labels(self, name: str) -> bool:
        return self._mask(name, 1) is not None

    def labels(self, name: str) -> np.ndarray:
        labels: np.ndarray | None = None
        for number in range(1, len(self.boxes(name)) + 1):
            path = self._mask(name, number)
            if path is None:
                raise VidaffError(f"{self.root / 'cache'}: no mask {name}_{number}_segmask.sm")
            mask = self._read(path)
            if labels is not None and labels.shape != mask.shape:
                raise VidaffError(f"{path}: a mask of shape {mask.shape}, the one before it {labels.shape}")
            labels = mask if labels is None else np.where(mask > 0, mask, labels)
        if labels is None:
            raise VidaffError(f"{self._voc / 'Annotations' / name}.xml: names no object")
        return labels

    def boxes(self, name: str) -> list[Box]:
        path = self._voc / "Annotations" / f"{name}.xml"
        boxes = []
        for entry in parse_xml(path).iter("object"):
            values = [entry.findtext(f"bndbox/{key}", "") for key in Box._fields[1:]]
            title = entry.findtext("name", "").strip()
            try:
                corners = [round(float(value)) for value in values]
            except (ValueError, OverflowError) as error:
                raise VidaffError(f"{path}: a box with corners {values} that are no numbers") from error
            if title not in IIT_AFF.objects:
                raise VidaffError(f"{path}: unknown object {title!r}; known: {', '.join(IIT_AFF.objects)}")
            boxes.append(Box(title, *corners))
        return boxes

    def _mask(self, name: str, number: int) -> Path | None:
        files = [folder / f"{name}_{number}_segmask.sm" for folder in self._masks]
        return next((path for path in files if path.is_file()), None)

    def _read(self, path: Path) -> np.ndarray:
        values = load_array(path)
        if values.ndim != 2 or not values.size:
            raise VidaffError(f"{path}: a mask with two axes is expected, got shape {values.shape}")
        return known_ids(values, IIT_AFF.background)
