"""A small weakly supervised baseline after LOCATE: class activation maps, aligned with pictures of use.

It learns from the names of affordances alone. What the grounding network finds beyond it on the same pictures is the
gain of the pseudo-labels.

Source: Li, Jampani, Sun, Sevilla-Lara, "LOCATE: Localize and Transfer Object Parts for Weakly Supervised Affordance
Grounding", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError, model_validator
from torch import nn

from vidaff.config import Settings, read_recipe, validate_settings
from vidaff.errors import VidaffError
from vidaff.models.image.build import build_encoder, pretrained_grounder
from vidaff.models.image.features import VisualEncoder, encode
from vidaff.models.image.recipe import PictureInput, check_patch, of_encoder
from vidaff.models.image.settings import ClipVisionSettings, EncoderName, GrounderSettings
from vidaff.predict import pick_device
from vidaff.weights import (
    VERSION,
    build_loaded,
    read_checkpoint,
    resolve_checkpoint,
    settings_block,
    write_checkpoint,
)

NAME = "cam"
"""Name of the model at the command line, and first word of its recipes' names."""
FORMAT = "vidaff-cam"
MAX_NAMES = 1000


class CamModel(Settings):
    """The network."""

    dim: int = Field(512, ge=16, le=4096, multiple_of=16, description="width of the encoder's tokens")
    encoder: EncoderName = Field("clip", description="visual encoder, as of the grounding network")
    clip: ClipVisionSettings = ClipVisionSettings()
    backbone: dict[str, Any] | None = Field(None, description="configuration of another encoder; default: its ViT-B")
    margin: float = Field(0.5, ge=0, le=2, description="cosine distance to the prototype that costs nothing")

    @property
    def vision(self) -> GrounderSettings:
        """The settings by which the grounding network's encoder is built."""
        heads = {"decoder": {"heads": 1}, "fuser": {"heads": 1}}
        own = {"dim": self.dim, "encoder": self.encoder, "clip": self.clip, "backbone": self.backbone}
        return GrounderSettings.model_validate({**heads, **own})


class CamTrain(Settings):
    """Optimisation."""

    epochs: int = Field(40, ge=1)
    batch_size: int = Field(20, ge=1, description="pictures in one optimiser step, over all processes (global batch)")
    micro_batch: int | None = Field(None, ge=1, description="pictures per forward pass and process")
    lr: float = Field(1e-4, gt=0)
    encoder_lr: float = Field(0.1, ge=0, le=1, description="learning rate of the encoder as a share of lr; 0 = frozen")
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    min_lr: float = Field(1e-6, ge=0)
    warmup_steps: int = Field(0, ge=0, description="optimiser steps of linear warm-up")
    clip_grad: float = Field(0.0, ge=0, description="largest gradient norm, 0 = off")
    encoder_weights: str | None = Field(None, description="published weights of the encoder; random when empty")
    num_exo: int = Field(1, ge=1, le=16, description="exocentric pictures drawn for each egocentric one")
    alignment_loss: float = Field(1.0, ge=0, description="weight of the alignment with exocentric prototypes")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(1, ge=0, lt=2**32)
    val_every: int = Field(1, ge=1, description="epochs between validations")
    val_limit: int | None = Field(None, ge=1, description="pictures per validation, all when empty")
    select: Literal["last", "test-kld"] = Field(
        "last", description="which epoch is exported; held-out pictures would need pseudo-labels, which are not used"
    )
    max_minutes: float | None = Field(
        None, gt=0, le=1e6, description="stop at the end of the step that passes this time, over all sittings of a run"
    )
    workers: int = Field(1, ge=0, description="loader processes, 0 = none beside the training's own")

    @model_validator(mode="after")
    def _consistent(self) -> CamTrain:
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch_size {self.batch_size}")
        return self


class CamRecipe(Settings):
    """Everything that decides what is trained and how."""

    name: str = "custom"
    about: str = Field("", description="one sentence for people")
    model: CamModel = CamModel()
    input: PictureInput = PictureInput()
    train: CamTrain = CamTrain()

    @model_validator(mode="after")
    def _consistent(self) -> CamRecipe:
        check_patch(self.input, self.model.vision)
        return self


def load_cam_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> CamRecipe:
    """Load a recipe of the baseline and apply ``block.key=value`` overrides; raise :class:`VidaffError`."""
    data, where = read_recipe(name_or_file, overrides, model=NAME)
    return cam_recipe_from_dict(data, where=where)


def cam_recipe_from_dict(data: dict[str, Any], *, where: str) -> CamRecipe:
    """Validate a plain dictionary; ``where`` names its origin in the error."""
    recipe = validate_settings(CamRecipe, data, where=where)
    return recipe.model_copy(update={"input": of_encoder(recipe.input, recipe.model.encoder)})


class CamNet(nn.Module):
    """Pictures (B, 3, H, W) -> activation maps (B, classes, h, w) over the patches, before any activation."""

    def __init__(self, encoder: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1), nn.GELU(), nn.Conv2d(dim, dim, 3, padding=1), nn.GELU()
        )
        self.classify = nn.Conv2d(dim, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.activations(images)[0]

    def activations(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Activation maps (B, classes, h, w), and the features (B, D, h, w) that they are made of."""
        encoder: VisualEncoder = self.encoder  # type: ignore[assignment]
        features = encode(encoder, images)
        grid = features.tokens[:, 1:].transpose(1, 2).unflatten(2, features.grid)  # (B, D, h, w)
        projected = self.project(grid)
        return self.classify(projected), projected


def scaled_maps(cams: torch.Tensor, verb: torch.Tensor) -> torch.Tensor:
    """Activation maps (B, h, w) of the class ``verb`` (B,), each stretched to 0..1; a flat one is 1 everywhere."""
    chosen = cams[torch.arange(len(cams), device=cams.device), verb].float()
    low, high = chosen.amin(dim=(1, 2), keepdim=True), chosen.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (chosen - low) / (high - low).clamp(min=1e-12), torch.ones_like(chosen))


def cam_losses(
    net: CamNet, images: torch.Tensor, exo: torch.Tensor, verb: torch.Tensor, margin: float
) -> dict[str, torch.Tensor]:
    """``ego`` and ``exo``: classification by the mean activation; ``alignment``: distance to the prototype.

    The prototype is the mean of the exocentric features under the activation map of the affordance; the egocentric
    features under theirs are drawn to it, and it gets no gradient.
    Deviation from LOCATE, to stay small: it clusters the exocentric features, chooses among three prototypes, and keeps
    the encoder fixed.

    Args:
        net: the network.
        images: (B, 3, H, W) egocentric pictures.
        exo: (B, n, 3, H, W) exocentric ones.
        verb: (B,) class of the affordance.
        margin: cosine distance that costs nothing.
    """
    count = exo.shape[1]
    cams, features = net.activations(images)
    exo_cams, exo_features = net.activations(exo.flatten(0, 1))
    repeated = verb.repeat_interleave(count)
    prototype = _pooled(exo_features, scaled_maps(exo_cams, repeated)).unflatten(0, (-1, count)).mean(dim=1)
    distance = 1 - F.cosine_similarity(_pooled(features, scaled_maps(cams, verb)), prototype.detach())
    return {
        "ego": F.cross_entropy(cams.float().mean(dim=(2, 3)), verb),
        "exo": F.cross_entropy(exo_cams.float().mean(dim=(2, 3)), repeated),
        "alignment": (distance - margin).clamp(min=0).mean(),
    }


def _pooled(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """(B, D) mean of ``features`` (B, D, h, w) under ``maps`` (B, h, w)."""
    weights = maps.unsqueeze(1)
    return (features.float() * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp(min=1e-6)


def cam_heat(cams: torch.Tensor, verb: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Heat maps (B, H, W), each sums to 1, of the class ``verb`` (B,)."""
    heat = F.interpolate(scaled_maps(cams, verb).unsqueeze(1), size=size, mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.sum(dim=(1, 2), keepdim=True)


def build_cam(model: CamModel, classes: int, weights: str | None = None) -> tuple[CamNet, CamModel]:
    """The network for ``classes`` affordances, and its settings with the sizes of the encoder's published ``weights``.

    Raises:
        VidaffError: ``weights`` cannot be had or do not fit.
    """
    if weights is None:
        return CamNet(build_encoder(model.vision), model.dim, classes), model
    grounder, found = pretrained_grounder(weights, model.vision)
    model = model.model_copy(update={"clip": found.clip, "backbone": found.backbone})
    return CamNet(grounder.encoder, model.dim, classes), model


@dataclass
class CamCheckpoint:
    """A loaded network, the recipe that made it, and what is known of it; ``info`` names its affordances."""

    model: CamNet
    recipe: CamRecipe
    info: dict[str, Any] = field(default_factory=dict)


def save_cam(folder: str | Path, model: CamNet, settings: CamModel, recipe: CamRecipe, info: Mapping[str, Any]) -> Path:
    """Write ``model.safetensors`` (settings inside) and ``config.json`` into ``folder``, each atomically."""
    stored = recipe.model_copy(update={"model": settings}).model_dump(mode="json")
    return write_checkpoint(folder, model, {"format": FORMAT, "version": VERSION, "recipe": stored, "info": dict(info)})


def load_cam(path_or_name: str | Path) -> CamCheckpoint:
    """Load a checkpoint on the CPU, in evaluation mode; raise :class:`VidaffError` for anything else."""
    path = resolve_checkpoint(path_or_name)
    state, config = read_checkpoint(path, FORMAT)
    recipe = cam_recipe_from_dict(settings_block(config, "recipe", path), where=f"{path}: recipe")
    info = settings_block(config, "info", path)
    names = info.get("affordances")
    if not isinstance(names, list) or not 0 < len(names) <= MAX_NAMES or not all(isinstance(n, str) for n in names):
        raise VidaffError(f"{path}: info.affordances must be a list of 1 to {MAX_NAMES} names")
    try:
        model = build_loaded(lambda: build_cam(recipe.model, len(names))[0], state, path)
    except (ValueError, ValidationError) as error:
        raise VidaffError(f"{path}: recipe: {error}") from error
    return CamCheckpoint(model, recipe, info)


class CamRunner:
    """The baseline behind the interface by which :mod:`vidaff.evaluate_grounder` runs a network."""

    name = NAME

    def __init__(self, folder: str | Path, *, device: str = "auto") -> None:
        loaded = load_cam(folder)
        self.info, self.inputs = loaded.info, loaded.recipe.input
        self.device = pick_device(device)
        self.model = loaded.model.to(self.device)
        self.ids = {name: number for number, name in enumerate(self.info["affordances"])}

    def ask(self, names: Iterable[str]) -> None:
        """Raise :class:`VidaffError` for an affordance that is none of the classes: it takes no free text."""
        unknown = sorted(set(names) - self.ids.keys())
        if unknown:
            raise VidaffError(f"the CAM baseline has no class {', '.join(unknown[:3])}")

    @torch.inference_mode()
    def heat(self, images: torch.Tensor, affordances: Sequence[str], size: tuple[int, int]) -> torch.Tensor:
        """Heat maps (B, H, W) of one affordance on each of ``images`` (B, 3, S, S)."""
        verb = torch.tensor([self.ids[name] for name in affordances], device=self.device)
        return cam_heat(self.model(images.to(self.device)), verb, size)
