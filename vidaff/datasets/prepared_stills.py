"""Still pictures in a prepared file: the layout of :mod:`vidaff.datasets.prepared` with the classes of their own set.

Beside the attributes of a clip file the root has ``colours``, the RGB colours of the classes as JSON, and a picture of
a set that draws boxes around objects ``boxes``, a JSON list of [name, x0, y0, x1, y1].
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py

from vidaff.datasets import STILLS, dataset_class
from vidaff.datasets.base import Clip, ClipDataset, ObjectBox
from vidaff.datasets.prepared import PreparedClips, _read_index, open_prepared, read_head
from vidaff.datasets.taxonomies import IGNORE, TAXONOMIES, Taxonomy, taxonomy_of
from vidaff.datasets.taxonomy import CLASSES
from vidaff.errors import VidaffError


class PreparedStills(PreparedClips):
    """One split of a prepared file of still pictures; ``taxonomy`` names its classes.

    The rest is as for :class:`PreparedClips`, whose own constructor takes the classes of SOR3D-AFF only: code that
    knows no others must not read these files.
    """

    def __init__(self, path: str | Path, split: str, *, dataset: str) -> None:
        self.path, self.split = Path(path), split
        self._handle: h5py.File | None = None
        self._owner = -1
        self.taxonomy: Taxonomy = taxonomy_of(dataset)
        try:
            with open_prepared(self.path) as file:
                head = read_any_head(file, self.path)
                if head["dataset"] != dataset:
                    raise VidaffError(f"{self.path}: holds clips of {head['dataset']!r}, not of {dataset!r}")
                index = _read_index(file, split, self.path)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise VidaffError(f"{self.path}: damaged prepared file ({' '.join(str(error).split())[:200]})") from error
        ClipDataset.__init__(self, [info for info, _, _ in index])
        self._cameras = [camera for _, camera, _ in index]
        self._rates = [fps for _, _, fps in index]
        self.dataset, self.settings, self.fps = head["dataset"], head["settings"], head["fps"]
        self.size = (head["height"], head["width"])

    def read(self, index: int, frames: slice | None = None) -> Clip:
        clip = super().read(index, frames)
        mask = clip.mask
        if mask is not None and ((mask > self.taxonomy.background) & (mask != IGNORE)).any():
            raise VidaffError(
                f"{self.path}: clip {clip.name}: the mask holds values other than 0..{self.taxonomy.background} "
                f"and {IGNORE}"
            )
        return clip

    @property
    def options(self) -> dict[str, str]:
        choices: Mapping[str, tuple[str, ...]] = getattr(dataset_class(self.dataset), "choices", {})
        stored = self.settings.get("dataset_options")
        stored = stored if isinstance(stored, dict) else {}
        return {key: stored[key] if stored.get(key) in values else values[0] for key, values in choices.items()}

    @property
    def object_kinds(self) -> tuple[str, ...]:
        """Empty for files that were prepared before they held boxes."""
        return () if self.object_boxes(0) is None else self.taxonomy.objects

    def object_boxes(self, index: int) -> tuple[ObjectBox, ...] | None:
        name = self.name(index)
        try:
            text = self._file()[f"{self.split}/{name}"].attrs.get("boxes")
            return None if text is None else _read_boxes(text, self.taxonomy.objects)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            message = " ".join(str(error).split())[:200]
            raise VidaffError(f"{self.path}: clip {name}: damaged boxes ({message})") from error


def write_boxes(group: h5py.Group, boxes: tuple[ObjectBox, ...] | None) -> None:
    """Store the boxes of a picture in its ``group``, where there are any to be known."""
    if boxes is not None:
        group.attrs["boxes"] = json.dumps(boxes)


def _read_boxes(text: str, kinds: tuple[str, ...]) -> tuple[ObjectBox, ...]:
    """The boxes that :func:`write_boxes` stored; raise :class:`ValueError` or :class:`TypeError` for other text."""
    boxes = tuple(ObjectBox(name, *(float(corner) for corner in corners)) for name, *corners in json.loads(text))
    for box in boxes:
        if box.name not in kinds or not (0 <= box.x0 < box.x1 < math.inf and 0 <= box.y0 < box.y1 < math.inf):
            raise ValueError(f"{box} is no box around a {' or '.join(kinds)}")
    return boxes


def open_any(path: str | Path, split: str) -> PreparedClips:
    """A split of a prepared file, clips or stills, whichever its data set has; errors as :class:`PreparedClips`."""
    with open_prepared(Path(path)) as file:
        dataset = str(file.attrs.get("dataset"))
    return PreparedStills(path, split, dataset=dataset) if dataset in STILLS else PreparedClips(path, split)


def read_any_head(file: h5py.File, path: Path) -> dict[str, Any]:
    """As :func:`vidaff.datasets.prepared.read_head`, for the classes of the data set that the file names."""
    attributes = dict(file.attrs)
    taxonomy = TAXONOMIES.get(str(attributes.get("dataset")))
    if taxonomy is not None and json.loads(attributes.get("classes", "[]")) == list(taxonomy.classes):
        attributes["classes"] = json.dumps(CLASSES)
    head: dict[str, Any] = read_head(SimpleNamespace(attrs=attributes), path)  # type: ignore[arg-type]
    return head
