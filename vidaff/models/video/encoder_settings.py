"""Settings of the RGB-D encoder's pre-training: the same three blocks as a recipe of the video model, other keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vidaff.config import MAX_CLASSES, InputSettings, ModelSettings, Settings, Size, read_recipe, validate_settings

NAME = "encoder"
"""Name of the model at the command line, and first word of its recipes' names."""


class EncoderModel(Settings):
    """The video model's RGB-D encoder with an LSTM behind it.

    ``depth`` and ``width`` must be those of the video model that takes the encoder over.
    """

    depth: bool = Field(True, description="RGB-D (4 input channels) when true, RGB (3) when false")
    width: float = Field(1.0, gt=0, le=4, description="multiplier of the encoder's channel counts (1 = paper)")
    feature_norm: Literal["none", "layer"] = Field(
        "layer", description="normalisation of each frame's pooled features; without it, training from scratch stalls"
    )
    hidden: int = Field(512, ge=8, le=4096, description="units of the LSTM")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the LSTM's outputs left out while training")
    init: Literal["xavier", "he"] = Field("xavier", description="first weights of the encoder, as in the video model")
    num_actions: int = Field(10, ge=2, le=MAX_CLASSES, description="actions to tell apart")


class EncoderInput(Settings):
    """How pictures and depth become network inputs. The paper gives none of these numbers for UTKinect."""

    size: Size = Field((300, 300), description="height and width of the network's input in pixels")
    depth_mean: float = Field(2.0, description="metres, subtracted from valid depth: people in a room, up to 4 m away")
    depth_std: float = Field(1.0, gt=0, description="metres, divides valid depth")
    fps: float = Field(10.0, gt=0, description="frames a second of the clips, before they are thinned to clip_length")


class EncoderTrain(Settings):
    """Optimisation. The paper gives the number of epochs alone; its optimiser and rate are the video model's."""

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(2, ge=1, description="clips in one optimiser step, over all processes (global batch)")
    clip_length: int = Field(10, ge=1, description="most frames of a clip; longer ones are thinned evenly")
    lr: float = Field(2e-5, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0, description="optimiser steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0)
    clip_grad: float = Field(0.0, ge=0, description="largest gradient norm, 0 = off")
    flip: bool = Field(False, description="mirror half of the clips left to right")
    colour_jitter: float = Field(0.0, ge=0, le=1, description="relative brightness, contrast and tint changes")
    depth_shift: float = Field(0.0, ge=0, description="metres, standard deviation of a depth offset per clip")
    depth_dropout: float = Field(0.0, ge=0, le=1, description="share of clips whose depth is removed")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(0, ge=0, lt=2**32)
    val_every: int = Field(1, ge=1, description="epochs between validations")
    select: Literal["last", "action"] = Field(
        "last", description="which epoch is exported as best; 'action' chooses by the held-out part, and flatters it"
    )
    max_minutes: float | None = Field(
        None, gt=0, le=1e6, description="stop at the end of the step that passes this time, over all sittings of a run"
    )
    cache: bool = Field(False, description="keep the prepared clips in memory")
    workers: int = Field(1, ge=0, description="loader processes, used when the clips are not cached")


class EncoderRecipe(Settings):
    """Everything that decides what is trained and how."""

    name: str = "custom"
    about: str = Field("", description="one sentence for people")
    model: EncoderModel = EncoderModel()
    input: EncoderInput = EncoderInput()
    train: EncoderTrain = EncoderTrain()

    @property
    def stream(self) -> ModelSettings:
        """The encoder in the terms of the video model, whose only stream it is."""
        return ModelSettings(depth=self.model.depth, width=self.model.width, second_stream="none")

    @property
    def coding(self) -> InputSettings:
        """The inputs in the terms of the video model."""
        return InputSettings(**self.input.model_dump())


def load_encoder_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> EncoderRecipe:
    """Load a shipped recipe of the encoder or a YAML file and apply ``block.key=value`` overrides.

    Raises:
        VidaffError: unknown recipe, unreadable YAML, unknown key or a value out of range; names the key.
    """
    data, where = read_recipe(name_or_file, overrides, model=NAME)
    return encoder_recipe_from_dict(data, where=where)


def encoder_recipe_from_dict(data: dict[str, Any], *, where: str) -> EncoderRecipe:
    """Validate a plain dictionary; ``where`` names its origin in the error."""
    return validate_settings(EncoderRecipe, data, where=where)
