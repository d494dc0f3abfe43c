"""Our label folder: pseudo-labels, object masks, boxes and similarity tables of one training set.

The tree; every part is optional until something asks for it::

    LABELS/labels.json                               "format": "vidaff-labels", and how the labels were made
    LABELS/initial/<affordance>/<object>/<stem>.png  8-bit grey, 0 or 255, of the picture's size; none: nothing found
    LABELS/raw/...                                   refined labels before SAM's clean-up
    LABELS/refined/...                               refined labels; none: the initial one counts
    LABELS/objects/egocentric/..., exocentric/...    masks of whole objects
    LABELS/boxes/egocentric.json, exocentric.json    {"boxes": {"carry/skis/skis_1.jpg": [[l, t, r, b, score], ...]}}
    LABELS/similarity/<affordance>/<object>.safetensors
                                                     "similarity" (rows, columns) float32; metadata "rows" and
                                                     "columns": JSON [[file, number of its box], ...]
    LABELS/text.safetensors                          see :mod:`vidaff.datasets.agd20k.text`

Pixels are those of the upright picture. Boxes are left, top, right, bottom in pixels, and a score of 0..1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from vidaff.datasets.agd20k.tree import Picture
from vidaff.errors import VidaffError, first_line
from vidaff.io import atomic_path, read_json, write_image, write_json

MASKS: Final = ("initial", "raw", "refined", "objects/egocentric", "objects/exocentric")
VERSION: Final = 1
MAX_BOXES_BYTES = 2 * 2**30
"""Of a file of boxes, which has 140 bytes a picture: 15 million of them. 64 MiB would end at half a million."""


class Box(NamedTuple):
    """A box of a picture of a pair: its file, and which of the file's boxes, counted from 0."""

    file: str
    number: int


class SimilarityTable(NamedTuple):
    """How alike egocentric and exocentric objects of a pair look: (R, C) float32; ``rows`` and ``columns`` name them.

    Source: Xu et al., ICLR 2025, equation 4.
    """

    similarity: np.ndarray
    rows: tuple[Box, ...]
    columns: tuple[Box, ...]


Boxes = dict[str, np.ndarray]
"""(n, 5) float32 by picture name: left, top, right, bottom in pixels, score."""


class LabelFolder:
    """Paths, writers and readers of a label folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def mask(self, kind: str, picture: Picture) -> Path:
        """File of a mask; ``kind`` is one of :data:`MASKS`."""
        return self.folder / kind / picture.affordance / picture.object / f"{picture.stem}.png"

    def write_mask(self, kind: str, picture: Picture, mask: np.ndarray) -> Path:
        """Write a mask (H, W): bool, or uint8 0 / 255; raise :class:`ValueError` for other arrays."""
        if mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8):
            raise ValueError(f"mask must be (H, W) bool or uint8, got {mask.dtype} with shape {mask.shape}")
        path = self.mask(kind, picture)
        write_image(path, mask if mask.dtype == np.uint8 else mask.astype(np.uint8) * 255)
        return path

    def find_mask(self, kind: str, picture: Picture) -> Path | None:
        """File of a mask that is there."""
        path = self.mask(kind, picture)
        return path if path.is_file() else None

    def boxes_path(self, view: str) -> Path:
        return self.folder / "boxes" / f"{view}.json"

    def write_boxes(self, view: str, boxes: Mapping[str, Any]) -> Path:
        """Write the boxes (n, 5) of all pictures of a view, by picture name."""
        rows = {name: np.asarray(found, np.float64).reshape(-1, 5).round(3).tolist() for name, found in boxes.items()}
        path = self.boxes_path(view)
        write_json(path, {"format": "vidaff-boxes", "version": VERSION, "boxes": dict(sorted(rows.items()))})
        return path

    def read_boxes(self, view: str) -> Boxes | None:
        """Boxes of a view; None when there is no such file."""
        path = self.boxes_path(view)
        if not path.is_file():
            return None
        value = read_json(path, limit=MAX_BOXES_BYTES)
        boxes = value.get("boxes") if isinstance(value, dict) and value.get("format") == "vidaff-boxes" else None
        if not isinstance(boxes, dict) or value["version"] != VERSION:
            raise VidaffError(f"{path}: no boxes of version {VERSION}")
        return {name: as_boxes(found, path, name) for name, found in boxes.items()}

    def similarity_path(self, affordance: str, thing: str) -> Path:
        return self.folder / "similarity" / affordance / f"{thing}.safetensors"

    def write_similarity(self, affordance: str, thing: str, table: SimilarityTable) -> Path:
        """Write the table of a pair; raise :class:`ValueError` when names and numbers do not fit."""
        from safetensors.numpy import save_file

        values = np.ascontiguousarray(table.similarity, np.float32)
        if values.shape != (len(table.rows), len(table.columns)):
            raise ValueError(
                f"similarity must be {len(table.rows)}x{len(table.columns)} as its names, got {values.shape}"
            )
        metadata = {"rows": json.dumps(table.rows), "columns": json.dumps(table.columns)}
        path = self.similarity_path(affordance, thing)
        with atomic_path(path) as temporary:
            save_file({"similarity": values}, temporary, metadata=metadata)
        return path

    def read_similarity(self, affordance: str, thing: str) -> SimilarityTable | None:
        """Table of a pair; None when there is no such file."""
        path = self.similarity_path(affordance, thing)
        return _read_similarity(path) if path.is_file() else None

    def write_record(self, record: Mapping[str, Any]) -> Path:
        """Write ``labels.json``: how the labels were made."""
        path = self.folder / "labels.json"
        write_json(path, {**record, "format": "vidaff-labels", "version": VERSION})
        return path


def as_boxes(found: Any, path: Path, name: str, *, axes: int = 5) -> np.ndarray:
    """(n, ``axes``) float32; raise :class:`VidaffError` when ``found`` is no such table of finite numbers."""
    try:
        boxes = np.asarray(found, np.float32).reshape(len(found), axes)
    except (TypeError, ValueError) as error:
        raise VidaffError(f"{path}: the boxes of {name} are no rows of {axes} numbers") from error
    if not np.isfinite(boxes).all():
        raise VidaffError(f"{path}: the boxes of {name} are not finite")
    return boxes


def as_similarity(values: np.ndarray, rows: Sequence[Any], columns: Sequence[Any], path: Path) -> SimilarityTable:
    """A table out of a file; raise :class:`VidaffError` when names and numbers do not fit."""
    try:
        names = [tuple(Box(str(file), int(number)) for file, number in side) for side in (rows, columns)]
    except (TypeError, ValueError) as error:
        raise VidaffError(f"{path}: its rows and columns must be named by file and box") from error
    if values.ndim != 2 or values.shape != (len(names[0]), len(names[1])) or values.dtype.kind != "f":
        raise VidaffError(f"{path}: {values.shape} numbers for {len(names[0])} rows and {len(names[1])} columns")
    return SimilarityTable(values.astype(np.float32), *names)


def _read_similarity(path: Path) -> SimilarityTable:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            rows, columns = json.loads(metadata["rows"]), json.loads(metadata["columns"])
            values = file.get_tensor("similarity")
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise VidaffError(f"{path}: not readable as a similarity table ({first_line(error)})") from error
    return as_similarity(values, rows, columns, path)
