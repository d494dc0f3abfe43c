"""The items of a run, out of an AGD20K tree, a table or tar archives; sorted, so that equal input has equal shards."""

from __future__ import annotations

import csv as csv_format
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from vidaff.datasets.agd20k.tree import VIEWS, Agd20kTree, is_picture
from vidaff.errors import VidaffError
from vidaff.labels.engine.tars import tar_items
from vidaff.labels.engine.types import Item, Source, check_name, check_view, label_place, mark_twins

COLUMNS = ("image", "object", "affordance")
MAX_FIELD = 4096


def find_items(
    data: str | Path,
    *,
    csv: str | Path | None = None,
    split: str = "seen",
    views: Sequence[str] = VIEWS[:1],
    part: tuple[int, int] | None = None,
) -> list[Item]:
    """Items of ``data``, sorted; the kind of input is found by what is there.

    Args:
        data: a tar archive or a folder of them (:func:`tar_items`); a CSV file, or any folder when ``csv`` is given
            (:func:`csv_items`); else an AGD20K tree (:func:`tree_items`).
        csv: table of the pictures in the folder ``data``.
        split: of an AGD20K tree.
        views: which views to take.
        part: (i, n) takes every n-th archive from the i-th on, counted from 0, to divide tar input among machines.

    Raises:
        VidaffError: nothing there, a broken table, an unknown view.
    """
    data = Path(data)
    for view in views:
        if view not in VIEWS:
            raise VidaffError(f"the views are {', '.join(VIEWS)}, got {view!r}")
    archives = _archives(data) if csv is None else []
    if part is not None:
        if not archives or not 0 <= part[0] < part[1]:
            raise VidaffError(f"part {part[0]} of {part[1]}: only tar archives are divided, into parts 0 to n - 1")
        archives = archives[part[0] :: part[1]]
    if archives:
        found = tar_items(archives)
    elif csv is not None or data.suffix.lower() == ".csv":
        table = Path(csv or data)
        found = csv_items(table, data if csv is not None else table.parent)
    else:
        return tree_items(Agd20kTree(data, split), views)
    return [item for item in found if item.view in views or item.problem]


def is_tree(data: str | Path, csv: str | Path | None = None) -> bool:
    """Whether :func:`find_items` takes ``data`` for an AGD20K tree."""
    data = Path(data)
    return csv is None and data.suffix.lower() != ".csv" and not _archives(data)


def _archives(data: Path) -> list[Path]:
    if data.suffix.lower() == ".tar":
        return [data]
    return sorted(data.glob("*.tar")) if data.is_dir() else []


def tree_items(tree: Agd20kTree, views: Sequence[str] = VIEWS[:1]) -> list[Item]:
    """Training pictures of a tree, sorted by view and name."""
    pictures = {"egocentric": lambda: tree.train, "exocentric": lambda: tree.exocentric}
    items = [
        Item(*picture, view, Source(str(tree.path("train", view, picture))))
        for view in sorted(views)
        for picture in pictures[view]()
    ]
    return mark_twins(sorted(items, key=lambda item: item.key))


def pair_items(pairs: Iterable[tuple[str, str]]) -> list[Item]:
    """An item without a picture for every pair of affordance and object, sorted."""
    return [Item(affordance, thing, "") for affordance, thing in sorted(set(pairs))]


def csv_items(table: str | Path, folder: str | Path) -> list[Item]:
    """Items of a table with the columns ``image``, ``object``, ``affordance`` and, if wished, ``view``; sorted.

    ``image`` is a path below ``folder``. The item's file is that path with ``__`` for ``/``. Other columns are ignored.
    Raises :class:`VidaffError` naming the row for a value that cannot be used, and for two pictures of one name.
    A picture that is not there is no error here: it is skipped when its turn comes.
    """
    items: list[Item] = []
    rows: dict[tuple[str, ...], int] = {}
    for number, row in _read_rows(Path(table)):
        try:
            item = _row_item(row, str(folder))
        except ValueError as error:
            raise VidaffError(f"{table}: row {number}: {error}") from error
        before = rows.setdefault(label_place(item), number)
        if before != number:
            raise VidaffError(f"{table}: row {number}: its label would take the place of that of row {before}")
        items.append(item)
    if not items:
        raise VidaffError(f"{table}: names no pictures")
    return sorted(items, key=lambda item: item.key)


def _read_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with their line numbers."""
    limit = csv_format.field_size_limit(MAX_FIELD)
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv_format.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            missing = [name for name in COLUMNS if header.count(name) != 1]
            if missing:
                raise VidaffError(f"{table}: the first row must name the column {missing[0]!r} once")
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise VidaffError(f"{table}: row {reader.line_num}: {len(row)} values for {len(header)} columns")
                yield reader.line_num, dict(zip(header, row, strict=True))
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise VidaffError(f"{table}: not readable as CSV ({reason})") from error
    finally:
        csv_format.field_size_limit(limit)


def _row_item(row: dict[str, str], folder: str) -> Item:
    image = PurePosixPath(row["image"].strip())
    if image.is_absolute() or ".." in image.parts:
        raise ValueError(f"the image {str(image)[:60]!r} is not below the folder of pictures")
    file = check_name("__".join(image.parts), "image")
    if not is_picture(file) or file.startswith("."):
        raise ValueError(f"the image {file[:60]!r} has no ending of a picture")
    return Item(
        sys.intern(check_name(row["affordance"].strip(), "affordance")),
        sys.intern(check_name(row["object"].strip(), "object")),
        file,
        check_view(row.get("view", "").strip()),
        Source(os.path.join(folder, image)),
    )
