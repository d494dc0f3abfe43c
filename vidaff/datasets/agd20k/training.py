"""Training pictures of AGD20K with pseudo-labels, exocentric pictures and stitching."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import EllipsisType
from typing import Final

import numpy as np

from vidaff.datasets.agd20k.draws import NEGATIVES, Draw, NegativePictures
from vidaff.datasets.agd20k.exocentric import ExocentricBoxes
from vidaff.datasets.agd20k.labels import Box
from vidaff.datasets.agd20k.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    Triple,
    as_distribution,
    network_input,
    patches_of_box,
    patches_of_mask,
    read_map,
    read_picture,
    resize,
    soft_label,
)
from vidaff.datasets.agd20k.places import LabelPlaces
from vidaff.datasets.agd20k.samples import TestSample, TrainSample
from vidaff.datasets.agd20k.tree import Agd20kTree, Picture
from vidaff.errors import VidaffError

LABELS: Final = ("refined", "initial", "raw")
EXO_CHOICES: Final = ("similar", "uniform")
EXO_MASKS: Final = ("box", "object", "none")
FLIP = 0.5
Pair = tuple[str, str]


class Agd20kTrain:
    """Training pictures of one split that have a pseudo-label.

    A sample is a random crop of the picture resized to 8/7 of ``size``, mirrored in half of the cases, and with the
    chance ``stitch`` shrunk to one quadrant beside three other pictures, where the label is zero. Exocentric pictures
    are whole. Nothing is random but by ``seed``, :attr:`epoch` and index: set ``epoch`` before each epoch, and do not
    keep a loader's workers across epochs.

    Trees on disk: :class:`vidaff.datasets.agd20k.tree.Agd20kTree`, :mod:`vidaff.datasets.agd20k.labels`,
    :mod:`vidaff.datasets.agd20k.authors`. A sample: :class:`vidaff.datasets.agd20k.samples.TrainSample`.

    Args:
        root, split, manifest: see :class:`vidaff.datasets.agd20k.tree.Agd20kTree`.
        labels: folder of labels; None: those beside the pictures.
        label: ``refined``, ``raw`` (refined, before SAM's clean-up), or ``initial``. A picture without a label of the
            first two kinds uses its initial one, as few pairs are refined.
        num_exo: exocentric pictures a sample, 0 for none.
        exo_choice: ``similar``: among the ten most similar to a box of the picture; where there is no box or no table,
            and with ``uniform`` always, among all of the same affordance and object.
        exo_mask: ``box``, ``object`` (its mask) or ``none`` (the whole picture).
        stitch: chance of stitching; ``negatives``: see :class:`vidaff.datasets.agd20k.draws.NegativePictures`.
        size, patch: pixels of the network's input and of its patches.
        mean, std: of RGB in 0..1; the defaults are CLIP's.

    Raises:
        VidaffError: the tree or the labels are not there or cannot be used, saying what would make them.
        ValueError: an option has none of its values.

    Source: Xu et al., ICLR 2025, sections 3.4 to 3.6 and A.2; where the code differs, the code.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "seen",
        *,
        labels: str | Path | None = None,
        label: str = "refined",
        num_exo: int = 1,
        exo_choice: str = "similar",
        exo_mask: str = "box",
        stitch: float = 0.5,
        negatives: str = "irrelevant",
        size: int = 224,
        patch: int = 16,
        mean: Triple = CLIP_MEAN,
        std: Triple = CLIP_STD,
        seed: int = 1,
        manifest: str | Path | None = None,
    ) -> None:
        _check_choices(
            label=(label, LABELS), exo_choice=(exo_choice, EXO_CHOICES), exo_mask=(exo_mask, EXO_MASKS),
            negatives=(negatives, NEGATIVES),
        )  # fmt: skip
        if size < patch or size % patch or num_exo < 0 or not 0 <= stitch <= 1:
            raise ValueError("size must be a multiple of patch, num_exo at least 0, stitch within 0..1")
        self.tree = Agd20kTree(root, split, manifest=manifest)
        self.classes = self.tree.classes
        self.places = LabelPlaces(self.tree, labels)
        self.epoch = 0
        self.skipped: list[tuple[str, str]] = []
        """Names of the pictures that are left out, and why."""
        self.notes: list[tuple[str, str]] = []
        """Names of the pictures, or pairs, that miss something that can be done without, and what."""
        self._size, self._patch, self._mean, self._std = size, patch, mean, std
        self._num_exo, self._exo_choice, self._exo_mask = num_exo, exo_choice, exo_mask
        self._stitch, self._seed = stitch, seed
        self._label_paths = self._find_labels(label)
        self._exo = ExocentricBoxes(self.tree, self.places) if num_exo else None
        self.pictures: list[Picture] = self._usable(exo_choice == "similar")
        self.pairs: list[Pair] = sorted({picture.pair for picture in self.pictures})
        self.label_counts = dict(Counter(self._label_paths[picture][0] for picture in self.pictures))
        """Number of pictures by the kind of label that they have."""
        self._rule = negatives
        self._negatives = NegativePictures(self.tree.train, negatives)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> TrainSample:
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        return self.sample(index, self.draw(index, np.random.default_rng((self._seed, self.epoch, index))))

    def draw(self, index: int, rng: np.random.Generator) -> Draw:
        """Random choices of a sample."""
        picture = self.pictures[index]
        pool = self.exo_pool(index, int(rng.integers(max(self.boxes(index), 1)))) if self._num_exo else []
        exo = tuple(pool[int(rng.integers(len(pool)))] for _ in range(self._num_exo))
        margin = self._canvas - self._size
        top, left = (int(place) for place in rng.integers(margin + 1, size=2))
        flip = bool(rng.random() < FLIP)
        stitched = rng.random() < self._stitch
        return Draw(exo, top, left, flip, self._negatives.stitch(picture, rng) if stitched else None)

    def sample(self, index: int, draw: Draw) -> TrainSample:
        """The sample of given random choices."""
        picture = self.pictures[index]
        image, heat = self._cropped(picture, draw)
        if draw.stitch is not None:
            image, heat = self._stitched(image, heat, draw.stitch.negatives, draw.stitch.quadrant)
        exo = [self._exocentric(picture, box) for box in draw.exo]
        return TrainSample(
            image=image,
            heatmap=as_distribution(heat)[None],  # (1, S, S)
            verb=self.classes.affordances.index(picture.affordance),
            noun=self.classes.objects.index(picture.object),
            pair=self.pairs.index(picture.pair),
            exo=np.stack([pixels for pixels, _ in exo]) if exo else np.zeros((0, *image.shape), np.float32),
            exo_mask=np.stack([mask for _, mask in exo]) if exo else np.zeros((0, self._cells), np.float32),
            index=index,
        )

    def whole(self, index: int) -> TestSample:
        """The whole picture with its pseudo-label, without anything random: to judge a network on held-out pictures."""
        picture = self.pictures[index]
        rgb, label = self._read(picture)
        size = (self._size, self._size)
        return TestSample(
            image=network_input(rgb, size, self._mean, self._std),
            heatmap=as_distribution(soft_label(label, size))[None],  # (1, S, S)
            verb=self.classes.affordances.index(picture.affordance),
            noun=self.classes.objects.index(picture.object),
            index=index,
        )

    def held_out(self, share: float = 0.1, seed: int = 0) -> tuple[list[int], list[int]]:
        """Indices to train on, and about ``share`` of each object's files to judge on; at least one of two or more.

        A file that is filed under several affordances is on one side only.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be within 0..1, got {share}")
        rng = np.random.default_rng(seed)
        out: set[tuple[str, str]] = set()
        for thing in sorted({picture.object for picture in self.pictures}):
            files = sorted({picture.file for picture in self.pictures if picture.object == thing})
            count = min(max(round(share * len(files)), 1), len(files) - 1)
            out |= {(thing, str(file)) for file in rng.permutation(files)[:count]}
        judged = [index for index, one in enumerate(self.pictures) if (one.object, one.file) in out]
        return sorted(set(range(len(self))) - set(judged)), judged

    def use_patch(self, patch: int) -> None:
        """Patches of the encoder that is trained, whose size published weights decide.

        Raises :class:`VidaffError` when pictures do not divide into them.
        """
        if self._size % patch:
            raise VidaffError(
                f"input.size {self._size}: must be a multiple of {patch}, the patch of the encoder's weights"
            )
        self._patch = patch

    def listing(self) -> dict[str, list[str]]:
        """What is trained on, told by names and sizes of files alone: two data sets of one listing are the same.

        ``pictures`` and their ``labels``, in their order, and the ``exocentric`` pictures, where some are drawn.
        """
        found = {
            "pictures": [_listed(one.name, self.tree.path("train", "egocentric", one)) for one in self.pictures],
            "labels": [_listed(kind, path) for kind, path in (self._label_paths[one] for one in self.pictures)],
        }
        if self._exo is not None:
            found["exocentric"] = [one.name for one in self.tree.exocentric]
        return found

    def stitch_from(self, fit: Iterable[int]) -> None:
        """From now on stitch no picture that is held out: ``fit`` are the indices of those that are trained on.

        A file that is held out under one affordance is not stitched under another. Pictures without a pseudo-label,
        which are never judged on, may be stitched as before.
        """
        kept = {self.pictures[index] for index in fit}
        held = {(one.object, one.file) for one in self.pictures if one not in kept}
        others = [one for one in self.tree.train if (one.object, one.file) not in held]
        self._negatives = NegativePictures(others, self._rule)

    def boxes(self, index: int) -> int:
        """Number of boxes of the object in a picture; 0 when none was found, or none was asked for."""
        return self._exo.count(self.pictures[index]) if self._exo is not None else 0

    def exo_pool(self, index: int, box: int) -> list[Box]:
        """Exocentric objects among which one is drawn for box number ``box`` of a picture."""
        if self._exo is None:
            return []
        return self._exo.pool(self.pictures[index], box, similar=self._exo_choice == "similar")

    @property
    def _canvas(self) -> int:
        """Side of the picture before the crop: 256 for 224."""
        return round(self._size * 8 / 7)

    @property
    def _cells(self) -> int:
        return (self._size // self._patch) ** 2

    def _find_labels(self, label: str) -> dict[Picture, tuple[str, Path]]:
        kinds = (label,) if label == "initial" else (label, "initial")
        found = {}
        for picture in self.tree.train:
            paths = ((kind, self.places.find_mask(kind, picture)) for kind in kinds)
            first = next(((kind, path) for kind, path in paths if path is not None), None)
            if first is not None:
                found[picture] = first
        if not found:
            raise VidaffError(
                f"{self.places.folder}: holds no pseudo-labels (labels/initial, or the authors' PL) of the "
                f"{len(self.tree.train)} training pictures; vidaff label makes them, --labels names another folder"
            )
        return found

    def _usable(self, similar: bool) -> list[Picture]:
        usable = []
        for picture in self.tree.train:
            if picture not in self._label_paths:
                self.skipped.append((picture.name, "no pseudo-label"))
            elif self._exo is not None and not self._exo.columns(picture.pair):
                self.skipped.append((picture.name, "no exocentric picture of it has a box"))
            else:
                usable.append(picture)
                missing = self._exo.missing(picture) if self._exo is not None and similar else None
                if missing:
                    self.notes.append((picture.name, missing))
        if not usable:
            name, reason = self.skipped[0]
            raise VidaffError(f"{self.places.folder}: no training picture can be used; {name}: {reason}")
        return usable

    def _read(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        path = self.tree.path("train", "egocentric", picture)
        rgb = read_picture(path)
        return rgb, read_map(self._label_paths[picture][1], path, (rgb.shape[0], rgb.shape[1]))

    def _cropped(self, picture: Picture, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Image (3, S, S) and label (S, S), whose highest value is 1; one without foreground is 1 everywhere."""
        rgb, label = self._read(picture)
        canvas = (self._canvas, self._canvas)
        window = (..., slice(draw.top, draw.top + self._size), slice(draw.left, draw.left + self._size))
        image = network_input(rgb, canvas, self._mean, self._std)[window]
        heat = soft_label(label, canvas)[window]
        if draw.flip:
            image, heat = image[..., ::-1], heat[..., ::-1]
        peak = heat.max()
        heat = heat / peak if peak > 0 else np.ones_like(heat)
        return np.ascontiguousarray(image), np.ascontiguousarray(heat)

    def _stitched(
        self, image: np.ndarray, heat: np.ndarray, negatives: tuple[Picture, ...], quadrant: int
    ) -> tuple[np.ndarray, np.ndarray]:
        half = self._size // 2
        place = divmod(quadrant, 2)
        # The authors fill the other quadrants from the top left, except that the upper right one, where free, is first.
        order = {0: (1, 2, 3), 1: (0, 2, 3), 2: (1, 0, 3), 3: (1, 2, 0)}[quadrant]
        stitched, zero = np.empty_like(image), np.zeros_like(heat)
        stitched[_quadrant(place, half)] = resize(image.transpose(1, 2, 0), (half, half)).transpose(2, 0, 1)
        zero[_quadrant(place, half)] = resize(heat, (half, half))
        for number, picture in zip(order, negatives, strict=True):
            rgb = read_picture(self.tree.path("train", "egocentric", picture))
            stitched[_quadrant(divmod(number, 2), half)] = network_input(rgb, (half, half), self._mean, self._std)
        return stitched, zero

    def _exocentric(self, picture: Picture, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Exocentric image (3, S, S) and the patches (n * n,) of its object."""
        other = Picture(*picture.pair, box.file)
        path = self.tree.path("train", "exocentric", other)
        rgb = read_picture(path)
        grid = (rgb.shape[0], rgb.shape[1])
        image = network_input(rgb, (self._size, self._size), self._mean, self._std)
        if self._exo_mask == "none" or self._exo is None:
            return image, np.ones(self._cells, np.float32)
        if self._exo_mask == "object":
            mask = self.places.find_mask("objects/exocentric", other)
            if mask is not None:
                return image, patches_of_mask(read_map(mask, path, grid), self._size, self._patch)
        return image, patches_of_box(self._exo.box(other, box.number), grid, self._size, self._patch)


def _listed(name: str, path: Path) -> str:
    return f"{name} {path.stat().st_size}"


def _quadrant(place: tuple[int, int], half: int) -> tuple[EllipsisType, slice, slice]:
    row, column = place
    return (..., slice(row * half, (row + 1) * half), slice(column * half, (column + 1) * half))


def _check_choices(**choices: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
