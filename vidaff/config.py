"""Experiment settings: typed, documented, loaded from YAML recipes.

A recipe has three blocks, ``model``, ``input`` and ``train``. Unknown keys are errors. The resolved recipe is stored in
every checkpoint, so that a checkpoint alone says how it was made and how its inputs must be prepared.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vidaff.errors import VidaffError, first_line

MAX_RECIPE_BYTES = 1 << 20
MAX_SIDE = 4096
MAX_CLASSES = 1000
"""Limits far above what anyone trains, so that a damaged or hostile file cannot ask for all memory."""


class Settings(BaseModel):
    """Base of all settings: immutable, numbers are finite, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _square(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _large_enough(value: tuple[int, int]) -> tuple[int, int]:
    if min(value) < 8:
        raise ValueError("both sides must be at least 8 pixels, three poolings follow")
    if max(value) > MAX_SIDE:
        raise ValueError(f"both sides must be at most {MAX_SIDE} pixels")
    return value


Size = Annotated[tuple[int, int], BeforeValidator(_square), AfterValidator(_large_enough)]
"""Height and width in pixels; one number stands for both."""


class ModelSettings(Settings):
    """The two-stream autoencoder. Defaults are the paper's full model (Thermos et al., ICASSP 2020, section 2)."""

    depth: bool = Field(True, description="RGB-D (4 input channels) when true, RGB (3) when false")
    second_stream: Literal["none", "flow2d", "flow3d"] = Field("flow3d", description="what the second encoder sees")
    attention: Literal["softmax", "sigmoid", "none"] = Field(
        "softmax", description="soft mask: softmax scaled to peak 1, sigmoid, or no mask"
    )
    width: float = Field(1.0, gt=0, le=4, description="multiplier of every channel count (1 = paper)")
    decoder_norm: Literal["none", "group"] = Field(
        "none", description="normalisation in the decoder and of the skips it takes (paper: none)"
    )
    latent_norm: Literal["none", "group"] = Field(
        "none", description="normalisation of both encoders' outputs and of the ConvLSTMs' input (paper: none)"
    )
    decoder_floor: int = Field(8, ge=8, le=512, description="fewest channels of any decoder layer")
    init: Literal["xavier", "he"] = Field(
        "xavier", description="first weights (paper: xavier, which fades over 25 ReLU layers unless pre-trained)"
    )
    num_affordances: int = Field(9, ge=1, le=MAX_CLASSES, description="classes besides the background")
    num_actions: int = Field(9, ge=0, le=MAX_CLASSES, description="actions of the action head, 0 = no head")

    @property
    def num_classes(self) -> int:
        """Affordances plus the background, which is the last class."""
        return self.num_affordances + 1


class InputSettings(Settings):
    """How pictures, depth and flow become network inputs."""

    size: Size = Field((300, 300), description="height and width of the network's input in pixels")
    depth_mean: float = Field(0.8, description="metres, subtracted from valid depth")
    depth_std: float = Field(0.4, gt=0, description="metres, divides valid depth")
    flow_coding: Literal["signed", "abs"] = Field(
        "signed", description="signed: mid-grey is no motion; abs: the paper's magnitudes per axis"
    )
    flow_scale: float = Field(0.10, gt=0, description="metres per frame pair that saturate the colour code")
    fps: float = Field(10.0, gt=0, description="frames a second the network is fed with (paper: 10)")


class LossPhase(Settings):
    """Weights of the two losses up to an epoch (exclusive)."""

    until: int = Field(description="first epoch to which these weights no longer apply")
    seg: float = Field(ge=0)
    action: float = Field(ge=0)


class TrainSettings(Settings):
    """Optimisation. Defaults are the paper's (section 3); what helps training from scratch is off."""

    epochs: int = Field(200, ge=1)
    batch_size: int = Field(2, ge=1, description="clips in one optimiser step, over all processes (global batch)")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="clips per forward pass and process; the passes of a step are averaged with equal shares. That "
        "equals the whole batch where every clip counts alike; with class weights, Dice, ignored pixels or unknown "
        "actions each pass divides by its own sum, which is close but not equal",
    )
    clip_length: int = Field(10, ge=1, description="frames kept at the end of every clip")
    drop_first: int = Field(
        0, ge=0, description="leave out up to this many first frames of the kept ones, drawn anew for every step"
    )
    lr: float = Field(2e-5, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0, description="optimiser steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0)
    clip_grad: float = Field(0.0, ge=0, description="largest gradient norm, 0 = off")
    loss_phases: tuple[LossPhase, ...] = (
        LossPhase(until=150, seg=0.2, action=0.8),
        LossPhase(until=200, seg=0.5, action=0.5),
    )
    background_weight: float = Field(1.0, gt=0, description="weight of background pixels in the NLL")
    balance_classes: float = Field(
        0.0, ge=0, le=1, description="exponent of inverse pixel frequency in the NLL weights of affordances, 0 = off"
    )
    dice: float = Field(0.0, ge=0, description="weight of a soft Dice term beside the NLL, 0 = off")
    prior_bias: bool = Field(False, description="start the prediction bias at the log class frequencies")
    action_every_frame: bool = Field(
        False, description="average the action loss over the second half of the clip instead of the last frame"
    )
    pretrain_epochs: int = Field(0, ge=0, description="first epochs on single last frames with all parts labelled")
    pretrain_batch: int = Field(32, ge=1, description="pictures in one step of the static pre-training")
    static_share: float = Field(0.0, ge=0, le=1, description="share of steps that see the last frames alone")
    coarse_size: Size | None = Field(None, description="smaller input size of the first epochs")
    coarse_epochs: int = Field(0, ge=0, description="first epochs, pre-training included, that use coarse_size")
    flip: bool = Field(False, description="mirror half of the clips left to right")
    colour_jitter: float = Field(0.0, ge=0, le=1, description="relative brightness, contrast and tint changes")
    zoom: float = Field(
        1.0, ge=1, le=4, description="single frames: enlarge or shrink them by a factor of up to this, 1 = off"
    )
    shift: float = Field(0.0, ge=0, le=0.5, description="single frames: move them by up to this share of each side")
    rotate: float = Field(0.0, ge=0, le=180, description="single frames: turn them by up to this many degrees")
    depth_shift: float = Field(0.0, ge=0, description="metres, standard deviation of a depth offset per clip")
    flow_noise: float = Field(0.0, ge=0, description="metres, standard deviation of noise on valid flow")
    flow_dropout: float = Field(0.0, ge=0, le=1, description="share of clips whose flow is set to zero")
    depth_dropout: float = Field(0.0, ge=0, le=1, description="share of clips whose depth is removed")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(0, ge=0, lt=2**32)
    val_every: int = Field(1, ge=1, description="epochs between validations")
    val_limit: int | None = Field(None, ge=1, description="clips per validation, all when empty")
    select: Literal["iou", "last"] = Field("iou", description="which epoch is exported as best")
    max_minutes: float | None = Field(
        None, gt=0, le=1e6, description="stop at the end of the step that passes this time, over all sittings of a run"
    )
    cache: bool = Field(False, description="keep the prepared clips in memory")
    workers: int = Field(1, ge=0, description="loader processes, used when the clips are not cached")

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch_size {self.batch_size}")
        if not self.loss_phases:
            raise ValueError("loss_phases needs at least one phase")
        if bool(self.coarse_epochs) != (self.coarse_size is not None):
            raise ValueError("coarse_epochs and coarse_size go together")
        if self.drop_first >= self.clip_length:
            raise ValueError(f"drop_first {self.drop_first} must leave frames of clip_length {self.clip_length}")
        if self.clip_length > 1 and (self.zoom > 1 or self.shift or self.rotate):
            raise ValueError("zoom, shift and rotate are for single frames (clip_length 1): motion would not follow")
        return self

    def loss_weights(self, epoch: int) -> tuple[float, float]:
        """Weights ``(seg, action)`` in force at ``epoch``; the last phase holds on after its end."""
        phase = next((p for p in self.loss_phases if epoch < p.until), self.loss_phases[-1])
        return phase.seg, phase.action


class Recipe(Settings):
    """Everything that decides what is trained and how."""

    name: str = "custom"
    about: str = Field("", description="one sentence for people")
    model: ModelSettings = ModelSettings()
    input: InputSettings = InputSettings()
    train: TrainSettings = TrainSettings()


VIDEO = "video"
"""The model whose recipes are :class:`Recipe`. Recipes of another model bear its name as their first word."""
OTHER_MODELS = ("affordancenet", "cam", "encoder", "grounder")
LABELLING = ("labels", "refine")
"""First words of the recipes of ``vidaff label``: of the whole, and of its refinement network."""
_NAMED_OTHERWISE = {"plsp": "grounder"}
"""Recipes that do not bear their model's name."""

S = TypeVar("S", bound=Settings)


def recipe_names(model: str = VIDEO) -> list[str]:
    """Names of a model's recipes that ship with the package."""
    folder = importlib.resources.files("vidaff") / "recipes"
    names = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    return [name for name in names if _model_of(name) == model]


def _model_of(recipe: str) -> str:
    first = _NAMED_OTHERWISE.get(recipe, recipe.partition("-")[0])
    return first if first in (*OTHER_MODELS, *LABELLING) else VIDEO


def load_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a shipped recipe by name, or any YAML file, and apply ``block.key=value`` overrides.

    Raises:
        VidaffError: unknown recipe, unreadable YAML, unknown key or a value out of range; names the key.
    """
    data, where = read_recipe(name_or_file, overrides)
    return recipe_from_dict(data, where=where)


def read_recipe(
    name_or_file: str | Path, overrides: Iterable[str] = (), *, model: str = VIDEO
) -> tuple[dict[str, Any], str]:
    """A recipe of ``model`` as a plain dictionary, overrides applied, and what to call it in errors."""
    text, where = _recipe_text(name_or_file, model)
    data = _parse_yaml(text, where)
    for override in overrides:
        apply_override(data, override)
    return data, where


def recipe_from_dict(data: dict[str, Any], *, where: str) -> Recipe:
    """Validate a plain dictionary as a :class:`Recipe`; ``where`` names its origin in the error."""
    return validate_settings(Recipe, data, where=where)


def validate_settings(kind: type[S], data: dict[str, Any], *, where: str) -> S:
    """Validate a plain dictionary as settings of a kind; raise :class:`VidaffError` naming the first bad key."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise VidaffError(f"{where}: {key}: {reason}{more}") from error


def dump_recipe(recipe: Settings) -> str:
    """The recipe as YAML with every key spelled out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _recipe_text(name_or_file: str | Path, model: str) -> tuple[str, str]:
    other = _model_of(str(name_or_file))
    if other != model and str(name_or_file) in recipe_names(other):
        raise VidaffError(
            f"recipe {str(name_or_file)!r}: is of the model {other}, not of {model}; pass --model {other}"
        )
    if str(name_or_file) in recipe_names(model):
        resource = importlib.resources.files("vidaff") / "recipes" / f"{name_or_file}.yaml"
        return resource.read_text(encoding="utf-8"), f"recipe {name_or_file}"
    path = Path(name_or_file)
    if not path.is_file():
        raise VidaffError(f"recipe {str(name_or_file)!r}: neither a file nor one of {', '.join(recipe_names(model))}")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise VidaffError(f"{path}: larger than {MAX_RECIPE_BYTES >> 20} MiB, refused as a recipe")
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise VidaffError(f"{path}: not readable as a recipe ({error})") from error


def _parse_yaml(text: str, where: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise VidaffError(f"{where}: not readable as YAML ({first_line(error)})") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise VidaffError(f"{where}: a recipe is a mapping with the blocks model, input and train")
    return data


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set ``block.key=value`` in a plain dictionary; raise :class:`VidaffError` when it cannot be read."""
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise VidaffError(f"--set {override!r}: write block.key=value, for example train.epochs=20")
    *blocks, leaf = key.strip().split(".")
    for block in blocks:
        data = data.setdefault(block, {})
        if not isinstance(data, dict):
            raise VidaffError(f"--set {override!r}: {block} is not a block of settings")
    try:
        data[leaf] = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise VidaffError(f"--set {override!r}: the value is not readable as YAML") from error
