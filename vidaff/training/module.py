"""The Lightning module: forward, losses, schedule, validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from vidaff.config import Recipe
from vidaff.metrics import SegmentationMeter
from vidaff.models.video import VideoOutput, build_video_model
from vidaff.models.video.inputs import InputCoder
from vidaff.training.augment import augment, last_frame, step_generator, without_first_frames
from vidaff.training.batches import Batch
from vidaff.training.exportable import ExportableModule
from vidaff.training.losses import any_part_nll, dice_loss, segmentation_nll
from vidaff.weights import save_checkpoint


class VideoModule(ExportableModule):
    """Trains :class:`vidaff.models.video.VideoAffordanceNet` on last-frame labels.

    Source: Thermos et al., ICASSP 2020, section 3: ``L = l1 * L_seg + l2 * L_action`` at the last frame.

    Args:
        recipe: all settings.
        steps: optimiser steps of (static pre-training, video training).
        weights: class weights of the NLL or None.
        prior: (K + 1,) class frequencies for the prediction bias, None = zero bias.
        info: facts that go into every checkpoint.
    """

    weights: torch.Tensor | None

    def __init__(
        self,
        recipe: Recipe,
        *,
        steps: tuple[int, int],
        weights: torch.Tensor | None,
        prior: torch.Tensor | None,
        info: dict[str, Any],
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.steps = steps
        self.info = info
        self.save_hyperparameters({"recipe": recipe.model_dump(mode="json"), "info": info})
        self.model = build_video_model(recipe.model).to(memory_format=torch.channels_last)
        self.coder = InputCoder(recipe.input, recipe.model)
        self.register_buffer("weights", weights, persistent=False)
        self.meter = SegmentationMeter(recipe.model.num_classes)
        self.actions: list[tuple[int, int]] = []
        if prior is not None:
            bias = self.model.decoder.predict.bias
            assert bias is not None  # for the type checker
            with torch.no_grad():
                bias.copy_(prior.clamp(min=1e-4).log())

    def export(self, folder: Path, info: Mapping[str, Any]) -> None:
        save_checkpoint(folder, self.model, self.recipe, info)

    def input_size(self) -> tuple[int, int]:
        """Input size of the current epoch: coarse in the first ones when the recipe says so."""
        settings = self.recipe.train
        if settings.coarse_size is not None and self.current_epoch < settings.coarse_epochs:
            return settings.coarse_size
        return self.recipe.input.size

    def forward(self, batch: Batch, *, actions: str = "last", size: tuple[int, int] | None = None) -> VideoOutput:
        """Network output for a stored batch."""
        rgbd, flow = self.coder(batch["rgb"], batch.get("depth"), batch.get("flow"), size=size)
        output: VideoOutput = self.model(rgbd, flow, actions=actions)
        return output

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        settings = self.recipe.train
        generator = step_generator(settings.seed, self.current_epoch, batch_idx, self.global_rank)
        if self.current_epoch < settings.pretrain_epochs:
            return self._static_loss(augment(last_frame(batch), settings, generator))
        # These draws must be the same on every process and in all passes of an optimiser step, or gradients of
        # different graphs would be averaged.
        step = batch_idx // self.trainer.accumulate_grad_batches
        common = step_generator(settings.seed, self.current_epoch, step, -1)
        if float(torch.rand((), generator=common)) < settings.static_share:
            batch = last_frame(batch)
        else:
            dropped = int(torch.randint(settings.drop_first + 1, (), generator=common))
            batch = without_first_frames(batch, dropped)
        return self._video_loss(augment(batch, settings, generator))

    def _static_loss(self, batch: Batch) -> torch.Tensor:
        output = self(batch, size=self.input_size())
        target = _resize_labels(batch["affordances"], output.logits)
        loss = any_part_nll(output.logits, target, self.weights)
        self._log({"train/pretrain": loss}, len(batch["action"]))
        return loss

    def _video_loss(self, batch: Batch) -> torch.Tensor:
        settings = self.recipe.train
        every = settings.action_every_frame and batch["rgb"].shape[1] > 1
        output = self(batch, actions="all" if every else "last", size=self.input_size())
        target = _resize_labels(batch["mask"], output.logits)
        seg = segmentation_nll(output.logits, target, self.weights)
        if settings.dice:
            seg = seg + settings.dice * dice_loss(output.logits, target)
        action = _action_loss(output.action_logits, batch["action"])
        seg_weight, action_weight = settings.loss_weights(self.current_epoch)
        # A still picture cannot tell the action: it trains the segmentation only.
        still = batch["rgb"].shape[1] == 1
        loss = seg_weight * seg + (0.0 if still else action_weight) * action
        name = "static" if still else "video"
        values = {f"train/{name}_seg": seg, f"train/{name}_loss": loss}
        if not still:
            values["train/action"] = action
        self._log(values, len(batch["action"]))
        return loss

    def _log(self, values: dict[str, torch.Tensor], count: int) -> None:
        """Means over each epoch: single steps are too noisy to read as a curve."""
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=count)

    def validation_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Count what the network says of a batch; returns its logits (B, K + 1, h, w)."""
        static = self.current_epoch < self.recipe.train.pretrain_epochs
        output = self(last_frame(batch) if static else batch, size=self.input_size())
        target = _resize_labels(batch["mask"], output.logits)
        self.meter.update(output.logits.argmax(1), target)
        if self.recipe.model.num_actions:
            guesses = output.action_logits.argmax(1)
            self.actions += list(zip(guesses.tolist(), batch["action"].tolist(), strict=True))
        return output.logits

    def on_validation_epoch_end(self) -> None:
        scores = self.meter.compute()
        values = {"val/iou": float(scores.mean_iou), "val/f": float(scores.mean_f1)}
        if self.recipe.model.num_actions:
            right = [guess == truth for guess, truth in self.actions if truth >= 0]
            values["val/action"] = sum(right) / max(len(right), 1)
        # Pre-training cannot tell actions apart; its scores must never be selected as best.
        if self.current_epoch < self.recipe.train.pretrain_epochs:
            values = {"val/pretrain_iou": values["val/iou"], "val/iou": 0.0}
        self.log_dict(
            {key: 0.0 if math.isnan(value) else float(value) for key, value in values.items()},
            prog_bar=True,
            sync_dist=True,
        )
        self.meter.reset()
        self.actions = []

    def configure_optimizers(self) -> Any:
        settings = self.recipe.train
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, self._lr_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _lr_factor(self, step: int) -> float:
        """Warm-up at the start of each stage; cosine decay to 1 % over the video stage when asked for."""
        settings = self.recipe.train
        pretrain, video = self.steps
        in_stage = step if step < pretrain else step - pretrain
        warm = min(1.0, (in_stage + 1) / (settings.warmup_steps + 1))
        if settings.schedule == "constant" or step < pretrain:
            return warm
        progress = min(1.0, in_stage / max(video, 1))
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _resize_labels(labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Labels (B, H, W) at the size of ``logits``, nearest pixel."""
    size = logits.shape[-2:]
    if labels.shape[-2:] == size:
        return labels
    return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].to(labels.dtype)


def _action_loss(logits: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Cross entropy of known actions; (B, A), or (B, T, A) averaged over the second half of the clip."""
    if not (action >= 0).any():
        return logits.sum() * 0
    if logits.ndim == 3:
        half = logits[:, logits.shape[1] // 2 :]  # (B, T', A)
        action = action[:, None].expand(half.shape[:2]).flatten()
        logits = half.flatten(0, 1)
    return F.cross_entropy(logits, action, ignore_index=-1)
