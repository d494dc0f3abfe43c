"""Pre-training of the RGB-D encoder on action recognition: from a recipe and UTKinect-Action3D to a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from vidaff import __version__
from vidaff.config import TrainSettings, dump_recipe
from vidaff.datasets.utkinect import ACTIONS, OFFICIAL_SEQUENCES
from vidaff.errors import VidaffError
from vidaff.evaluate_actions import ActionResult, score, write_action_results, write_folds
from vidaff.io import prepare_output_dir, write_text
from vidaff.models.video.action_encoder import build_action_encoder
from vidaff.models.video.encoder_checkpoint import FORMAT, load_encoder, save_encoder, settings_of
from vidaff.models.video.encoder_settings import EncoderRecipe, encoder_recipe_from_dict
from vidaff.models.video.initial import Start, start_of_run
from vidaff.models.video.inputs import InputCoder
from vidaff.predict import pick_device
from vidaff.train import changed_keys, denormals_flushed, quiet_lightning
from vidaff.training.actions import ActionClips, ActionSplit, train_actions, val_actions
from vidaff.training.augment import augment, step_generator
from vidaff.training.batches import Batch
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
from vidaff.training.runs import clear_run, fit
from vidaff.training.same_data import PRINTS, Before, check_same_data, fingerprint
from vidaff.weights import load_torch_file

PROTOCOLS = ("half", "loso")
RESULTS = ("results.md", "results.json", "results.csv", "confusion.png")
AUGMENTATIONS = ("flip", "colour_jitter", "depth_shift", "depth_dropout")
Say = Callable[[str], None]


class EncoderModule(ExportableModule):
    """Trains :class:`vidaff.models.video.action_encoder.ActionEncoder` by cross entropy of the clip's action.

    Args:
        recipe: all settings.
        steps: optimiser steps of the whole run.
        info: facts that go into every checkpoint.
        start: weights to begin with.
    """

    SCORES: ClassVar[tuple[str, ...]] = ("action", "loss")

    def __init__(self, recipe: EncoderRecipe, *, steps: int, info: dict[str, Any], start: Start) -> None:
        super().__init__()
        self.recipe, self.steps, self.info = recipe, steps, info
        self.save_hyperparameters(settings_of(recipe, info))
        self.model = build_action_encoder(recipe.model).to(memory_format=torch.channels_last)
        start.put_into(self.model)
        self.coder = InputCoder(recipe.coding, recipe.stream)
        self.changes = TrainSettings(**{key: getattr(recipe.train, key) for key in AUGMENTATIONS})
        self.losses: list[torch.Tensor] = []
        self.right: list[torch.Tensor] = []

    def export(self, folder: Path, info: Mapping[str, Any]) -> None:
        save_encoder(folder, self.model, self.recipe, info)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (B, A) of a batch of :func:`vidaff.training.actions.collate`."""
        rgbd, _ = self.coder(batch["rgb"], batch.get("depth"), None)
        logits: torch.Tensor = self.model(rgbd, batch["length"])
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        generator = step_generator(self.recipe.train.seed, self.current_epoch, batch_idx, self.global_rank)
        # Dropout draws from the global generator: by step, so that resuming changes nothing.
        torch.manual_seed(generator.initial_seed())
        logits = self(augment(batch, self.changes, generator))
        loss = F.cross_entropy(logits, batch["action"])
        right = (logits.argmax(1) == batch["action"]).float().mean()
        values = {"train/loss": loss, "train/action": right}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(logits))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Count what the network says of a batch; returns its logits (B, A)."""
        logits: torch.Tensor = self(batch)
        self.losses.append(F.cross_entropy(logits, batch["action"], reduction="none"))
        self.right.append((logits.argmax(1) == batch["action"]).float())
        return logits

    def on_validation_epoch_end(self) -> None:
        values = {"val/action": torch.cat(self.right).mean(), "val/loss": torch.cat(self.losses).mean()}
        self.log_dict(values, prog_bar=True, sync_dist=True)
        self.losses, self.right = [], []

    def configure_optimizers(self) -> Any:
        settings = self.recipe.train
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, self._lr_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _lr_factor(self, step: int) -> float:
        """Warm-up, and cosine decay to 1 % when asked for."""
        settings = self.recipe.train
        warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
        if settings.schedule == "constant":
            return warm
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(self.steps, 1)))))


class ActionData(L.LightningDataModule):
    """Loaders of both sides; the training loader is made anew for every epoch."""

    def __init__(self, train: ActionSplit, val: ActionSplit) -> None:
        super().__init__()
        self.train_split, self.val_split = train, val

    def train_dataloader(self) -> Any:
        assert self.trainer is not None  # for the type checker
        trainer, loop = self.trainer, self.trainer.fit_loop
        # As in vidaff.train: the last batch of a cut epoch has begun and is not counted as completed.
        done = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        return train_actions(
            self.train_split, epoch=trainer.current_epoch, rank=trainer.global_rank, world=trainer.world_size, done=done
        )

    def val_dataloader(self) -> Any:
        return val_actions(self.val_split)


@dataclass(frozen=True)
class _Job:
    """What all folds of a training share."""

    recipe: EncoderRecipe
    init: Mapping[str, str | Path]
    resume: bool
    overwrite: bool
    device: str
    progress: bool
    say: Say


@denormals_flushed()
def train_encoder(
    recipe: EncoderRecipe,
    data: str | Path,
    out: str | Path,
    *,
    dataset: str = "utkinect",
    protocol: str | None = None,
    fold: str | None = None,
    init: Mapping[str, str | Path] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
    say: Say | None = None,
) -> Path:
    """Train the RGB-D encoder to tell actions; return the folder of its checkpoint.

    Args:
        recipe: all settings, see :func:`vidaff.models.video.encoder_settings.load_encoder_recipe`.
        data: folder in the layout of UTKinect-Action3D.
        out: receives ``recipe.yaml``, ``checkpoints/``, ``best/``, ``last/``, ``metrics.csv``, TensorBoard logs and the
            results on the held-out clips: ``results.md``, ``.json``, ``.csv``, ``confusion.png``.
        dataset: ``utkinect``.
        protocol: ``half`` (subjects 1 to 5 train; the default) or ``loso``, leave one sequence out: without ``fold``
            one training for each sequence, in ``out/s01_e01`` and so on, and the results of all of them in ``out``.
        fold: the sequence to hold out, such as ``s03_e01``; one training, in ``out`` itself.
        init: weights to begin with, see :func:`vidaff.models.video.initial.start_of_run`.
        resume: go on from the last checkpoint; begins anew where there is none.
        overwrite: use ``out`` although it holds files; those of an earlier run go when training begins.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a progress bar.
        say: called with one line for people now and then.

    Returns:
        ``out/best``, or ``out`` when all sequences were held out in turn.

    Raises:
        VidaffError: unusable data, recipe or folder, or a training that diverged; see the message.

    Source: Thermos et al., ICASSP 2020, section 3 (50 epochs); Xia et al., CVPRW 2012 (leave one sequence out).
    """
    held_out = _held_out(dataset, protocol, fold)
    if recipe.model.num_actions != len(ACTIONS):
        raise VidaffError(f"model.num_actions={recipe.model.num_actions}: utkinect has {len(ACTIONS)}")
    job = _Job(recipe, init or {}, resume, overwrite, device, progress, say or (lambda line: None))
    first = os.environ.get("RANK", "0") == "0"
    # The first process may have written there already when another one looks.
    out = prepare_output_dir(out, overwrite=overwrite, resume=resume or not first)
    pick_device(device)
    clips = ActionClips(data, recipe)
    if held_out is None and os.environ.get("WORLD_SIZE", "1") != "1":
        raise VidaffError("several processes train one fold at a time: choose it by --fold s01_e01 and so on")
    runs = {held_out: out} if held_out is not None else {fold: out / fold for fold in clips.sequences()}
    start = _fresh_start(job, list(runs.values()))
    for name in runs:
        _check(clips, name)
    clips.fill(progress=progress)
    if held_out is not None:
        _train_one(job, clips, held_out, out, start)
        return out / "best"
    _train_folds(job, clips, runs, start)
    write_text(out / "recipe.yaml", dump_recipe(recipe))
    return out


def _held_out(dataset: str, protocol: str | None, fold: str | None) -> str | None:
    """``half``, the sequence to hold out, or None for each in turn."""
    if dataset != "utkinect":
        raise VidaffError(f"the encoder is trained on --dataset utkinect, which {dataset!r} is not")
    if protocol not in (None, *PROTOCOLS):
        raise VidaffError(f"protocol {protocol!r}: choose {' or '.join(PROTOCOLS)}")
    if fold is not None and protocol == "half":
        raise VidaffError(f"--fold {fold}: the half split has no folds; leave it out, or take --protocol loso")
    if fold is not None and fold not in OFFICIAL_SEQUENCES:
        raise VidaffError(f"--fold {fold!r}: a sequence such as s03_e01 is expected, s01_e01 to s10_e02")
    return fold or (None if protocol == "loso" else "half")


def _fresh_start(job: _Job, folders: list[Path]) -> Start:
    """First weights of the runs that begin now, read once; those that go on need none."""
    begins = [folder for folder in folders if not (job.resume and last_checkpoint(folder).is_file())]
    return start_of_run(job.init, job.recipe.stream, job.recipe.coding) if begins else Start()


def _check(clips: ActionClips, protocol: str) -> None:
    """Refuse data that cannot serve the recipe, before the first epoch rather than in it."""
    count, size = len(clips.split(protocol, "train")), clips.recipe.train.batch_size
    clips.split(protocol, "val")  # an empty side says so
    if count < size:
        raise VidaffError(f"{count} training clips do not fill one batch of train.batch_size={size}")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if size % world:
        raise VidaffError(f"train.batch_size {size} cannot be divided by {world} processes")


def _train_folds(job: _Job, clips: ActionClips, runs: Mapping[str, Path], start: Start) -> None:
    """Hold each sequence out in turn, and write the table of all."""
    results: dict[str, ActionResult] = {}
    if not job.resume:
        # All at once: what an overwritten run left of later folds would pass for this run's when it is resumed.
        whole = next(iter(runs.values())).parent
        for folder in (whole, *(whole / name for name in OFFICIAL_SEQUENCES)):
            clear_run(folder, more=RESULTS)
    for number, (fold, out) in enumerate(runs.items(), start=1):
        folder = prepare_output_dir(out, overwrite=job.overwrite, resume=job.resume)
        result = _train_one(job, clips, fold, folder, start)
        assert result is not None  # a single process is the first one
        results[fold] = result
        job.say(f"fold {number} of {len(runs)}: {fold} held out, accuracy {result.accuracy:.3f}")
    job.say(write_folds(results, next(iter(runs.values())).parent).rstrip())


def _train_one(job: _Job, clips: ActionClips, protocol: str, out: Path, fresh: Start) -> ActionResult | None:
    """Train with one sequence or half held out, and score the held-out clips; None in all processes but the first."""
    recipe, first = job.recipe, os.environ.get("RANK", "0") == "0"
    last, before = _resume_point(recipe, out, protocol) if job.resume else Before()
    start = start_of_run(job.init, recipe.stream, recipe.coding, last=last) if last else fresh
    for line in start.lines() if first else ():
        job.say(line)
    # Deterministic kernels are what makes a resumed run bit-identical.
    L.seed_everything(recipe.train.seed, workers=True, verbose=False)
    train, val = (clips.split(protocol, split) for split in ("train", "val"))
    facts = {"train_clips": len(train), PRINTS: {"train": _print_of(train), "val": _print_of(val)}}
    check_same_data(out, before, facts)
    module = _build_module(recipe, train, protocol, start, facts)
    if first:
        if not job.resume:
            clear_run(out, more=RESULTS)
        write_text(out / "recipe.yaml", dump_recipe(recipe))
    quiet_lightning()
    trainer = _trainer(recipe, out, device=job.device, progress=job.progress)
    fit(trainer, module, ActionData(train, val), out=out, last=last, first=first)
    if not first:
        return None
    best = out / "best"
    result = score(load_encoder(best), val, checkpoint=str(best), split="val", device=job.device, progress=job.progress)
    write_action_results(result, out)
    return result


def _print_of(split: ActionSplit) -> str:
    infos = (split.clips.info(index) for index in split.chosen)
    return fingerprint(f"{info.name}\t{info.action}" for info in infos)


def _build_module(
    recipe: EncoderRecipe, train: ActionSplit, protocol: str, start: Start, facts: Mapping[str, Any]
) -> EncoderModule:
    info = {
        "vidaff": __version__,
        "dataset": "utkinect",
        "protocol": protocol,
        "actions": list(ACTIONS),
        "data": train.clips.root.name,
        **facts,
        **start.info(),
    }
    steps = recipe.train.epochs * (len(train) // recipe.train.batch_size)
    return EncoderModule(recipe, steps=steps, info=info, start=start)


def _trainer(recipe: EncoderRecipe, out: Path, *, device: str, progress: bool) -> L.Trainer:
    settings = recipe.train
    sitting = next_sitting(out)
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    callbacks: list[Callback] = [FiniteGuard(), Export(out), *checkpoint_callbacks(out, EncoderModule)]
    if settings.max_minutes is not None:
        callbacks.append(TimeLimit(settings.max_minutes, out))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=1))
    return L.Trainer(
        default_root_dir=out,
        accelerator="gpu" if device == "cuda" else device,
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
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


def _resume_point(recipe: EncoderRecipe, out: Path, protocol: str) -> Before:
    """The last checkpoint in ``out``, none when there is none yet; refuses one made with other settings."""
    last = last_checkpoint(out)
    if not last.is_file():
        return Before()
    stored = load_torch_file(last).get("hyper_parameters", {})
    if stored.get("format") != FORMAT or not isinstance(stored.get("recipe"), dict):
        raise VidaffError(f"{last}: is not of a training of the encoder; choose another --out")
    changed = changed_keys(encoder_recipe_from_dict(stored["recipe"], where=str(last)), recipe)
    before = stored.get("info", {}).get("protocol")
    if before != protocol:
        changed.append(f"protocol {before!r} then, {protocol!r} now")
    if changed:
        raise VidaffError(f"{out}: was trained with other settings ({', '.join(changed)}); resume with the same ones")
    return Before(str(last), stored.get("info", {}))
