"""Training of the refinement network: pictures of objects alone and in use, no label says where the part is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn

from vidaff import __version__
from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir
from vidaff.labels.pictures import LabelledPictures
from vidaff.labels.refine_pairs import refined_pairs
from vidaff.labels.refine_recipe import RefineRecipe, refine_recipe_from_dict
from vidaff.labels.refine_samples import Pair, RefineSet
from vidaff.models.image.build import build_grounder, pretrained_grounder
from vidaff.models.image.checkpoint import load_grounder, save_grounder
from vidaff.models.image.grounder import RefinementNet
from vidaff.models.image.losses import parameter_groups, refinement_loss
from vidaff.models.image.settings import GrounderSettings
from vidaff.models.image.strict import load_strict
from vidaff.train import denormals_flushed
from vidaff.training.augment import step_generator
from vidaff.training.callbacks import EpochCheckpoint, Export
from vidaff.training.exportable import ExportableModule
from vidaff.training.grounder import Run, lr_factor, optimiser_steps
from vidaff.training.grounding_data import GroundingData

FORMAT = "refine-recipe"
"""What a checkpoint's ``info["format"]`` says when this module wrote it."""


class RefineModule(ExportableModule):
    """Trains :class:`vidaff.models.image.grounder.RefinementNet`.

    Args:
        recipe: all settings.
        part_rows: (P, D) text features of the parts by the set's ``pair``.
        steps: optimiser steps of the whole run.
        info: facts that go into every checkpoint.

    Source: Xu et al., ICLR 2025, section 3.3; numbers of the authors' code.
    """

    part_rows: torch.Tensor

    def __init__(self, recipe: RefineRecipe, part_rows: torch.Tensor, *, steps: int, info: dict[str, Any]) -> None:
        super().__init__()
        self.recipe, self.steps, self.info = recipe, steps, info
        self.save_hyperparameters({"format": FORMAT, "recipe": recipe.model_dump(mode="json"), "info": info})
        settings = recipe.train
        self.model, self.network = start_network(settings.encoder_weights, recipe.model)
        if settings.features is None:
            frozen: nn.Module = deepcopy(self.model.encoder)
        else:
            frozen = start_network(settings.features, recipe.model)[0].encoder
        self.frozen = frozen.requires_grad_(False).eval()
        self.strict_loading = False  # checkpoints hold the trained network alone
        self.register_buffer("part_rows", part_rows, persistent=False)

    def export(self, folder: Path, info: Mapping[str, Any]) -> None:
        save_grounder(folder, self.model, self.network, info)

    def on_train_epoch_start(self) -> None:
        self.frozen.eval()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        settings = self.recipe.train
        seed = step_generator(settings.seed, self.current_epoch, batch_idx, self.global_rank).initial_seed()
        torch.manual_seed(seed)  # what the network draws depends on the step alone, so that resuming changes nothing
        logits = self.model(batch.image, self.part_rows[batch.pair])
        losses = {}
        if settings.exo_loss:
            losses["exo"] = settings.exo_loss * self._distance(logits, batch)
        if settings.label_loss:
            losses["label"] = settings.label_loss * label_loss(logits, batch.label, batch.thing)
        total = sum(losses.values(), logits.new_zeros(()))
        values = {"train/loss": total, **{f"train/{name}": loss for name, loss in losses.items()}}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.image))
        return total

    def _distance(self, logits: torch.Tensor, batch: Any) -> torch.Tensor:
        settings = self.recipe.train
        with torch.no_grad():
            ego, exo = self.frozen(batch.region), self.frozen(batch.exo.flatten(0, 1))
        return refinement_loss(
            logits, ego, exo, boxes=batch.box, exo_masks=batch.exo_masks.flatten(0, 1),
            weights=batch.weights.flatten(), temperature=settings.temperature, resize=settings.ego_mask_resize,
        )  # fmt: skip

    def configure_optimizers(self) -> Any:
        settings = self.recipe.train
        groups = parameter_groups(self.model, settings.lr, settings.encoder_lr)
        optimiser = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay)
        factors: list[Callable[[int], float]] = [
            lr_factor(self.recipe, self.steps, float(str(group["lr"]))) for group in groups
        ]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factors)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def label_loss(logits: torch.Tensor, label: torch.Tensor, thing: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of ``logits`` (B, 1, h, w) with initial labels (B, 1, S, S); objects are (B, 1, S, S).

    The object and what is around it weigh alike, since the part must be told from the rest of the object above all.
    Pictures weigh alike, those without an object nothing. Ours: initial labels are wrong in single pictures, and right
    on the average of many.
    """
    cells = (logits.shape[-2], logits.shape[-1])
    target, inside = (F.adaptive_avg_pool2d(mask, cells) for mask in (label, thing))
    each = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    labelled = inside.flatten(1).sum(dim=1) > 0  # (B,)
    sides = [
        (each * share).flatten(1).sum(dim=1) / share.flatten(1).sum(dim=1).clamp(min=1)
        for share in (inside, 1 - inside)
    ]
    return (labelled * (sides[0] + sides[1]) / 2).sum() / labelled.sum().clamp(min=1)


def start_network(source: str | None, settings: GrounderSettings) -> tuple[RefinementNet, GrounderSettings]:
    """A refinement network whose encoder starts from ``source``, and its settings with that encoder's sizes.

    ``source``: published weights as :func:`vidaff.models.image.pretrained_grounder` takes them, a checkpoint of vidaff
    (its encoder), or None for random weights. Raises :class:`VidaffError` when it cannot be had.
    """
    if source is None:
        model = build_grounder(settings)
    elif is_checkpoint(source):
        loaded = load_grounder(source)
        kept = ("dim", "encoder", "clip", "backbone")
        settings = settings.model_copy(update={name: getattr(loaded.settings, name) for name in kept})
        model = build_grounder(settings)
        load_strict(model.encoder, loaded.model.encoder.state_dict())
    else:
        model, settings = pretrained_grounder(source, settings)
    assert isinstance(model, RefinementNet)  # the recipe sees to it
    return model, settings


def is_checkpoint(source: str | Path) -> bool:
    """Whether ``source`` is a folder that vidaff wrote: transformers' folders hold ``model.safetensors``, too."""
    folder = Path(source)
    if not (folder / "model.safetensors").is_file() or not (folder / "config.json").is_file():
        return False
    return '"vidaff-image"' in (folder / "config.json").read_text(encoding="utf-8", errors="replace")[:4096]


class RefineExport(Export):
    """Writes ``OUT/last`` after every epoch, and ``OUT/best`` after the one that is to be used."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RefineModule)  # for the type checker
        if not trainer.is_global_zero:
            return
        info = {**pl_module.info, "epoch": trainer.current_epoch + 1}
        pl_module.export(self.out / "last", info)
        if trainer.current_epoch <= pl_module.recipe.train.use_epoch:  # should training end early, the last one counts
            pl_module.export(self.out / "best", info)


class RefineRun(Run):
    """A run without validation."""

    def _trainer(self, module: Any) -> L.Trainer:
        trainer = super()._trainer(module)
        kept: list[Callback] = [RefineExport(self.out)]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            best = isinstance(callback, ModelCheckpoint) and not isinstance(callback, EpochCheckpoint)
            if not isinstance(callback, Export) and not best:
                kept.append(callback)
        # Checkpoints last, as Lightning orders them: they hold what the others did.
        trainer.callbacks = sorted(kept, key=lambda one: isinstance(one, ModelCheckpoint))  # type: ignore[attr-defined]
        return trainer


@denormals_flushed()
def train_refinement(
    recipe: RefineRecipe,
    pictures: LabelledPictures,
    text: Mapping[Pair, np.ndarray],
    out: str | Path,
    *,
    split: str = "seen",
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Train the refinement network; return the folder of the network to be used (``OUT/best``).

    Args:
        recipe: all settings.
        pictures: both views with boxes, object masks and similarities.
        text: text feature (D,) of the part by affordance and object.
        out: receives ``recipe.yaml``, ``checkpoints/``, ``best/``, ``last/``, ``metrics.csv`` and TensorBoard logs.
        split: name of the data's split, which decides on the refined pairs by default.
        resume: go on from ``out/checkpoints/last.ckpt``; begins anew where there is none.
        overwrite: use ``out`` although it holds files.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a progress bar.

    Raises:
        VidaffError: unusable data, recipe or folder, weights that cannot be had, or a training that diverged.
        KeyboardInterrupt: Ctrl-C; whole epochs are kept.
    """
    prepare_output_dir(out, overwrite=overwrite, resume=resume)
    run = RefineRun(out, resume=resume, overwrite=overwrite, device=device, progress=progress)
    last = run.resume_point(FORMAT, recipe, refine_recipe_from_dict, split) if resume else None
    settings = recipe.train
    present = sorted({picture.pair for picture in pictures.egocentric})
    refined = pairs_of(recipe, present, split)
    learned = present if settings.learn_from == "all" else refined
    missing = [pair for pair in learned if pair not in text]
    if missing:
        raise VidaffError(f"no text feature of the part {' '.join(missing[0])} ({len(missing)} are missing)")
    data = RefineSet(
        pictures, learned, size=recipe.input.size[0], mean=recipe.input.mean, std=recipe.input.std,
        refined=refined, label_whole=settings.label_whole, num_exo=settings.num_exo, seed=settings.seed,
    )  # fmt: skip
    if len(data) < settings.batch_size:
        raise VidaffError(
            f"{len(data)} pictures of refined pairs do not fill one batch of refine.train.batch_size="
            f"{settings.batch_size}"
        )
    L.seed_everything(settings.seed, workers=True, verbose=False)
    info = {
        "format": FORMAT,
        "vidaff": __version__,
        "split": split,
        "recipe": recipe.model_dump(mode="json"),
        "input": recipe.input.model_dump(mode="json"),
        "pairs": [list(pair) for pair in refined],
        "train_pictures": len(data),
    }
    rows = torch.from_numpy(np.stack([text[pair] for pair in learned]).astype(np.float32))
    module = RefineModule(recipe, rows, steps=optimiser_steps(recipe, len(data)), info=info)
    if rows.shape[1] != module.network.dim:
        raise VidaffError(f"the text features have {rows.shape[1]} numbers, the network {module.network.dim}")
    fit = range(len(data))
    return run.fit(module, GroundingData(data, fit, None, recipe), last)  # type: ignore[arg-type]


def pairs_of(recipe: RefineRecipe, present: list[Pair], split: str) -> list[Pair]:
    """The pairs that are refined; raise :class:`VidaffError` when there are none."""
    try:
        pairs = refined_pairs(recipe.train.pairs, present, split)
    except ValueError as error:
        raise VidaffError(f"refine.train.{error}") from error
    if not pairs:
        raise VidaffError("none of the pairs to refine is among the pictures; set refine.train.pairs=all, or name some")
    return pairs
