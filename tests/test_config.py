"""Recipes: what ships loads, what is wrong is named."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vidaff.config import Recipe, dump_recipe, load_recipe, recipe_names
from vidaff.errors import VidaffError
from vidaff.models.video import build_video_model


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_build_a_model_and_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    import torch

    with torch.device("meta"):
        build_video_model(recipe.model)
    file = tmp_path / "copy.yaml"
    file.write_text(dump_recipe(recipe))
    assert load_recipe(file) == recipe


def test_paper_has_the_papers_numbers_and_none_of_our_additions():
    recipe = load_recipe("paper")
    train = recipe.train
    assert (train.epochs, train.batch_size, train.lr, recipe.input.size) == (200, 2, 2e-5, (300, 300))
    assert train.loss_weights(0) == train.loss_weights(149) == (0.2, 0.8)
    assert train.loss_weights(150) == train.loss_weights(199) == (0.5, 0.5)
    ours = ("dice", "balance_classes", "pretrain_epochs", "static_share", "warmup_steps", "flow_noise", "flow_dropout")
    assert [getattr(train, key) for key in ours] == [0] * len(ours)
    assert (recipe.model.attention, recipe.model.width, recipe.model.init) == ("softmax", 1.0, "xavier")


def test_overrides():
    recipe = load_recipe("small", ["train.epochs=3", "model.second_stream=none", "input.size=[64, 48]"])
    assert (recipe.train.epochs, recipe.model.second_stream, recipe.input.size) == (3, "none", (64, 48))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epoch=3", "train.epoch: unknown key"),
        ("train.epochs=-1", "train.epochs"),
        ("train.epochs", "write block.key=value"),
        ("name.x=1", "not a block"),
        ("train.micro_batch=3", "must divide"),
        ("input.size=4", "at least 8"),
        ("input.size=100000", "at most 4096"),
        ("model.num_affordances=100000000", "num_affordances"),
        ("train.max_minutes=1e300", "max_minutes"),
        ("train.lr=[", "not readable as YAML"),
        ("train.seed=2020-13-45", "not readable as YAML"),
        ("train.seed=-1", "train.seed"),
        ("train.lr=.inf", "finite"),
        ("train.coarse_size=4", "at least 8"),
        ("train.coarse_size=32", "go together"),
    ],
)
def test_wrong_overrides_are_named(override, said):
    with pytest.raises(VidaffError, match=said.replace("[", r"\[")):
        load_recipe("small", [override])


def test_unknown_recipe_lists_the_known(tmp_path):
    with pytest.raises(VidaffError, match="small"):
        load_recipe("smal")
    with pytest.raises(VidaffError):
        load_recipe(tmp_path)


@given(st.text(max_size=200))
def test_any_text_is_a_recipe_or_a_clear_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        assert isinstance(load_recipe(path), Recipe)
    except VidaffError as error:
        assert "r.yaml" in str(error)


def test_dump_spells_out_every_key():
    assert set(yaml.safe_load(dump_recipe(Recipe()))) == {"name", "about", "model", "input", "train"}
