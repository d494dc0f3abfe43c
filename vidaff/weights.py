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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from vidaff.config import Recipe, recipe_from_dict
from vidaff.datasets.taxonomies import Taxonomy, taxonomy_of_model
from vidaff.errors import VidaffError, first_line
from vidaff.io import atomic_path, write_json
from vidaff.models.video import VideoAffordanceNet, build_video_model

Model = TypeVar("Model", bound=nn.Module)
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


def model_taxonomy(recipe: Recipe, info: Mapping[str, Any]) -> Taxonomy:
    """Classes of a model; raise :class:`VidaffError` where its settings and what it says of itself disagree."""
    taxonomy = taxonomy_of_model(info)
    sizes = (recipe.model.num_affordances, recipe.model.num_actions)
    if sizes[0] != taxonomy.background or sizes[1] not in (0, taxonomy.background):
        raise VidaffError(
            f"the checkpoint knows {sizes[0]} affordances and {sizes[1]} actions, its classes are "
            f"{', '.join(taxonomy.affordances)}"
        )
    return taxonomy


def load_checkpoint(path_or_name: str | Path) -> Checkpoint:
    """Load a checkpoint on the CPU, in evaluation mode.

    Raises:
        VidaffError: nothing there, not one of our formats, a hostile pickle, or weights of another architecture.
    """
    path = resolve_checkpoint(path_or_name)
    state, config = read_checkpoint(path, FORMAT)
    recipe = recipe_from_dict(settings_block(config, "recipe", path), where=f"{path}: recipe")
    model = build_loaded(lambda: build_video_model(recipe.model), state, path)
    return Checkpoint(model, recipe, settings_block(config, "info", path))


def read_checkpoint(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and settings of a checkpoint file; raise :class:`VidaffError` unless its format is ``kind``."""
    state, config = _read_lightning(path) if path.suffix == ".ckpt" else _read_safetensors(path)
    if config.get("format") != kind:
        raise VidaffError(f"{path}: holds another kind of model, expected {kind}, got {config.get('format')!r}")
    if config.get("version") != VERSION:
        raise VidaffError(f"{path}: format version {config.get('version')}, this vidaff reads {VERSION}")
    return state, config


def checkpoint_format(path_or_name: str | Path) -> str:
    """The format that a checkpoint says it has; raise :class:`VidaffError` when nothing readable is there."""
    path = resolve_checkpoint(path_or_name)
    config = _read_lightning(path)[1] if path.suffix == ".ckpt" else _read_safetensors(path, tensors=False)[1]
    return str(config.get("format"))


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
    config = {"format": FORMAT, "version": VERSION, "recipe": recipe.model_dump(mode="json"), "info": dict(info)}
    return write_checkpoint(folder, model, config)


def write_checkpoint(folder: str | Path, model: nn.Module, config: Mapping[str, Any]) -> Path:
    """Write a network with its settings into ``folder``, each file atomically."""
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    path = folder / "model.safetensors"
    with atomic_path(path) as temporary:
        try:
            save_file(state, temporary, metadata={"config": json.dumps(config)})
        except SafetensorError as error:
            raise VidaffError(f"cannot write {path}: {first_line(error)}; is the disk full?") from error
    write_json(folder / "config.json", config)
    return folder


def _read_safetensors(path: Path, *, tensors: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if tensors else []
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise VidaffError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError):
        raise VidaffError(f"{path}: carries no vidaff settings; it was not written by vidaff") from None
    if not isinstance(config, dict):
        raise VidaffError(f"{path}: carries no vidaff settings; it was not written by vidaff")
    return state, config


def _read_lightning(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    content = load_torch_file(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise VidaffError(f"{path}: not a checkpoint of vidaff train (no state_dict of tensors)")
    named = {str(key).removeprefix("model."): value for key, value in state.items()}
    # Runs of the video model do not write a format into their checkpoints.
    return named, {"format": FORMAT, "version": VERSION, **settings_block(content, "hyper_parameters", path)}


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


def settings_block(config: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """A block of a checkpoint's settings; raise :class:`VidaffError` when it is missing."""
    block = config.get(key)
    if not isinstance(block, dict):
        raise VidaffError(f"{path}: the settings block {key!r} is missing; it was not written by vidaff")
    return block


def build_loaded(build: Callable[[], Model], state: Mapping[str, torch.Tensor], path: Path) -> Model:
    """What ``build`` gives, with the weights ``state``, in evaluation mode; raises as :func:`load_strict`.

    It is built without memory first: settings that lie must not ask for more of it than the weights that are there.
    """
    with torch.device("meta"):
        check_names(build(), state, path)
    model = build()
    load_strict(model, state, path)
    return model.eval()


def load_strict(model: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put ``state`` into ``model``; raise :class:`VidaffError` unless names and shapes agree and all is finite."""
    check_names(model, state, path)
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise VidaffError(f"{path}: {name} holds numbers that are not finite; did its training diverge?")
    model.load_state_dict(dict(state))


def check_names(model: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise :class:`VidaffError` unless ``state`` has the names and shapes of ``model``, which may be on ``meta``."""
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            _mismatch(path, f"{name} is missing")
        if state[name].shape != tensor.shape:
            _mismatch(path, f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}")
    extra = sorted(set(state) - set(expected))
    if extra:
        _mismatch(path, f"{extra[0]} is unknown")


def _mismatch(path: Path, what: str) -> NoReturn:
    raise VidaffError(f"{path}: weights of another architecture than its settings say: {what}")
