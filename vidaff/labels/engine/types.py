"""What the engine passes around: an item of the input, the work done on it, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from vidaff.datasets.agd20k.tree import VIEWS, Picture
from vidaff.errors import VidaffError

MAX_NAME_BYTES = 200
"""Of an affordance, an object or a file: file systems take 255, temporary names and suffixes add to them."""


class Source(NamedTuple):
    """Where the bytes of a picture are: a file, or ``size`` bytes from ``offset`` of a tar archive."""

    path: str
    offset: int = 0
    size: int = -1


class Item(NamedTuple):
    """One unit of work, most often a picture of an object that affords something.

    ``source`` is None where there is no picture to read, as for a pair of affordance and object. ``problem`` says why
    the item is known to be unusable: it is recorded as skipped and never run.
    """

    affordance: str
    object: str
    file: str
    view: str = "egocentric"
    source: Source | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """``affordance/object/file``."""
        return "/".join(part for part in (self.affordance, self.object, self.file) if part)

    @property
    def key(self) -> str:
        """``view/affordance/object/file``: unique among the items of a run."""
        return f"{self.view}/{self.name}"

    @property
    def picture(self) -> Picture:
        """The name as label folders take it."""
        return Picture(self.affordance, self.object, self.file)


class Outcome(NamedTuple):
    """What the work made of an item.

    ``files`` are (path relative to the output folder, bytes); none where nothing was found. ``record`` is JSON-able and
    says what the report needs; the same item gives the same record.
    """

    files: Sequence[tuple[str, bytes]] = ()
    record: Mapping[str, Any] = MappingProxyType({})


class Basis(NamedTuple):
    """What the result of an item depends on besides its picture and the hashes of the whole step.

    ``name`` is for messages (``part names``); ``of`` gives a short text for an item.
    """

    name: str
    of: Callable[[Item], str]


class SkipItem(VidaffError):
    """Raised by the work for an item that it cannot do; the text is the reason that is recorded."""


class Work(Protocol):
    """One step of the labelling. It is pickled to other processes: load models in :meth:`setup`, not before.

    A step that is faster on several pictures at a time has, besides, ``batch: int`` and
    ``run_many(items, images) -> list[Outcome]``. One that has a device of its own to choose has ``take_place(number)``,
    which each of several processes of a machine calls with its number from 0 on, before :meth:`setup`.
    """

    name: str

    def setup(self) -> None:
        """Load what :meth:`run` needs; called once in every worker."""
        ...

    def run(self, item: Item, image: np.ndarray) -> Outcome:
        """Label one item; ``image`` (H, W, 3) uint8 RGB upright, (0, 0, 3) for an item without a source.

        Nothing is written here, and equal input gives equal bytes. :class:`VidaffError` and :class:`ValueError` mean
        that the item is skipped; any other exception ends the run.
        """
        ...


def check_name(text: str, what: str) -> str:
    """``text`` if it can name a folder or a file; raise :class:`ValueError` saying what is wrong with it."""
    if not text or text.startswith(".") or any(sign in text for sign in "/\\") or not text.isprintable():
        raise ValueError(f"the {what} {text[:60]!r} cannot name a file")
    if len(text.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        raise ValueError(f"the {what} {text[:20]!r}... is longer than {MAX_NAME_BYTES} bytes")
    return text


def check_view(text: str) -> str:
    """``text`` if it is a view, ``egocentric`` where it is empty; raise :class:`ValueError` otherwise."""
    if text and text not in VIEWS:
        raise ValueError(f"the view {text[:60]!r} is neither {' nor '.join(VIEWS)}")
    return text or VIEWS[0]


def label_place(item: Item) -> tuple[str, ...]:
    """Where the item's labels go: the same for ``a.jpg`` and ``a.png``, which therefore exclude each other."""
    return item.view, item.affordance, item.object, item.file.rpartition(".")[0]


def mark_twins(items: list[Item]) -> list[Item]:
    """Items, the second of two that would write the same label being marked as a problem."""
    seen: dict[tuple[str, ...], str] = {}
    marked = []
    for item in items:
        place = label_place(item)
        problem = f"its label would take the place of that of {seen[place]}" if place in seen else ""
        seen.setdefault(place, item.file)
        marked.append(item if item.problem or not problem else item._replace(problem=problem))
    return marked
