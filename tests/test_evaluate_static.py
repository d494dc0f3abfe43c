"""Still pictures: scored by their set's protocol, beside published numbers and AffordanceNet; shown with its names."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.datasets.still_trees import SIZE, umd_labels, write_iit, write_umd, write_umd_frame
from vidaff.cli import cli
from vidaff.config import Recipe, recipe_from_dict
from vidaff.datasets import load_dataset
from vidaff.datasets.prepare import PrepareSettings, prepare_clips
from vidaff.datasets.taxonomies import UMD, Taxonomy, taxonomy_of
from vidaff.errors import VidaffError
from vidaff.evaluate import evaluate
from vidaff.infer import InferSettings, infer
from vidaff.io import read_image
from vidaff.metrics.averages import class_averages
from vidaff.models.baselines.checkpoint import build_detector, save_detector
from vidaff.models.baselines.settings import load_detector_recipe
from vidaff.models.video import VideoOutput, build_video_model
from vidaff.models.video.inputs import IMAGENET_MEAN, IMAGENET_STD
from vidaff.picture_runner import input_sizes
from vidaff.predict import VideoSegmenter
from vidaff.sources import SourceSettings
from vidaff.visualize import OverlayPainter, blend_labels, legend
from vidaff.weights import Checkpoint, save_checkpoint


class Oracle(torch.nn.Module):
    """Reads UMD's ids from the red of the miniature tree's pictures, 30 times the id; ``wrong`` ids become others."""

    def __init__(self, wrong: dict[int, int] | None = None) -> None:
        super().__init__()
        self.wrong = wrong or {}
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, rgbd: torch.Tensor, flow: torch.Tensor | None) -> VideoOutput:
        self.sizes.append(tuple(rgbd.shape[1:2] + rgbd.shape[-2:]))
        red = (rgbd[:, -1, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
        ids = (red / 30).round().long()
        for old, new in self.wrong.items():
            ids = torch.where(ids == old, new, ids)
        classes = torch.where(ids == 0, 7, ids - 1).clamp(0, 7)
        present = torch.nn.functional.one_hot(classes, 8).movedim(-1, 1).float()
        return VideoOutput(present * 10, present.new_zeros(len(present), 0), None)


def still_recipe(taxonomy: Taxonomy, size: tuple[int, int] = SIZE, depth: bool = True) -> Recipe:
    model = {"width": 0.125, "second_stream": "none", "depth": depth, "num_actions": 0}
    settings = {"model": {**model, "num_affordances": taxonomy.background}, "input": {"size": list(size)}}
    return recipe_from_dict({**settings, "train": {"clip_length": 1}}, where="test")


def checkpoint(dataset: str = "umd", model: Any = None, *, view: Any = None, **options: Any) -> Checkpoint:
    taxonomy = taxonomy_of(dataset)
    recipe = still_recipe(taxonomy, **options)
    info = {"dataset": dataset, "classes": list(taxonomy.classes), "view": view}
    return Checkpoint(model or build_video_model(recipe.model), recipe, info)


def save(folder: Path, loaded: Checkpoint) -> Path:
    return save_checkpoint(folder, loaded.model, loaded.recipe, loaded.info)


@pytest.fixture(scope="module")
def umd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature tree with pictures that were not smeared by JPEG: their red is 30 times the label."""
    root = write_umd(tmp_path_factory.mktemp("umd"))
    for path in root.rglob("*_rgb.jpg"):
        red = umd_labels(path.parent.name.partition("_")[0]) * 30
        path.write_bytes(cv2.imencode(".png", np.dstack([red * 0 + 90, red * 0, red]))[1].tobytes())
    return root


@pytest.fixture(scope="module")
def umd_file(umd: Path) -> Path:
    return prepare("umd", umd, umd.parent / "umd.h5")


@pytest.fixture(scope="module")
def iit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_iit(tmp_path_factory.mktemp("iit"))


def prepare(name: str, root: Path, out: Path, **settings: Any) -> Path:
    chosen = PrepareSettings(**{"size": SIZE, "flow": "none", **settings})
    return prepare_clips(name, root, out, chosen, workers=1, progress=False)


def score(loaded: Checkpoint | Path, data: Path, dataset: str = "umd", **options: Any) -> Any:
    return evaluate(loaded, data, dataset=dataset, device="cpu", progress=False, **options)


def test_an_oracle_scores_one_and_the_mean_is_over_the_classes_that_occur(umd: Path) -> None:
    oracle = Oracle()
    result = score(checkpoint(model=oracle), umd)
    assert result.mode == "static" and set(oracle.sizes) == {(1, *SIZE)}
    assert len(result.clips) == 12 and "action" not in result.clips[0]
    for name in ("mean_iou", "mean_f1", "mean_margolin", "mean_margolin_03", "mean_margolin_legacy"):
        assert result.overall[name] == pytest.approx(1), name
    assert result.intervals["mean_iou"] == [pytest.approx(1), pytest.approx(1)]
    occurs = {"grasp", "contain", "wrap-grasp"}  # ladle, bowl, mug
    assert {name for name, value in result.per_class["iou"].items() if not math.isnan(value)} == occurs
    assert result.confusion.shape == (8, 8) and result.confusion.sum() == 12 * SIZE[0] * SIZE[1]


def test_ranks_count_where_they_are_at_hand(umd: Path, umd_file: Path) -> None:
    tree = score(checkpoint(model=Oracle()), umd)
    # Ranks of the miniature: the label is 1, scoop is 2, the rest 9. Perfect labels miss all of rank 2 and 9.
    assert 0.2 < tree.per_class["ranked"]["contain"] < 0.502
    assert tree.overall["mean_ranked"] < tree.overall["mean_margolin"]
    assert "R^w" in tree.protocol.per_class.values()
    file = score(checkpoint(model=Oracle()), umd_file)
    assert "mean_ranked" not in file.overall


def test_options_choose_the_pictures_of_a_folder(umd: Path, umd_file: Path, tmp_path: Path) -> None:
    """Unseen categories, here ladles: with R^w, and not beside an evaluation of other pictures."""
    loaded = checkpoint(model=Oracle())
    result = score(loaded, umd, options={"protocol": "novel"}, out=tmp_path / "novel")
    assert {clip["object"] for clip in result.clips} == {"ladle"} and "mean_ranked" in result.overall
    assert result.options == {"protocol": "novel", "frames": "all", "labels": "top"}
    report = (tmp_path / "novel" / "results.md").read_text()
    assert "4 pictures of umd (protocol=novel, frames=all), split `val`" in report and "may have trained" not in report
    stored = json.loads((tmp_path / "novel" / "results.json").read_text())
    assert "R^w" in report and stored["options"] == result.options
    assert len(score(loaded, umd, options={"protocol": "novel", "frames": "manual"}).clips) == 2
    with pytest.raises(VidaffError, match="of pictures with protocol=novel; cannot stand beside protocol=category"):
        score(loaded, umd, beside=[tmp_path / "novel"])
    with pytest.raises(VidaffError, match="of pictures with frames=all; cannot stand beside frames=manual"):
        score(loaded, umd, options={"protocol": "novel", "frames": "manual"}, beside=[tmp_path / "novel"])
    assert len(score(loaded, umd, options={"protocol": "novel"}, beside=[tmp_path / "novel"]).beside) == 1
    del stored["options"]  # as before they were told
    (tmp_path / "novel" / "results.json").write_text(json.dumps(stored))
    assert len(score(loaded, umd_file, beside=[tmp_path / "novel"]).beside) == 1
    with pytest.raises(VidaffError, match="a prepared file takes no options, got protocol"):
        score(loaded, umd_file, options={"protocol": "novel"})
    with pytest.raises(VidaffError, match="open already"):
        score(loaded, load_dataset("umd", umd, "val"), options={"protocol": "novel"})


def test_the_protocol_is_that_of_the_training_unless_another_is_asked_for(umd: Path) -> None:
    from vidaff.results import markdown

    loaded = checkpoint(model=Oracle())
    loaded.info["options"] = {"protocol": "novel", "frames": "manual", "labels": "ranked"}
    result = score(loaded, umd)
    assert result.options == {"protocol": "novel", "frames": "all", "labels": "top"} and len(result.clips) == 4
    other = score(loaded, umd, options={"protocol": "category"})
    assert len(other.clips) == 12
    assert "trained with protocol=novel: pictures that are scored here may have trained it" in markdown(other)
    loaded.info["options"] = "damaged"
    assert len(score(loaded, umd).clips) == 12


def test_the_legacy_column_carries_scores_over_as_the_published_evaluators_do(umd: Path) -> None:
    """Contain is taken for cut: 0 in bowls and ladles, and so for the classes behind it that they lack."""
    result = score(checkpoint(model=Oracle({4: 2})), umd)
    rows = []
    for name in (clip["name"].partition("_")[0] for clip in result.clips):
        rows.append({"bowl": [np.nan] * 3 + [0], "ladle": [1, np.nan, np.nan, 0], "mug": [1] + [np.nan] * 3}[name])
        rows[-1] += [np.nan, np.nan, 1 if name == "mug" else np.nan]
    for key, legacy in (("margolin", False), ("margolin_legacy", True)):
        expected = class_averages(np.array(rows), legacy=legacy)
        np.testing.assert_allclose(list(result.per_class[key].values()), expected, atol=1e-9)


@pytest.mark.parametrize("ranked", [True, False])
def test_tables_and_pictures(umd: Path, umd_file: Path, tmp_path: Path, ranked: bool) -> None:
    saved = save(tmp_path / "model", checkpoint())
    score(saved, umd if ranked else umd_file, out=tmp_path / "out")
    report = (tmp_path / "out" / "results.md").read_text()
    grid = "whole pictures at their recorded size" if ranked else "whole pictures, prepared at 64x48"
    assert f"12 pictures of umd (protocol=category, frames=all), split `val`, static inference, {grid}," in report
    assert "| wrap-grasp |" in report and "## IoU x 100, beside published numbers" in report
    assert "| Mask2Former-AFF [1] | 68.7 | 87.4 | 56.5 | 85.6 | 66.7 | 79.4 | 86.7 | 75.9 |" in report
    assert "| affkernel, all frames [4] | - | - | - | - | - | - | - | 87.5 |" in report
    assert "action" not in report and "SOR3D-AFF" not in report
    assert ("R^w" in report) == ranked
    table = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert len(table) == (6 if ranked else 5) * 8
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["classes"] == list(UMD.classes) and stored["dataset"] == "umd" and stored["actions"] == []
    for name in ("confusion.png", "best.png", "worst.png"):
        assert read_image(tmp_path / "out" / name).size


def test_iit_aff_of_many_shapes(iit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = checkpoint("iit-aff", size=(24, 24), depth=False)
    whole = score(loaded, iit, "iit-aff", split="train")
    monkeypatch.setattr("vidaff.evaluate.WAITING", 1)
    assert score(loaded, iit, "iit-aff", split="train", batch_size=1).overall == whole.overall
    assert whole.confusion.shape == (10, 10) and whole.confusion.sum() == 3 * SIZE[0] * SIZE[1]
    from vidaff.results import markdown

    assert "| AffordanceNet [1] | 79.6 | 75.7 |" in markdown(whole)


def test_affordancenet_stands_beside_in_the_same_tables(umd: Path, tmp_path: Path) -> None:
    recipe = load_detector_recipe("affordancenet-tiny", [])
    info = {"objects": ["bowl", "cup"], "classes": list(UMD.classes)}
    folder = save_detector(tmp_path / "detector", build_detector(recipe, info), recipe, info)
    other = score(folder, umd, out=tmp_path / "beside", limit=3)
    assert other.model == "affordancenet" and other.confusion.sum() == 3 * SIZE[0] * SIZE[1]
    from vidaff.results import markdown

    report = markdown(score(checkpoint(), umd, limit=3, beside=[tmp_path / "beside"]))
    assert report.count("| ours, AffordanceNet, static (") == 3  # overall, IoU, F^w
    with pytest.raises(VidaffError, match=r"of umd, split 'val'; cannot stand beside"):
        score(checkpoint(), umd, split="train", beside=[tmp_path / "beside"])
    damaged = json.loads((tmp_path / "beside" / "results.json").read_text())
    damaged["per_class"]["iou"]["cut"] = "much"
    (tmp_path / "beside" / "results.json").write_text(json.dumps(damaged))
    with pytest.raises(VidaffError, match="scores that are no numbers"):
        score(checkpoint(), umd, beside=[tmp_path / "beside"])


def test_models_of_other_classes_are_refused(umd: Path, iit: Path) -> None:
    with pytest.raises(VidaffError, match=r"cut, grasp, hammer.*than umd \(grasp, cut.*'vidaff transfer'"):
        score(Checkpoint(torch.nn.Identity(), Recipe()), umd)  # type: ignore[arg-type]
    with pytest.raises(VidaffError, match=r"\(grasp, cut.*than iit-aff") as caught:
        score(checkpoint(), iit, "iit-aff")
    assert "transfer" not in str(caught.value)
    with pytest.raises(VidaffError, match="than sor3d-aff"):
        score(checkpoint(), umd, "sor3d-aff")
    with pytest.raises(VidaffError, match="single pictures, not clips"):
        score(checkpoint(), umd, mode="video")
    with pytest.raises(VidaffError, match="do not move"):
        score(checkpoint(), umd, zero_flow=True)
    strange = checkpoint()
    strange.info["classes"] = ["a", "b"]
    with pytest.raises(VidaffError, match="no known data set"):
        score(strange, umd)
    strange.info["classes"] = list(taxonomy_of("iit-aff").classes)
    with pytest.raises(VidaffError, match="knows 7 affordances and 0 actions"):
        score(strange, umd)


def test_the_network_sees_pictures_at_the_scale_of_its_training(umd: Path, umd_file: Path) -> None:
    tree, file = load_dataset("umd", umd, "val"), load_dataset("umd", umd_file, "val")
    cropped = load_dataset("umd", prepare("umd", umd, umd.parent / "crop.h5", size=(16, 16), centre_crop=32), "val")
    for view, clips, size in ((None, tree, (20, 20)), ({"centre_crop": 32}, cropped, (20, 20))):
        assert input_sizes((20, 20), view, clips)((48, 64)) == size
    assert input_sizes((20, 20), {"centre_crop": 40}, tree)((48, 64)) == (24, 32)
    assert input_sizes((20, 20), {"centre_crop": 40}, cropped)((16, 16)) == (16, 16)
    for view, clips in ((None, cropped), ({"centre_crop": 40}, file)):
        with pytest.raises(VidaffError, match="prepare it with the same --centre-crop"):
            input_sizes((20, 20), view, clips)
    oracle = Oracle()
    result = score(checkpoint(model=oracle, size=(24, 24), view={"centre_crop": 24}), umd, limit=2)
    assert set(oracle.sizes) == {(1, *SIZE)} and result.overall["mean_iou"] > 0.9


def source(path: Path, **options: Any) -> SourceSettings:
    return SourceSettings(str(path), fps=0, **options)


def test_infer_shows_and_writes_the_classes_of_the_set(umd: Path, umd_file: Path, tmp_path: Path) -> None:
    saved = save(tmp_path / "model", checkpoint(depth=False))
    picture = next((umd / "tools" / "mug_13").glob("*_rgb.jpg"))
    for name, wanted in (("a", source(picture)), ("b", source(umd_file, clip="mug_13_00000001"))):
        out = tmp_path / name
        summary = infer(
            InferSettings(wanted, str(saved), out, device="cpu", precision="fp32", probs=True), say=pytest.fail
        )
        assert summary.frames == 1 and summary.actions == {}
        assert (out / "overlay.png").is_file()
    segmenter = VideoSegmenter.from_pretrained(saved, device="cpu", precision="fp32")
    result = segmenter.segment_image(read_image(picture))
    assert result.action == "" and result.action_probs.shape == (0,) and result.probs.shape[0] == 8
    stored = cv2.imread(str(tmp_path / "a" / "labels" / "000001.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored, UMD.to_disk()[result.labels])
    row = next(csv.DictReader((tmp_path / "a" / "timeline.csv").open()))
    assert list(row)[5:-1] == list(UMD.classes) and row["action"] == row["action_prob"] == ""
    assert sum(float(row[name]) for name in UMD.classes) == pytest.approx(1, abs=1e-3)


def test_a_model_of_stills_takes_the_frames_of_a_video_one_by_one(tmp_path: Path) -> None:
    segmenter = VideoSegmenter.from_pretrained(save(tmp_path / "m", checkpoint(depth=False)), device="cpu")
    rgb = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    first, second = segmenter.step(rgb), segmenter.step(rgb)
    assert np.array_equal(first.probs, second.probs)
    assert "umd" in segmenter.generate_model_card().content and "wrap-grasp" in segmenter.generate_model_card().content


def test_colours_and_legend_are_those_of_the_set() -> None:
    labels = np.full((120, 160), 7, np.uint8)
    labels[40:80, 40:120] = 6
    grey = np.full((120, 160, 3), 100, np.uint8)
    painted = blend_labels(grey, labels, alpha=1, outline=False, taxonomy=UMD)
    assert tuple(painted[60, 80]) == UMD.colours[6] and tuple(painted[5, 5]) == (100, 100, 100)
    strip = legend(taxonomy=UMD, width=700)
    assert all((strip == colour).all(axis=-1).any() for colour in UMD.colours)
    painter = OverlayPainter((120, 160), taxonomy=UMD, actions=False)
    frame = painter.paint(grey, labels, np.zeros(0, np.float32))
    assert frame.shape[:2] == painter.size
    panel = frame[:, painter.picture_size[1] :]
    assert all((panel == colour).all(axis=-1).any() for colour in UMD.colours)


def test_command_line(umd: Path, umd_file: Path, iit: Path, tmp_path: Path) -> None:
    saved = save(tmp_path / "model", checkpoint())
    arguments = ["eval", "--checkpoint", str(saved), "--dataset", "umd", "--device", "cpu", "--limit", "2"]
    done = CliRunner().invoke(cli, [*arguments, "--data", str(umd_file)])
    assert done.exit_code == 0 and "2 pictures of umd" in done.output, done.output
    novel = CliRunner().invoke(cli, [*arguments, "--data", str(umd), "--option", "protocol=novel"])
    assert novel.exit_code == 0 and "2 pictures of umd (protocol=novel" in novel.output and "R^w" in novel.output
    refused = CliRunner().invoke(cli, ["train", "--dataset", "umd", "--out", str(tmp_path / "run")])
    assert isinstance(refused.exception, VidaffError) and "umd needs --data" in str(refused.exception)
    for path, dataset, count in ((umd_file, "umd", 12), (umd, "umd", 12), (iit, "iit-aff", 3)):
        told = CliRunner().invoke(cli, ["data", "info", str(path), "--dataset", dataset, "--json"])
        assert told.exit_code == 0, told.output
        splits = json.loads(told.output)["splits"]
        assert splits["train"]["clips"] == count and splits["train"]["actions"] == {}
    assert CliRunner().invoke(cli, ["data", "info", str(umd_file)]).exit_code == 0


def test_a_picture_without_any_label_is_scored_too(tmp_path: Path) -> None:
    root = write_umd(tmp_path)
    write_umd_frame(root / "tools" / "mug_13", 5, labels=umd_labels("mug") * 0)
    result = score(checkpoint(model=Oracle()), root)
    assert len(result.clips) == 13 and math.isnan(result.clips[-1]["iou"])
