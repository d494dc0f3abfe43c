"""Training on still pictures: the classes of the set, no actions, resuming, refusals, augmentation by geometry."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.datasets.still_trees import write_iit, write_umd
from tests.toy import write_toy_file
from vidaff.cli import cli, main
from vidaff.config import load_recipe
from vidaff.datasets.prepare import PrepareSettings, prepare_clips
from vidaff.datasets.taxonomies import IIT_AFF, SOR3D_AFF, UMD, taxonomy_of_model
from vidaff.errors import VidaffError
from vidaff.models.baselines.majority import MajorityLabels
from vidaff.train import train
from vidaff.training.augment import step_generator
from vidaff.training.history import read_history
from vidaff.training.warp import warp
from vidaff.weights import load_checkpoint

TOY = ["train.epochs=2", "train.batch_size=4", "train.workers=0", "train.warmup_steps=0", "train.val_every=1"]
TOY += ["input.size=[24, 32]"]


@pytest.fixture(scope="module")
def umd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_umd(tmp_path_factory.mktemp("umd"))


@pytest.fixture(scope="module")
def iit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_iit(tmp_path_factory.mktemp("iit"))


def run(data: Path, out: Path, *overrides: str, dataset: str = "umd", recipe: str = "static", **options: Any) -> Path:
    settings = load_recipe(recipe, [*TOY, *overrides])
    return train(settings, data, out, dataset=dataset, device="cpu", progress=False, **options)


def test_a_model_of_umd_has_its_classes_and_no_actions(umd: Path, tmp_path: Path) -> None:
    best = run(umd, tmp_path / "run")
    checkpoint = load_checkpoint(best)
    assert checkpoint.info["classes"] == list(UMD.classes) and checkpoint.info["dataset"] == "umd"
    assert taxonomy_of_model(checkpoint.info) == UMD
    model = checkpoint.recipe.model
    assert (model.num_affordances, model.num_actions, model.depth) == (7, 0, True)
    output = checkpoint.model(torch.zeros(2, 1, 4, 24, 32), None)
    assert output.logits.shape == (2, 8, 24, 32) and output.action_logits.shape == (2, 0)
    assert not [name for name in checkpoint.model.state_dict() if name.startswith("action_head")]
    history = read_history(tmp_path / "run")
    assert "val/iou" in history[-1] and "val/action" not in history[-1] and "train/action" not in history[-1]
    assert set(checkpoint.info["val"]) == {"iou", "f"}
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 2


def test_iit_aff_has_no_depth(iit: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match=r"set model\.depth=false"):
        run(iit, tmp_path / "a", "train.batch_size=2", dataset="iit-aff")
    prepared = PrepareSettings(size=(24, 24), centre_crop=40, flow="none")
    file = prepare_clips("iit-aff", iit, tmp_path / "iit.h5", prepared, workers=1, progress=False)
    best = run(file, tmp_path / "b", "train.batch_size=2", dataset="iit-aff", recipe="static-rgb")
    checkpoint = load_checkpoint(best)
    assert taxonomy_of_model(checkpoint.info) == IIT_AFF
    assert checkpoint.info["view"] == {"centre_crop": 40}
    assert checkpoint.model(torch.zeros(1, 1, 3, 24, 24), None).logits.shape[1] == 10


def test_options_of_the_folder_are_kept_with_the_checkpoint(umd: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    best = run(umd, out, "train.epochs=1", options={"protocol": "novel", "frames": "manual"})
    info = load_checkpoint(best).info
    assert info["options"] == {"protocol": "novel", "frames": "manual", "labels": "top"}
    assert info["train_clips"] == 2 * 5  # two manual frames of each tool but the ladle
    with pytest.raises(VidaffError, match=r"trained on other data \(.*options.*resume with the same"):
        run(umd, out, "train.epochs=2", resume=True)
    with pytest.raises(VidaffError, match="options"):  # whose pictures have the same names
        ranked = {"protocol": "novel", "frames": "manual", "labels": "ranked"}
        run(umd, out, "train.epochs=2", options=ranked, resume=True)
    run(umd, out, "train.epochs=2", options={"protocol": "novel", "frames": "manual"}, resume=True)
    file = prepare_clips(
        "umd", umd, tmp_path / "umd.h5",
        PrepareSettings(size=(24, 32), flow="none", dataset_options={"protocol": "novel"}), workers=1, progress=False,
    )  # fmt: skip
    prepared = run(file, tmp_path / "prepared", "train.epochs=1")
    assert load_checkpoint(prepared).info["options"] == {"protocol": "novel", "frames": "all", "labels": "top"}
    with pytest.raises(VidaffError, match="a prepared file takes no options"):
        run(file, tmp_path / "refused", options={"protocol": "novel"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "umd", "--option", "protokol=novel"], "take no option 'protokol'; known: protocol, frames"),
        (["--dataset", "umd", "--option", "size=300"], "take no option 'size'"),
        (["--dataset", "umd", "--option", "protocol=new"], "protocol is one of category, novel, got 'new'"),
        (["--dataset", "iit-aff", "--option", "frames=all"], "take no option 'frames'; known: protocol"),
        (["--dataset", "sor3d-aff", "--option", "geometry=crop"], "sor3d-aff: takes no option 'geometry'"),
        (["--dataset", "umd", "--option", "protocol"], "write KEY=VALUE"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "eval"])
def test_unknown_options_end_in_one_line_with_exit_code_2(
    umd: Path, tmp_path: Path, verb: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    more = {"train": ["--out", str(tmp_path / "run"), "--quiet"], "eval": ["--checkpoint", "small"]}[verb]
    monkeypatch.setattr(sys, "argv", ["vidaff", verb, *arguments, "--data", str(umd), *more])
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    words = " ".join(capsys.readouterr().err.split())
    assert said in words and "Traceback" not in words and not (tmp_path / "run").exists()


def test_it_learns_and_a_resumed_run_ends_with_the_same_bytes(umd: Path, tmp_path: Path) -> None:
    same = ["train.epochs=6", "train.schedule=constant", "train.lr=0.005"]
    run(umd, tmp_path / "whole", *same)
    run(umd, tmp_path / "cut", *same, "train.epochs=2")
    run(umd, tmp_path / "cut", *same, resume=True)
    files = [tmp_path / name / "last" / "model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    losses = [float(row["train/static_loss"]) for row in read_history(tmp_path / "whole")]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("recipe", "overrides", "dataset", "said"),
    [
        ("tiny", [], "umd", r"recipe 'tiny' does not train on 'umd'.*train.clip_length=1.*--recipe static;"),
        ("tiny", [], "iit-aff", "--recipe static-rgb;"),
        ("static", ["model.second_stream=flow3d"], "umd", "set model.second_stream=none,"),
        ("static", ["model.num_affordances=9"], "umd", "model.num_affordances=9: 'umd' needs 7"),
        ("static", ["model.num_actions=9"], "umd", "'umd' needs 0"),
        ("static", [], "utkinect", "it needs labels of affordances"),
        ("static", ["train.batch_size=50"], "umd", "do not fill one batch"),
    ],
)
def test_what_cannot_work_is_refused(
    umd: Path, tmp_path: Path, recipe: str, overrides: list[str], dataset: str, said: str
) -> None:
    with pytest.raises(VidaffError, match=said):
        train(load_recipe(recipe, overrides), umd, tmp_path / "out", dataset=dataset, device="cpu", progress=False)


def test_clips_cannot_be_warped() -> None:
    with pytest.raises(VidaffError, match="zoom, shift and rotate are for single frames"):
        load_recipe("tiny", ["train.zoom=1.5"])


def test_the_static_recipe_trains_on_last_frames_of_clips_too(tmp_path: Path) -> None:
    data = write_toy_file(tmp_path / "toy.h5")
    checkpoint = load_checkpoint(run(data, tmp_path / "run", "train.epochs=1", dataset="sor3d-aff"))
    assert taxonomy_of_model(checkpoint.info) == SOR3D_AFF


def picture_batch(height: int = 40, width: int = 60) -> dict[str, torch.Tensor]:
    """A picture whose colours, depth and labels all tell the same: 50 times a class of 0..3."""
    mask = torch.zeros(2, height, width, dtype=torch.uint8)
    mask[:, 10:30, 10:40], mask[1, 5:35, 45:55] = 1, 3
    return {
        "rgb": (mask * 50)[:, None, :, :, None].repeat(1, 1, 1, 1, 3),
        "depth": mask.int()[:, None] * 500,
        "mask": mask,
        "affordances": mask.int() + 1,
    }


def warped(seed: int = 0, **settings: float) -> dict[str, torch.Tensor]:
    changed = [f"train.{key}={settings.get(key, off)}" for key, off in (("zoom", 1), ("shift", 0), ("rotate", 0))]
    return warp(picture_batch(), load_recipe("static", changed).train, step_generator(seed))


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_depth_move_with_the_picture(seed: int) -> None:
    batch = warped(seed, zoom=1.6, shift=0.3, rotate=60)
    inside = batch["mask"] != 255
    assert not torch.equal(batch["mask"], picture_batch()["mask"])
    colours = batch["rgb"][:, 0, :, :, 0].float() / 50
    sure = inside & (colours == colours.round())  # between two classes colours are mixed
    assert sure.float().mean() > 0.3
    agree = (colours == batch["mask"])[sure].float().mean()
    assert agree > 0.98
    assert torch.equal(batch["depth"][:, 0][inside], batch["mask"][inside].int() * 500)
    assert torch.equal(batch["affordances"][inside], batch["mask"][inside].int() + 1)
    assert not batch["affordances"][~inside].any()


def test_the_factors_do_what_they_say() -> None:
    before = picture_batch()
    still = warped()
    assert all(torch.equal(still[key], before[key]) for key in before)
    areas = [(warped(seed, zoom=2)["mask"] == 1).sum() / (before["mask"] == 1).sum() for seed in range(20)]
    assert min(areas) > 0.2 and max(areas) < 4.4 and min(areas) < 0.6 and max(areas) > 1.5
    assert all((warped(seed, shift=0.2)["mask"] == 255).float().mean() < 0.37 for seed in range(5))
    turned = warped(3, rotate=180)["mask"]
    assert (turned[0] == 1).sum() == pytest.approx(600, rel=0.1)  # angles and aspect are kept
    with pytest.raises(ValueError, match="single frames"):
        warp({"rgb": torch.zeros(1, 2, 8, 8, 3)}, load_recipe("static").train, step_generator(0))


def test_the_most_frequent_label_of_each_category_and_place() -> None:
    cup, knife = np.full((8, 8), 2, np.uint8), np.full((8, 8), 2, np.uint8)
    cup[:4], knife[:, :4] = 0, 1
    odd = np.full((8, 8), 255, np.uint8)
    model = MajorityLabels(
        [("cup", cup), ("cup", cup), ("cup", cup * 0 + 2), ("knife", knife), ("x", odd)], 3, grid=(8, 8)
    )
    assert np.array_equal(model.predict("cup", (8, 8)), cup)
    assert np.array_equal(model.predict("knife", (16, 8)), np.repeat(knife, 2, axis=0))
    assert (model.predict("x", (8, 8)) == 2).all()
    assert np.array_equal(model.predict("pot", (8, 8))[:4, 4:], cup[:4, 4:])  # two of four votes, the smaller id


def test_ranked_labels_are_no_option_of_the_autoencoder(umd: Path, tmp_path: Path) -> None:
    words = ["train", "--dataset", "umd", "--data", str(umd), "--option", "labels=ranked", "--out", str(tmp_path)]
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, VidaffError) and "--model affordancenet only" in str(done.exception)
