"""Where AGD20K keeps its pictures, and which of them a split trains and tests on."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from vidaff.datasets.agd20k.classes import LAST_HARD_TRAIN_OBJECT, Classes, read_classes
from vidaff.errors import VidaffError
from vidaff.io import read_json

SPLITS: Final = ("seen", "unseen", "hard")
FOLDERS: Final = {"seen": "Seen", "unseen": "Unseen", "hard": "Seen"}
SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Endings of pictures, in lower case; other files in their folders are strays and count for nothing."""
VIEWS: Final = ("egocentric", "exocentric")


class Picture(NamedTuple):
    """A picture of an object, filed under an affordance. The same picture may be filed under several."""

    affordance: str
    object: str
    file: str

    @property
    def name(self) -> str:
        """``affordance/object/file``."""
        return "/".join(self)

    @property
    def stem(self) -> str:
        return self.file.rpartition(".")[0]

    @property
    def pair(self) -> tuple[str, str]:
        return self.affordance, self.object


class Agd20kTree:
    """Files of one split; lists are made when asked for, and sorted.

    On disk, ROOT being the folder ``AGD20K`` or one that holds it::

        ROOT/Seen/trainset/egocentric/<affordance>/<object>/*.jpg    the object alone
                          exocentric/<affordance>/<object>/*.jpg     the object in use
             Seen/testset/egocentric/<affordance>/<object>/*.jpg
                          GT/<affordance>/<object>/<stem>.png        8-bit grey, of the picture's size
        ROOT/Unseen/...                                              the same; other objects in the test set

    Args:
        root: see above.
        split: ``seen``, ``unseen``, or ``hard``: pictures of Seen, objects up to ``hot_dog`` in the alphabet train, the
            others test.
        manifest: JSON file ``{"train": [...], "test": [...]}`` that divides ``hard`` in another way; its entries are
            names of objects or of pictures (``affordance/object/file``).

    Raises:
        VidaffError: an unknown split; missing folders; a folder that is no class; a manifest that names what is not
            there.
    """

    def __init__(self, root: str | Path, split: str, *, manifest: str | Path | None = None) -> None:
        if split not in SPLITS:
            raise VidaffError(f"agd20k: the splits are {', '.join(SPLITS)}, got {split!r}")
        if manifest is not None and split != "hard":
            raise VidaffError(f"agd20k: a manifest divides the split 'hard', not {split!r}")
        self.root = find_root(root, FOLDERS[split])
        self.split = split
        self.classes: Classes = read_classes(self.root)
        self.trainset = self.root / FOLDERS[split] / "trainset"
        self.testset = self.root / FOLDERS[split] / "testset"
        self._manifest = None if manifest is None else read_manifest(Path(manifest))
        self._manifest_path = manifest

    @cached_property
    def train(self) -> list[Picture]:
        """Egocentric training pictures."""
        return self._chosen("train", list_pictures(self.trainset / "egocentric", self.classes))

    @cached_property
    def exocentric(self) -> list[Picture]:
        """Exocentric pictures of the pairs of affordance and object that are trained on."""
        pairs = {picture.pair for picture in self.train}
        pictures = list_pictures(self.trainset / "exocentric", self.classes)
        return [picture for picture in pictures if picture.pair in pairs]

    @cached_property
    def test(self) -> list[Picture]:
        """Test pictures, those with ground truth."""
        pictures = list_pictures(self.testset / "egocentric", self.classes)
        annotated = [picture for picture in pictures if self.ground_truth_path(picture).is_file()]
        if not annotated:
            raise VidaffError(f"{self.testset / 'GT'}: holds the ground truth of none of {len(pictures)} test pictures")
        return self._chosen("test", annotated)

    def path(self, side: str, view: str, picture: Picture) -> Path:
        """File of a picture; ``side`` is ``train`` or ``test``, ``view`` ``egocentric`` or ``exocentric``."""
        return (self.trainset if side == "train" else self.testset).joinpath(view, *picture)

    def ground_truth_path(self, picture: Picture) -> Path:
        """Heat map of a test picture."""
        return self.testset / "GT" / picture.affordance / picture.object / f"{picture.stem}.png"

    def _chosen(self, side: str, pictures: list[Picture]) -> list[Picture]:
        if self.split != "hard":
            return pictures
        if self._manifest is None:
            return [one for one in pictures if (one.object <= LAST_HARD_TRAIN_OBJECT) == (side == "train")]
        return self._listed(side, self._manifest[side], pictures)

    def _listed(self, side: str, entries: list[str], pictures: list[Picture]) -> list[Picture]:
        known = {picture.object for picture in pictures} | {picture.name for picture in pictures}
        missing = [entry for entry in entries if entry not in known]
        if missing:
            raise VidaffError(
                f"{self._manifest_path}: {missing[0]!r} is neither an object nor a picture of the {side} set "
                f"({len(missing)} of {len(entries)} entries are not)"
            )
        listed = set(entries)
        return [one for one in pictures if one.object in listed or one.name in listed]


def find_root(root: str | Path, folder: str) -> Path:
    """The folder that holds ``folder`` (``Seen`` or ``Unseen``): ``root`` itself, or ``AGD20K`` in it."""
    root = Path(root)
    for found in (root, root / "AGD20K"):
        if (found / folder).is_dir():
            return found
    inside = " (it looks like one of its splits: give the folder above)" if (root / "trainset").is_dir() else ""
    raise VidaffError(f"{root}: has no folder {folder}/; the folder AGD20K is expected{inside}")


def list_pictures(folder: Path, classes: Classes) -> list[Picture]:
    """Pictures below ``folder``/affordance/object, sorted; hidden and stray files are left out.

    Raises :class:`VidaffError` when there are none, or a folder is named after no class.
    """
    found = [
        Picture(affordance, thing, file)
        for affordance in _class_folders(folder, classes.affordances, "affordance")
        for thing in _class_folders(folder / affordance, classes.objects, "object")
        for file in list_files(folder / affordance / thing)
        if is_picture(file)
    ]
    if not found:
        raise VidaffError(f"{folder}: holds no pictures (affordance/object/picture.jpg)")
    return found


def is_picture(file: str) -> bool:
    """Whether a file is one, by its name."""
    return file.lower().endswith(SUFFIXES)


def list_files(folder: Path) -> list[str]:
    """Names of the files in ``folder``, sorted, hidden ones left out."""
    return [entry.name for entry in _entries(folder) if entry.is_file()]


def _class_folders(folder: Path, known: tuple[str, ...], what: str) -> list[str]:
    names = [entry.name for entry in _entries(folder) if entry.is_dir()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise VidaffError(
            f"{folder / unknown[0]}: {unknown[0]!r} is no {what} of AGD20K; a set with other classes names them in "
            "classes.json beside Seen/ and Unseen/"
        )
    return names


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((one for one in entries if not one.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise VidaffError(f"{folder}: cannot be listed ({error.strerror or error})") from error


def read_manifest(path: Path) -> dict[str, list[str]]:
    """Entries of a manifest by side; raise :class:`VidaffError` when it is not as :class:`Agd20kTree` says."""
    value = read_json(path)
    if not isinstance(value, dict) or set(value) != {"train", "test"} or not all(map(_is_names, value.values())):
        raise VidaffError(f'{path}: {{"train": [objects or pictures], "test": [...]}} is expected')
    return value


def _is_names(entries: object) -> bool:
    return isinstance(entries, list) and bool(entries) and all(isinstance(entry, str) for entry in entries)
