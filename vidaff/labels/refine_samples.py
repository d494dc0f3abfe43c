"""Training samples of the refinement network: an egocentric object and exocentric ones that look like it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from vidaff.datasets.agd20k.exocentric import ExocentricBoxes
from vidaff.datasets.agd20k.labels import Box
from vidaff.datasets.agd20k.pixels import Triple
from vidaff.datasets.agd20k.tree import Picture
from vidaff.errors import VidaffError
from vidaff.labels.pictures import LabelledPictures
from vidaff.labels.refine_pixels import (
    Rect,
    box_in_crop,
    canvas_of,
    canvas_size,
    crop_window,
    network_view,
    region_mask,
    region_view,
    view,
    whole_pixels,
)

FLIP = 0.5
Pair = tuple[str, str]


class RefineSample(NamedTuple):
    """One picture of the set. S = 224 pixels, n exocentric objects:

    image (3, S, S) float32, a crop of the padded picture, normalised; label (1, S, S) float32, the initial label in
    the same crop; thing (1, S, S) float32, the object's mask there, zero where the picture has no label; box (4,)
    int64 of the object in the crop; region (3, S, S) float32, the object alone; exo (n, 3, S, S) and exo_masks
    (n, 1, S, S) float32, exocentric objects alone; weights (n,) float32, 0 for objects that cannot be used; pair, the
    position in the data set's ``pairs``.
    """

    image: np.ndarray
    label: np.ndarray
    thing: np.ndarray
    box: np.ndarray
    region: np.ndarray
    exo: np.ndarray
    exo_masks: np.ndarray
    weights: np.ndarray
    pair: int


class RefineDraw(NamedTuple):
    """Random choices of a sample: number of the object's box, exocentric objects, the crop's corner, mirroring."""

    box: int
    exo: tuple[Box, ...]
    top: int
    left: int
    flip: bool


class RefineSet:
    """Pictures of the refined pairs in which the object was found.

    Nothing is random but by ``seed``, :attr:`epoch` and index: set ``epoch`` before each epoch.

    Args:
        pictures: the pictures and their labels.
        pairs: whose pictures; others are left out.
        size: pixels of the network's input; mean, std: of RGB in 0..1.
        refined: pairs whose initial labels are doubted: one that covers the share ``label_whole`` of the object or more
            is left out of the samples, since a detector that knows no part gives the whole.
        num_exo: exocentric objects a sample, drawn from the ten most similar ones; from all where there is no table.

    Raises:
        VidaffError: no boxes of exocentric objects, or no picture can be used.

    Source: Xu et al., ICLR 2025, section 3.3 and the authors' code.
    """

    def __init__(
        self,
        pictures: LabelledPictures,
        pairs: Sequence[Pair],
        *,
        size: int,
        mean: Triple,
        std: Triple,
        refined: Collection[Pair] = (),
        label_whole: float = 0.9,
        num_exo: int = 3,
        seed: int = 1,
    ) -> None:
        self.pictures, self.pairs = pictures, list(pairs)
        self.epoch = 0
        self.skipped: list[tuple[str, str]] = []
        """Names of the pictures that are left out, and why."""
        self._size, self._mean, self._std = size, mean, std
        self._refined, self._label_whole = frozenset(refined), label_whole
        self._num_exo, self._seed = num_exo, seed
        self._boxes = pictures.places.boxes("egocentric") or {}
        # Both are asked for pictures, boxes and tables alone.
        self._exo = ExocentricBoxes(cast(Any, pictures), cast(Any, pictures.places))
        wanted = set(pairs)
        self.items = [one for one in pictures.egocentric if one.pair in wanted and self._usable(one)]
        if not self.items:
            why = "{}: {}".format(*self.skipped[0]) if self.skipped else "no picture of the refined pairs is there"
            raise VidaffError(f"{pictures.places.folder}: nothing to refine; {why}")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> RefineSample:
        return self.sample(index, self.draw(index, np.random.default_rng((self._seed, self.epoch, index))))

    def draw(self, index: int, rng: np.random.Generator) -> RefineDraw:
        """Random choices of a sample."""
        picture = self.items[index]
        box = int(rng.integers(len(self._boxes[picture.name])))
        pool = self._exo.pool(picture, box, similar=True)
        exo = tuple(pool[int(rng.integers(len(pool)))] for _ in range(self._num_exo))
        top, left = (int(place) for place in rng.integers(canvas_size(self._size) - self._size + 1, size=2))
        return RefineDraw(box, exo, top, left, bool(rng.random() < FLIP))

    def sample(self, index: int, draw: RefineDraw) -> RefineSample:
        """The sample of given random choices."""
        picture, size = self.items[index], self._size
        rgb = self.pictures.read("egocentric", picture)
        grid = (rgb.shape[0], rgb.shape[1])
        canvas, window = canvas_of(grid), crop_window(grid, size, draw.top, draw.left)
        cut = (..., slice(draw.top, draw.top + size), slice(draw.left, draw.left + size))
        image = network_view(rgb, canvas, canvas_size(size), self._mean, self._std)[cut]
        common = Rect(*self._boxes[picture.name][draw.box, :4].tolist()).within(window)
        source = whole_pixels(common, canvas)
        exo = [self._exocentric(picture, box) for box in draw.exo]
        weights = np.array([float(mask.any()) for _, mask in exo], np.float32)
        box = box_in_crop(common, window, size)
        if box.empty or source.empty:
            # The crop does not show the object: as the authors, an empty region that weighs nothing.
            box, region, weights = Rect(0, 0, size, size), np.zeros_like(image), np.zeros_like(weights)
        else:
            region = region_view(rgb, source, size, self._mean, self._std)
        label, thing = (mask[cut][None] for mask in self._masks(picture, grid))
        if draw.flip:
            image, region, label, thing = (one[..., ::-1] for one in (image, region, label, thing))
            box = Rect(size - box.right, box.top, size - box.left, box.bottom)
        return RefineSample(
            image=np.ascontiguousarray(image),
            label=np.ascontiguousarray(label),
            thing=np.ascontiguousarray(thing),
            box=np.array(box, np.int64),
            region=np.ascontiguousarray(region),
            exo=np.stack([pixels for pixels, _ in exo]),
            exo_masks=np.stack([mask for _, mask in exo]),
            weights=weights,
            pair=self.pairs.index(picture.pair),
        )

    def _masks(self, picture: Picture, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Initial label and object on the canvas before the crop; the object is nowhere where there is no label."""
        masks = [self.pictures.mask(kind, picture, grid) for kind in ("initial", "objects/egocentric")]
        label, thing = masks
        if label is None or (thing is not None and self._says_nothing(picture, label, thing)):
            masks = [np.zeros(grid, bool), np.zeros(grid, bool)]
        elif thing is None:
            masks[1] = np.ones(grid, bool)
        size = canvas_size(self._size)
        first, second = (view(np.asarray(mask, np.float32), canvas_of(grid), size) for mask in masks)
        return first, second

    def _says_nothing(self, picture: Picture, label: np.ndarray, thing: np.ndarray) -> bool:
        common = float((label & thing).sum())
        return picture.pair in self._refined and common >= self._label_whole * float(thing.sum())

    def _usable(self, picture: Picture) -> bool:
        reason = None
        if not len(self._boxes.get(picture.name, ())):
            reason = "no box of its object"
        elif not self._exo.columns(picture.pair):
            reason = "no exocentric picture of it has a box"
        if reason is not None:
            self.skipped.append((picture.name, reason))
        return reason is None

    def _exocentric(self, picture: Picture, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """An exocentric object alone, (3, S, S), and its mask (1, S, S)."""
        other = Picture(*picture.pair, box.file)
        rgb = self.pictures.read("exocentric", other)
        grid = (rgb.shape[0], rgb.shape[1])
        rect = whole_pixels(Rect(*self._exo.box(other, box.number)[:4].tolist()), canvas_of(grid))
        mask = self.pictures.mask("objects/exocentric", other, grid)
        pixels = np.zeros((3, self._size, self._size), np.float32)
        if mask is None or rect.empty:
            return pixels, np.zeros((1, self._size, self._size), np.float32)
        return region_view(rgb, rect, self._size, self._mean, self._std), region_mask(mask, rect, self._size)
