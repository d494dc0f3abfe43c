"""Training of the video branch: from a recipe and a data set to a checkpoint."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from vidaff import __version__
from vidaff.config import Recipe, Settings, dump_recipe, recipe_from_dict
from vidaff.datasets import STILLS, check_options, load_dataset
from vidaff.datasets.base import ClipDataset
from vidaff.datasets.taxonomies import taxonomy_of
from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir, write_text
from vidaff.models.video.initial import Start, start_of_run
from vidaff.predict import pick_device
from vidaff.training.batches import ClipStore, accumulation, optimiser_steps, train_loader, val_loader
from vidaff.training.callbacks import (
    AtomicCheckpointIO,
    Export,
    FiniteGuard,
    Pictures,
    TimeLimit,
    checkpoint_callbacks,
    last_checkpoint,
)
from vidaff.training.history import next_sitting
from vidaff.training.losses import class_frequencies, class_weights
from vidaff.training.module import VideoModule
from vidaff.training.runs import clear_run, fit
from vidaff.training.same_data import PRINTS, Before, check_same_data, clip_prints
from vidaff.training.stills import check_counts, fit_recipe, view_of
from vidaff.weights import load_torch_file

RUN_ONLY = ("max_minutes", "workers", "cache", "val_every", "val_limit", "epochs")
"""Keys of ``train`` that may differ between a run and its resumption."""


class ClipData(L.LightningDataModule):
    """Loaders of both splits; the training loader is made anew for every epoch."""

    def __init__(self, train: ClipStore, val: ClipStore, recipe: Recipe) -> None:
        super().__init__()
        self.train_store, self.val_store, self.recipe = train, val, recipe

    def train_dataloader(self) -> Any:
        assert self.trainer is not None  # for the type checker
        trainer = self.trainer
        return train_loader(
            self.train_store,
            self.recipe,
            epoch=trainer.current_epoch,
            rank=trainer.global_rank,
            world=trainer.world_size,
            done=self._batches_done(trainer),
        )

    def _batches_done(self, trainer: L.Trainer) -> int:
        """Batches of the current epoch before the checkpoint that is resumed; 0 where an epoch begins."""
        loop = trainer.fit_loop
        # The last of them has begun ("ready"), and is not counted as completed: the checkpoint was written within it.
        return loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0

    def val_dataloader(self) -> Any:
        return val_loader(self.val_store, self.recipe)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Gradients that fade through the recurrence become denormals, which made a CPU step 2.8 times slower.

    Begun before the first parallel work, because threads take the setting over when they are started.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@denormals_flushed()
def train(
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    *,
    dataset: str = "sor3d-aff",
    options: Mapping[str, str] | None = None,
    init: Mapping[str, str | Path] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train the video network on clips or still pictures; return the folder of the selected checkpoint (``OUT/best``).

    Args:
        recipe: all settings, see :func:`vidaff.config.load_recipe`.
        data: a prepared file, or a folder in the data set's own layout.
        out: receives ``recipe.yaml``, ``checkpoints/``, ``best/``, ``last/``, ``metrics.csv``, TensorBoard logs and
            ``pictures/``.
        dataset: name in :data:`vidaff.datasets.DATASETS`.
        options: of a folder of still pictures, such as ``{"protocol": "novel"}``.
        init: weights that the encoders begin with, see :func:`vidaff.models.video.initial.start_of_run`.
        resume: go on from ``out/checkpoints/last.ckpt``; begins anew where there is none.
        overwrite: use ``out`` although it holds files; those of an earlier run go when training begins.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a progress bar.
        say: called with one line for people about each encoder that begins with given weights.

    Raises:
        VidaffError: unusable data, recipe or folder, or a training that diverged; see the message.
    """
    recipe = fit_recipe(recipe, dataset)
    world, first = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
    # The first process may have written there already when another one looks.
    out = prepare_output_dir(out, overwrite=overwrite, resume=resume or not first)
    last, before = _resume_point(recipe, out) if resume else Before()
    start = start_of_run(init, recipe.model, recipe.input, last=last)
    if first and say is not None:
        for line in start.lines():
            say(line)
    pick_device(device)
    train_set, val_set = (_open_split(dataset, data, split, recipe, options or {}) for split in ("train", "val"))
    check_counts(recipe, dataset)
    _check_data(train_set, recipe)
    facts = {
        "dataset": dataset, "train_clips": len(train_set), PRINTS: clip_prints(train=train_set, val=val_set),
    }  # fmt: skip
    if dataset in STILLS:
        facts["options"] = train_set.options
    check_same_data(out, before, facts)
    # Deterministic kernels are what makes a resumed run bit-identical.
    L.seed_everything(recipe.train.seed, workers=True, verbose=False)
    settings = recipe.train
    stores = [ClipStore(s, clip_length=settings.clip_length, cache=settings.cache) for s in (train_set, val_set)]
    for store in stores:
        store.fill(progress=progress)
    module = _build_module(recipe, stores[0], dataset, data, start, facts, progress=progress)
    if first:
        if not resume:
            clear_run(out, more=["pictures/epoch_*.png"])
        write_text(out / "recipe.yaml", dump_recipe(recipe))
    quiet_lightning()
    trainer = _trainer(recipe, out, stores[1], world=world, device=device, progress=progress)
    fit(trainer, module, ClipData(stores[0], stores[1], recipe), out=out, last=last, first=first)
    return out / "best"


def quiet_lightning() -> None:
    """Silence remarks that do not concern the user: hardware lists, advertisements, worker counts."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")


def _open_split(dataset: str, data: str | Path, split: str, recipe: Recipe, options: Mapping[str, str]) -> ClipDataset:
    options = check_options(dataset, data, options)
    if Path(data).is_file():
        found = load_dataset(dataset, data, split)
    elif dataset in STILLS:
        found = load_dataset(dataset, data, split, size=recipe.input.size, **options)
    else:
        found = load_dataset(dataset, data, split, size=recipe.input.size, fps=recipe.input.fps)
    if len(found) == 0:
        raise VidaffError(f"{data}: the {split} split holds no clips")
    return found


def _check_data(train_set: ClipDataset, recipe: Recipe) -> None:
    """Refuse data that cannot serve the recipe, before the first epoch rather than in it."""
    settings = recipe.train
    if len(train_set) < settings.batch_size:
        raise VidaffError(
            f"{len(train_set)} training clips do not fill one batch of train.batch_size={settings.batch_size}"
        )
    if settings.pretrain_epochs and len(train_set) < settings.pretrain_batch:
        raise VidaffError(
            f"{len(train_set)} training clips do not fill one batch of train.pretrain_batch={settings.pretrain_batch}"
        )
    clip = train_set.read(0)
    if settings.pretrain_epochs and clip.affordances is None:
        raise VidaffError(
            "train.pretrain_epochs needs labels of all parts, which this data has not; set it to 0 "
            "(real SOR3D-AFF labels one part a recording)"
        )
    if recipe.model.second_stream != "none" and clip.flow is None:
        raise VidaffError(
            f"model.second_stream={recipe.model.second_stream} needs flow, which this data has not: run "
            "'vidaff data prepare' with --flow, or set model.second_stream=none"
        )
    stream, stored = recipe.model.second_stream, getattr(train_set, "settings", {}).get("flow")
    if stream != "none" and stored is not None and (stored == "dis2d") != (stream == "flow2d"):
        raise VidaffError(
            f"model.second_stream={stream}, but the file was prepared with --flow {stored}; "
            "2D flow goes with --flow dis2d, 3D flow with any other method"
        )
    if recipe.model.depth and clip.depth is None:
        raise VidaffError("model.depth=true needs depth, which this data has not; set model.depth=false")


def _build_module(
    recipe: Recipe, store: ClipStore, dataset: str, data: str | Path, start: Start, facts: Mapping[str, Any], *,
    progress: bool,
) -> VideoModule:  # fmt: skip
    settings = recipe.train
    weights, prior = None, None
    if settings.prior_bias or settings.balance_classes or settings.background_weight != 1:
        frequencies = class_frequencies(store.masks(progress=progress), recipe.model.num_classes)
        weights = class_weights(frequencies, background=settings.background_weight, balance=settings.balance_classes)
        prior = torch.from_numpy(frequencies.astype(np.float32)) if settings.prior_bias else None
    data_settings = getattr(store.dataset, "settings", {})
    info = {
        "vidaff": __version__,
        "dataset": dataset,
        "classes": list(taxonomy_of(dataset).classes),
        "data": Path(data).name,
        **facts,
        "flow_method": data_settings.get("flow", "none"),
        "flow_settings": data_settings.get("flow_settings"),
    }
    if dataset in STILLS:
        info["view"] = view_of(store.dataset)
    info |= start.info()
    module = VideoModule(recipe, steps=optimiser_steps(recipe, len(store)), weights=weights, prior=prior, info=info)
    start.put_into(module.model)
    return module


def _trainer(recipe: Recipe, out: Path, val: ClipStore, *, world: int, device: str, progress: bool) -> L.Trainer:
    settings = recipe.train
    sitting = next_sitting(out)
    callbacks: list[Callback] = [FiniteGuard(), Export(out), Pictures(out, val), *checkpoint_callbacks(out)]
    if settings.max_minutes is not None:
        callbacks.append(TimeLimit(settings.max_minutes, out))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=1))
    return L.Trainer(
        default_root_dir=out,
        accelerator="gpu" if device == "cuda" else device,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=max(1, world // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        # Pre-training and still pictures leave the recurrent weights out of the graph.
        strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        max_epochs=settings.epochs,
        accumulate_grad_batches=accumulation(recipe, world=world),
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


def _resume_point(recipe: Recipe, out: Path) -> Before:
    """The last checkpoint in ``out``, none when there is none yet; refuses one made with other settings."""
    last = last_checkpoint(out)
    if not last.is_file():
        return Before()
    content = load_torch_file(last).get("hyper_parameters", {})
    stored = content.get("recipe")
    if not isinstance(stored, dict):
        raise VidaffError(f"{last}: carries no recipe; it was not written by vidaff train")
    before = recipe_from_dict(stored, where=str(last))
    changed = changed_keys(before, recipe)
    if changed:
        raise VidaffError(f"{out}: was trained with other settings ({', '.join(changed)}); resume with the same ones")
    return Before(str(last), content.get("info", {}))


def changed_keys(before: Settings, now: Settings) -> list[str]:
    """Keys that differ between a run's recipe and that of its resumption, and may not."""
    changed = []
    for block in ("model", "input", "train"):
        old, new = getattr(before, block).model_dump(), getattr(now, block).model_dump()
        changed += [f"{block}.{key}" for key in new if old[key] != new[key] and key not in RUN_ONLY]
    return changed
