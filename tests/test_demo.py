"""The demo: steps that are made once, folders that are not overwritten by accident, and (slow) the whole chain."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vidaff.cli.demo import command
from vidaff.datasets.prepared import PreparedClips
from vidaff.demo import Chain, DemoSettings, Journal, last_action, open_folder, read_curves, run_demo
from vidaff.demo_report import write_report
from vidaff.errors import VidaffError
from vidaff.io import read_json, write_json
from vidaff.weights import load_checkpoint

AFFORDANCES = ("cut", "grasp", "hammer", "lift", "paint", "push", "rotate", "squeeze", "type")


def test_a_finished_step_is_not_made_again(tmp_path: Path) -> None:
    calls, said = [], []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"answer": 42}

    for _ in range(2):
        journal = Journal(tmp_path, 1, said.append)
        assert journal.step("one", "First step", work) == {"answer": 42}
    assert calls == [1]
    assert said[0] == "[1/1] First step" and said[-1] == "[1/1] First step: done before"


def test_the_data_hold_the_flow_that_the_trained_model_knows(tmp_path: Path) -> None:
    settings = DemoSettings(clips_train=2, clips_val=1, size=16)
    chain = Chain(tmp_path, settings, workers=1, device="cpu", progress=False)
    made = tmp_path / chain.data()["file"]
    trained = load_checkpoint(settings.checkpoint).info["flow_method"]
    assert PreparedClips(made, "val").settings["flow"] == trained


def test_a_failed_step_leaves_no_mark(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise VidaffError("no")

    with pytest.raises(VidaffError):
        Journal(tmp_path, 1, lambda _: None).step("one", "First", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_used_folder_is_refused_and_the_cure_named(tmp_path: Path) -> None:
    open_folder(tmp_path, DemoSettings(), resume=False, overwrite=False)
    with pytest.raises(VidaffError, match="--resume to go on, --overwrite to start anew"):
        open_folder(tmp_path, DemoSettings(), resume=False, overwrite=False)


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    open_folder(tmp_path, DemoSettings(), resume=False, overwrite=False)
    assert open_folder(tmp_path, DemoSettings(), resume=True, overwrite=False) == tmp_path
    with pytest.raises(VidaffError, match="other settings"):
        open_folder(tmp_path, DemoSettings(seed=1), resume=True, overwrite=False)


def test_overwriting_removes_the_demo_s_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "data.json").write_text("{}")
    (tmp_path / "mine.txt").write_text("keep")
    open_folder(tmp_path, DemoSettings(), resume=False, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "settings.json"]


def test_an_unknown_checkpoint_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="nowhere"):
        run_demo(tmp_path / "out", DemoSettings(checkpoint="nowhere"))
    assert not (tmp_path / "out").exists()


def test_curves_skip_empty_cells(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,step,train/a,val/b\n0,0,1.5,\n0,4,,0.25\n")
    assert read_curves(table) == {"train/a": [(0.0, 1.5)], "val/b": [(4.0, 0.25)]}


def test_the_last_action_of_a_timeline(tmp_path: Path) -> None:
    table = tmp_path / "timeline.csv"
    table.write_text("frame,action\n1,cut\n2,lift\n")
    assert last_action(table) == "lift"


def scores(iou: float) -> dict[str, Any]:
    overall = {"mean_iou": iou, "mean_f1": iou, "f_w": iou, "mean_margolin": iou, "action_accuracy": None}
    return {
        "overall": overall,
        "intervals": {key: [0.0, 1.0] if value is not None else [None, None] for key, value in overall.items()},
        "per_class": {"iou": {name: None if name == "type" else iou for name in AFFORDANCES}},
        "num_clips": 7,
    }


@pytest.mark.parametrize(("tiny", "words"), [(0.1, "0.70 below the trained one"), (0.9, "look for a mistake")])
def test_the_report_compares_honestly(tmp_path: Path, tiny: float, words: str) -> None:
    results = {
        "evaluate": {"video": scores(0.8), "zero_flow": scores(0.4), "static": scores(0.35)},
        "train": {"curves": {"train/pretrain": [(0, 2.0), (10, 1.0)], "val/iou": [(10, 0.0)]}},
        "compare": {"video": scores(tiny), "static": scores(0.05)},
        "infer": {"clips": []},
    }
    settings = {"clips_train": 5, "clips_val": 7, "train_minutes": 3.0, "checkpoint": "small"}
    report = write_report(tmp_path, settings, results, {"data": 30.0, "train": 90.0})
    page = html.unescape(report.read_text(encoding="utf-8"))
    assert words in page and "2.0 minutes" in page
    assert "changes the trained model's IoU by +0.45" in page
    assert "cannot be compared with rendered clips" in page
    assert page.count("n/a") >= 5


@pytest.mark.slow
def test_the_whole_chain_at_toy_scale(tmp_path: Path) -> None:
    import torch

    from vidaff.config import load_recipe
    from vidaff.models.video import build_video_model
    from vidaff.weights import save_checkpoint

    torch.manual_seed(0)
    recipe = load_recipe("tiny")
    save_checkpoint(tmp_path / "untrained", build_video_model(recipe.model), recipe, {})
    arguments = [
        "--out", str(tmp_path / "demo"), "--clips-train", "32", "--clips-val", "4", "--train-minutes", "0.2",
        "--checkpoint", str(tmp_path / "untrained"), "--quiet",
    ]  # fmt: skip
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and "[5/5]" in done.output
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:video/mp4") == 4 and page.count("data:image/jpeg") >= 4
    assert read_json(tmp_path / "demo" / "steps" / "evaluate.json")["result"]["video"]["num_clips"] == 4

    # A demo that was stopped in the last step makes that one only.
    (tmp_path / "demo" / "steps" / "infer.json").unlink()
    (tmp_path / "demo" / "report.html").unlink()
    again = CliRunner().invoke(command, [*arguments, "--resume"], catch_exceptions=False)
    assert again.output.count("done before") == 4
    assert (tmp_path / "demo" / "report.html").is_file()


def test_a_broken_mark_is_one_clear_line(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {})
    (tmp_path / "one.json").write_text("{", encoding="utf-8")
    with pytest.raises(VidaffError, match=r"one\.json"):
        Journal(tmp_path, 1, lambda _: None).step("one", "First", dict)
