"""The ablation: its rows, running and resuming it, its tables. The trainings here are of toy clips."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import pytest
from click.testing import CliRunner

from tests.toy import write_toy_file
from tests.toy_agd20k import write_toy_tree
from tests.trees import write_recording
from vidaff.ablation import Comparison, RunSettings, Study, run_study
from vidaff.ablation.grounding import CAM_TAKES, cam_changes, grounding_row, grounding_study
from vidaff.ablation.grounding import GROUPS as GROUNDING_GROUPS
from vidaff.ablation.report import chart, differences, markdown, read_scores
from vidaff.ablation.sources import ClipSource
from vidaff.ablation.video import EVALUATIONS, GROUPS, METRICS, stream_of, variants, video_study
from vidaff.cli import cli
from vidaff.config import load_recipe
from vidaff.errors import VidaffError
from vidaff.models.baselines.cam import load_cam, load_cam_recipe
from vidaff.models.image.recipe import load_grounder_recipe

TOY = (
    "train.epochs=2", "train.pretrain_epochs=1", "train.clip_length=4", "train.drop_first=1", "input.size=32",
    "train.batch_size=4", "train.pretrain_batch=8", "train.precision=fp32",
)  # fmt: skip
SETTINGS = RunSettings("tiny", TOY, seeds=(0,), jobs=2, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_file(tmp_path_factory.mktemp("toy") / "toy.h5")


def two_rows(data):
    """The study of the video branch, reduced to its cheapest and its full row."""
    study = video_study("tiny", TOY, group="table3", data=lambda stream: data)
    rows = [row for row in study.variants if row.name in ("rgb", "rgbd-attention-flow3d")]
    claim = Comparison("full beats RGB", ("rgbd-attention-flow3d", "video_iou"), ("rgb", "video_iou"))
    return Study(
        title="toy", dataset="sor3d-aff", variants=tuple(rows), evaluations=EVALUATIONS, metrics=METRICS,
        comparisons=(claim,), data=study.data, source="nobody",
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablation") / "study"
    said: list[str] = []
    run_study(two_rows(data), out, SETTINGS, progress=False, say=said.append)
    return out, said


def test_the_rows_are_those_of_the_paper():
    rows = variants("table3", load_recipe("small"))
    assert [row.name for row in rows] == [
        "rgb", "rgb-attention", "rgb-attention-flow2d", "rgbd", "rgbd-attention", "rgbd-attention-flow3d",
    ]  # fmt: skip
    assert [row.paper["video_iou"] for row in rows] == [0.62, 0.65, 0.66, 0.64, 0.70, 0.72]
    assert rows[-1].paper["static_iou"] == 0.54
    assert rows[2].paper["static_f"] == 0.53


@pytest.mark.parametrize("recipe", ["small", "paper"])
@pytest.mark.parametrize("group", GROUPS)
def test_every_row_is_another_recipe(group, recipe):
    rows = variants(group, load_recipe(recipe))
    recipes = {load_recipe(recipe, row.changes).model_dump_json() for row in rows}
    assert len(recipes) == len(rows) == len({row.name for row in rows})


def test_the_full_row_of_all_groups_is_the_recipe_itself():
    full = [row for row in variants("all", load_recipe("small")) if row.name == "rgbd-attention-flow3d"]
    assert len(full) == 1
    assert load_recipe("small", full[0].changes) == load_recipe("small")


def test_a_study_leaves_runs_results_and_tables(finished):
    out, said = finished
    assert sorted(line.partition(",")[0] for line in said) == ["rgb", "rgbd-attention-flow3d"]
    record = json.loads((out / "ablation.json").read_text())
    for name in ("rgb", "rgbd-attention-flow3d"):
        scores = record["variants"][name]["scores"]["0"]
        single = json.loads((out / "eval" / name / "seed-0" / "video" / "results.json").read_text())
        assert scores["video_iou"] == single["overall"]["mean_iou"]
        assert set(scores) <= {metric.key for metric in METRICS}
        assert (out / "runs" / name / "seed-0" / "best" / "model.safetensors").is_file()
    assert "*0.72*" in (out / "ablation.md").read_text()
    assert (out / "ablation.svg").read_text().startswith("<svg")
    assert len((out / "ablation.csv").read_text().splitlines()) > 8


def test_what_is_finished_is_not_made_again(finished, data):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    start = time.perf_counter()
    run_study(two_rows(data), out, SETTINGS, resume=True, progress=False, say=lambda _: None)
    assert time.perf_counter() - start < 2
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


def test_other_settings_do_not_mix_with_finished_runs(finished, data):
    out, _ = finished
    other = RunSettings("tiny", (*TOY, "train.lr=0.5"), seeds=(0,), device="cpu")
    with pytest.raises(VidaffError, match="other settings"):
        run_study(two_rows(data), out, other, resume=True, progress=False)
    with pytest.raises(VidaffError, match="--overwrite"):
        run_study(two_rows(data), out, SETTINGS, progress=False)


def test_nothing_of_an_overwritten_study_passes_for_the_new_one(finished, data, tmp_path, monkeypatch):
    out = tmp_path / "study"
    shutil.copytree(finished[0], out)
    (out / "notes.txt").write_text("mine")
    broken = replace(two_rows(data), data=lambda variant: ClipSource(
        "sor3d-aff", tmp_path / "none", None, tmp_path, "tiny", TOY, flow="dis", progress=False
    )("none"))  # fmt: skip
    with pytest.raises(VidaffError, match="no such folder"):
        run_study(broken, out, SETTINGS, overwrite=True, progress=False)
    assert len(list(out.glob("runs/*/*/finished.json"))) == 2

    def stop(worker, arguments, log, run):
        raise KeyboardInterrupt

    monkeypatch.setattr("vidaff.ablation.runner._Worker._command", stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(two_rows(data), out, SETTINGS, overwrite=True, progress=False)
    assert not [path for path in out.rglob("*") if path.is_file() and path.name != "notes.txt"]
    assert (out / "notes.txt").read_text() == "mine"


def test_a_training_that_fails_says_why(tmp_path, data):
    broken = RunSettings("tiny", (*TOY, "train.batch_size=1000"), seeds=(0,), device="cpu")
    with pytest.raises(VidaffError, match=r"seed 0: 'vidaff train' ended with code 2: Error: .*batch_size=1000"):
        run_study(two_rows(data), tmp_path / "study", broken, progress=False)


def test_gains_are_counted_seed_by_seed(data):
    study = two_rows(data)
    scores = {
        "rgb": {0: {"video_iou": 0.5}, 1: {"video_iou": 0.4}, 2: {}},
        "rgbd-attention-flow3d": {0: {"video_iou": 0.7}, 1: {"video_iou": 0.3}, 2: {"video_iou": 0.9}},
    }
    metrics = {metric.key: metric for metric in study.metrics}
    assert differences(scores, study.comparisons[0], metrics) == pytest.approx([0.2, -0.1])
    text = markdown(study, scores, RunSettings("tiny", seeds=(0, 1, 2)))
    assert "| full beats RGB | +0.050 ± 0.212 | 1 of 2 |" in text
    assert "0.450 ± 0.071 (2) *0.62*" in text
    assert "<svg" in chart(study, scores)


def test_scores_that_are_not_there_are_left_out_and_damaged_ones_refused(tmp_path, data):
    study = two_rows(data)
    assert read_scores(study, tmp_path, (0,)) == {"rgb": {0: {}}, "rgbd-attention-flow3d": {0: {}}}
    folder = tmp_path / "eval" / "rgb" / "seed-0" / "video"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text('{"overall": {"mean_iou": null}}')
    with pytest.raises(VidaffError, match=r"overall\.mean_f1"):
        read_scores(study, tmp_path, (0,))


def test_2d_flow_needs_its_own_prepared_file(data):
    source = ClipSource("sor3d-aff", data, None, data.parent, "tiny", TOY, flow="dis")
    assert source("flow3d") == source("none") == data
    with pytest.raises(VidaffError, match="--data-2d"):
        source("flow2d")
    row = next(row for row in variants("table3", load_recipe("tiny")) if row.name == "rgb-attention-flow2d")
    assert stream_of(row) == "flow2d"


def test_an_overwritten_study_prepares_its_clips_anew_and_each_file_once(tmp_path):
    tree, size = tmp_path / "tree", ("input.size=32",)
    clips = [write_recording(tree / side, f"Subject{n}_cut_a_knife") for side in ("train", "val") for n in (1, 2)]
    source = ClipSource("sor3d-aff", tree, None, tmp_path, "tiny", size, flow="dis", progress=False)
    file = source("flow3d")
    first = file.stat().st_ino
    shutil.rmtree(clips[0])
    with pytest.raises(VidaffError, match="0 are new and 1 gone"):
        replace(source)("flow3d")
    anew = replace(source, overwrite=True)
    assert anew("flow3d") == anew("none") == file
    second = file.stat().st_ino
    assert first != second
    assert anew("flow3d").stat().st_ino == second
    with h5py.File(file) as content:
        assert (len(content["train"]), len(content["val"])) == (1, 2)


@pytest.mark.slow
def test_ctrl_c_ends_the_trainings_and_resume_goes_on(tmp_path, data):
    flow2d = shutil.copy(data, tmp_path / "flow2d.h5")
    with h5py.File(flow2d, "a") as file:
        file.attrs["settings"] = json.dumps({"size": [32, 32], "flow": "dis2d"})
    out = tmp_path / "study"
    command = [
        sys.executable, "-m", "vidaff", "ablate", "--data", str(data), "--data-2d", str(flow2d), "--out", str(out),
        "--recipe", "tiny", "--seeds", "1", "--jobs", "2", "--device", "cpu",
        *(part for change in TOY for part in ("--set", change)),
    ]  # fmt: skip
    child = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not list(out.rglob("recipe.yaml")):
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert errors.decode().strip() == "interrupted"
    again = subprocess.run([*command, "--resume"], capture_output=True, check=False)
    assert again.returncode == 0, again.stderr.decode()
    assert again.stdout.decode().count("seed 0:") == 6
    assert "2D flow helps RGB" in again.stdout.decode()


def rows_of(group):
    return [grounding_row(name, "unseen", "0.25") for name in GROUNDING_GROUPS[group]]


def test_rows_of_the_image_branch_switch_what_they_say():
    rows = {row.name: load_grounder_recipe("grounder-small", row.changes).train for row in rows_of("all")}
    assert rows.pop("cam") is not None
    full = rows.pop("full")
    assert full == load_grounder_recipe("grounder-small").train
    assert len({settings.model_dump_json() for settings in rows.values()}) == len(rows) == 8
    base = rows["base"]
    assert (base.labels, base.alignment, base.reasoning, base.stitch) == ("initial", "none", "none", 0)
    assert rows["reasoning"].stitch == 0.25
    assert rows["alignment"].alignment == "box"
    assert rows["refinement-raw"].labels == "raw"


def test_the_short_table_compares_labels_method_and_cam():
    rows = {row.name: row for row in rows_of("main")}
    assert list(rows) == ["base", "full", "cam"]
    assert rows["full"].changes == ()


def test_published_rows_of_the_image_branch():
    rows = {row.name: row for row in rows_of("table8")}
    assert [rows[name].paper["kld"] for name in rows] == [1.256, 1.259, 1.176]
    cam = next(row for row in rows_of("table2") if row.name == "cam")
    assert (cam.model, cam.recipe, dict(cam.paper)) == ("cam", "cam", {})


def test_rows_with_refined_labels_need_some(tmp_path):
    root = write_toy_tree(tmp_path / "tree", refined=False)
    with pytest.raises(VidaffError, match=r"no refined labels for full, refinement.*vidaff label"):
        grounding_study("grounder-small", (), group="table2", data=root)
    study = grounding_study("grounder-small", (), group="table10", data=root)
    assert [row.name for row in study.variants] == ["base", "reasoning-part", "reasoning-object", "reasoning"]
    with pytest.raises(VidaffError, match="table3"):
        grounding_study("grounder-small", (), group="table3", data=root)


def cam_recipe(*overrides, recipe="grounder-small"):
    changes = cam_changes(load_grounder_recipe(recipe, overrides))
    return changes, load_cam_recipe("cam", changes)


def test_the_cam_row_is_as_large_as_the_others_and_trained_as_long():
    assert cam_recipe()[0] == ()
    assert cam_recipe("train.batch_size=10", "train.micro_batch=10")[0] == ("train.batch_size=10",)
    _, plsp = cam_recipe(recipe="plsp")
    paper = load_grounder_recipe("plsp")
    for block, keys in CAM_TAKES.items():
        for key in keys:
            assert getattr(getattr(plsp, block), key) == getattr(getattr(paper, block), key), key
    assert (plsp.model.clip.width, plsp.train.encoder_weights) == (768, "openai/clip-vit-base-patch16")
    assert (plsp.train.select, plsp.model.margin) == ("last", 0.5)
    dino = ["model.encoder=dino", "model.backbone={hidden_size: 32}", "input.size=112", "train.max_minutes=3"]
    changes, recipe = cam_recipe(*dino, "train.clip_grad=0", "train.lr=1e-05", "train.stitch=0.1")
    assert (recipe.model.encoder, recipe.model.backbone, recipe.input.size) == ("dino", {"hidden_size": 32}, (112, 112))
    assert recipe.input.mean == (0.485, 0.456, 0.406)
    assert (recipe.train.lr, recipe.train.max_minutes, recipe.train.clip_grad) == (1e-5, 3, 0)
    assert not any("stitch" in change for change in changes)


def test_published_numbers_of_the_image_branch_keep_their_digits(tmp_path):
    study = grounding_study("grounder-small", (), group="main", data=write_toy_tree(tmp_path / "tree", train=1, test=1))
    text = markdown(study, {row.name: {} for row in study.variants}, RunSettings("grounder-small"))
    assert "| baseline | - *0.938* | - *0.503* | - *1.477* |" in text


def test_options_of_the_other_branch_are_refused(tmp_path):
    same = ["ablate", "--out", str(tmp_path / "study"), "--data", str(tmp_path)]
    for arguments, said in (
        (["--dataset", "agd20k", "--flow", "dis", "--workers", "2"], "--flow, --workers: for clips only"),
        (["--dataset", "agd20k", "--data-2d", "x.h5"], "--data-2d: for clips only"),
        (["--split", "hard", "--manifest", "x.json"], "--split, --manifest: for --dataset agd20k only"),
    ):
        done = CliRunner().invoke(cli, [*same, *arguments])
        assert isinstance(done.exception, VidaffError) and said in str(done.exception)
    assert not (tmp_path / "study").exists()


def test_a_manifest_goes_to_every_training_and_evaluation(tmp_path):
    root = write_toy_tree(tmp_path / "tree", train=2, test=1)
    manifest = tmp_path / "hard.json"
    manifest.write_text('{"train": ["knife"], "test": ["fork"]}')
    study = grounding_study("grounder-small", (), group="table8", data=root, split="hard", manifest=manifest)
    assert study.arguments == ("--split", "hard", "--manifest", str(manifest))
    assert study.evaluations[0].arguments == study.arguments


def test_the_image_branch_from_the_command_line_to_its_table(tmp_path):
    root = write_toy_tree(tmp_path / "tree", train=3, test=1)
    changes = ["model.dim=32", "model.clip.width=32", "model.clip.layers=1", "model.clip.patch=16", "model.clip.grid=4"]
    changes += ["model.fuser.grid=4", "model.fuser.depth=1", "model.exo_hidden=16", "input.size=64", "train.epochs=1"]
    changes += ["train.batch_size=4", "train.micro_batch=4", "train.warmup_steps=0"]
    out = tmp_path / "study"
    command = ["ablate", "--dataset", "agd20k", "--data", root, "--group", "main", "--seeds", 1, "--device", "cpu"]
    command += ["--jobs", 3, "--quiet", "--out", out, *(word for change in changes for word in ("--set", change))]
    done = CliRunner().invoke(cli, list(map(str, command)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads((out / "ablation.json").read_text())
    assert set(record["variants"]) == {"base", "full", "cam"}
    for row in record["variants"].values():
        assert set(row["scores"]["1"]) == {"kld", "sim", "nss"}
    assert {claim["claim"]: len(claim["gains"]) for claim in record["claims"]} == {
        "the full method beats the baseline": 1, "the full method beats CAM": 1, "pseudo-labels beat CAM": 1,
    }  # fmt: skip
    assert load_cam(out / "runs" / "cam" / "seed-1" / "best").recipe.model.clip.width == 32
    log = (out / "runs" / "base" / "seed-1.log").read_text()
    assert "pictures: 10 to train on, 2 held out; labels: 12 initial" in log
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    done = CliRunner().invoke(cli, [*map(str, command), "--resume"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
