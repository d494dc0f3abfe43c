"""What all trainings have in common: how they begin anew, go on, and end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from tests.datasets.still_trees import write_umd
from tests.test_train_encoder import write_tree as write_utkinect
from tests.toy import write_toy_file
from tests.toy_agd20k import write_toy_tree
from vidaff.cli import cli
from vidaff.config import load_recipe
from vidaff.errors import VidaffError
from vidaff.io import write_image
from vidaff.models.baselines.cam import load_cam_recipe
from vidaff.models.baselines.settings import load_detector_recipe
from vidaff.models.image.recipe import load_grounder_recipe
from vidaff.models.image.text_table import SpellingEncoder, TextTable
from vidaff.models.video.encoder_settings import load_encoder_recipe
from vidaff.train import train
from vidaff.training.affordancenet import DetectorModule, train_affordancenet
from vidaff.training.cam import CamModule, train_cam
from vidaff.training.encoder import EncoderModule, train_encoder
from vidaff.training.exportable import ExportableModule
from vidaff.training.grounder import GrounderModule, train_grounder
from vidaff.training.history import read_history
from vidaff.training.module import VideoModule
from vidaff.training.same_data import check_same_data

CPU = {"device": "cpu", "progress": False}
VIT = ["model.dim=32", "model.clip.width=32", "model.clip.layers=2", "model.clip.patch=16", "model.clip.grid=4"]
PICTURES = ["input.size=64", "train.batch_size=12", "train.micro_batch=12", "train.warmup_steps=0"]
GROUNDER = [*VIT, *PICTURES, "model.fuser.grid=4", "model.exo_hidden=16"]
Train = Callable[..., Path]


def video(data: Path, out: Path, *changes: str, **options: object) -> Path:
    own = ["train.pretrain_epochs=0", "train.clip_length=4", "train.drop_first=1", "input.size=32"]
    recipe = load_recipe("tiny", [*own, "train.batch_size=4", "train.precision=fp32", "train.epochs=2", *changes])
    return train(recipe, data, out, **CPU, **options)  # type: ignore[arg-type]


def detector(data: Path, out: Path, *changes: str, **options: object) -> Path:
    own = ["model.mask_channels=16", "model.box_channels=32", "model.rois=8", "train.batch_size=4"]
    own += ["model.proposals_train=20", "model.proposals_test=10", "train.warmup_steps=0", "train.epochs=2"]
    recipe = load_detector_recipe("affordancenet-tiny", [*own, *changes])
    return train_affordancenet(recipe, data, out, **CPU, **options)  # type: ignore[arg-type]


def encoder(data: Path, out: Path, *changes: str, **options: object) -> Path:
    own = ["input.size=32", "train.batch_size=3", "train.warmup_steps=5", "train.clip_length=4", "model.hidden=32"]
    recipe = load_encoder_recipe("encoder-small", [*own, "train.epochs=2", *changes])
    return train_encoder(recipe, data, out, **CPU, **options)  # type: ignore[arg-type]


def grounder(data: Path, out: Path, *changes: str, **options: object) -> Path:
    recipe = load_grounder_recipe("grounder-small", [*GROUNDER, "train.epochs=2", *changes])
    return train_grounder(recipe, data, out, **CPU, **options)  # type: ignore[arg-type]


def cam(data: Path, out: Path, *changes: str, **options: object) -> Path:
    recipe = load_cam_recipe("cam", [*VIT, *PICTURES, "train.epochs=2", *changes])
    return train_cam(recipe, data, out, **CPU, **options)  # type: ignore[arg-type]


TRAININGS: dict[str, tuple[Train, type[ExportableModule], Callable[[Path], Path]]] = {
    "video": (video, VideoModule, lambda folder: write_toy_file(folder / "toy.h5")),
    "affordancenet": (detector, DetectorModule, lambda folder: write_toy_file(folder / "toy.h5")),
    "encoder": (encoder, EncoderModule, lambda folder: write_utkinect(folder / "utkinect")),
    "grounder": (grounder, GrounderModule, lambda folder: write_toy_tree(folder / "agd20k")),
    "cam": (cam, CamModule, lambda folder: write_toy_tree(folder / "agd20k")),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data by the name of the training."""
    return {name: write(tmp_path_factory.mktemp(name)) for name, (_, _, write) in TRAININGS.items()}


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type[ExportableModule], int], None]]:
    """Press Ctrl-C within an epoch, counted from 0, of a kind of training."""
    # Tests that run in the background of a shell begin with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press(module: type[ExportableModule], epoch: int) -> None:
        real = module.training_step

        def step(self: ExportableModule, batch: object, batch_idx: int) -> object:
            if self.current_epoch == epoch:
                signal.raise_signal(signal.SIGINT)
            return real(self, batch, batch_idx)

        monkeypatch.setattr(module, "training_step", step)

    yield press
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", TRAININGS)
def test_ctrl_c_is_told_and_the_run_goes_on(name, places, tmp_path, ctrl_c, monkeypatch):
    run, module, _ = TRAININGS[name]
    ctrl_c(module, 1)
    with pytest.raises(KeyboardInterrupt):
        run(places[name], tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert [row["epoch"] for row in read_history(tmp_path / "run")] == ["0"]
    monkeypatch.undo()
    run(places[name], tmp_path / "run", resume=True)
    assert [row["epoch"] for row in read_history(tmp_path / "run")] == ["0", "1"]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_run_that_overwrites_is_not_resumed_from_the_old_one(name, places, tmp_path, ctrl_c, monkeypatch):
    run, module, _ = TRAININGS[name]
    out = tmp_path / "run"
    run(places[name], out)
    (out / "notes.txt").write_text("mine")
    old = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    with pytest.raises(VidaffError, match="do not fill one batch"):
        run(places[name], out, "train.batch_size=1000", "train.micro_batch=null" if name in "grounder cam" else
            "train.lr=0.001", overwrite=True)  # fmt: skip
    assert {path.relative_to(out) for path in out.rglob("*") if path.is_file()} == old
    ctrl_c(module, 0)
    with pytest.raises(KeyboardInterrupt):
        run(places[name], out, overwrite=True)
    left = {path.name for path in out.iterdir()}
    assert left <= {"logs", "recipe.yaml", "notes.txt", "text.safetensors", "pictures"}, left
    assert not list(out.glob("pictures/*"))
    monkeypatch.undo()
    ctrl_c(module, 1)
    with pytest.raises(KeyboardInterrupt):
        run(places[name], out, resume=True)
    assert [row["epoch"] for row in read_history(out)] == ["0"]
    assert (out / "notes.txt").read_text() == "mine"


def test_no_fold_of_an_overwritten_run_passes_for_a_new_one(places, tmp_path, ctrl_c):
    out, changes = tmp_path / "run", ["train.epochs=1", "train.batch_size=12"]
    encoder(places["encoder"], out, *changes, protocol="loso")
    assert len(list(out.glob("*/checkpoints/last.ckpt"))) == 5
    ctrl_c(EncoderModule, 0)
    with pytest.raises(KeyboardInterrupt):
        encoder(places["encoder"], out, *changes, protocol="loso", overwrite=True)
    assert not list(out.glob("*/checkpoints/last.ckpt")) and not list(out.rglob("results.json"))


@contextmanager
def edited(file: Path) -> Iterator[h5py.File]:
    """Another file of the same name: the old one may still be open."""
    copy = shutil.copy(file, file.with_suffix(".new"))
    with h5py.File(copy, "r+") as content:
        yield content
    os.replace(copy, file)


def rename_objects(file: Path) -> None:
    with edited(file) as content:
        for clip in content["train"].values():
            clip.attrs["object"] = "bowl"


def drop_a_clip(file: Path) -> None:
    with edited(file) as content:
        del content["train"][min(content["train"])]


def rename_a_validation_clip(file: Path) -> None:
    with edited(file) as content:
        content["val"].move(min(content["val"]), "Subject9_cut_9999_cup")


def prepare_otherwise(file: Path) -> None:
    with edited(file) as content:
        content.attrs["settings"] = json.dumps({"size": [32, 32], "flow": "dis", "all_labels": True})


def drop_a_sequence(root: Path) -> None:
    shutil.rmtree(root / "RGB" / "s06_e02")


def change_a_label(root: Path) -> None:
    labels = sorted((root / "Seen" / "trainset" / "labels" / "refined").rglob("*.png"))
    mask = np.zeros((96, 96), np.uint8)
    mask[::3, ::2] = 255
    write_image(labels[3], mask)


def drop_a_picture(root: Path) -> None:
    min((root / "Seen" / "trainset" / "egocentric").rglob("*.png")).unlink()


def drop_an_exocentric_picture(root: Path) -> None:
    min((root / "Seen" / "trainset" / "exocentric").rglob("*.png")).unlink()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("video", drop_a_clip, "train_clips 16 then, 15 now, names of the training clips"),
        ("video", rename_a_validation_clip, "names of the validation clips"),
        ("video", prepare_otherwise, "settings of the prepared file"),
        ("affordancenet", rename_objects, r"objects \['cup'\] then, \['bowl'\] now"),
        ("affordancenet", drop_a_clip, "train_pictures 16 then, 15 now"),
        ("encoder", drop_a_sequence, "names of the validation clips"),
        ("grounder", change_a_label, "other data \\(pseudo-labels\\)"),
        ("grounder", drop_a_picture, "train_pictures"),
        ("grounder", drop_an_exocentric_picture, "names of the exocentric pictures"),
        ("cam", drop_a_picture, "train_pictures 40 then, 39 now, names or sizes of the pictures"),
    ],
)
def test_a_run_is_not_resumed_on_other_data(name, change, said, tmp_path):
    run, _, write = TRAININGS[name]
    data = write(tmp_path)
    run(data, tmp_path / "run", "train.epochs=1")
    change(data)
    with pytest.raises(VidaffError, match=f"other data .*{said}|{said}") as caught:
        run(data, tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value) and "--overwrite" in str(caught.value)


def test_what_a_training_does_not_look_at_may_change(tmp_path):
    """Labels of the CAM baseline, the place of the data, and facts that an older version did not store."""
    data = write_toy_tree(tmp_path / "agd20k")
    cam(data, tmp_path / "run", "train.epochs=1")
    change_a_label(data)
    cam(data.rename(tmp_path / "elsewhere"), tmp_path / "run", resume=True)
    check_same_data(tmp_path, {"dataset": "umd"}, {"dataset": "umd", "train_clips": 3, "prints": {"train": "0"}})


def test_part_texts_that_were_edited_are_not_taken_from_the_run(places, tmp_path, monkeypatch):
    parts, out = tmp_path / "parts.yaml", tmp_path / "run"
    parts.write_text("parts: {knife: {blade: [cut_with], handle: [hold]}, fork: {tines: [stick], handle: [hold]}}")
    change = f"input.text.parts={parts}"
    grounder(places["grounder"], out, change, "train.epochs=1")
    first = TextTable.load(out)[0].parts["stick fork"]
    with monkeypatch.context() as patch:
        patch.setattr(SpellingEncoder, "__call__", lambda *_: pytest.fail("made again"))
        grounder(places["grounder"], out, change, resume=True)
    parts.write_text(parts.read_text().replace("tines", "prongs"))
    with pytest.raises(VidaffError, match=r"other data \(names or part texts of the text features"):
        grounder(places["grounder"], out, change, resume=True)
    grounder(places["grounder"], out, change, "train.epochs=1", overwrite=True)
    assert not TextTable.load(out)[0].parts["stick fork"].equal(first)


def test_the_command_line_says_in_one_line_that_the_data_are_others(places, tmp_path):
    detector(places["affordancenet"], tmp_path / "run")
    arguments = ["train", "--model", "affordancenet", "--recipe", tmp_path / "run" / "recipe.yaml", "--resume"]
    arguments += ["--dataset", "umd", "--data", write_umd(tmp_path), "--device", "cpu", "--out", tmp_path / "run"]
    done = CliRunner().invoke(cli, [*map(str, arguments), "--set", "train.labels=action"])
    assert isinstance(done.exception, VidaffError)
    assert "dataset 'sor3d-aff' then, 'umd' now" in str(done.exception)


@pytest.mark.parametrize(("sent", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "")])
def test_the_command_line_ends_at_a_signal_with_its_code(sent, code, said, places, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", "--dataset", "agd20k", "--data", places["cam"], "--model", "cam", "--device", "cpu"]
    arguments += ["--quiet", "--out", out]
    arguments += [word for change in [*VIT, *PICTURES, "train.epochs=10000"] for word in ("--set", change)]
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import vidaff.cli as c; c.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not (out / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (code, said)
