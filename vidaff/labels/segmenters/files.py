"""Masks that are there already, of any segmenter, as PNG."""

from __future__ import annotations

import copy
import hashlib
import os
from pathlib import Path, PurePosixPath

import numpy as np

from vidaff.errors import VidaffError
from vidaff.io import read_label_image
from vidaff.labels.engine.hashes import hash_sample
from vidaff.labels.settings import SegmenterSettings


class FileMasks:
    """Regions of pictures in a folder::

        FOLDER/[view/]carry/skis/skis_1.png      8-bit grey: 0 is nothing, every other value one region
        FOLDER/[view/]carry/skis/skis_1/*.png    or one region a file, all that is not 0; they may overlap

    As a proposer it gives the regions. As a segmenter it gives, for every box, the region that overlaps most with it,
    by the area they have in common relative to the area they cover together, as FastSAM chooses.

    Args:
        source: the folder.
    """

    name = "file"

    def __init__(self, source: str | Path, settings: SegmenterSettings | None = None) -> None:
        self.source, self.settings = Path(source), settings
        self.picture: tuple[str, str | None] | None = None

    @classmethod
    def load(cls, settings: SegmenterSettings) -> FileMasks:
        """From ``settings.weights``; raise :class:`VidaffError` when there is no such folder, or no PNG in it."""
        if not settings.weights:
            raise VidaffError("the folder of masks must be named (weights)")
        loaded = cls(settings.weights, settings)
        if not loaded.source.is_dir():
            raise VidaffError(f"{loaded.source}: no such folder; see docs/labels-file.md for the format")
        if next(loaded.source.rglob("*.png"), None) is None:
            raise VidaffError(f"{loaded.source}: holds no PNG; see docs/labels-file.md for the format")
        return loaded

    def for_picture(self, name: str, view: str | None = None) -> FileMasks:
        """The same masks, asked about one picture."""
        bound = copy.copy(self)
        bound.picture = name, view
        return bound

    def generate(self, image: np.ndarray) -> np.ndarray:
        """Regions (K, H, W) bool of the picture.

        Raises:
            VidaffError: no file of the picture, or one of another size than ``image``.
            ValueError: :meth:`for_picture` was not called.
        """
        shape = image.shape[:2]
        place = self._place()
        regions: list[np.ndarray] = []
        if place.suffix == ".png":
            ids = _read(place, shape)
            regions = [ids == number for number in np.unique(ids) if number]
        else:
            regions = [mask for file in sorted(place.glob("*.png")) if (mask := _read(file, shape) > 0).any()]
        return np.stack(regions) if regions else np.zeros((0, *shape), bool)

    def segment(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Masks (N, H, W) bool: the best region of every box (N, 4), nothing where none lies in it."""
        regions = self.generate(image)
        result = np.zeros((len(boxes), *image.shape[:2]), bool)
        areas = regions.sum((1, 2))
        for mask, box in zip(result, boxes, strict=True):
            rows, columns = _pixels(box, image.shape)
            common = regions[:, rows, columns].sum((1, 2))
            box_area = (rows.stop - rows.start) * (columns.stop - columns.start)
            if common.any():
                mask[:] = regions[int(np.argmax(common / (areas + box_area - common)))]
        return result

    def fingerprint(self) -> str:
        """Hash of the names and sizes of all files, and of the first and last 4 KiB of each."""
        digest = hashlib.sha256()
        for folder, folders, files in os.walk(self.source):
            folders.sort()
            for file in sorted(files):
                path = Path(folder, file)
                with open(path, "rb") as opened:
                    sample = hash_sample(opened, 0, path.stat().st_size)
                digest.update(
                    f"{path.relative_to(self.source).as_posix()}\0{sample}\n".encode("utf-8", "surrogateescape")
                )
        return f"file-{digest.hexdigest()[:16]}"

    def _place(self) -> Path:
        """The PNG or the folder of the picture."""
        if self.picture is None:
            raise ValueError("a folder of masks must be told the picture: call for_picture() first")
        name, view = self.picture
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise VidaffError(f"{name}: no name of a picture within a folder")
        stem = inside.with_suffix("")
        roots = [self.source] if view is None else [self.source / view, self.source]
        for root in roots:
            for place in (root / f"{stem}.png", root / stem):
                if place.exists():
                    return place
        raise VidaffError(f"{self.source}: holds no masks of the picture {name} ({stem}.png, or a folder {stem})")


def _pixels(box: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a box, within the picture."""
    left, top, right, bottom = (round(float(value)) for value in box)
    left, top = min(max(left, 0), shape[1]), min(max(top, 0), shape[0])
    return slice(top, min(max(bottom, top), shape[0])), slice(left, min(max(right, left), shape[1]))


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    ids = read_label_image(file)
    if ids.ndim != 2 or ids.shape != shape[:2]:
        raise VidaffError(f"{file}: must be grey and {shape[1]}x{shape[0]} as its picture, got shape {ids.shape}")
    return ids
