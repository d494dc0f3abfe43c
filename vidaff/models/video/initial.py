"""Weights that a training begins with: encoders of our own checkpoints, and ImageNet's VGG-16 from a local file.

What can be taken, by stream::

    rgbd=   checkpoint of vidaff train --model encoder, or of the video model (its RGB-D encoder), or VGG-16
    flow=   VGG-16, or a checkpoint of the video model (its flow encoder)

VGG-16 is a file of torchvision (``.pth``, or the same names in a ``.safetensors``). Its 13 convolutions are conv1_1 to
conv5_3; the encoder has conv1_1 to conv4_3 and conv5_1, so each of its layers gets ImageNet weights, and conv5_2,
conv5_3 and the fully connected layers stay behind. conv5_1 sees maps of 1/8 size instead of 1/16, because the encoder
has no pool4.

Inputs: the video model's colours are normalised as torchvision's, by ImageNet's mean and deviation. Flow is not; there
the difference is folded into the first convolution, so that coded flow is to the encoder what its picture, normalised
in that way, is to VGG-16 (see :func:`flow_fold`). Depth has no counterpart in ImageNet: its filter is the mean of the
three colour filters.

Source: Thermos et al., ICASSP 2020, section 3 (RGB-D encoder from action recognition, flow encoder from ImageNet).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from vidaff.config import InputSettings, ModelSettings, Recipe, recipe_from_dict
from vidaff.errors import VidaffError, first_line
from vidaff.models.layers.vgg import VGG_STAGES, VGGEncoder
from vidaff.models.video.build import encoder_stages
from vidaff.models.video.encoder_checkpoint import FORMAT as ENCODER
from vidaff.models.video.encoder_settings import encoder_recipe_from_dict
from vidaff.models.video.inputs import FLOW_SPREAD, IMAGENET_MEAN, IMAGENET_STD
from vidaff.weights import FORMAT as VIDEO
from vidaff.weights import checkpoint_format, load_torch_file, read_checkpoint, resolve_checkpoint, settings_block

State = dict[str, torch.Tensor]
STREAMS = ("rgbd", "flow")
_NAMES = {"rgbd": "RGB-D", "flow": "flow"}
VGG16 = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14,
    "conv4_1": 17, "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26, "conv5_3": 28,
}  # fmt: skip
"""Convolutions of VGG-16 -> their numbers among torchvision's ``features``."""
NOT_TAKEN = ("conv5_2", "conv5_3", "fully connected layers")
LAYERS = tuple(name for name in VGG16 if name not in NOT_TAKEN)
"""The encoder's convolutions in order, by VGG-16's names."""
PICTURE_ORDER = (1, 0, 2)
"""Channel of the flow picture (R = Y, G = X, B = Z) that each channel of coded flow (X Y Z) is."""


@dataclass(frozen=True)
class Start:
    """What a training begins with instead of random weights; empty when nothing was asked for.

    ``states``: stream -> weights of its encoder; empty in a resumed run, whose checkpoint has them.
    ``records``: stream -> where they come from and what was left out; kept in every checkpoint of the run.
    """

    states: Mapping[str, State] = field(default_factory=dict)
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def put_into(self, model: nn.Module) -> None:
        """Copy the weights into the encoders of ``model``."""
        for stream, state in self.states.items():
            model.get_submodule(f"{stream}_encoder").load_state_dict(state)

    def info(self) -> dict[str, Any]:
        """What goes into a checkpoint's facts."""
        return {"init": dict(self.records)} if self.records else {}

    def lines(self) -> list[str]:
        """One line for people about each stream."""
        begun = "begins with" if self.states else "began with"
        return [
            f"{_NAMES.get(stream, stream)} encoder {begun} {record['from']} ({record['kind']}): "
            + "; ".join([f"{len(record['taken'])} convolutions taken", *record["notes"]])
            for stream, record in self.records.items()
        ]


def parse_init(texts: Iterable[str]) -> dict[str, str]:
    """``["rgbd=runs/encoder/best"]`` as stream -> path; raise :class:`VidaffError` for what is not of that form."""
    found: dict[str, str] = {}
    for text in texts:
        stream, separator, path = text.partition("=")
        if not separator or not path or stream not in STREAMS:
            raise VidaffError(f"--init {text!r}: write rgbd=PATH or flow=PATH")
        if stream in found:
            raise VidaffError(f"--init: {stream} is given twice")
        found[stream] = path
    return found


def start_of_run(
    init: Mapping[str, str | Path] | None, model: ModelSettings, inputs: InputSettings, *, last: str | None = None
) -> Start:
    """Read the weights that a run begins with; of a run that is resumed, only what it began with.

    Args:
        init: stream (``rgbd``, ``flow``) -> checkpoint or file.
        model: the model that takes them.
        inputs: how its inputs are coded.
        last: checkpoint that the run goes on from, if any. Then nothing is read from ``init``.

    Raises:
        VidaffError: unreadable or unsuitable files, a stream that the model has not, or a resumed run that began
            with something else.
    """
    init = init or {}
    if last is not None:
        return _resumed(init, Path(last))
    states: dict[str, State] = {}
    records: dict[str, dict[str, Any]] = {}
    for stream, path in init.items():
        if stream not in STREAMS:
            raise VidaffError(f"--init {stream}=...: the streams are {' and '.join(STREAMS)}")
        if stream == "flow" and model.second_stream == "none":
            raise VidaffError(f"--init flow={path}: the model has no flow encoder (model.second_stream=none)")
        states[stream], records[stream] = read_encoder(stream, path, model, inputs)
    return Start(states, records)


def _resumed(init: Mapping[str, str | Path], last: Path) -> Start:
    info = settings_block(settings_block(load_torch_file(last), "hyper_parameters", last), "info", last)
    records = info.get("init", {})
    whole = isinstance(records, dict) and all(_is_record(record) for record in records.values())
    if not whole:
        raise VidaffError(f"{last}: its record of first weights is damaged")
    asked = {stream: label(path) for stream, path in init.items()}
    began = {stream: record["from"] for stream, record in records.items()}
    if asked and asked != began:
        with_what = ", ".join(f"{stream}={name}" for stream, name in began.items()) or "random weights"
        raise VidaffError(f"{last}: the run began with {with_what}; leave --init out to resume it")
    return Start({}, records)


def _is_record(record: Any) -> bool:
    kinds = {"from": str, "kind": str, "taken": list, "notes": list}
    return isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in kinds.items())


def label(path: str | Path) -> str:
    """A file as records name it: its last two parts, ``encoder/best``, and not where it lay on someone's disk."""
    return "/".join(Path(path).parts[-2:])


def read_encoder(
    stream: str, path: str | Path, model: ModelSettings, inputs: InputSettings
) -> tuple[State, dict[str, Any]]:
    """Weights for the encoder of ``stream`` and the record of them; raise :class:`VidaffError` if they do not fit."""
    asked = f"--init {stream}={path}"
    if _is_vgg16(Path(path)):
        file = Path(path)
        if not file.is_file():
            raise VidaffError(f"{asked}: no such file")
        state, notes = _vgg16(asked, stream, file, model, inputs)
        kind, left = "ImageNet VGG-16 of torchvision", list(NOT_TAKEN)
    else:
        file = resolve_checkpoint(path)
        state, kind, notes, left = _ours(asked, stream, file, model, inputs)
    wanted = _shapes(stream, model)
    wrong = next((name for name, shape in wanted.items() if name not in state or state[name].shape != shape), None)
    if wrong is not None:
        found = f"is {tuple(state[wrong].shape)}" if wrong in state else "is missing"
        raise VidaffError(f"{asked}: does not fit: {_layer(wrong)} {found}, {tuple(wanted[wrong])} is needed")
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise VidaffError(f"{asked}: holds numbers that are not finite")
    record = {
        "from": label(path), "sha256": _sha256(file), "kind": kind, "taken": list(LAYERS), "not_taken": left,
        "notes": [*notes, f"left out: {', '.join(left)}"],
    }  # fmt: skip
    return {name: state[name] for name in wanted}, record


def _is_vgg16(path: Path) -> bool:
    """Whether a file can only be torchvision's: ``.pth``, or tensors without settings of ours."""
    if path.suffix in (".pth", ".pt"):
        return True
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return "config" not in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise VidaffError(f"{path}: not a readable safetensors file ({first_line(error)})") from error


def _shapes(stream: str, model: ModelSettings) -> dict[str, torch.Size]:
    channels = 4 if stream == "rgbd" and model.depth else 3
    with torch.device("meta"):
        encoder = VGGEncoder(channels, encoder_stages(model.width))
    return {name: tensor.shape for name, tensor in encoder.state_dict().items()}


def _layer(name: str) -> str:
    """``stages.3.3.weight`` -> ``the weight of conv5_1``."""
    _, stage, number, kind = name.split(".")
    before = sum(len(convs) for convs in VGG_STAGES[: int(stage)])
    return f"the {kind} of {LAYERS[before + int(number)]}"


def _ours(
    asked: str, stream: str, path: Path, model: ModelSettings, inputs: InputSettings
) -> tuple[State, str, list[str], list[str]]:
    """Weights, kind, notes and what is left out, of a checkpoint of the encoder or of the video model."""
    kind = checkpoint_format(path)
    if kind not in (ENCODER, VIDEO) or (kind == ENCODER and stream != "rgbd"):
        streams = "an RGB-D encoder only" if kind == ENCODER else f"a model of another kind ({kind})"
        raise VidaffError(f"{asked}: holds {streams}, and no weights for the {_NAMES[stream]} encoder")
    state, config = read_checkpoint(path, kind)
    block, info = settings_block(config, "recipe", path), settings_block(config, "info", path)
    read: Any = encoder_recipe_from_dict if kind == ENCODER else recipe_from_dict
    recipe = read(block, where=f"{path}: recipe")
    before: ModelSettings = recipe.model if kind == VIDEO else recipe.stream
    if stream == "flow" and before.second_stream == "none":
        raise VidaffError(f"{asked}: holds a video model without a flow encoder (model.second_stream=none)")
    _check_fit(asked, stream, before, model)
    prefix = f"{stream}_encoder."
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    coding: InputSettings = recipe.input if isinstance(recipe, Recipe) else recipe.coding
    notes = [*_history(kind, info), *_input_notes(stream, coding, inputs)]
    left = sorted({name.partition(".")[0] for name in state if not name.startswith(prefix)})
    return own, "vidaff video model" if kind == VIDEO else "vidaff encoder", notes, left


def _check_fit(asked: str, stream: str, before: ModelSettings, model: ModelSettings) -> None:
    """Name the settings that keep an encoder from fitting."""
    wrong = []
    if encoder_stages(before.width) != encoder_stages(model.width):
        wrong.append(f"model.width={before.width:g} there, {model.width:g} here")
    if stream == "rgbd" and before.depth != model.depth:
        channels = [f"{str(depth).lower()} ({4 if depth else 3} channels)" for depth in (before.depth, model.depth)]
        wrong.append(f"model.depth={channels[0]} there, {channels[1]} here")
    if wrong:
        raise VidaffError(f"{asked}: does not fit: {'; '.join(wrong)}")


def _history(kind: str, info: Mapping[str, Any]) -> list[str]:
    """How the weights came about, in words."""
    data = f"{info.get('dataset', 'unknown data')}"
    if kind == ENCODER:
        data += f", protocol {info.get('protocol')}"
    return [f"trained on {data} for {info.get('epoch', '?')} epochs"]


def _input_notes(stream: str, before: InputSettings, now: InputSettings) -> list[str]:
    """Input settings that were others when the weights were learned.

    They are no reason to refuse: each set's depth is brought to about unit size by its own mean and deviation.
    """
    keys = ("depth_mean", "depth_std") if stream == "rgbd" else ("flow_coding", "flow_scale")
    pairs = [(key, getattr(before, key), getattr(now, key)) for key in keys]
    return [f"input.{key} was {old} and is {new}" for key, old, new in pairs if old != new]


def _vgg16(asked: str, stream: str, path: Path, model: ModelSettings, inputs: InputSettings) -> tuple[State, list[str]]:
    """The encoder's weights out of VGG-16, and what was done to them."""
    if encoder_stages(model.width) != [list(stage) for stage in VGG_STAGES]:
        raise VidaffError(
            f"{asked}: does not fit: VGG-16 has the full width, model.width={model.width:g} here; set model.width=1"
        )
    stored = _read_vgg16(path, asked)
    places = [f"stages.{stage}.{number}" for stage, convs in enumerate(VGG_STAGES) for number in range(len(convs))]
    state: State = {}
    for place, layer in zip(places, LAYERS, strict=True):
        for kind in ("weight", "bias"):
            state[f"{place}.{kind}"] = _tensor(stored, f"features.{VGG16[layer]}.{kind}", asked)
    first, bias = state["stages.0.0.weight"], state["stages.0.0.bias"]
    if first.shape[1:] != (3, 3, 3) or bias.shape != first.shape[:1]:
        raise VidaffError(f"{asked}: features.0.weight is {tuple(first.shape)}, that of VGG-16 is (64, 3, 3, 3)")
    notes = ["conv5_1 sees maps of 1/8 size, for there is no pool4 before it"]
    if stream == "flow":
        order, scale, shift = flow_fold(inputs.flow_coding)
        state["stages.0.0.weight"], state["stages.0.0.bias"] = fold(first[:, list(order)], bias, scale, shift)
        notes.append("the normalisation of the flow's picture is folded into conv1_1")
    elif model.depth:
        state["stages.0.0.weight"] = torch.cat([first, first.mean(dim=1, keepdim=True)], dim=1)  # (64, 4, 3, 3)
        notes.append("conv1_1 inflated for depth by the mean of its colour filters")
    return state, notes


def flow_fold(coding: str) -> tuple[tuple[int, ...], torch.Tensor, torch.Tensor]:
    """How coded flow becomes the normalised picture of it: ``picture[order] = coded * scale + shift``, each (3,).

    ``coded`` is what :class:`vidaff.models.video.inputs.InputCoder` gives (X Y Z), ``picture`` what
    :func:`vidaff.flow3d.colour.encode_flow` draws, divided by 255 and normalised by ImageNet's mean and deviation.
    """
    rest, full = (128 / 255, 127 / 255) if coding == "signed" else (0.0, 1.0)
    mean, std = (torch.tensor(values)[list(PICTURE_ORDER)] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return PICTURE_ORDER, full * FLOW_SPREAD / std, (rest - mean) / std


def fold(
    weight: torch.Tensor, bias: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights that do to ``x`` (N, C, H, W) what ``weight`` (D, C, k, k) and ``bias`` (D,) do to ``x * scale + shift``.

    Exact inside the picture; the padding around it stands for ``shift`` instead of 0.
    """
    folded = weight * scale.view(1, -1, 1, 1)
    return folded, bias + (weight.sum(dim=(2, 3)) * shift).sum(dim=1)


def _read_vgg16(path: Path, asked: str) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:  # _is_vgg16 has opened it before
            stored: Any = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    else:
        stored = load_torch_file(path)
    if not isinstance(stored, dict) or not any(str(key).startswith("features.") for key in stored):
        raise VidaffError(f"{asked}: holds no plain weights of torchvision's vgg16 (features.0.weight ...)")
    if any(str(key).endswith("running_mean") for key in stored):
        raise VidaffError(f"{asked}: is of vgg16_bn; the encoder has no batch normalisation, take vgg16")
    last = [value for key, value in stored.items() if str(key).startswith("classifier.")]
    if not all(isinstance(value, torch.Tensor) and torch.isfinite(value).all() for value in last):
        raise VidaffError(
            f"{asked}: its fully connected layers are no numbers, as in torchvision's IMAGENET1K_FEATURES, which is "
            "made for inputs of another normalisation; take IMAGENET1K_V1"
        )
    return stored


def _tensor(stored: Mapping[str, Any], name: str, asked: str) -> torch.Tensor:
    value = stored.get(name)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise VidaffError(f"{asked}: is not torchvision's vgg16: {name} is missing")
    return value.float()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
