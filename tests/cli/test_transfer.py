"""``vidaff transfer`` as a user calls it: tables on the screen, files, one-line errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vidaff.cli import main
from vidaff.config import InputSettings, ModelSettings, Recipe
from vidaff.io import write_image
from vidaff.models.video import build_video_model
from vidaff.weights import save_checkpoint

TOOLS = ("bowl_01", "knife_01", "mug_02")


@pytest.fixture(scope="module")
def umd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of three tools in UMD's own layout, with depth."""
    root = tmp_path_factory.mktemp("umd") / "part-affordance-dataset"
    labels = np.zeros((48, 64), np.uint8)
    labels[20:28, 10:30], labels[20:28, 30:50] = 1, 2
    for tool in TOOLS:
        for number in (1, 2):
            stem = f"tools/{tool}/{tool}_{number:08d}"
            write_image(root / f"{stem}_rgb.jpg", np.dstack([labels * 60, labels * 0 + 90, labels * 0 + 30]))
            write_image(root / f"{stem}_depth.png", np.full(labels.shape, 700, np.uint16))
            savemat(root / f"{stem}_label.mat", {"gt_label": labels, "gt_type": "manual"})
    for protocol in ("category", "novel"):
        (root / f"{protocol}_split.txt").write_text("".join(f"2 {tool}\n" for tool in TOOLS))
    return root


@pytest.fixture(scope="module")
def iit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of different shapes in IIT-AFF's own layout."""
    root = tmp_path_factory.mktemp("iit")
    for name, size in (("00_1", (48, 64)), ("00_2", (40, 30))):
        labels = np.zeros(size, int)
        labels[8:20, 8:24] = 5
        write_image(root / "rgb" / f"{name}.jpg", np.full((*size, 3), 90, np.uint8))
        for folder, text in (("affordances_labels", labels.tolist()), ("object_labels", [[3, 8, 8, 24, 20]])):
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{name}.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in text))
    for which in ("train_and_val", "val", "test"):
        (root / f"{which}.txt").write_text("00_1.jpg\n00_2.jpg\n")
    return root


def save_model(folder: Path, **model: Any) -> str:
    torch.manual_seed(0)
    recipe = Recipe(model=ModelSettings(width=0.0625, **model), input=InputSettings(size=(32, 32)))
    return str(save_checkpoint(folder, build_video_model(recipe.model), recipe, {}))


@pytest.fixture(scope="module")
def rgbd(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("rgbd"))


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("rgb"), depth=False, second_stream="none")


Run = Any


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(checkpoint: str, dataset: str, data: Path, out: Path, *arguments: object) -> tuple[int, str, str]:
        words = ["--checkpoint", checkpoint, "--dataset", dataset, "--data", data, "--out", out, *arguments]
        monkeypatch.setattr(sys, "argv", ["vidaff", "transfer", *map(str, words), "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def test_it_prints_the_tables_and_names_the_files(run: Run, rgbd: str, umd: Path, tmp_path: Path) -> None:
    code, printed, told = run(rgbd, "umd", umd, tmp_path / "out", "--save-labels", "--pictures", 3)
    assert code == 0
    assert "6 pictures of umd" in printed and "| wrap-grasp | lift + squeeze | 0 | n/a |" in printed
    assert "| grasp | grasp | 6 | " in printed and printed == (tmp_path / "out" / "results.md").read_text() + "\n"
    assert "grid-1.png, labels, results.csv, results.json, results.md" in told
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 6


@pytest.mark.parametrize("view", ["centre", "whole", "tiled"])
def test_pictures_of_any_shape_by_a_model_of_colours(view: str, run: Run, rgb: str, iit: Path, tmp_path: Path) -> None:
    code, printed, _ = run(rgb, "iit-aff", iit, tmp_path, "--view", view, "--crop", 32, "--confidence", 0.1)
    assert code == 0 and "2 pictures of iit-aff" in printed and "Confidence above 0.1" in printed


def test_a_mapping_and_a_protocol_of_ones_own(run: Run, rgbd: str, umd: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("dataset: umd\nclasses: {grasp: [grasp], push: [cut]}\n")
    options = ["--mapping", tmp_path / "mine.yaml", "--option", "protocol=novel", "--limit", 3, "--unmapped", "ignore"]
    code, printed, _ = run(rgbd, "umd", umd, tmp_path / "out", *options)
    assert code == 0 and "| cut | push | 3 | " in printed and "| pound | no counterpart |" in printed
    assert "are not judged" in printed and "3 of 6 pictures" in printed


def test_user_errors_end_with_one_line_and_exit_code_two(
    run: Run, rgbd: str, rgb: str, umd: Path, iit: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("dataset: umd\nclasses: {lift: [w-grasp]}\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    out = tmp_path / "out"
    cases = [
        ((rgbd, "iit-aff", iit, out), "--depth-model"),
        ((rgb, "iit-aff", iit, out, "--depth-model", "nowhere"), "takes colours alone"),
        ((rgbd, "iit-aff", iit, out, "--depth-model", tmp_path), "cannot be loaded"),
        ((rgbd, "umd", umd, out, "--mapping", tmp_path / "bad.yaml"), "'w-grasp' is no class of umd"),
        ((rgbd, "umd", umd, tmp_path / "full"), "already holds files"),
        ((rgbd, "umd", tmp_path / "none", out), "no such file or folder"),
        ((rgbd, "umd", umd, out, "--split", "train"), "holds none of the 0 tools"),
        ((rgbd, "umd", umd, out, "--option", "protocol"), "write KEY=VALUE"),
        ((rgbd, "sor3d-aff", umd, out), "not one of"),
        ((rgbd, "umd", umd, out, "--confidence", 1), "not in the range"),
        (("nothing", "umd", umd, out), "no such file or folder"),
    ]
    for arguments, said in cases:
        code, printed, told = run(*arguments)
        assert (code, printed) == (2, "") and said in told and "Traceback" not in told, (arguments, told)
        assert not out.exists()
