"""Checkpoints of the image branch: round trips, refusals, and ``vidaff convert plsp``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from tests.models.image_models import tiny_network, tiny_settings
from vidaff.cli.convert import command
from vidaff.errors import VidaffError
from vidaff.models.image import load_grounder, save_grounder

TINY = ("--encoder-heads", "3", "--fuser-heads", "4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_grounder(tmp_path / "model", tiny_network(), tiny_settings(), {"epoch": 3})


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("task", ["grounding", "refinement"])
@torch.no_grad()
def test_round_trip(tmp_path: Path, task: str) -> None:
    model, settings = tiny_network(task=task), tiny_settings(task=task)
    save_grounder(tmp_path, model, settings, {"epoch": 3})
    image, text = torch.randn(1, 3, 32, 32), torch.randn(1, 32)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        checkpoint = load_grounder(path)
        assert checkpoint.settings == settings
        assert checkpoint.info == {"epoch": 3}
        assert not checkpoint.model.training
        torch.testing.assert_close(checkpoint.model(image, text), model(image, text), atol=0, rtol=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def change_config(folder: Path, change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    path = folder / "model.safetensors"
    save_file(load_file(path), path, metadata={"config": json.dumps(config)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(format="vidaff-video"), "another kind of model"),
        (lambda c: c.update(version=2), "format version 2"),
        (lambda c: c["settings"].update(dim=64), "encoder.proj is"),
        (lambda c: c["settings"]["clip"].update(layers=3), "resblocks.2.* is missing"),
        (lambda c: c["settings"]["clip"].update(width=4096, layers=64, heads=64), "another architecture"),
        (lambda c: c["settings"].update(novelty=1), "novelty"),
        (lambda c: c["settings"].update(dim=10**9), "dim"),
        (lambda c: c.pop("settings"), "wrong settings"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder: Path, change, said: str) -> None:
    change_config(folder, change)
    with pytest.raises(VidaffError, match=said) as error:
        load_grounder(folder)
    assert "\n" not in str(error.value)


def test_files_that_are_no_checkpoints_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="no such file"):
        load_grounder(tmp_path / "nothing")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(VidaffError, match="no vidaff settings"):
        load_grounder(tmp_path / "other.safetensors")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(VidaffError, match="not a readable safetensors"):
        load_grounder(folder)


@pytest.mark.parametrize("task", ["grounding", "refinement"])
def test_convert(tmp_path: Path, task: str) -> None:
    model = tiny_network(task=task)
    optimiser = torch.optim.AdamW(model.parameters())
    content = {"optimizer": optimiser.state_dict(), "state_dict": model.state_dict()}
    torch.save(content, tmp_path / "bestKLD.ckpt")
    said = run("plsp", tmp_path / "bestKLD.ckpt", "--out", tmp_path / "ours", *TINY)
    assert said.startswith(f"{task} network of")
    checkpoint = load_grounder(tmp_path / "ours")
    assert checkpoint.info["source"] == "bestKLD.ckpt"
    assert checkpoint.settings.task == task
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    with pytest.raises(VidaffError, match="already holds files"):
        run("plsp", tmp_path / "bestKLD.ckpt", "--out", tmp_path / "ours", *TINY)
    run("plsp", tmp_path / "bestKLD.ckpt", "--out", tmp_path / "ours", *TINY, "--overwrite")


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_convert_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": tiny_network().state_dict(), "x": RunsCode(tmp_path / "ran")}, tmp_path / "hostile.ckpt")
    with pytest.raises(VidaffError, match="refused, it is no plain tensor file or would run code"):
        run("plsp", tmp_path / "hostile.ckpt", "--out", tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {"a": torch.zeros(1)}}, "encoder.proj is missing"),
        ({"state_dict": {}}, "encoder.proj is missing"),
        ({"state_dict": {"a": 1}}, "no state_dict of tensors"),
        ([1], "no state_dict of tensors"),
        (torch.zeros(2), "no state_dict of tensors"),
    ],
    ids=str,
)
def test_convert_of_something_else_is_one_line(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(VidaffError, match=said):
        run("plsp", tmp_path / "other.ckpt", "--out", tmp_path / "out")


def test_convert_of_damaged_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "damaged.ckpt").write_bytes(b"PK\x03\x04damaged")
    with pytest.raises(VidaffError, match=r"not readable|refused"):
        run("plsp", tmp_path / "damaged.ckpt", "--out", tmp_path / "out")
    with pytest.raises(VidaffError, match="no such file"):
        run("plsp", tmp_path / "nothing.ckpt", "--out", tmp_path / "out")
    torch.save({"state_dict": tiny_network().state_dict()}, tmp_path / "good.ckpt")
    with pytest.raises(VidaffError, match="multiple of"):
        run("plsp", tmp_path / "good.ckpt", "--out", tmp_path / "out", "--encoder-heads", "5", "--fuser-heads", "4")


def test_convert_says_that_the_authors_chose_the_epoch_on_the_test_split(tmp_path: Path) -> None:
    for task, rule in (("grounding", "test-kld"), ("refinement", None)):
        torch.save({"state_dict": tiny_network(task=task).state_dict()}, tmp_path / f"{task}.ckpt")
        run("plsp", tmp_path / f"{task}.ckpt", "--out", tmp_path / task, *TINY)
        assert load_grounder(tmp_path / task).info.get("select") == rule


def test_convert_refuses_tensors_that_repeat_one_number(tmp_path: Path) -> None:
    state = tiny_network().state_dict()
    state["encoder.proj"] = torch.zeros(1).expand(1 << 20, 1 << 20)  # 4 TiB, stored as one number
    torch.save({"state_dict": state}, tmp_path / "bomb.ckpt")
    with pytest.raises(VidaffError, match="claim more numbers than the file holds"):
        run("plsp", tmp_path / "bomb.ckpt", "--out", tmp_path / "out", *TINY)


@pytest.mark.parametrize("name", ["encoder.positional_embedding", "verb_fuser.regressor_blocks.0.mlp_cross.fc1.weight"])
def test_convert_of_empty_tensors_is_one_line(tmp_path: Path, name: str) -> None:
    state = tiny_network().state_dict()
    state[name] = state[name][:0] if name.startswith("encoder") else state[name][:, :0].clone()
    torch.save({"state_dict": state}, tmp_path / "empty.ckpt")
    with pytest.raises(VidaffError, match=f"{name} of shape .* is empty"):
        run("plsp", tmp_path / "empty.ckpt", "--out", tmp_path / "out", *TINY)
