"""Checkpoints: round trips, and what is refused."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vidaff.config import Recipe
from vidaff.errors import VidaffError
from vidaff.models.video import build_video_model
from vidaff.weights import load_checkpoint, save_checkpoint

RECIPE = Recipe.model_validate({"model": {"width": 0.125}, "input": {"size": 32}})


@pytest.fixture
def folder(tmp_path):
    return save_checkpoint(tmp_path / "model", build_video_model(RECIPE.model), RECIPE, {"epoch": 3})


def test_round_trip_of_folder_and_file(folder):
    for path in (folder, folder / "model.safetensors"):
        checkpoint = load_checkpoint(path)
        assert checkpoint.recipe == RECIPE
        assert checkpoint.info == {"epoch": 3}
        assert not checkpoint.model.training
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path, how):
    marker, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    content = {"state_dict": RunsCode(marker), "hyper_parameters": {}}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(VidaffError, match="refused"):
        load_checkpoint(path)
    assert not marker.exists()


def test_another_architecture_is_named(folder, tmp_path):
    state = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["recipe"]["model"]["width"] = 0.25
    other = tmp_path / "other.safetensors"
    save_file(state, other, metadata={"config": json.dumps(config)})
    with pytest.raises(VidaffError, match="another architecture"):
        load_checkpoint(other)


def test_weights_that_diverged_are_named(tmp_path):
    model = build_video_model(RECIPE.model)
    name, weight = next(iter(model.named_parameters()))
    weight.data[0] = float("nan")
    with pytest.raises(VidaffError, match=f"{name} holds numbers that are not finite"):
        load_checkpoint(save_checkpoint(tmp_path, model, RECIPE, {}))


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("vidaff.weights.save_file", full)
    with pytest.raises(VidaffError, match=r"cannot write .*No space left"):
        save_checkpoint(tmp_path, build_video_model(RECIPE.model), RECIPE, {})
    assert not list(tmp_path.iterdir())


def test_plain_safetensors_and_missing_files(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(VidaffError, match="not written by vidaff"):
        load_checkpoint(foreign)
    with pytest.raises(VidaffError, match="no such file"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(VidaffError, match="no such file"):
        load_checkpoint("smal")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([".safetensors", ".ckpt"]))
def test_random_bytes_never_give_a_traceback(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp("bytes") / f"file{suffix}"
    path.write_bytes(data)
    with pytest.raises(VidaffError):
        load_checkpoint(path)


@pytest.mark.parametrize("state", [[1], {5: 1}, {"model.x": 1}])
def test_a_checkpoint_of_other_things_than_tensors(tmp_path, state):
    path = tmp_path / "odd.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": {"recipe": RECIPE.model_dump(mode="json")}}, path)
    with pytest.raises(VidaffError, match="no state_dict of tensors"):
        load_checkpoint(path)


def test_truncated_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VidaffError, match="safetensors"):
        load_checkpoint(path)
