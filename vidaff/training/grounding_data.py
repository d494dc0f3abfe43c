"""Loaders of a training on AGD20K, in an order that depends on nothing but seed and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from vidaff.datasets.agd20k import Agd20kTest, Agd20kTrain, TestSample
from vidaff.errors import VidaffError
from vidaff.training.batches import EpochSampler, accumulation, spread

TestSet = Dataset[TestSample]


class TestBatch(Protocol):
    """Samples of :class:`vidaff.datasets.agd20k.TestSample` with a batch axis."""

    image: torch.Tensor
    heatmap: torch.Tensor
    verb: torch.Tensor


class TrainBatch(TestBatch, Protocol):
    """Samples of :class:`vidaff.datasets.agd20k.TrainSample` with a batch axis."""

    noun: torch.Tensor
    pair: torch.Tensor
    exo: torch.Tensor
    exo_mask: torch.Tensor


class Recipe(Protocol):
    """A recipe of any model of the image branch: ``train`` has ``batch_size``, ``seed``, ``select`` and so on."""

    @property
    def train(self) -> Any: ...


class WholePictures(Dataset[TestSample]):
    """Whole training pictures with their pseudo-labels, nothing drawn: what ``select=heldout`` scores."""

    def __init__(self, dataset: Agd20kTrain, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> TestSample:
        return self.dataset.whole(self.indices[index])


class GroundingData(L.LightningDataModule):
    """Training pictures, made anew for every epoch, and those that select the epoch.

    The tail of an epoch that does not fill a global batch is left out. Deviation: the authors' loader keeps it, and
    the gradients of an odd batch leak into the next epoch.

    Args:
        train: all training pictures.
        fit: those that are trained on.
        val: what is scored after an epoch, None for nothing.
        recipe: batch sizes, seed, workers.
    """

    def __init__(self, train: Agd20kTrain, fit: Sequence[int], val: TestSet | None, recipe: Recipe) -> None:
        super().__init__()
        self.train, self.fit, self.val, self.recipe = train, fit, val, recipe

    def train_dataloader(self) -> Any:
        assert self.trainer is not None  # for the type checker
        trainer, loop, settings = self.trainer, self.trainer.fit_loop, self.recipe.train
        self.train.epoch = trainer.current_epoch
        micro = micro_batch(self.recipe, trainer.world_size)
        # As in vidaff.train: the last batch of a cut epoch has begun and is not counted as completed.
        done = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        sampler = EpochSampler(
            len(self.fit), global_batch=settings.batch_size, seed=settings.seed, epoch=trainer.current_epoch,
            rank=trainer.global_rank, world=trainer.world_size, seen=done * micro,
        )  # fmt: skip
        pictures: Dataset[Any] = Subset(self.train, self.fit)  # type: ignore[arg-type]
        return DataLoader(pictures, batch_size=micro, sampler=sampler, drop_last=True, **self._workers())

    def val_dataloader(self) -> Any:
        if self.val is None:
            return []
        chosen = spread(len(self.val), self.recipe.train.val_limit)  # type: ignore[arg-type]
        return DataLoader(self.val, batch_size=8, sampler=chosen, **self._workers())

    def _workers(self) -> dict[str, Any]:
        count = self.recipe.train.workers
        return {"num_workers": count, "multiprocessing_context": "spawn"} if count else {"num_workers": 0}


def micro_batch(recipe: Recipe, world: int) -> int:
    """Pictures of one forward pass on one process; raise :class:`VidaffError` when the batch cannot be divided."""
    return recipe.train.batch_size // (world * accumulation(recipe, world=world))


def split_pictures(train: Agd20kTrain, recipe: Recipe, test: Agd20kTest | None) -> tuple[Sequence[int], TestSet | None]:
    """Indices to train on, and what selects the epoch: held-out pictures, ``test``, or nothing.

    Held-out pictures are not stitched to others, either.

    Raises:
        VidaffError: too few pictures for a batch.
    """
    settings = recipe.train
    fit: Sequence[int] = range(len(train))
    val: TestSet | None = None
    if settings.select == "heldout":
        fit, held = train.held_out(settings.holdout)
        if not len(held):
            raise VidaffError("no picture can be held out: every pair has but one; set train.select=last")
        train.stitch_from(fit)
        val = WholePictures(train, held)
    elif settings.select == "test-kld":
        val = test  # type: ignore[assignment]
    if len(fit) < settings.batch_size:
        raise VidaffError(
            f"{len(fit)} training pictures do not fill one batch of train.batch_size={settings.batch_size}"
        )
    return fit, val
