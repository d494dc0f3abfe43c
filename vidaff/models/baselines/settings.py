"""Settings of the AffordanceNet baseline: the same three blocks as a recipe of the video model, other keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from vidaff.config import Settings, Size, read_recipe, validate_settings

NAME = "affordancenet"
"""Name of the model at the command line, and first word of its recipes' names."""


class DetectorModel(Settings):
    """The network. Defaults are the paper's (Do, Nguyen, Reid, ICRA 2018) and its authors' release."""

    backbone: Literal["vgg16", "resnet50", "tiny"] = Field("vgg16", description="tiny is for CPUs and tests")
    mask_size: Literal[28, 56, 244] = Field(244, description="side of the affordance masks (paper: 244)")
    mask_channels: int = Field(512, ge=8, le=2048, multiple_of=2, description="channels of the affordance branch")
    box_channels: int = Field(4096, ge=8, le=8192, description="units of both fully connected layers")
    anchors: tuple[float, ...] = Field(
        (0.05, 0.1, 0.2, 0.4, 0.8), min_length=1, max_length=16,
        description="anchor sides as shares of the input's shorter side, each in three shapes; resnet50 takes five",
    )  # fmt: skip
    rois: int = Field(32, ge=4, le=1024, description="regions per picture that train the heads, a quarter positive")
    proposals_train: int = Field(2000, ge=1, le=10000, description="best proposals kept while training")
    proposals_test: int = Field(1000, ge=1, le=10000, description="best proposals kept while predicting")
    confidence: float = Field(0.9, ge=0, le=1, description="least score of a detection; the best one always counts")

    @field_validator("anchors")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share <= 2 for share in value):
            raise ValueError("each share must lie above 0 and not above 2")
        return value


class DetectorInput(Settings):
    """What the network is fed with: RGB only."""

    size: Size = Field((300, 300), description="height and width of the network's input in pixels")


class DetectorTrain(Settings):
    """Optimisation. Defaults follow the authors' release; the number of epochs is ours, theirs counts iterations."""

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(2, ge=1, description="pictures in one optimiser step, over all processes")
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(5e-4, ge=0)
    drop_at: float = Field(0.75, gt=0, le=1, description="share of the steps after which lr falls to a tenth")
    warmup_steps: int = Field(0, ge=0, description="optimiser steps of linear warm-up")
    clip_grad: float = Field(0.0, ge=0, description="largest gradient norm, 0 = off")
    class_loss: float = Field(3.0, ge=0, description="weight of the classification loss of regions")
    box_loss: float = Field(2.0, ge=0, description="weight of the box regression loss of regions")
    affordance_loss: float = Field(3.0, ge=0, description="weight of the affordance mask loss")
    proposal_loss: float = Field(1.0, ge=0, description="weight of both losses of the proposal network")
    labels: Literal["action", "any_part"] = Field(
        "action",
        description="action: the part that was labelled; any_part: any affordance that a pixel has counts as right",
    )
    backbone_weights: str | None = Field(
        None, description="local torchvision file (vgg16 or resnet50, ImageNet); its first stages stay as they are"
    )
    flip: bool = Field(True, description="mirror half of the pictures left to right")
    colour_jitter: float = Field(0.0, ge=0, le=1, description="relative brightness and tint changes")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(0, ge=0, lt=2**32)
    val_every: int = Field(1, ge=1, description="epochs between validations")
    val_limit: int | None = Field(None, ge=1, description="pictures per validation, all when empty")
    select: Literal["iou", "last"] = Field("iou", description="which epoch is exported as best")
    max_minutes: float | None = Field(
        None, gt=0, le=1e6, description="stop at the end of the step that passes this time, over all sittings of a run"
    )
    cache: bool = Field(False, description="keep the pictures in memory")
    workers: int = Field(1, ge=0, description="loader processes, used when the pictures are not cached")


class DetectorRecipe(Settings):
    """Everything that decides what is trained and how."""

    name: str = "custom"
    about: str = Field("", description="one sentence for people")
    model: DetectorModel = DetectorModel()
    input: DetectorInput = DetectorInput()
    train: DetectorTrain = DetectorTrain()


def load_detector_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> DetectorRecipe:
    """Load a shipped recipe of AffordanceNet or a YAML file and apply ``block.key=value`` overrides.

    Raises:
        VidaffError: unknown recipe, unreadable YAML, unknown key or a value out of range; names the key.
    """
    data, where = read_recipe(name_or_file, overrides, model=NAME)
    return detector_recipe_from_dict(data, where=where)


def detector_recipe_from_dict(data: dict[str, Any], *, where: str) -> DetectorRecipe:
    """Validate a plain dictionary; ``where`` names its origin in the error."""
    return validate_settings(DetectorRecipe, data, where=where)
