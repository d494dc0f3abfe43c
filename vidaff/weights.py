"""Checkpoints: safetensors with the settings inside, and a strict, safe loader.

Three forms are read: our folder (``model.safetensors`` + ``config.json``), a lone ``.safetensors`` file that carries
its settings, and a Lightning ``.ckpt`` of ``vidaff train`` (read with ``weights_only=True``: a pickle that would run
code is refused). The name of a shipped checkpoint (``small``) works wherever a path does.
"""

from __future__ import annotations

import importlib.resources
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidaff.config import Recipe, recipe_from_dict
from vidaff.errors import VidaffError, first_line
from vidaff.io import atomic_path, write_json
from vidaff.models.video import VideoAffordanceNet, build_video_model

FORMAT = "vidaff-video"
VERSION = 1
CHECKPOINT_FILES = ("config.json", "model.safetensors")
"""What a checkpoint folder holds."""
SHIPPED = {"small": "sor3d-aff-small"}
"""Short name -> folder in ``vidaff/weights``; each folder's README is the record of how it was made."""


@dataclass
class Checkpoint:
    """A loaded model, the recipe that made it, and what is known of it (classes, data, results, ...)."""

    model: VideoAffordanceNet
    recipe: Recipe
    info: dict[str, Any] = field(default_factory=dict)


def flow_method(recipe: Recipe, info: Mapping[str, Any]) -> str:
    """Flow that a model's second stream must be fed: ``none``, ``dis2d``, or the method of its training data.

    A model trained with the ground truth of rendered clips gets ``pd-dis``: live frames bring no ground truth.
    """
    stream = recipe.model.second_stream
    if stream != "flow3d":
        return "none" if stream == "none" else "dis2d"
    trained = str(info.get("flow_method", "pd-dis"))
    return "pd-dis" if trained in ("exact", "none") else trained


def load_checkpoint(path_or_name: str | Path) -> Checkpoint:
    """Load a checkpoint on the CPU, in evaluation mode.

    Raises:
        VidaffError: nothing there, not one of our formats, a hostile pickle, or weights of another architecture.
    """
    path = resolve_checkpoint(path_or_name)
    if path.suffix == ".ckpt":
        state, config = _read_lightning(path)
    else:
        state, config = _read_safetensors(path)
    recipe = recipe_from_dict(_block(config, "recipe", path), where=f"{path}: recipe")
    model = build_video_model(recipe.model)
    _load_strict(model, state, path)
    return Checkpoint(model.eval(), recipe, _block(config, "info", path))


def resolve_checkpoint(path_or_name: str | Path) -> Path:
    """The file behind a path or a shipped name; raise :class:`VidaffError` when there is none."""
    path = Path(path_or_name)
    if str(path_or_name) in SHIPPED and not path.exists():
        path = Path(str(importlib.resources.files("vidaff") / "weights" / SHIPPED[str(path_or_name)]))
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        names = ", ".join(SHIPPED)
        raise VidaffError(f"checkpoint {str(path_or_name)!r}: no such file or folder (shipped by name: {names})")
    if path.suffix not in (".safetensors", ".ckpt"):
        raise VidaffError(f"{path}: a checkpoint is a folder, a .safetensors or a .ckpt file")
    return path


def save_checkpoint(folder: str | Path, model: VideoAffordanceNet, recipe: Recipe, info: Mapping[str, Any]) -> Path:
    """Write ``model.safetensors`` (settings inside) and ``config.json`` into ``folder``, each atomically."""
    folder = Path(folder)
    config = {"format": FORMAT, "version": VERSION, "recipe": recipe.model_dump(mode="json"), "info": dict(info)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    path = folder / "model.safetensors"
    with atomic_path(path) as temporary:
        try:
            save_file(state, temporary, metadata={"config": json.dumps(config)})
        except SafetensorError as error:
            raise VidaffError(f"cannot write {path}: {first_line(error)}; is the disk full?") from error
    write_json(folder / "config.json", config)
    return folder


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise VidaffError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError):
        raise VidaffError(f"{path}: carries no vidaff settings; it was not written by vidaff") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise VidaffError(f"{path}: holds another kind of model, expected {FORMAT}")
    if config.get("version") != VERSION:
        raise VidaffError(f"{path}: format version {config.get('version')}, this vidaff reads {VERSION}")
    return state, config


def _read_lightning(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    content = load_torch_file(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise VidaffError(f"{path}: not a checkpoint of vidaff train (no state_dict of tensors)")
    named = {str(key).removeprefix("model."): value for key, value in state.items()}
    return named, _block(content, "hyper_parameters", path)


def load_torch_file(path: Path) -> Any:
    """``torch.load`` that never runs code from the file; raise :class:`VidaffError` for what it refuses."""
    try:
        with warnings.catch_warnings():
            # torch remarks on the pickle protocol before it refuses the file; the refusal says enough.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VidaffError(f"{path}: refused, it is no plain tensor file or would run code when loaded") from error
    except Exception as error:  # broken pickles raise almost anything
        raise VidaffError(f"{path}: not readable as a checkpoint ({first_line(error)})") from error


def _block(config: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    block = config.get(key)
    if not isinstance(block, dict):
        raise VidaffError(f"{path}: the settings block {key!r} is missing; it was not written by vidaff")
    return block


def _load_strict(model: VideoAffordanceNet, state: Mapping[str, torch.Tensor], path: Path) -> None:
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            _mismatch(path, f"{name} is missing")
        if state[name].shape != tensor.shape:
            _mismatch(path, f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}")
        if not torch.isfinite(state[name]).all():
            raise VidaffError(f"{path}: {name} holds numbers that are not finite; did its training diverge?")
    extra = sorted(set(state) - set(expected))
    if extra:
        _mismatch(path, f"{extra[0]} is unknown")
    model.load_state_dict(dict(state))


def _mismatch(path: Path, what: str) -> NoReturn:
    raise VidaffError(f"{path}: weights of another architecture than its settings say: {what}")
