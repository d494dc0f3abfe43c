"""The extra files of the authors of WSAG-PLSP, as they lie in ``trainset``.

::

    PL/<affordance>/<object>/<stem>_pl.png            initial pseudo-labels
    PL_refined/<affordance>/<object>/<stem>.jpg       refined ones
    whole_obj_mask_ego/..., whole_obj_mask_exo/...    <stem>_pl.png, masks of whole objects
    det_wholeobj_ego.pth, det_wholeobj_exo.pth        {affordance: {object: {file: [boxes (n, 4), [scores]]}}}
    CLIPsim/<affordance>_<object>.npy                 {image_dict: {file + box: row},
                                                       exo_dict_rev: {column: (file, box)}, sim: (rows, columns)}

The last two are pickles, and read by :func:`vidaff.unpickle.load_tree`. Source: the layout of the release, restated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from vidaff.datasets.agd20k.labels import Boxes, SimilarityTable, as_boxes, as_similarity
from vidaff.datasets.agd20k.tree import Picture
from vidaff.errors import VidaffError
from vidaff.unpickle import load_tree

FOLDERS: Final = {
    "initial": "PL",
    "refined": "PL_refined",
    "objects/egocentric": "whole_obj_mask_ego",
    "objects/exocentric": "whole_obj_mask_exo",
}
"""Their folders by the kinds of masks of :data:`vidaff.datasets.agd20k.labels.MASKS`; ``raw`` has none."""
_VIEWS = {"egocentric": "ego", "exocentric": "exo"}
_ROW = re.compile(r"(.+\.[A-Za-z]+)([0-9]{1,6})")


class AuthorsFolder:
    """Reads the authors' files in a folder; the same readers as :class:`vidaff.datasets.agd20k.labels.LabelFolder`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def find_mask(self, kind: str, picture: Picture) -> Path | None:
        """File of a mask that is there."""
        if kind not in FOLDERS:
            return None
        folder = self.folder / FOLDERS[kind] / picture.affordance / picture.object
        names = (f"{picture.stem}_pl.png", picture.file, f"{picture.stem}.jpg", f"{picture.stem}.png")
        return next((folder / name for name in names if (folder / name).is_file()), None)

    def boxes_path(self, view: str) -> Path:
        return self.folder / f"det_wholeobj_{_VIEWS[view]}.pth"

    def read_boxes(self, view: str) -> Boxes | None:
        """Boxes of a view; None when there is no such file."""
        path = self.boxes_path(view)
        return read_boxes_file(path) if path.is_file() else None

    def similarity_path(self, affordance: str, thing: str) -> Path:
        return self.folder / "CLIPsim" / f"{affordance}_{thing}.npy"

    def read_similarity(self, affordance: str, thing: str) -> SimilarityTable | None:
        """Table of a pair; None when there is no such file."""
        path = self.similarity_path(affordance, thing)
        if not path.is_file():
            return None
        tree = load_tree(path)
        try:
            values = np.asarray(tree["sim"], np.float32)
            rows = _in_order({number: _row(text) for text, number in tree["image_dict"].items()}, len(values))
            columns = _in_order(tree["exo_dict_rev"], values.shape[1])
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise VidaffError(f"{path}: {{image_dict, exo_dict_rev, sim}} that fit each other are expected") from error
        return as_similarity(values, rows, columns, path)


def read_boxes_file(path: Path) -> Boxes:
    """Boxes out of one of their ``det_*.pth``; raise :class:`VidaffError` for any other content."""
    try:
        return {name: _with_scores(found, path, name) for name, found in _entries(load_tree(path))}
    except (AttributeError, TypeError, ValueError) as error:
        raise VidaffError(f"{path}: {{affordance: {{object: {{file: [boxes, scores]}}}}}} is expected") from error


def _entries(tree: Any) -> Iterator[tuple[str, Any]]:
    for affordance, objects in tree.items():
        for thing, files in objects.items():
            for file, found in files.items():
                yield f"{affordance}/{thing}/{file}", found


def _with_scores(found: Any, path: Path, name: str) -> np.ndarray:
    boxes, scores = found
    values = as_boxes(boxes, path, name, axes=4)
    if len(scores) != len(values):
        raise ValueError("as many scores as boxes")
    return np.column_stack([values, np.asarray(scores, np.float32).reshape(len(values))])


def _row(text: str) -> tuple[str, int]:
    """``skis_1.jpg0`` -> ``("skis_1.jpg", 0)``."""
    match = _ROW.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match[1], int(match[2])


def _in_order(named: dict[Any, Any], count: int) -> list[Any]:
    """Values of a dictionary whose keys are 0..count-1."""
    numbered = {int(key): value for key, value in named.items()}
    return [numbered[number] for number in range(count)]
