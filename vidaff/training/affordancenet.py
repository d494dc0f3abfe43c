"""Training of the AffordanceNet baseline: from a recipe and a data set to a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torchvision.ops import box_iou

from vidaff import __version__
from vidaff.config import dump_recipe
from vidaff.datasets import STILLS, check_options, load_dataset
from vidaff.datasets.base import ClipDataset
from vidaff.datasets.taxonomies import taxonomy_of
from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir, write_text
from vidaff.metrics import SegmentationMeter
from vidaff.models.baselines.affordancenet import paste
from vidaff.models.baselines.backbones import load_backbone_weights
from vidaff.models.baselines.checkpoint import FORMAT, build_detector, save_detector, settings_of
from vidaff.models.baselines.roi_heads import Detection
from vidaff.models.baselines.settings import DetectorRecipe, detector_recipe_from_dict
from vidaff.predict import pick_device
from vidaff.train import changed_keys, denormals_flushed, quiet_lightning
from vidaff.training.augment import step_generator
from vidaff.training.callbacks import (
    AtomicCheckpointIO,
    Export,
    FiniteGuard,
    TimeLimit,
    checkpoint_callbacks,
    last_checkpoint,
)
from vidaff.training.exportable import ExportableModule
from vidaff.training.history import next_sitting
from vidaff.training.pictures import Picture, Pictures, PictureStore, object_names, train_pictures, val_pictures
from vidaff.training.runs import clear_run, fit
from vidaff.training.same_data import PRINTS, Before, check_same_data, clip_prints
from vidaff.training.stills import view_of
from vidaff.weights import load_torch_file

LOSSES = {
    "classifier": ("class", "class_loss"),
    "box": ("box", "box_loss"),
    "affordance": ("affordance", "affordance_loss"),
    "loss_objectness": ("proposal_class", "proposal_loss"),
    "loss_rpn_box_reg": ("proposal_box", "proposal_loss"),
}
"""Loss of the network -> its name in the table of the run, and the setting that weighs it."""


class DetectorModule(ExportableModule):
    """Trains :class:`vidaff.models.baselines.AffordanceNet`.

    Source: Do, Nguyen, Reid, ICRA 2018, section III: ``L = L_class + L_box + L_affordance`` beside the losses of the
    proposal network; the weights of the release are settings.

    Args:
        recipe: all settings.
        steps: optimiser steps of the whole run.
        info: facts that go into every checkpoint; ``objects`` and ``classes`` decide the network's outputs.
    """

    def __init__(self, recipe: DetectorRecipe, *, steps: int, info: dict[str, Any]) -> None:
        super().__init__()
        self.recipe, self.steps, self.info = recipe, steps, info
        self.save_hyperparameters(settings_of(recipe, info))
        self.model = build_detector(recipe, info)
        if recipe.train.backbone_weights:
            heads = self.model.roi_heads
            load_backbone_weights(
                self.model.backbone, heads.box_head, recipe.model.backbone, recipe.train.backbone_weights
            )
        self.meter = SegmentationMeter(len(info["classes"]))
        self.overlaps: list[float] = []

    def export(self, folder: Path, info: Mapping[str, Any]) -> None:
        save_detector(folder, self.model, self.recipe, info)

    def transfer_batch_to_device(self, batch: Pictures, device: torch.device, dataloader_idx: int) -> Pictures:
        return [
            replace(
                picture, image=picture.image.to(device), mask=picture.mask.to(device),
                target={key: value.to(device) for key, value in picture.target.items()},
            )
            for picture in batch
        ]  # fmt: skip

    def on_train_epoch_start(self) -> None:
        if self.recipe.train.backbone_weights:
            # A few pictures a step are too few to go on measuring what ImageNet has told of each channel.
            for module in self.model.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def training_step(self, batch: Pictures, batch_idx: int) -> torch.Tensor:
        settings = self.recipe.train
        # The network draws anchors and regions from the global generator: by step, so that resuming changes nothing.
        torch.manual_seed(step_generator(settings.seed, self.current_epoch, batch_idx, self.global_rank).initial_seed())
        losses = self.model([picture.image for picture in batch], [picture.target for picture in batch])
        total = torch.zeros((), device=self.device)
        values = {}
        for key, (name, weight) in LOSSES.items():
            values[f"train/{name}"] = losses[key]
            total = total + getattr(settings, weight) * losses[key]
        values["train/loss"] = total
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch))
        return total

    def validation_step(self, batch: Pictures, batch_idx: int) -> torch.Tensor:
        """Count what the network says of a batch; returns the scores of its detections (N,)."""
        detections = self.model([picture.image for picture in batch])
        for picture, detection in zip(batch, detections, strict=True):
            labels = paste(detection, (picture.mask.shape[0], picture.mask.shape[1])).argmax(0)
            self.meter.update(labels[None], picture.mask[None])
            self.overlaps += best_overlaps(detection, picture)
        return torch.cat([detection["scores"] for detection in detections])

    def on_validation_epoch_end(self) -> None:
        scores = self.meter.compute()
        overlap = sum(self.overlaps) / max(len(self.overlaps), 1)
        values = {"val/iou": float(scores.mean_iou), "val/f": float(scores.mean_f1), "val/box": overlap}
        self.log_dict(
            {key: 0.0 if math.isnan(value) else value for key, value in values.items()}, prog_bar=True, sync_dist=True
        )
        self.meter.reset()
        self.overlaps = []

    def configure_optimizers(self) -> Any:
        settings = self.recipe.train
        weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimiser: torch.optim.Optimizer
        if settings.optimiser == "sgd":
            optimiser = torch.optim.SGD(
                weights, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
            )
        else:
            optimiser = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=settings.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, self._lr_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _lr_factor(self, step: int) -> float:
        settings = self.recipe.train
        warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
        return warm * (0.1 if step >= settings.drop_at * self.steps else 1.0)


def best_overlaps(detection: Detection, picture: Picture) -> list[float]:
    """For each true box the IoU of the detected box that fits it best, 0 where nothing was detected."""
    truth = picture.target["boxes"]
    if not len(detection["boxes"]):
        return [0.0] * len(truth)
    best: list[float] = box_iou(truth, detection["boxes"]).amax(1).tolist()
    return best


class PictureData(L.LightningDataModule):
    """Loaders of both splits; the training loader is made anew for every epoch."""

    def __init__(self, train: PictureStore, val: PictureStore) -> None:
        super().__init__()
        self.train_store, self.val_store = train, val

    def train_dataloader(self) -> Any:
        assert self.trainer is not None  # for the type checker
        trainer, loop = self.trainer, self.trainer.fit_loop
        # As in vidaff.train: the last batch of a cut epoch has begun and is not counted as completed.
        done = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        return train_pictures(
            self.train_store, epoch=trainer.current_epoch, rank=trainer.global_rank, world=trainer.world_size, done=done
        )

    def val_dataloader(self) -> Any:
        return val_pictures(self.val_store)


@denormals_flushed()
def train_affordancenet(
    recipe: DetectorRecipe,
    data: str | Path,
    out: str | Path,
    *,
    dataset: str = "sor3d-aff",
    options: Mapping[str, str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Train AffordanceNet on last frames or still pictures; return the folder of the selected checkpoint.

    Args:
        recipe: all settings, see :func:`vidaff.models.baselines.settings.load_detector_recipe`.
        data: a prepared file, or a folder in the data set's own layout.
        out: receives ``recipe.yaml``, ``checkpoints/``, ``best/``, ``last/``, ``metrics.csv`` and TensorBoard logs.
        dataset: name in :data:`vidaff.datasets.DATASETS`.
        options: of a folder of still pictures, such as ``{"protocol": "novel"}``.
        resume: go on from ``out/checkpoints/last.ckpt``; begins anew where there is none.
        overwrite: use ``out`` although it holds files; those of an earlier run go when training begins.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a progress bar.

    Raises:
        VidaffError: unusable data, recipe or folder, or a training that diverged; see the message.
    """
    world, first = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
    # The first process may have written there already when another one looks.
    out = prepare_output_dir(out, overwrite=overwrite, resume=resume or not first)
    last, before = _resume_point(recipe, out) if resume else Before()
    pick_device(device)
    background = taxonomy_of(dataset).background
    splits = [_open_split(dataset, data, split, recipe, options or {}) for split in ("train", "val")]
    objects = object_names(splits[0])
    facts = {
        "dataset": dataset, "objects": objects, "train_pictures": len(splits[0]),
        PRINTS: clip_prints(train=splits[0], val=splits[1]),
    }  # fmt: skip
    if dataset in STILLS:
        facts["options"] = splits[0].options
    check_same_data(out, before, facts)
    stores = [
        PictureStore(split, objects, background=background, settings=recipe.train, train=number == 0)
        for number, split in enumerate(splits)
    ]
    _check(stores[0], world)
    L.seed_everything(recipe.train.seed, workers=True, verbose=False)
    for store in stores:
        store.fill(progress=progress)
    module = _build_module(recipe, stores[0], facts, dataset, data)
    if first:
        if not resume:
            clear_run(out)
        write_text(out / "recipe.yaml", dump_recipe(recipe))
    quiet_lightning()
    trainer = _trainer(recipe, out, world=world, device=device, progress=progress)
    fit(trainer, module, PictureData(stores[0], stores[1]), out=out, last=last, first=first)
    return out / "best"


def _open_split(
    dataset: str, data: str | Path, split: str, recipe: DetectorRecipe, options: Mapping[str, str]
) -> ClipDataset:
    options = check_options(dataset, data, options)
    if Path(data).is_file():
        found = load_dataset(dataset, data, split)
    else:
        # Still pictures have no frame rate; of clips the last frame is taken, whatever the rate.
        found = load_dataset(dataset, data, split, size=recipe.input.size, **options)
    if len(found) == 0:
        raise VidaffError(f"{data}: the {split} split holds no pictures")
    return found


def _check(store: PictureStore, world: int) -> None:
    """Refuse data that cannot serve the recipe, before the first epoch rather than in it."""
    size = store.settings.batch_size
    if len(store) < size:
        raise VidaffError(f"{len(store)} training pictures do not fill one batch of train.batch_size={size}")
    if size % world:
        raise VidaffError(f"train.batch_size {size} cannot be divided by {world} processes")
    store[0]  # a picture without the labels that the recipe asks for says so


def _build_module(
    recipe: DetectorRecipe, store: PictureStore, facts: Mapping[str, Any], dataset: str, data: str | Path
) -> DetectorModule:
    info: dict[str, Any] = {
        "vidaff": __version__,
        "dataset": dataset,
        "classes": list(taxonomy_of(dataset).classes),
        **facts,
        "data": Path(data).name,
    }
    if dataset in STILLS:
        info["view"] = view_of(store.dataset)
    steps = recipe.train.epochs * (len(store) // recipe.train.batch_size)
    try:
        return DetectorModule(recipe, steps=steps, info=info)
    except ValueError as error:
        raise VidaffError(f"model: {error}") from error


def _trainer(recipe: DetectorRecipe, out: Path, *, world: int, device: str, progress: bool) -> L.Trainer:
    settings = recipe.train
    sitting = next_sitting(out)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    callbacks: list[Callback] = [FiniteGuard(), Export(out), *checkpoint_callbacks(out)]
    if settings.max_minutes is not None:
        callbacks.append(TimeLimit(settings.max_minutes, out))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=1))
    return L.Trainer(
        default_root_dir=out,
        accelerator="gpu" if device == "cuda" else device,
        devices=local,
        num_nodes=max(1, world // local),
        # Pictures without a positive region leave the affordance branch out of the graph.
        strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        max_epochs=settings.epochs,
        gradient_clip_val=settings.clip_grad or None,
        check_val_every_n_epoch=settings.val_every,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        callbacks=callbacks,
        logger=[CSVLogger(out, name="logs", version=sitting), TensorBoardLogger(out, name="logs", version=sitting)],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def _resume_point(recipe: DetectorRecipe, out: Path) -> Before:
    """The last checkpoint in ``out``, none when there is none yet; refuses one made with other settings."""
    last = last_checkpoint(out)
    if not last.is_file():
        return Before()
    stored = load_torch_file(last).get("hyper_parameters", {})
    if stored.get("format") != FORMAT or not isinstance(stored.get("recipe"), dict):
        raise VidaffError(f"{last}: is not of a training of AffordanceNet; choose another --out")
    changed = changed_keys(detector_recipe_from_dict(stored["recipe"], where=str(last)), recipe)
    if changed:
        raise VidaffError(f"{out}: was trained with other settings ({', '.join(changed)}); resume with the same ones")
    return Before(str(last), stored.get("info", {}))
