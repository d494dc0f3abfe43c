"""Checkpoints of AffordanceNet: the files of :mod:`vidaff.weights`, another format inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidaff.errors import VidaffError
from vidaff.models.baselines.affordancenet import AffordanceNet, build_affordancenet
from vidaff.models.baselines.settings import DetectorRecipe, detector_recipe_from_dict
from vidaff.weights import (
    VERSION,
    load_strict,
    read_checkpoint,
    resolve_checkpoint,
    settings_block,
    write_checkpoint,
)

FORMAT = "vidaff-affordancenet"
MAX_NAMES = 1000
"""Limit of objects and classes, so that a damaged or hostile file cannot ask for all memory."""


@dataclass
class DetectorCheckpoint:
    """A loaded network, the recipe that made it, and what is known of it; ``info`` names its objects and classes."""

    model: AffordanceNet
    recipe: DetectorRecipe
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Affordances by id, and the background as the last."""
        return list(self.info["classes"])


def build_detector(recipe: DetectorRecipe, info: Mapping[str, Any]) -> AffordanceNet:
    """The network of a recipe for the objects and classes that ``info`` names."""
    return build_affordancenet(
        len(info["objects"]), len(info["classes"]) - 1, input_size=recipe.input.size, **recipe.model.model_dump()
    )


def load_detector(path_or_name: str | Path) -> DetectorCheckpoint:
    """Load a checkpoint on the CPU, in evaluation mode.

    Raises:
        VidaffError: nothing there, not a checkpoint of AffordanceNet, or weights of another architecture.
    """
    path = resolve_checkpoint(path_or_name)
    state, config = read_checkpoint(path, FORMAT)
    recipe = detector_recipe_from_dict(settings_block(config, "recipe", path), where=f"{path}: recipe")
    info = settings_block(config, "info", path)
    for key in ("objects", "classes"):
        names = info.get(key)
        if not isinstance(names, list) or not 0 < len(names) <= MAX_NAMES or not all(isinstance(n, str) for n in names):
            raise VidaffError(f"{path}: info.{key} must be a list of 1 to {MAX_NAMES} names")
    try:
        model = build_detector(recipe, info)
    except ValueError as error:
        raise VidaffError(f"{path}: recipe: {error}") from error
    load_strict(model, state, path)
    return DetectorCheckpoint(model.eval(), recipe, info)


def save_detector(folder: str | Path, model: AffordanceNet, recipe: DetectorRecipe, info: Mapping[str, Any]) -> Path:
    """Write ``model.safetensors`` (settings inside) and ``config.json`` into ``folder``, each atomically."""
    return write_checkpoint(folder, model, settings_of(recipe, info))


def settings_of(recipe: DetectorRecipe, info: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {"format": FORMAT, "version": VERSION, "recipe": recipe.model_dump(mode="json"), "info": dict(info)}
