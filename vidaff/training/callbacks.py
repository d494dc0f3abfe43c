"""Checkpoints that are never half-written, exports, and pictures while training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from vidaff.errors import VidaffError, first_line
from vidaff.io import atomic_path
from vidaff.training.augment import last_frame
from vidaff.training.batches import Batch, ClipStore, spread
from vidaff.training.exportable import ExportableModule
from vidaff.training.module import VideoModule
from vidaff.weights import load_torch_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes under a temporary name and renames; reads without ever running code from the file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        with atomic_path(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:
                raise VidaffError(f"cannot write {path}: {first_line(error)}; is the disk full?") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        content: dict[str, Any] = load_torch_file(Path(path))
        return content


def last_checkpoint(out: Path) -> Path:
    """Where a run in ``out`` keeps the checkpoint that ``--resume`` goes on from."""
    return out / "checkpoints" / "last.ckpt"


class EpochCheckpoint(ModelCheckpoint):
    """A checkpoint after every whole epoch: one after half an epoch would pass for a whole one."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


def checkpoint_callbacks(out: Path, module: type[ExportableModule] = ExportableModule) -> list[Callback]:
    """``last.ckpt`` after every epoch, and ``best.ckpt`` by the first of the module's scores."""
    score, mode = f"val/{module.SCORES[0]}", "min" if module.LOWEST else "max"
    last = last_checkpoint(out)
    common: dict[str, Any] = {
        "dirpath": last.parent,
        "save_on_train_epoch_end": True,
        "every_n_epochs": 1,
        "enable_version_counter": False,
    }
    return [
        EpochCheckpoint(filename=last.stem, save_top_k=1, monitor=None, **common),
        ModelCheckpoint(filename="best", save_top_k=1, monitor=score, mode=mode, **common),
    ]


class TimeLimit(Timer):
    """Stops training, over all its sittings, at the end of the optimiser step that passes the time.

    The epoch is cut there, validated and exported. ``last.ckpt`` is written at the cut, so that resuming goes on with
    the batches of the epoch that are left.
    """

    def __init__(self, minutes: float, out: Path) -> None:
        super().__init__(timedelta(minutes=minutes), verbose=False)
        self.last = last_checkpoint(out)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if progress.current.ready % trainer.accumulate_grad_batches:
            return  # gradients of a step that is not complete would be lost
        super().on_train_batch_end(trainer, *args, **kwargs)
        if trainer.should_stop and not progress.is_last_batch:
            trainer.save_checkpoint(self.last)


class FiniteGuard(Callback):
    """Ends a training that diverged, before a checkpoint of it replaces a good one."""

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor) -> None:
        self._check(loss, "the loss", trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._check(outputs, "the network's output", trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:  # called before anything is written
        self._check_weights(trainer, pl_module)

    def _check_weights(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, weight in pl_module.named_parameters():
            self._check(weight, name, trainer, pl_module)

    def _check(self, value: torch.Tensor, what: str, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if torch.isfinite(value).all():
            return
        assert isinstance(pl_module, ExportableModule)  # for the type checker
        settings = pl_module.recipe.train
        raise VidaffError(
            f"training diverged: {what} is not finite in epoch {trainer.current_epoch + 1}, after optimiser step "
            f"{trainer.global_step}; lower train.lr (it is {settings.lr:g}) or limit the gradients by train.clip_grad "
            f"(it is {settings.clip_grad:g}, 0 = off). Checkpoints of earlier epochs are kept"
        )


class Export(Callback):
    """Writes ``OUT/last`` after every epoch, and ``OUT/best`` when the validation score has not been better."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.best = -math.inf
        self.scored = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = float(state_dict["best"])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.scored = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.scored = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ExportableModule)  # for the type checker
        # The trainer keeps the metrics of the last validation: in epochs without one they are an older network's.
        scores = _scores(trainer.callback_metrics, pl_module.SCORES) if self.scored else {}
        score = scores.get(pl_module.SCORES[0], math.inf if pl_module.LOWEST else -math.inf)
        value = -score if pl_module.LOWEST else score
        # Every process keeps the score, because the checkpoint's state is taken from the first and given to all.
        best, self.best = self.best, max(self.best, value)
        if not trainer.is_global_zero:
            return
        info = {**pl_module.info, "epoch": trainer.current_epoch + 1, "val": scores}
        pl_module.export(self.out / "last", info)
        # Until the first validation every epoch counts as the best so far.
        if value >= best or pl_module.recipe.train.select == "last":
            pl_module.export(self.out / "best", info)


def _scores(metrics: Mapping[str, torch.Tensor], names: Iterable[str]) -> dict[str, float]:
    return {key: float(metrics[f"val/{key}"]) for key in names if f"val/{key}" in metrics}


class Pictures(Callback):
    """Saves what the network predicts on the same few validation clips after every validation."""

    def __init__(self, out: Path, store: ClipStore, count: int = 8) -> None:
        self.out = out
        self.store = store
        self.indices = spread(len(store), count)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        from vidaff.datasets.taxonomies import taxonomy_of_model
        from vidaff.io import write_image
        from vidaff.visualize import blend_labels, contact_sheet

        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, VideoModule)  # for the type checker
        self.store.static = False
        batch: Batch = torch.utils.data.default_collate([self.store[i] for i in self.indices])
        static = trainer.current_epoch < pl_module.recipe.train.pretrain_epochs
        seen = {key: value.to(pl_module.device) for key, value in (last_frame(batch) if static else batch).items()}
        with torch.no_grad():
            output = pl_module(seen, size=tuple(batch["mask"].shape[-2:]))
        cells: list[np.ndarray] = []
        classes = taxonomy_of_model(pl_module.info)
        for rgb, mask, guess in zip(batch["rgb"], batch["mask"], output.logits.argmax(1).cpu(), strict=True):
            frame, labels = rgb[-1].numpy(), (mask.numpy(), guess.to(torch.uint8).numpy())
            cells += [frame, *(blend_labels(frame, each, taxonomy=classes) for each in labels)]
        captions = ["last frame", "label", "prediction"] * len(self.indices)
        sheet = contact_sheet(cells, captions=captions, columns=6, cell=(160, 160), with_legend=True, taxonomy=classes)
        write_image(self.out / "pictures" / f"epoch_{trainer.current_epoch + 1:04d}.png", sheet)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("predictions", sheet, trainer.current_epoch, dataformats="HWC")
