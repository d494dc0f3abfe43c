"""Recipes of the refinement stage: the same blocks as those of the grounding network, and what its labels become."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from vidaff.config import Settings, apply_override, read_recipe, validate_settings
from vidaff.errors import VidaffError
from vidaff.models.image.recipe import PictureInput, check_patch, of_encoder
from vidaff.models.image.settings import GrounderSettings

NAME = "refine"
"""First word of the names of its recipes."""


class RefineTrain(Settings):
    """Optimisation of the refinement network. Defaults follow the authors' code."""

    epochs: int = Field(20, ge=1)
    use_epoch: int = Field(
        10, ge=0, description="epoch, counted from 0, whose network refines (the last one where there are fewer)"
    )
    batch_size: int = Field(20, ge=1, description="pictures in one optimiser step, over all processes")
    micro_batch: int | None = Field(
        1,
        ge=1,
        description="pictures per forward pass; more are faster, and weigh exocentric objects alike instead of "
        "pictures where some objects cannot be used",
    )
    lr: float = Field(1e-4, gt=0)
    encoder_lr: float = Field(0.1, ge=0, le=1, description="learning rate of the visual encoder as a share of lr")
    betas: tuple[float, float] = Field((0.9, 0.95), description="of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="of every parameter")
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine falls to min_lr at the last step")
    min_lr: float = Field(1e-6, ge=0)
    warmup_steps: int = Field(0, ge=0, description="optimiser steps of linear warm-up")
    clip_grad: float = Field(0.0, ge=0, description="largest gradient norm, 0 = off")
    encoder_weights: str | None = Field(
        None, description="weights that the encoder starts from, as of a grounder's recipe, or a checkpoint of vidaff"
    )
    features: str | None = Field(
        None, description="frozen encoder that compares the objects: as encoder_weights, and the same when empty"
    )
    pairs: Literal["split", "both", "all"] | tuple[str, ...] = Field(
        "split", description="what is refined: the authors' list of the split, both lists, all, or [hold/knife, ...]"
    )
    learn_from: Literal["refined", "all"] = Field(
        "refined", description="pictures that the network learns from: of the refined pairs (authors), or all"
    )
    num_exo: int = Field(3, ge=1, le=16, description="exocentric objects drawn for each egocentric one")
    exo_loss: float = Field(4.0, ge=0, description="weight of the distance to exocentric objects (paper: none)")
    label_loss: float = Field(
        0.0, ge=0, description="weight of the binary cross-entropy with the initial label (ours; paper and authors: 0)"
    )
    label_whole: float = Field(
        0.9,
        gt=0,
        le=2,
        description="label_loss: an initial label of a refined pair that covers this share of the object counts as the "
        "whole object and teaches nothing; above 1: all teach",
    )
    temperature: float = Field(1.0, ge=1, description="sharpens the mask around 0.5; 1 = off")
    ego_mask_resize: Literal["pad", "stretch"] = Field(
        "pad", description="the object's mask is padded to a square (paper) or stretched (code)"
    )
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(1, ge=0, lt=2**32)
    max_minutes: float | None = Field(
        None, gt=0, le=1e6, description="stop at the end of the step that passes this time, over all sittings of a run"
    )
    workers: int = Field(0, ge=0, description="loader processes, 0 = none beside the training's own")

    @field_validator("betas")
    @classmethod
    def _below_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("both must lie in [0, 1)")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> RefineTrain:
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch_size {self.batch_size}")
        if not self.exo_loss and not self.label_loss:
            raise ValueError("exo_loss and label_loss cannot both be 0: nothing would be learned")
        return self

    @property
    def val_every(self) -> int:
        """Epochs between validations; there are none."""
        return 1

    @property
    def select(self) -> str:
        """Nothing is validated."""
        return "last"


class RefineUse(Settings):
    """From the network's maps to masks."""

    threshold: float = Field(0.95, ge=0, lt=1, description="probability above which a pixel is the part (paper: none)")
    relative: bool = Field(
        False, description="the threshold is a share of the object's highest probability, not a probability (ours)"
    )
    least_peak: float = Field(
        0.0, ge=0, lt=1, description="objects whose highest probability is below this get no label (ours)"
    )


class RefineRecipe(Settings):
    """Everything that decides what the refinement network is and how it is trained and used."""

    name: str = "custom"
    about: str = Field("", description="one sentence for people")
    model: GrounderSettings = GrounderSettings(task="refinement")
    input: PictureInput = PictureInput()
    train: RefineTrain = RefineTrain()
    use: RefineUse = RefineUse()

    @model_validator(mode="before")
    @classmethod
    def _of_refinement(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("model", {}), dict):
            return {**data, "model": {"task": "refinement", **data.get("model", {})}}
        return data

    @model_validator(mode="after")
    def _trainable(self) -> RefineRecipe:
        if self.model.task != "refinement":
            raise ValueError("model.task: only the refinement network is trained by these recipes")
        check_patch(self.input, self.model)
        return self


def load_refine_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> RefineRecipe:
    """Load a shipped recipe or a YAML file and apply ``block.key=value`` overrides.

    Raises:
        VidaffError: unknown recipe, unreadable YAML, unknown key or a value out of range; names the key.
    """
    data, where = read_recipe(name_or_file, overrides, model=NAME)
    return refine_recipe_from_dict(data, where=where)


def refine_recipe_from_dict(data: dict[str, Any], *, where: str) -> RefineRecipe:
    """Validate a plain dictionary; ``where`` names its origin in the error."""
    return refine_of_encoder(validate_settings(RefineRecipe, data, where=where))


def refine_of_encoder(recipe: RefineRecipe) -> RefineRecipe:
    """``recipe`` whose pictures have the mean and deviation of its encoder, where it names none of its own."""
    return recipe.model_copy(update={"input": of_encoder(recipe.input, recipe.model.encoder)})


def read_refine_block(block: Any, overrides: Iterable[str], where: str) -> dict[str, Any]:
    """The block ``refine`` of a labelling recipe as a dictionary: spelled out, or the name of a recipe or file."""
    if isinstance(block, str):
        data, _ = read_recipe(block, overrides, model=NAME)
        return data
    if not isinstance(block, dict):
        raise VidaffError(f"{where}: refine: a block of settings, the name of a recipe or a file is expected")
    for override in overrides:
        apply_override(block, override)
    return block
