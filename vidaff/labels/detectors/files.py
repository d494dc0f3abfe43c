"""Boxes that are there already, of any detector: our JSON, or the dictionaries of the authors of WSAG-PLSP."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vidaff.datasets.agd20k.authors import read_boxes_file
from vidaff.datasets.agd20k.labels import MAX_BOXES_BYTES
from vidaff.errors import VidaffError
from vidaff.io import read_json
from vidaff.labels.settings import DetectorSettings
from vidaff.labels.types import Detections

FORMAT, VERSION = "vidaff-boxes", 1
ANY_VIEW = "boxes.json"
"""File of a folder for views that have none of their own."""


class _Row(NamedTuple):
    box: tuple[float, float, float, float]
    score: float
    words: str | None


Table = dict[str, list[_Row]]


class FileBoxes:
    """Answers with the boxes of a file; :meth:`for_picture` says of which picture.

    A row with words answers the query of the same words only. A row without words answers every query.

    Args:
        source: a file, or a folder with ``<view>.json``, ``det_wholeobj_<ego|exo>.pth`` or ``boxes.json``.
    """

    name = "file"

    def __init__(self, source: str | Path) -> None:
        self.source = Path(source)
        self.picture: tuple[str, str | None] | None = None
        self._tables: dict[Path, Table] = {}

    @classmethod
    def load(cls, settings: DetectorSettings) -> FileBoxes:
        """From ``settings.weights``; raise :class:`VidaffError` when nothing is there or a file is broken."""
        if not settings.weights:
            raise VidaffError("the file of boxes must be named (weights)")
        loaded = cls(settings.weights)
        files = loaded.files()
        if not files:
            raise VidaffError(f"{loaded.source}: no file of boxes there; see docs/labels-file.md for the format")
        for file in files:
            loaded._table(file)
        return loaded

    def files(self) -> list[Path]:
        """The files that are there, sorted."""
        if self.source.is_file():
            return [self.source]
        names = {name for view in ("egocentric", "exocentric", None) for name in _names(view)}
        return sorted(path for name in names if (path := self.source / name).is_file())

    def for_picture(self, name: str, view: str | None = None) -> FileBoxes:
        """The same boxes, asked about one picture."""
        bound = copy.copy(self)
        bound.picture = name, view
        return bound

    def detect(self, image: np.ndarray, queries: Sequence[str]) -> Detections:
        """The boxes of the picture, clipped to ``image``, best first; the pixels are not looked at.

        Raises:
            VidaffError: the picture is not in the file. One with an empty list is: nothing was found in it.
            ValueError: no query, or :meth:`for_picture` was not called.
        """
        if not queries:
            raise ValueError("no query was given")
        asked = {_words(query): number for number, query in reversed(list(enumerate(queries)))}
        rows = [(row, 0 if row.words is None else asked.get(row.words)) for row in self._rows()]
        found = [(row, query) for row, query in rows if query is not None]
        if not found:
            return Detections.none()
        height, width = image.shape[:2]
        boxes = np.array([row.box for row, _ in found], np.float32).clip(0, [width, height, width, height])
        scores = np.array([row.score for row, _ in found], np.float32)
        order = np.argsort(-scores, kind="stable")
        order = order[(boxes[order, 2] > boxes[order, 0]) & (boxes[order, 3] > boxes[order, 1])]
        index = np.array([query for _, query in found], np.int64)
        return Detections(boxes[order].astype(np.float32), scores[order], index[order])

    def fingerprint(self) -> str:
        """Hash of the files' content."""
        digest = hashlib.sha256()
        for file in self.files():
            digest.update(file.name.encode() + file.read_bytes())
        return f"file-{digest.hexdigest()[:16]}"

    def _rows(self) -> list[_Row]:
        if self.picture is None:
            raise ValueError("a file of boxes must be told the picture: call for_picture() first")
        name, view = self.picture
        file = self._file(view)
        table = self._table(file)
        key = f"{view}/{name}" if view is not None and f"{view}/{name}" in table else name
        if key not in table:
            raise VidaffError(f"{file}: holds no boxes of the picture {name}; an empty list would mean: nothing found")
        return table[key]

    def _file(self, view: str | None) -> Path:
        if self.source.is_file():
            return self.source
        found = [path for name in _names(view) if (path := self.source / name).is_file()]
        if not found:
            raise VidaffError(f"{self.source}: holds no boxes of the view {view}: {' or '.join(_names(view))}")
        return found[0]

    def _table(self, file: Path) -> Table:
        if file not in self._tables:
            self._tables[file] = _read_ours(file) if file.suffix == ".json" else _read_authors(file)
        return self._tables[file]


def _names(view: str | None) -> tuple[str, ...]:
    """Files of a folder that may hold a view's boxes, the first that is there counts."""
    return (ANY_VIEW,) if view is None else (f"{view}.json", f"det_wholeobj_{view[:3]}.pth", ANY_VIEW)


def _words(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").split())


def _read_ours(file: Path) -> Table:
    value = read_json(file, limit=MAX_BOXES_BYTES)
    boxes = value.get("boxes") if isinstance(value, dict) and value.get("format") == FORMAT else None
    if not isinstance(boxes, dict) or value.get("version") != VERSION:
        raise VidaffError(f'{file}: {{"format": "{FORMAT}", "version": {VERSION}, "boxes": {{...}}}} is expected')
    return {name: _rows_of(rows, file, name) for name, rows in boxes.items()}


def _rows_of(rows: Any, file: Path, name: str) -> list[_Row]:
    try:
        return [_row(*row) for row in rows]
    except (TypeError, ValueError) as error:
        raise VidaffError(
            f'{file}: the boxes of {name} are no rows [left, top, right, bottom, score] or [..., "words"] ({error})'
        ) from error


def _row(left: float, top: float, right: float, bottom: float, score: float, words: str | None = None) -> _Row:
    numbers = [left, top, right, bottom, score]
    if not all(type(number) in (int, float) for number in numbers) or not np.isfinite(numbers).all():
        raise ValueError("a number that is not finite")
    if not 0 <= score <= 1 or not (words is None or isinstance(words, str)):
        raise ValueError("a score beyond 0..1" if words is None or isinstance(words, str) else "words that are no text")
    return _Row((left, top, right, bottom), score, None if words is None else _words(words))


def _read_authors(file: Path) -> Table:
    """Theirs are of whole objects, so they answer the object's name, which stands in the picture's."""
    return {
        name: [_Row((row[0], row[1], row[2], row[3]), row[4], _words(name.split("/")[1])) for row in rows.tolist()]
        for name, rows in read_boxes_file(file).items()
    }
