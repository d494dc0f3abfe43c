"""Training of the CAM baseline on AGD20K: the same pictures as the grounding network, without pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch

from vidaff.datasets.agd20k import Agd20kTest, Agd20kTrain
from vidaff.models.baselines.cam import (
    FORMAT,
    CamNet,
    CamRecipe,
    build_cam,
    cam_heat,
    cam_losses,
    cam_recipe_from_dict,
    save_cam,
)
from vidaff.models.image.losses import parameter_groups
from vidaff.train import denormals_flushed
from vidaff.training.grounder import HeatmapModule, Run, facts, lr_factor, optimiser_steps, picture_prints
from vidaff.training.grounding_data import GroundingData, TestBatch, TrainBatch, split_pictures
from vidaff.training.grounding_summary import picture_counts, picture_lines
from vidaff.training.same_data import PRINTS


class CamModule(HeatmapModule):
    """Trains :class:`vidaff.models.baselines.cam.CamNet`.

    Args:
        recipe: all settings.
        steps: optimiser steps of the whole run.
        info: facts that go into every checkpoint; ``affordances`` are the classes.
    """

    model: CamNet

    def __init__(self, recipe: CamRecipe, *, steps: int, info: dict[str, Any]) -> None:
        super().__init__()
        self.recipe, self.steps, self.info = recipe, steps, info
        self.save_hyperparameters({"format": FORMAT, "recipe": recipe.model_dump(mode="json"), "info": info})
        self.model, self.network = build_cam(recipe.model, len(info["affordances"]), recipe.train.encoder_weights)

    def export(self, folder: Path, info: Mapping[str, Any]) -> None:
        save_cam(folder, self.model, self.network, self.recipe, info)

    def training_step(self, batch: TrainBatch, batch_idx: int) -> torch.Tensor:
        losses = cam_losses(self.model, batch.image, batch.exo, batch.verb, self.recipe.model.margin)
        total = losses["ego"] + losses["exo"] + self.recipe.train.alignment_loss * losses["alignment"]
        values = {"train/loss": total, **{f"train/{name}": loss for name, loss in losses.items()}}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.image))
        return total

    def heat(self, batch: TestBatch) -> torch.Tensor:
        size = (batch.heatmap.shape[-2], batch.heatmap.shape[-1])
        return cam_heat(self.model(batch.image), batch.verb, size)

    def configure_optimizers(self) -> Any:
        settings = self.recipe.train
        groups = parameter_groups(self.model, settings.lr, settings.encoder_lr)
        optimiser = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)
        factors = [lr_factor(self.recipe, self.steps, float(str(group["lr"]))) for group in groups]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factors)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@denormals_flushed()
def train_cam(
    recipe: CamRecipe,
    data: str | Path,
    out: str | Path,
    *,
    split: str = "seen",
    labels: str | Path | None = None,
    manifest: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train the baseline; return the folder of the selected checkpoint. Arguments as of ``train_grounder``.

    ``labels`` only says which pictures there are: those without a pseudo-label are left out, as for the network that
    is compared with. No label is looked at.

    Raises:
        VidaffError: unusable data, recipe or folder, or a training that diverged; see the message.
    """
    run = Run(out, resume=resume, overwrite=overwrite, device=device, progress=progress)
    last = run.resume_point(FORMAT, recipe, cam_recipe_from_dict, split) if resume else None
    inputs, settings = recipe.input, recipe.train
    common: dict[str, Any] = {"size": inputs.size[0], "mean": inputs.mean, "std": inputs.std, "manifest": manifest}
    train = Agd20kTrain(
        data, split, labels=labels, label="initial", num_exo=settings.num_exo, exo_choice="uniform", exo_mask="none",
        stitch=0.0, patch=recipe.model.vision.patch, seed=settings.seed, **common,
    )  # fmt: skip
    test = Agd20kTest(data, split, **common) if settings.select == "test-kld" else None
    fit, val = split_pictures(train, recipe, test)
    L.seed_everything(settings.seed, workers=True, verbose=False)
    prints = picture_prints(train)
    del prints["labels"]  # which are not looked at
    counts = picture_counts(train, labels=False)
    info = {"format": FORMAT, **facts(recipe, train, len(fit), data, split), "counts": counts, PRINTS: prints}
    run.check_data(info)
    module = CamModule(recipe, steps=optimiser_steps(recipe, len(fit)), info=info)
    train.use_patch(int(module.model.encoder.patch))  # type: ignore[arg-type]
    run.tell(say, picture_lines(train, len(fit)))
    return run.fit(module, GroundingData(train, fit, val, recipe), last)
