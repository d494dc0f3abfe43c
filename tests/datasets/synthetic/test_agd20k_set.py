"""The rendered AGD20K on disk: layout, loader, resuming, determinism, refusals."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open

from vidaff.cli.synth import command
from vidaff.datasets.agd20k import Agd20kTest, Agd20kTrain, Agd20kTree, LabelFolder
from vidaff.datasets.check import check_dataset
from vidaff.datasets.synthetic import Agd20kSettings, agd20k_files, render_agd20k
from vidaff.datasets.synthetic.agd20k_plan import PicturePlan
from vidaff.errors import VidaffError
from vidaff.io import read_image, read_label_image

SMALL = Agd20kSettings(images_train=6, images_test=3, size=64)


def render(out: Path, settings: Agd20kSettings = SMALL, workers: int = 1, **options: bool) -> Path:
    return render_agd20k(out, settings, workers=workers, progress=False, **options)


def content(root: Path) -> dict[str, object]:
    """All files of a set by their relative names; tables by what they say, for safetensors orders its header anew."""
    return {str(path.relative_to(root)): _content(path) for path in root.rglob("*") if path.is_file()}


def _content(path: Path) -> object:
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, "np") as file:
        return file.metadata(), file.get_tensor("similarity").tobytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("synth") / "set")


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_the_tree_is_complete(root: Path, split: str) -> None:
    tree = Agd20kTree(root, split)
    assert (len(tree.train), len(tree.exocentric), len(tree.test)) == (6, 6, 3)
    labels, truth = LabelFolder(tree.trainset / "labels"), LabelFolder(tree.trainset / "truth")
    faults = json.loads((labels.folder / "labels.json").read_text())["faults"]
    for picture in tree.train:
        shape = read_image(tree.path("train", "egocentric", picture)).shape[:2]
        assert shape == (64, 64)
        assert (labels.find_mask("initial", picture) is None) == (faults[picture.name] == "missing")
        mask = read_label_image(truth.mask("initial", picture))
        parts = read_label_image(truth.folder / "parts" / picture.affordance / picture.object / f"{picture.stem}.png")
        assert mask.shape == shape
        assert set(np.unique(mask)) == {0, 255}
        assert (parts[mask > 0] > 0).all()
        assert read_label_image(labels.mask("objects/egocentric", picture)).any()
    names = json.loads((truth.folder / "parts.json").read_text())
    for picture in tree.train:
        thing = names[picture.object]
        assert set(thing["affordances"][picture.affordance]) <= set(thing["parts"])
    for view, pictures in (("egocentric", tree.train), ("exocentric", tree.exocentric)):
        boxes = labels.read_boxes(view)
        assert boxes is not None
        assert sorted(boxes) == sorted(picture.name for picture in pictures)


def test_the_same_picture_in_both_splits_has_the_same_bytes(root: Path) -> None:
    shared = 0
    for path in sorted((root / "Unseen").rglob("*.jpg")):
        twin = root / "Seen" / path.relative_to(root / "Unseen")
        if twin.is_file():
            shared += 1
            assert twin.read_bytes() == path.read_bytes()
    assert shared > 0


@pytest.mark.parametrize("split", ["seen", "unseen"])
@pytest.mark.parametrize("labels", [None, "truth"])
def test_the_loader_reads_it(root: Path, split: str, labels: str | None) -> None:
    folder = None if labels is None else Agd20kTree(root, split).trainset / labels
    train = Agd20kTrain(root, split, labels=folder, label="initial", size=64, stitch=0.0)
    assert len(train) + len(train.skipped) == 6
    sample = train[0]
    assert sample.exo.shape == (1, 3, 64, 64)
    assert sample.heatmap.sum() == pytest.approx(1, abs=1e-4)
    assert 0 < sample.exo_mask.sum() <= 16
    if labels == "truth":
        assert not train.skipped
    test = Agd20kTest(root, split, size=64)
    assert len(test) == 3
    assert test[0].heatmap.sum() == pytest.approx(1, abs=1e-4)


def test_the_check_finds_no_problem(root: Path) -> None:
    assert not [problem for problem in check_dataset("agd20k", root, workers=1).problems if not problem.note]


def test_workers_change_nothing(root: Path, tmp_path: Path) -> None:
    render(tmp_path / "set", workers=2)
    one, two = content(root), content(tmp_path / "set")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one)


def test_resume_renders_only_what_is_missing_and_clears_leftovers(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    lost, kept, *_ = sorted((copy / "Seen" / "trainset" / "egocentric").rglob("*.jpg"))
    lost.unlink()
    (lost.parent / f".{lost.name}.123.tmp").write_bytes(b"half")
    stamp = kept.stat().st_mtime_ns
    render(copy, resume=True)
    assert content(copy) == content(root)
    assert kept.stat().st_mtime_ns == stamp


def test_resume_adds_pictures(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    render(copy, Agd20kSettings(images_train=8, images_test=1, size=64), resume=True)
    tree = Agd20kTree(copy, "seen")
    assert (len(tree.train), len(tree.test)) == (8, 3)
    boxes = LabelFolder(tree.trainset / "labels").read_boxes("egocentric")
    assert boxes is not None
    assert len(boxes) == 8
    assert content(copy) == content(render(tmp_path / "at-once", Agd20kSettings(8, 1, 3, 64))) | {
        "contact_sheet.png": (copy / "contact_sheet.png").read_bytes()  # which says the folder's name
    }


def test_exo_per_ego(tmp_path: Path) -> None:
    render(tmp_path, Agd20kSettings(images_train=2, exo_per_ego=2, images_test=1, size=64))
    tree = Agd20kTree(tmp_path, "unseen")
    assert (len(tree.train), len(tree.exocentric), len(tree.test)) == (2, 4, 1)


def test_overwrite_starts_anew_and_touches_nothing_else(tmp_path: Path) -> None:
    settings = Agd20kSettings(images_train=1, images_test=1, size=64)
    render(tmp_path, settings)
    (tmp_path / "notes.txt").write_text("mine")
    render(tmp_path, Agd20kSettings(images_train=1, images_test=1, size=72), overwrite=True)
    (picture,) = (tmp_path / "Seen" / "trainset" / "egocentric").rglob("*.jpg")
    assert read_image(picture).shape == (72, 72, 3)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("settings", "options", "words"),
    [
        (SMALL, {}, "already holds files"),
        (Agd20kSettings(6, 1, 3, 96), {"resume": True}, "was rendered with size 64"),
        (SMALL, {"resume": True, "overwrite": True}, "one of them"),
    ],
)
def test_refusals(root: Path, settings: Agd20kSettings, options: dict[str, bool], words: str) -> None:
    before = content(root)
    with pytest.raises(VidaffError, match=words):
        render(root, settings, **options)
    assert content(root) == before


@pytest.mark.parametrize(
    "bad", [{"size": 63}, {"images_train": 0}, {"images_test": 0}, {"exo_per_ego": 0}, {"seed": -1}]
)
def test_impossible_settings(bad: dict[str, int]) -> None:
    with pytest.raises(VidaffError, match="must be"):
        Agd20kSettings(**bad)


def test_a_full_disk_leaves_no_half_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(VidaffError, match="No space left"):
        agd20k_files.render_files(PicturePlan(0, "test", "hold", "axe", 0), tmp_path, ["Seen"], 64)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_command_line(tmp_path: Path) -> None:
    arguments = ["agd20k", str(tmp_path / "set"), "--images-train", "1", "--images-test", "1", "--size", "64"]
    result = CliRunner().invoke(command, [*arguments, "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "1 training" in result.output
    assert (tmp_path / "set" / "contact_sheet.png").is_file()
    again = CliRunner().invoke(command, arguments)
    assert isinstance(again.exception, VidaffError)
