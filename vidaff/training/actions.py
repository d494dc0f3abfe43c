"""Clips with an action and no labelled pixels, as batches of unequal lengths.

A batch of :func:`collate`::

    rgb     (B, T, H, W, 3) uint8   T frames of its longest clip; what is missing at the end of others is 0
    depth   (B, T, H, W)    int32   millimetres, 0 = missing; absent without depth
    length  (B,)            int64   frames of each clip
    action  (B,)            int64   number in vidaff.datasets.utkinect.ACTIONS
    index   (B,)            int64   number of the clip among all
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vidaff.datasets.base import Clip, ClipInfo
from vidaff.datasets.utkinect import OFFICIAL_SEQUENCES, UTKinect, in_split
from vidaff.errors import VidaffError
from vidaff.models.video.encoder_settings import EncoderRecipe
from vidaff.training.batches import Batch, EpochSampler


class ActionClips:
    """All clips of a tree of UTKinect-Action3D, of which protocols take their parts: they are read once for all folds.

    Args:
        root: folder in the layout of :class:`vidaff.datasets.utkinect.UTKinect`.
        recipe: decides size, frame rate, the most frames of a clip, depth, and whether clips are kept in memory.

    Raises:
        VidaffError: no labels or no pictures in ``root``.
    """

    def __init__(self, root: str | Path, recipe: EncoderRecipe) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            what = "a file" if self.root.exists() else "no such folder"
            raise VidaffError(f"{root}: {what}; a folder in the layout of UTKinect-Action3D is expected")
        self.recipe = recipe
        # A clip's name begins with that of its sequence, so this order is the same whatever the protocol.
        places = [(part, index) for part in _halves(self.root, recipe) for index in range(len(part))]
        self._places = sorted(places, key=lambda place: place[0].name(place[1]))
        self._cache: dict[int, Clip] | None = {} if recipe.train.cache else None

    @property
    def cached(self) -> bool:
        """Whether clips are kept in memory, so that loader processes would only copy them."""
        return self._cache is not None

    def __len__(self) -> int:
        return len(self._places)

    def info(self, index: int) -> ClipInfo:
        """Name, action and subject of a clip."""
        part, number = self._places[index]
        return part.info(number)

    def sequence(self, index: int) -> str:
        """Sequence that a clip is cut from, such as ``s03_e01``."""
        return self.info(index).name[:7]

    def sequences(self) -> list[str]:
        """Official sequences that have clips, in order: the folds of the leave-one-sequence-out protocol."""
        present = {self.sequence(index) for index in range(len(self))}
        return [name for name in OFFICIAL_SEQUENCES if name in present]

    def split(self, protocol: str, split: str) -> ActionSplit:
        """Clips of one side of a protocol, ``half`` or the sequence that is held out; raises when there are none."""
        chosen = [index for index in range(len(self)) if in_split(self.sequence(index), protocol, split)]
        if not chosen:
            raise VidaffError(f"{self.root}: the {split} side of protocol {protocol!r} holds no clips")
        return ActionSplit(self, chosen)

    def fill(self, *, progress: bool = True) -> None:
        """Read all clips into the cache now, with a progress bar."""
        from vidaff.progress import progress_bar

        if self.cached:
            with progress_bar(shown=progress) as bar:
                for index in bar.track(range(len(self)), description="reading clips"):
                    self.read(index)

    def read(self, index: int) -> Clip:
        """A clip of at most ``train.clip_length`` frames, thinned evenly; its last frame is always kept."""
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        part, number = self._places[index]
        length = part.length(number)
        step = -(-length // self.recipe.train.clip_length)
        clip = part.read(number, slice((length - 1) % step, None, step))
        if self._cache is not None:
            self._cache[index] = clip
        return clip


def _halves(root: Path, recipe: EncoderRecipe) -> list[UTKinect]:
    """Both sides of the half split, together all clips; a tree may hold only one of them."""
    found, errors = [], []
    for split in ("train", "val"):
        try:
            found.append(UTKinect(root, split, protocol="half", size=recipe.input.size, fps=recipe.input.fps))
        except VidaffError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found


class ActionSplit(Dataset[Batch]):
    """Some of the clips as tensors."""

    def __init__(self, clips: ActionClips, chosen: Sequence[int]) -> None:
        self.clips, self.chosen = clips, list(chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, number: int) -> Batch:
        index = self.chosen[number]
        clip = self.clips.read(index)
        sample = {
            "rgb": torch.from_numpy(clip.rgb),
            "length": torch.tensor(len(clip.rgb)),
            "action": torch.tensor(clip.action),
            "index": torch.tensor(index),
        }
        if self.clips.recipe.model.depth:
            if clip.depth is None:
                raise VidaffError(f"{clip.name}: has no depth; set model.depth=false to train on colours alone")
            sample["depth"] = torch.from_numpy(clip.depth.astype(np.int32))
        return sample


def collate(samples: Sequence[Batch]) -> Batch:
    """Samples of unequal lengths -> one batch, shorter clips filled up with zeros at their ends."""
    longest = max(int(sample["length"]) for sample in samples)
    batch: Batch = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if first.ndim:
            values = [torch.cat([v, v.new_zeros(longest - len(v), *v.shape[1:])]) for v in values]
        batch[key] = torch.stack(values)
    return batch


def train_actions(split: ActionSplit, *, epoch: int, rank: int, world: int, done: int = 0) -> DataLoader[Batch]:
    """Loader of one epoch; ``done`` batches, which an earlier sitting has trained on, are passed over."""
    settings = split.clips.recipe.train
    share = settings.batch_size // world
    sampler = EpochSampler(
        len(split), global_batch=settings.batch_size, seed=settings.seed, epoch=epoch, rank=rank, world=world,
        seen=done * share,
    )  # fmt: skip
    return DataLoader(split, batch_size=share, sampler=sampler, drop_last=True, **_options(split))


def val_actions(split: ActionSplit, batch_size: int | None = None) -> DataLoader[Batch]:
    """Loader of all clips in their own order."""
    return DataLoader(split, batch_size=batch_size or split.clips.recipe.train.batch_size, **_options(split))


def _options(split: ActionSplit) -> dict[str, Any]:
    workers = 0 if split.clips.cached else split.clips.recipe.train.workers
    spawned = {"multiprocessing_context": "spawn"} if workers else {}
    return {"collate_fn": collate, "num_workers": workers, **spawned}
