"""From clip data sets to batches of tensors, in an order that depends on nothing but seed and epoch.

Because order and augmentation are pure functions of (seed, epoch, step), a run that is killed and resumed from the last
epoch ends bit-identical to one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from vidaff.config import Recipe
from vidaff.datasets.base import Clip, ClipDataset
from vidaff.errors import VidaffError
from vidaff.flow3d.store import INVALID

Batch = dict[str, torch.Tensor]


class ClipStore(Dataset[Batch]):
    """Clips of one split as tensors; either whole (``video``) or their last frames alone (``static``).

    Args:
        dataset: what to read from.
        clip_length: frames kept at the end of every clip. Shorter clips give fewer frames, so mixed lengths are
            batched by repeating their first frame, whose motion is none.
        cache: keep every clip in memory after the first read.
    """

    def __init__(self, dataset: ClipDataset, *, clip_length: int, cache: bool) -> None:
        self.dataset = dataset
        self.clip_length = clip_length
        self.static = False
        self._cache: dict[int, Clip] | None = {} if cache else None

    @property
    def cached(self) -> bool:
        """Whether clips are kept in memory, so that loader processes would only copy them."""
        return self._cache is not None

    def __len__(self) -> int:
        return len(self.dataset)

    def fill(self, *, progress: bool = True) -> None:
        """Read all clips into the cache now, with a progress bar."""
        from vidaff.progress import progress_bar

        if self.cached:
            with progress_bar(shown=progress) as bar:
                for index in bar.track(range(len(self)), description="reading clips"):
                    self._clip(index)

    def masks(self, *, progress: bool = True) -> Iterator[np.ndarray]:
        """Labels (H, W) of the clips that have one, each read when its turn comes, with a progress bar."""
        from vidaff.progress import progress_bar

        with progress_bar(shown=progress) as bar:
            for index in bar.track(range(len(self)), description="counting classes"):
                mask = (self._clip(index) if self.cached else self.dataset.read_static(index)).mask
                if mask is not None:
                    yield mask

    def _clip(self, index: int) -> Clip:
        if self._cache is None:
            return self.dataset.read(index, slice(-self.clip_length, None))
        if index not in self._cache:
            self._cache[index] = self.dataset.read(index, slice(-self.clip_length, None))
        return self._cache[index]

    def __getitem__(self, index: int) -> Batch:
        uncached_still = self.static and self._cache is None
        clip = self.dataset.read_static(index) if uncached_still else self._clip(index)
        length = 1 if self.static else self.clip_length
        if clip.mask is None:
            raise VidaffError(f"{clip.name}: has no label of the last frame; training and evaluation need one")
        sample = {
            "rgb": _pad(_tensor(clip.rgb[-length:]), length),
            "mask": _tensor(clip.mask),
            "action": torch.tensor(clip.action),
            "index": torch.tensor(index),
        }
        if clip.depth is not None:
            sample["depth"] = _pad(_tensor(clip.depth[-length:].astype(np.int32)), length)
        if clip.flow is not None:
            sample["flow"] = _pad(without_first_motion(_tensor(clip.flow[-length:])), length)
        if clip.affordances is not None:
            sample["affordances"] = _tensor(clip.affordances.astype(np.int32))
        return sample


def without_first_motion(flow: torch.Tensor) -> torch.Tensor:
    """A copy of packed flow ([B,] T, H, W, 3) at rest in its first frame; pixels without flow stay without.

    The first frame that a network sees has no frame before it.
    """
    flow = flow.clone()
    first = flow[..., 0, :, :, :]  # ([B,] H, W, 3), shares the copy's memory
    first.masked_fill_(first != INVALID, 0)
    return flow


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _pad(frames: torch.Tensor, length: int) -> torch.Tensor:
    """Repeat the first frame in front up to ``length``. Deviation from the authors, who pad with black frames."""
    missing = length - len(frames)
    if missing <= 0:
        return frames
    return torch.cat([frames[:1].expand(missing, *frames.shape[1:]), frames])


class EpochSampler(Sampler[int]):
    """A permutation that depends on (seed, epoch) only; process ``rank`` of ``world`` takes its share of it.

    The tail that does not fill a whole global batch is left out, so all processes make the same number of steps.
    ``seen`` clips of this process are passed over, and still counted by ``len()``: it is the whole epoch's.
    """

    def __init__(
        self, length: int, *, global_batch: int, seed: int, epoch: int, rank: int, world: int, seen: int = 0
    ) -> None:
        order = np.random.default_rng([seed, epoch]).permutation(length)
        usable = length - length % global_batch
        self.order = order[:usable][rank::world]
        self.seen = seen

    def __iter__(self) -> Iterator[int]:
        return iter(self.order[self.seen :].tolist())

    def __len__(self) -> int:
        return len(self.order)


def train_loader(
    store: ClipStore, recipe: Recipe, *, epoch: int, rank: int, world: int, done: int = 0
) -> DataLoader[Batch]:
    """Loader of one training epoch; the static pre-training epochs see single last frames in larger batches.

    ``done`` batches, which an earlier sitting has trained on, are passed over.
    """
    settings = recipe.train
    static = epoch < settings.pretrain_epochs
    store.static = static
    global_batch, micro = batch_sizes(recipe, static=static, world=world)
    sampler = EpochSampler(
        len(store), global_batch=global_batch, seed=settings.seed, epoch=epoch, rank=rank, world=world,
        seen=done * micro,
    )  # fmt: skip
    return DataLoader(store, batch_size=micro, sampler=sampler, drop_last=True, **_worker_options(store, recipe))


def val_loader(store: ClipStore, recipe: Recipe) -> DataLoader[Batch]:
    """Loader of the validation clips in their own order, at most ``val_limit`` of them."""
    micro = recipe.train.micro_batch or recipe.train.batch_size
    chosen = spread(len(store), recipe.train.val_limit)
    return DataLoader(store, batch_size=max(micro, 8), sampler=chosen, **_worker_options(store, recipe))


def spread(total: int, count: int | None) -> list[int]:
    """At most ``count`` numbers below ``total``, evenly spread: clips are sorted by subject; None = all."""
    return np.linspace(0, total - 1, min(count or total, total)).astype(int).tolist()


def _worker_options(store: ClipStore, recipe: Recipe) -> dict[str, Any]:
    if store.cached or recipe.train.workers == 0:
        return {"num_workers": 0}
    return {"num_workers": recipe.train.workers, "multiprocessing_context": "spawn"}


def batch_sizes(recipe: Recipe, *, static: bool, world: int) -> tuple[int, int]:
    """Global batch and the batch of one forward pass on one process; raise when they cannot be divided."""
    settings = recipe.train
    wanted = settings.pretrain_batch if static else settings.batch_size
    # Accumulation is fixed for a run, so the pre-training batch is split in the same number of passes.
    passes = accumulation(recipe, world=world)
    if wanted % (world * passes):
        key = "pretrain_batch" if static else "batch_size"
        raise VidaffError(f"train.{key} {wanted} cannot be split over {world} processes with {passes} passes each")
    return wanted, wanted // (world * passes)


class BatchSettings(Protocol):
    """Settings of any training: the global batch and the batch of one forward pass."""

    @property
    def batch_size(self) -> int: ...
    @property
    def micro_batch(self) -> int | None: ...


class Batched(Protocol):
    """A recipe of any model."""

    @property
    def train(self) -> BatchSettings: ...


def accumulation(recipe: Batched, *, world: int) -> int:
    """Forward passes per optimiser step on each process, so that the global batch stays what the recipe says."""
    settings = recipe.train
    per_process, rest = divmod(settings.batch_size, world)
    if rest:
        raise VidaffError(f"train.batch_size {settings.batch_size} cannot be divided by {world} processes")
    micro = min(settings.micro_batch or per_process, per_process)
    if per_process % micro:
        raise VidaffError(f"train.micro_batch {micro} must divide the {per_process} samples of each process")
    return per_process // micro


def optimiser_steps(recipe: Recipe, clips: int) -> tuple[int, int]:
    """Steps of the static pre-training and of the video training: ``(pretrain, video)``."""
    settings = recipe.train
    static_epochs = min(settings.pretrain_epochs, settings.epochs)
    pretrain = static_epochs * (clips // settings.pretrain_batch)
    return pretrain, (settings.epochs - static_epochs) * (clips // settings.batch_size)
