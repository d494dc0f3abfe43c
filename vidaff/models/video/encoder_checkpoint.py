"""Checkpoints of the pre-trained encoder: the files of :mod:`vidaff.weights`, another format inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidaff.models.video.action_encoder import ActionEncoder, build_action_encoder
from vidaff.models.video.encoder_settings import EncoderRecipe, encoder_recipe_from_dict
from vidaff.weights import (
    VERSION,
    build_loaded,
    read_checkpoint,
    resolve_checkpoint,
    settings_block,
    write_checkpoint,
)

FORMAT = "vidaff-encoder"


@dataclass
class EncoderCheckpoint:
    """A loaded network, the recipe that made it, and what is known of it; ``info['protocol']`` says what it saw."""

    model: ActionEncoder
    recipe: EncoderRecipe
    info: dict[str, Any] = field(default_factory=dict)


def load_encoder(path_or_name: str | Path) -> EncoderCheckpoint:
    """Load a checkpoint on the CPU, in evaluation mode.

    Raises:
        VidaffError: nothing there, not a checkpoint of an encoder, or weights of another architecture.
    """
    path = resolve_checkpoint(path_or_name)
    state, config = read_checkpoint(path, FORMAT)
    recipe = encoder_recipe_from_dict(settings_block(config, "recipe", path), where=f"{path}: recipe")
    model = build_loaded(lambda: build_action_encoder(recipe.model), state, path)
    return EncoderCheckpoint(model, recipe, settings_block(config, "info", path))


def save_encoder(folder: str | Path, model: ActionEncoder, recipe: EncoderRecipe, info: Mapping[str, Any]) -> Path:
    """Write ``model.safetensors`` (settings inside) and ``config.json`` into ``folder``, each atomically."""
    return write_checkpoint(folder, model, settings_of(recipe, info))


def settings_of(recipe: EncoderRecipe, info: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {"format": FORMAT, "version": VERSION, "recipe": recipe.model_dump(mode="json"), "info": dict(info)}
