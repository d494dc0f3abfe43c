"""Class probabilities of still pictures: clips of one frame with zero flow, run in batches of tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
import torch

from vidaff.datasets.geometry import Size
from vidaff.datasets.taxonomy import CLASSES, NUM_AFFORDANCES
from vidaff.errors import VidaffError
from vidaff.models.video.inputs import InputCoder
from vidaff.transfer.views import Plan, tile_weights
from vidaff.weights import Checkpoint


@dataclass(frozen=True)
class Picture:
    """A still picture on its recorded grid.

    ``rgb`` (H, W, 3) uint8; ``depth`` (H, W) uint16 mm, 0 = missing, or None; ``truth`` (H, W) uint8 class ids of its
    own set, the background last, 255 not judged; ``plan``: how it is looked at.
    """

    name: str
    object: str
    rgb: np.ndarray
    depth: np.ndarray | None
    truth: np.ndarray
    plan: Plan


Tile = tuple[Picture, int]
"""A picture and the number of one of its tiles."""


class StillRunner:
    """A model of SOR3D-AFF for still pictures.

    Raises :class:`VidaffError` for a model of other classes, and a device that cannot be used.
    Source: Thermos et al., ICASSP 2020, section 4.2 (static image: clip length one, zero flow).
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto", batch_size: int = 8) -> None:
        from vidaff.predict import pick_device

        recipe = checkpoint.recipe
        classes = checkpoint.info.get("classes", list(CLASSES))
        if recipe.model.num_affordances != NUM_AFFORDANCES or list(classes) != list(CLASSES):
            raise VidaffError(
                f"the checkpoint's classes are {', '.join(map(str, classes))}; transfer takes a model of SOR3D-AFF"
            )
        self.device = pick_device(device)
        self.needs_depth = recipe.model.depth
        self.input_size: Size = (recipe.input.size[0], recipe.input.size[1])
        self.batch_size = batch_size
        self._model = checkpoint.model.to(self.device).eval()
        self._coder = InputCoder(recipe.input, recipe.model).to(self.device)

    def run(self, pictures: Iterable[Picture]) -> Iterator[tuple[Picture, np.ndarray]]:
        """Yield every picture, in order, with its probabilities (10, h, w) float32 on the region of its plan."""
        tiles = ((picture, number) for picture in pictures for number in range(len(picture.plan.tiles)))
        canvas: _Canvas | None = None
        for chunk in self._chunks(tiles):
            for (picture, number), probs in zip(chunk, self._forward(chunk), strict=True):
                if len(picture.plan.tiles) == 1:
                    yield picture, probs
                    continue
                canvas = _Canvas(picture.plan) if number == 0 or canvas is None else canvas
                canvas.add(number, probs)
                if number == len(picture.plan.tiles) - 1:
                    yield picture, canvas.probabilities()

    def _chunks(self, tiles: Iterator[Tile]) -> Iterator[list[Tile]]:
        """Neighbours of equal shape, at most a batch of them."""
        for _, group in groupby(tiles, _shape):
            while chunk := list(islice(group, self.batch_size)):
                yield chunk

    @torch.inference_mode()
    def _forward(self, chunk: list[Tile]) -> np.ndarray:
        """Probabilities (B, 10, h, w) float32 on the recorded pixels of each tile."""
        windows = [picture.plan.tiles[number] for picture, number in chunk]
        rgb = np.stack([window.colours(picture.rgb) for (picture, _), window in zip(chunk, windows, strict=True)])
        planes = [
            window.nearest(picture.depth)
            for (picture, _), window in zip(chunk, windows, strict=True)
            if picture.depth is not None
        ]
        # Torch does next to nothing with uint16.
        depth = self._tensor(np.stack(planes).astype(np.int32)) if planes else None
        rgbd, flow = self._coder(self._tensor(rgb), depth, None, size=windows[0].size)
        probs = self._model(rgbd, flow).logits.float().softmax(1)
        size = (windows[0].height, windows[0].width)
        if tuple(probs.shape[-2:]) != size:
            shrinks = size[0] < probs.shape[-2]
            probs = torch.nn.functional.interpolate(probs, size=size, mode="bilinear", antialias=shrinks)
        enlarged: np.ndarray = probs.cpu().numpy()
        return enlarged

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)[:, None].to(self.device)  # (B, 1, h, w[, 3]): clips of one frame


def _shape(tile: Tile) -> tuple[Size, int, int, bool]:
    picture, number = tile
    window = picture.plan.tiles[number]
    return window.size, window.height, window.width, picture.depth is None


class _Canvas:
    """Weighted mean of the tiles of one picture."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sum = np.zeros((NUM_AFFORDANCES + 1, *plan.region.size), np.float32)
        self.weight = np.zeros(plan.region.size, np.float32)
        self.tile_weights = tile_weights(plan.tiles[0].height)

    def add(self, number: int, probs: np.ndarray) -> None:
        tile = self.plan.tiles[number]
        part = (slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width))
        self.sum[:, part[0], part[1]] += probs * self.tile_weights
        self.weight[part] += self.tile_weights

    def probabilities(self) -> np.ndarray:
        self.sum /= self.weight
        return self.sum
