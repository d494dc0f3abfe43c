"""Recipes of the grounding network: the same three blocks as a recipe of the video model, other keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from vidaff.config import Settings, Size, read_recipe, validate_settings
from vidaff.models.image.losses import LossWeights
from vidaff.models.image.settings import EncoderName, GrounderSettings
from vidaff.models.image.text_table import TextSettings

NAME = "grounder"
"""Name of the model at the command line, and first word of its small recipes' names."""
PAPER = "plsp"
"""Name of the recipe with the paper's numbers."""
SEEDS = (1, 10, 100, 1000, 10000)
"""The seeds over which the paper averages (its appendix, and the authors' code)."""

Triple = tuple[float, float, float]
CLIP_COLOURS: tuple[Triple, Triple] = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_COLOURS: tuple[Triple, Triple] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOURS: dict[EncoderName, tuple[Triple, Triple]] = {
    "clip": CLIP_COLOURS, "owlvit": CLIP_COLOURS,
    "dino": IMAGENET_COLOURS, "dinov2": IMAGENET_COLOURS, "sam": IMAGENET_COLOURS,
}  # fmt: skip
"""Mean and deviation of RGB in 0..1 with which each encoder was trained. Source: their published processors."""
Select = Literal["heldout", "last", "test-kld"]
SELECTIONS = {
    "heldout": "lowest KLD on pictures held out of the training split, against their pseudo-labels",
    "last": "the last epoch; nothing is held out",
    "test-kld": "lowest KLD on the TEST split, as the authors do: optimistic, for reproduction only",
}


class PictureInput(Settings):
    """Pictures that a network is fed with."""

    size: Size = Field((224, 224), description="height and width of the network's input in pixels")
    mean: Triple = Field(CLIP_COLOURS[0], description="of RGB in 0..1; recipes take that of their encoder")
    std: Triple = Field(CLIP_COLOURS[1], description="of RGB in 0..1; recipes take that of their encoder")

    @model_validator(mode="after")
    def _fits(self) -> PictureInput:
        if self.size[0] != self.size[1]:
            raise ValueError(f"size {self.size[0]}x{self.size[1]}: the pictures of AGD20K are made square")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self


Inputs = TypeVar("Inputs", bound=PictureInput)


def of_encoder(inputs: Inputs, encoder: EncoderName) -> Inputs:
    """``inputs`` with the mean and deviation of ``encoder``, where the recipe names none of its own."""
    own = dict(zip(("mean", "std"), COLOURS[encoder], strict=True))
    return inputs.model_copy(update={key: value for key, value in own.items() if key not in inputs.model_fields_set})


def check_patch(inputs: PictureInput, network: GrounderSettings) -> None:
    """Raise :class:`ValueError` unless pictures divide into the patches of the encoder."""
    if inputs.size[0] % network.patch:
        raise ValueError(
            f"input.size {inputs.size[0]}: must be a multiple of {network.patch}, the patch of {network.encoder}"
        )


class GrounderInput(PictureInput):
    """What the grounding network is fed with."""

    text: TextSettings = TextSettings()


class GrounderTrain(Settings):
    """Optimisation and the three modules of the paper. Defaults follow the authors' code."""

    epochs: int = Field(40, ge=1)
    batch_size: int = Field(20, ge=1, description="pictures in one optimiser step, over all processes (global batch)")
    micro_batch: int | None = Field(None, ge=1, description="pictures per forward pass and process (authors: 10)")
    lr: float = Field(1e-4, gt=0)
    encoder_lr: float = Field(0.1, ge=0, le=1, description="learning rate of the visual encoder as a share of lr")
    betas: tuple[float, float] = Field((0.9, 0.95), description="of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="of every parameter")
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine falls to min_lr at the last step")
    min_lr: float = Field(1e-6, ge=0)
    warmup_steps: int = Field(0, ge=0, description="optimiser steps of linear warm-up")
    clip_grad: float = Field(0.0, ge=0, description="largest gradient norm, 0 = off")
    encoder_weights: str | None = Field(
        None, description="folder or hub id of the encoder's published weights, or OpenAI's archive; random when empty"
    )
    labels: Literal["refined", "raw", "initial"] = Field(
        "refined", description="pseudo-labels: refined where there are any, refined without clean-up, initial (Table 9)"
    )
    alignment: Literal["box", "object", "picture", "none"] = Field(
        "box", description="exocentric features of the object's box, its mask, the whole picture, or none (Table 8)"
    )
    exo_choice: Literal["similar", "uniform"] = Field(
        "similar", description="exocentric pictures of the ten most similar objects, or any of the same pair"
    )
    reasoning: Literal["object", "part", "none"] = Field(
        "object", description="guess the part from the guessed object, the part alone, or neither (Table 2, 10)"
    )
    stitch: float = Field(0.5, ge=0, le=1, description="share of pictures shrunk into one quadrant of four (Table 10)")
    stitch_negatives: Literal["irrelevant", "other_verb"] = Field(
        "irrelevant", description="the other quadrants: objects without a common affordance, or of another affordance"
    )
    num_exo: int = Field(1, ge=1, le=16, description="exocentric pictures drawn for each egocentric one")
    heatmap_loss: float = Field(1.0, ge=0)
    alignment_loss: float = Field(10.0, ge=0)
    exo_loss: float = Field(10.0, ge=0, description="weight of the exocentric classification loss")
    noun_loss: float = Field(1.0, ge=0, description="the paper's symbols are crossed; this is the authors' code")
    part_loss: float = Field(0.1, ge=0)
    text_pairing: Literal["paired", "broadcast"] = Field(
        "paired", description="broadcast compares all texts of a batch with each other, a likely fault of the authors"
    )
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(1, ge=0, lt=2**32, description=f"the paper averages {', '.join(map(str, SEEDS))}")
    val_every: int = Field(1, ge=1, description="epochs between validations")
    val_limit: int | None = Field(None, ge=1, description="pictures per validation, all when empty")
    select: Select = Field("heldout", description="; ".join(f"{key}: {text}" for key, text in SELECTIONS.items()))
    holdout: float = Field(0.1, gt=0, le=0.5, description="share of the training pictures held out by select=heldout")
    max_minutes: float | None = Field(
        None, gt=0, le=1e6, description="stop at the end of the step that passes this time, over all sittings of a run"
    )
    workers: int = Field(1, ge=0, description="loader processes, 0 = none beside the training's own")

    @field_validator("betas")
    @classmethod
    def _below_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("both must lie in [0, 1)")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> GrounderTrain:
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch_size {self.batch_size}")
        return self

    @property
    def loss_weights(self) -> LossWeights:
        """Weights of the losses; without a guessed object its text is no target."""
        noun = self.noun_loss if self.reasoning == "object" else 0.0
        return LossWeights(self.heatmap_loss, self.alignment_loss, self.exo_loss, noun, self.part_loss)


class GrounderRecipe(Settings):
    """Everything that decides what is trained and how."""

    name: str = "custom"
    about: str = Field("", description="one sentence for people")
    model: GrounderSettings = GrounderSettings()
    input: GrounderInput = GrounderInput()
    train: GrounderTrain = GrounderTrain()

    @model_validator(mode="after")
    def _trainable(self) -> GrounderRecipe:
        if self.model.task != "grounding":
            raise ValueError("model.task: only the grounding network is trained by these recipes")
        if not (self.model.reasoning and self.model.exocentric):
            raise ValueError("switch modules off by train.reasoning=none and train.alignment=none, not in model")
        check_patch(self.input, self.model)
        return self

    @property
    def network(self) -> GrounderSettings:
        """The network that is built: without the modules that ``train`` switches off."""
        switches = {"reasoning": self.train.reasoning != "none", "exocentric": self.train.alignment != "none"}
        return self.model.model_copy(update=switches)


def load_grounder_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> GrounderRecipe:
    """Load a shipped recipe of the grounder or a YAML file and apply ``block.key=value`` overrides.

    Raises:
        VidaffError: unknown recipe, unreadable YAML, unknown key or a value out of range; names the key.
    """
    data, where = read_recipe(name_or_file, overrides, model=NAME)
    return grounder_recipe_from_dict(data, where=where)


def grounder_recipe_from_dict(data: dict[str, Any], *, where: str) -> GrounderRecipe:
    """Validate a plain dictionary; ``where`` names its origin in the error."""
    recipe = validate_settings(GrounderRecipe, data, where=where)
    return recipe.model_copy(update={"input": of_encoder(recipe.input, recipe.model.encoder)})
