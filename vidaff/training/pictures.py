"""From labelled pictures to what a detector trains on: boxes, object classes, and the right classes of every pixel.

Any data set will do whose ``read_static`` gives a picture with a mask: last frames of clips, or still pictures. Where
it has boxes that were drawn around whole objects (IIT-AFF), they and their names are learned, as published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vidaff.datasets.base import Clip, ClipDataset, ObjectBox
from vidaff.datasets.taxonomy import IGNORE
from vidaff.errors import VidaffError
from vidaff.models.baselines.settings import DetectorTrain
from vidaff.training.batches import EpochSampler, spread

UNNAMED = "object"
"""Class of objects whose name the data set does not tell."""
SPECK = 1e-3
"""Share of a picture below which a labelled patch is no object of its own."""


@dataclass(frozen=True)
class Picture:
    """One picture: ``image`` (3, H, W) in [0, 1], ``mask`` (H, W) class ids and 255.

    ``target`` is what :class:`vidaff.models.baselines.AffordanceNet` takes.
    """

    image: torch.Tensor
    mask: torch.Tensor
    target: dict[str, torch.Tensor]


Pictures = list[Picture]
Boxes = tuple[ObjectBox, ...]


def object_names(dataset: ClipDataset) -> list[str]:
    """Kinds of objects: those that the data set draws boxes of, else those of the pictures of a split, sorted.

    :data:`UNNAMED` stands for objects without a name.
    """
    if dataset.object_kinds:
        return list(dataset.object_kinds)
    return sorted({dataset.info(index).object or UNNAMED for index in range(len(dataset))})


class PictureStore(Dataset[Picture]):
    """Last frames, or still pictures, of one split.

    Args:
        dataset: what to read from.
        objects: names of the object classes; a picture's class is its place in them plus one. Others count as the
            first: their pictures are for validation only, which looks at the masks.
        background: id of the background, which is also the number of affordances.
        settings: labels, augmentation, seed and cache.
        train: change the pictures as ``settings`` say, in a way that depends on seed, epoch and index only.
    """

    def __init__(
        self, dataset: ClipDataset, objects: list[str], *, background: int, settings: DetectorTrain, train: bool
    ) -> None:
        self.dataset, self.background, self.settings, self.train = dataset, background, settings, train
        self.epoch = 0
        self._numbers = {name: number for number, name in enumerate(objects, start=1)}
        self._boxed = bool(dataset.object_kinds)
        self._cache: dict[int, tuple[Clip, Boxes | None]] | None = {} if settings.cache else None

    def __len__(self) -> int:
        return len(self.dataset)

    def fill(self, *, progress: bool = True) -> None:
        """Read all pictures into the cache, where there is one, with a progress bar."""
        from vidaff.progress import progress_bar

        if self._cache is not None:
            with progress_bar(shown=progress) as bar:
                for index in bar.track(range(len(self)), description="reading pictures"):
                    self._clip(index)

    def _clip(self, index: int) -> tuple[Clip, Boxes | None]:
        if self._cache is None:
            return self.dataset.read_static(index), self._boxes(index)
        if index not in self._cache:
            # What the network does not see would take two thirds of the memory.
            clip = replace(self.dataset.read_static(index), depth=None, flow=None)
            self._cache[index] = clip, self._boxes(index)
        return self._cache[index]

    def _boxes(self, index: int) -> Boxes | None:
        """Drawn boxes, ``None`` for a data set without."""
        if not self._boxed:
            return None
        boxes = self.dataset.object_boxes(index)
        if boxes is None:
            name = self.dataset.name(index)
            raise VidaffError(f"{name}: has no boxes, unlike other pictures; prepare the file again")
        return boxes

    def __getitem__(self, index: int) -> Picture:
        clip, boxes = self._clip(index)
        if clip.mask is None:
            raise VidaffError(f"{clip.name}: has no label; training and evaluation need one")
        rgb, mask, affordances = clip.rgb[-1], clip.mask, clip.affordances
        if self.train:
            rng = np.random.default_rng([self.settings.seed, self.epoch, index])
            if self.settings.flip and rng.random() < 0.5:
                rgb, mask = rgb[:, ::-1], mask[:, ::-1]
                boxes = None if boxes is None else _mirrored(boxes, mask.shape[1])
                affordances = None if affordances is None else affordances[:, ::-1]
            rgb = _jitter(rgb, self.settings.colour_jitter, rng)
        image = torch.from_numpy(np.ascontiguousarray(rgb)).movedim(-1, 0).float() / 255  # (3, H, W)
        target = self._target(clip, mask, affordances, boxes)
        return Picture(image, torch.from_numpy(np.ascontiguousarray(mask)), target)

    def _target(
        self, clip: Clip, mask: np.ndarray, affordances: np.ndarray | None, boxes: Boxes | None
    ) -> dict[str, torch.Tensor]:
        if boxes is None:
            instances = find_objects(mask, affordances, self.background, one=bool(clip.object))
            boxes = _around(instances, clip.object or UNNAMED)
        else:
            instances = objects_of_pixels(mask < self.background, boxes)
        if self.settings.labels == "any_part" and affordances is None:
            raise VidaffError(f"{clip.name}: train.labels=any_part needs labels of all parts; set train.labels=action")
        parts = affordances if self.settings.labels == "any_part" else None
        return {
            "boxes": torch.tensor([box[1:] for box in boxes]).reshape(-1, 4).float(),
            "labels": torch.tensor([self._numbers.get(box.name, 1) for box in boxes], dtype=torch.int64),
            "allowed": torch.from_numpy(allowed_classes(mask, parts, self.background)),
            "instances": torch.from_numpy(instances),
        }


def find_objects(mask: np.ndarray, affordances: np.ndarray | None, background: int, *, one: bool) -> np.ndarray:
    """Number of the object that each pixel belongs to, -1 for none: (H, W) int64.

    All pixels with an affordance are ``one`` object, else each connected patch of them that is no speck is one.
    Deviation: AffordanceNet takes boxes that were drawn around whole objects. So does :class:`PictureStore` where there
    are some; this is for data without, whose boxes come from the labels of parts.

    Args:
        mask: (H, W) class ids, 255 = not judged.
        affordances: (H, W) bit masks of all parts where they are known, else None: the mask alone counts.
        background: id of the background.
        one: whether the picture is known to show one object.
    """
    labelled = mask < background if affordances is None else affordances != 0
    if one:
        return np.where(labelled, 0, -1).astype(np.int64)
    _, patches, stats, _ = cv2.connectedComponentsWithStats(labelled.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= SPECK * mask.size
    large[0] = False  # what has no label
    numbers = np.where(large, np.cumsum(large) - 1, -1)
    return numbers[patches].astype(np.int64)


def objects_of_pixels(labelled: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Number of the box that each pixel with an affordance belongs to, -1 for none: (H, W) int64.

    Where boxes overlap, the smallest counts: what lies before or in another object is the smaller one mostly.
    Deviation: the release has a mask for each object, the text labels of IIT-AFF one for all.
    """
    numbers = np.full(labelled.shape, -1, np.int64)
    for number in sorted(range(len(boxes)), key=lambda i: _area(boxes[i]), reverse=True):
        x0, y0, x1, y1 = (round(side) for side in boxes[number][1:])
        numbers[y0:y1, x0:x1] = number
    return np.where(labelled, numbers, -1)


def allowed_classes(mask: np.ndarray, affordances: np.ndarray | None, background: int) -> np.ndarray:
    """Bit masks of the classes that are right for each pixel: (H, W) int64; bit K is the background, 0 = not judged.

    ``mask`` (H, W) names one class a pixel; ``affordances`` (H, W), where given, all that a pixel affords.
    """
    judged = mask != IGNORE
    classes = np.where(judged, mask, 0).astype(np.int64)
    right = np.left_shift(np.int64(1), classes)
    if affordances is not None:
        right = np.where(affordances != 0, affordances.astype(np.int64), np.int64(1) << background)
    return np.where(judged, right, 0)


def _area(box: ObjectBox) -> float:
    return (box.x1 - box.x0) * (box.y1 - box.y0)


def _mirrored(boxes: Boxes, width: int) -> Boxes:
    return tuple(box._replace(x0=width - box.x1, x1=width - box.x0) for box in boxes)


def _around(instances: np.ndarray, name: str) -> Boxes:
    """Boxes around the pixels of each object, which are numbered from 0."""
    return tuple(ObjectBox(name, *_box(instances == number)) for number in range(int(instances.max()) + 1))


def _box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1) around pixels, its far sides just behind the last ones."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _jitter(rgb: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gain and tint of at most ``strength``; (H, W, 3) uint8."""
    if not strength:
        return rgb
    gain = (1 + rng.uniform(-strength, strength)) * (1 + rng.uniform(-strength, strength, 3) / 2)
    changed: np.ndarray = (rgb * gain).clip(0, 255).astype(np.uint8)
    return changed


def train_pictures(
    store: PictureStore, *, epoch: int, rank: int = 0, world: int = 1, done: int = 0
) -> DataLoader[Picture]:
    """Loader of one epoch; ``done`` batches, which an earlier sitting has trained on, are passed over."""
    settings = store.settings
    share = settings.batch_size // world
    store.epoch = epoch
    sampler = EpochSampler(
        len(store), global_batch=settings.batch_size, seed=settings.seed, epoch=epoch, rank=rank, world=world,
        seen=done * share,
    )  # fmt: skip
    return DataLoader(store, batch_size=share, sampler=sampler, drop_last=True, **_options(store))


def val_pictures(store: PictureStore) -> DataLoader[Picture]:
    """Loader of the validation pictures in their own order, at most ``val_limit`` of them."""
    chosen = spread(len(store), store.settings.val_limit)
    return DataLoader(store, batch_size=max(store.settings.batch_size, 8), sampler=chosen, **_options(store))


def _options(store: PictureStore) -> dict[str, Any]:
    """Pictures differ in their number of boxes, so a batch is a list."""
    if store.settings.cache or store.settings.workers == 0:
        return {"collate_fn": list, "num_workers": 0}
    return {"collate_fn": list, "num_workers": store.settings.workers, "multiprocessing_context": "spawn"}
