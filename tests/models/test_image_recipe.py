"""Recipes of the image branch: pictures are normalised as their encoder's, and divide into its patches."""

from __future__ import annotations

import pytest

from vidaff.errors import VidaffError
from vidaff.labels.label_recipe import load_label_recipe
from vidaff.labels.refine_recipe import load_refine_recipe
from vidaff.models.baselines.cam import cam_recipe_from_dict, load_cam_recipe
from vidaff.models.image.recipe import (
    CLIP_COLOURS,
    COLOURS,
    IMAGENET_COLOURS,
    grounder_recipe_from_dict,
    load_grounder_recipe,
)
from vidaff.models.image.settings import ENCODERS


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("load", [load_grounder_recipe, load_cam_recipe, load_refine_recipe])
def test_colours_are_those_of_the_encoder(load, encoder):
    name = {load_grounder_recipe: "plsp", load_cam_recipe: "cam", load_refine_recipe: "refine"}[load]
    inputs = load(name, [f"model.encoder={encoder}", "input.size=224"]).input
    assert (inputs.mean, inputs.std) == COLOURS[encoder]


def test_colours_that_a_recipe_names_stay():
    own = ["model.encoder=dino", "input.mean=[0.5, 0.5, 0.5]"]
    recipe = load_grounder_recipe("plsp", own)
    assert (recipe.input.mean, recipe.input.std) == ((0.5, 0.5, 0.5), IMAGENET_COLOURS[1])
    stored = recipe.model_dump(mode="json")
    assert grounder_recipe_from_dict(stored, where="checkpoint") == recipe
    old = {**stored, "input": {**stored["input"], "mean": list(CLIP_COLOURS[0])}}
    assert grounder_recipe_from_dict(old, where="checkpoint").input.mean == CLIP_COLOURS[0]


def test_the_labelling_compares_objects_with_the_encoders_colours():
    recipe = load_label_recipe("labels", ["encoder.kind=dinov2", "refine.model.encoder=sam"])
    assert (recipe.encoder.mean, recipe.encoder.std) == IMAGENET_COLOURS
    assert (recipe.refine.input.mean, recipe.refine.input.std) == IMAGENET_COLOURS
    assert load_label_recipe("labels").encoder.mean == CLIP_COLOURS[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["model.encoder=dinov2", "input.size=128"], "multiple of 14, the patch of dinov2"),
        (["model.encoder=dino", "input.size=100"], "multiple of 16, the patch of dino"),
        (["model.encoder=sam", "model.backbone={patch_size: 9}", "input.size=224"], "multiple of 9"),
        (["model.encoder=sam", "model.backbone={patch_size: none}"], "patch_size"),
        (["model.clip.patch=48"], "multiple of 48, the patch of clip"),
    ],
)
def test_pictures_must_divide_into_patches(changes, said):
    for load, name in ((load_grounder_recipe, "plsp"), (load_cam_recipe, "cam")):
        with pytest.raises(VidaffError, match=said):
            load(name, ["input.size=224", *changes])
    with pytest.raises(VidaffError, match="patch"):
        cam_recipe_from_dict({"input": {"size": 100}}, where="x")


def test_a_labelling_that_says_nothing_of_refinement_takes_the_published_encoder(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    recipe = load_label_recipe(tmp_path / "mine.yaml", ["refine.train.epochs=3"])
    assert recipe.refine.train.encoder_weights == load_refine_recipe("refine").train.encoder_weights is not None
    assert recipe.refine.train.epochs == 3
