"""Checkpoints of the image branch: safetensors with the settings inside, read strictly and without running code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidaff.errors import VidaffError, first_line
from vidaff.io import atomic_path, write_json
from vidaff.models.image.build import build_grounder
from vidaff.models.image.grounder import GroundingNet, RefinementNet
from vidaff.models.image.settings import GrounderSettings
from vidaff.models.image.strict import check_state, load_strict

FORMAT = "vidaff-image"
VERSION = 1


@dataclass
class ImageCheckpoint:
    """A loaded network in evaluation mode, the settings that made it, and what is known of it (source, results)."""

    model: GroundingNet | RefinementNet
    settings: GrounderSettings
    info: dict[str, Any] = field(default_factory=dict)


def save_grounder(
    folder: str | Path,
    model: GroundingNet | RefinementNet,
    settings: GrounderSettings,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``model.safetensors`` (settings inside) and ``config.json`` into ``folder``, each atomically.

    ``info`` is anything JSON can hold. The weights are stored in float32, under the names of the authors.
    """
    folder = Path(folder)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "settings": settings.model_dump(mode="json"),
        "info": dict(info or {}),
    }
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in model.state_dict().items()}
    path = folder / "model.safetensors"
    with atomic_path(path) as temporary:
        try:
            save_file(state, temporary, metadata={"config": json.dumps(config)})
        except SafetensorError as error:
            raise VidaffError(f"cannot write {path}: {first_line(error)}; is the disk full?") from error
    write_json(folder / "config.json", config)
    return folder


def load_grounder(path: str | Path) -> ImageCheckpoint:
    """Load a checkpoint folder, or its ``model.safetensors``, on the CPU in float32.

    Raises:
        VidaffError: nothing there, another format, settings that are wrong, or weights of another architecture.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise VidaffError(f"checkpoint {str(path)!r}: no such file or folder")
    state, config = _read(path)
    try:
        settings = GrounderSettings.model_validate(config.get("settings"))
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        raise VidaffError(f"{path}: wrong settings, {where}: {found['msg']}") from error
    info = config.get("info")
    try:
        return ImageCheckpoint(_network(settings, state), settings, info if isinstance(info, dict) else {})
    except ValueError as error:
        raise VidaffError(f"{path}: {first_line(error)}") from error


def _network(settings: GrounderSettings, state: Mapping[str, torch.Tensor]) -> GroundingNet | RefinementNet:
    # Built without memory first: settings that lie must not ask for more of it than the weights that are there.
    with torch.device("meta"):
        model = build_grounder(settings)
    check_state(model, state)
    if settings.encoder != "clip":
        model = build_grounder(settings)  # transformers' models have buffers that are not stored
    load_strict(model, state)
    return model.eval()


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise VidaffError(f"{path}: not a readable safetensors file ({first_line(error)})") from error
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError):
        raise VidaffError(f"{path}: carries no vidaff settings; it was not written by vidaff") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise VidaffError(f"{path}: holds another kind of model, expected {FORMAT}")
    if config.get("version") != VERSION:
        raise VidaffError(f"{path}: format version {config.get('version')}, this vidaff reads {VERSION}")
    return state, config
