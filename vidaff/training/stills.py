"""What training on still pictures asks of a recipe: one frame, one stream, the classes of the set, no actions."""

from __future__ import annotations

from typing import Any

from vidaff.config import Recipe
from vidaff.datasets import STILLS
from vidaff.datasets.base import ClipDataset
from vidaff.datasets.taxonomies import TAXONOMIES, taxonomy_of
from vidaff.datasets.taxonomy import AFFORDANCES
from vidaff.errors import VidaffError

RECIPES = {"umd": "static", "iit-aff": "static-rgb"}
"""Default recipe by data set: IIT-AFF has no usable depth."""
NEEDED = {
    "model.second_stream": "none",
    "train.clip_length": 1,
    "train.pretrain_epochs": 0,
    "train.static_share": 0.0,
    "train.action_every_frame": False,
    "train.flow_noise": 0.0,
    "train.flow_dropout": 0.0,
}
"""Settings of clips, with the value each has for still pictures."""


def fit_recipe(recipe: Recipe, dataset: str) -> Recipe:
    """The recipe for the classes of ``dataset``: of a set of stills the model gets the classes, and no action head.

    Raises :class:`VidaffError` for a data set without affordances, and for a recipe made for clips, or for other
    classes, with a set of stills.
    """
    if dataset not in TAXONOMIES:
        raise VidaffError(f"the video model does not train on {dataset!r}: it needs labels of affordances")
    if dataset not in STILLS:
        return recipe
    wrong = [f"{key}={value}" for key, value in NEEDED.items() if _value(recipe, key) != value]
    if wrong:
        raise VidaffError(
            f"recipe {recipe.name!r} does not train on {dataset!r}, whose pictures do not move: set "
            f"{', '.join(wrong)}, or take --recipe {RECIPES[dataset]}; --model affordancenet trains on stills too"
        )
    sizes = {"num_affordances": taxonomy_of(dataset).background, "num_actions": 0}
    for key, size in sizes.items():
        if key in recipe.model.model_fields_set and getattr(recipe.model, key) != size:
            raise VidaffError(f"model.{key}={getattr(recipe.model, key)}: {dataset!r} needs {size}; leave the key out")
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=sizes)})


def check_counts(recipe: Recipe, dataset: str) -> None:
    """Refuse a model whose outputs are not the classes and actions of ``dataset``."""
    known = taxonomy_of(dataset).background
    actions = 0 if dataset in STILLS else len(AFFORDANCES)
    if (recipe.model.num_affordances, recipe.model.num_actions) != (known, actions):
        have = f"{known} of each" if actions == known else f"{known} affordances and {actions} actions"
        raise VidaffError(
            f"model.num_affordances={recipe.model.num_affordances}, model.num_actions={recipe.model.num_actions}: "
            f"the data sets have {have}"
        )


def view_of(dataset: ClipDataset) -> dict[str, Any]:
    """What the model sees of a recorded picture: ``{"centre_crop": side}`` in its pixels, None = the whole picture."""
    stored = getattr(dataset, "settings", {}).get("centre_crop")
    return {"centre_crop": getattr(dataset, "centre_crop", stored)}


def _value(recipe: Recipe, key: str) -> Any:
    block, _, name = key.partition(".")
    return getattr(getattr(recipe, block), name)
