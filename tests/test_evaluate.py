"""Evaluation: an oracle scores one, modes feed what they promise, files are written, bad input is refused."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.toy import toy_clip, write_toy_file
from vidaff.config import InputSettings, ModelSettings, Recipe
from vidaff.datasets import Clip, ClipDataset, ClipInfo
from vidaff.datasets.prepared import PreparedClips
from vidaff.datasets.taxonomy import AFFORDANCES
from vidaff.errors import VidaffError
from vidaff.evaluate import EvalResult, evaluate
from vidaff.metrics import weighted_f_measure
from vidaff.models.video import VideoOutput, build_video_model
from vidaff.models.video.inputs import IMAGENET_MEAN, IMAGENET_STD
from vidaff.weights import Checkpoint, save_checkpoint

SIZE = 32


class Clips(ClipDataset):
    """Clips in memory."""

    def __init__(self, clips: list[Clip]) -> None:
        super().__init__([ClipInfo(clip.name, clip.action, clip.object, clip.subject) for clip in clips])
        self.clips = clips

    def read(self, index: int, frames: slice | None = None) -> Clip:
        clip = self.clips[index]
        if frames is None:
            return clip
        cut = {name: getattr(clip, name) for name in ("rgb", "depth", "flow")}
        return replace(clip, **{name: None if array is None else array[frames] for name, array in cut.items()})


class Oracle(torch.nn.Module):
    """Reads the label from the last frame's colour (20 x class); sees nothing where ``needs_motion`` and none is."""

    def __init__(self, needs_motion: bool = False) -> None:
        super().__init__()
        self.needs_motion = needs_motion
        self.lengths: list[int] = []

    def forward(self, rgbd: torch.Tensor, flow: torch.Tensor | None) -> VideoOutput:
        self.lengths += [rgbd.shape[1]] * rgbd.shape[0]
        red = (rgbd[:, -1, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
        level = torch.round(red / 20).long()
        flat = (
            rgbd[:, -1, :3] * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
        ) * 255
        painted = (flat.amax(1) - flat.amin(1) < 0.5) & ((red - 20 * level).abs() < 0.5) & (level < 9)
        labels = torch.where(painted, level, 9)
        if self.needs_motion and (flow is None or not flow.any()):
            labels = torch.full_like(labels, 9)
        present = torch.nn.functional.one_hot(labels, 10).movedim(-1, 1).float()
        return VideoOutput(present * 10, present[:, :9].sum(dim=(2, 3)), None)


def checkpoint(model: Any = None, *, size: int = SIZE, **settings: Any) -> Checkpoint:
    recipe = Recipe(model=ModelSettings(width=0.125, **settings), input=InputSettings(size=(size, size)))
    return Checkpoint(model or build_video_model(recipe.model), recipe)


def grey_clips(count: int = 9) -> Clips:
    """Toy clips whose ground is coloured noise, so that only the square is grey."""
    clips = []
    for index in range(count):
        clip = toy_clip(index)
        rgb = clip.rgb.copy()
        rgb[:, clip.mask == 9, 0], rgb[:, clip.mask == 9, 1] = 250, 7
        clips.append(replace(clip, rgb=rgb))
    return Clips(clips)


def test_oracle_scores_one() -> None:
    result = evaluate(checkpoint(Oracle()), grey_clips(), progress=False)
    assert {name: pytest.approx(1.0) for name in result.overall} == result.overall
    assert result.per_class["iou"] == {name: pytest.approx(1.0) for name in AFFORDANCES}
    assert result.confusion.sum() == 9 * SIZE * SIZE
    np.testing.assert_array_equal(result.actions, np.eye(9))
    assert result.intervals["mean_iou"] == [pytest.approx(1.0), pytest.approx(1.0)]


def test_modes_feed_what_they_promise() -> None:
    video, static = Oracle(needs_motion=True), Oracle(needs_motion=True)
    assert evaluate(checkpoint(video), grey_clips(), progress=False).overall["mean_iou"] == pytest.approx(1)
    assert set(video.lengths) == {4}
    assert evaluate(checkpoint(static), grey_clips(), mode="static", progress=False).overall["mean_iou"] == 0
    assert set(static.lengths) == {1}
    zero = evaluate(checkpoint(Oracle(needs_motion=True)), grey_clips(), zero_flow=True, progress=False)
    assert zero.overall["mean_iou"] == 0
    assert zero.zero_flow


def test_absent_classes_are_not_a_number_and_do_not_pull_the_mean() -> None:
    result = evaluate(checkpoint(Oracle()), grey_clips(3), progress=False)
    assert result.overall["mean_iou"] == pytest.approx(1)
    assert math.isnan(result.per_class["iou"]["type"])
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["per_class"]["iou"]["type"] is None
    assert plain["num_clips"] == 3


def test_scores_do_not_depend_on_the_batch_nor_on_mixed_lengths() -> None:
    clips = grey_clips().clips
    clips[2] = replace(clips[2], **{name: getattr(clips[2], name)[1:] for name in ("rgb", "depth", "flow")})
    loaded = checkpoint()
    one, many = (evaluate(loaded, Clips(clips), batch_size=size, progress=False) for size in (1, 4))
    np.testing.assert_array_equal(one.confusion, many.confusion)
    assert one.intervals == many.intervals
    assert [clip["name"] for clip in one.clips] == sorted(clip.name for clip in clips)


def test_masks_of_another_size_are_met() -> None:
    result = evaluate(checkpoint(size=24), grey_clips(2), progress=False)
    assert result.confusion.sum() == 2 * SIZE * SIZE


@pytest.mark.parametrize(
    "settings",
    [{"second_stream": "none"}, {"second_stream": "flow2d", "depth": False}, {"second_stream": "flow3d"}],
)
def test_flow_is_computed_where_the_data_brings_none(settings: dict[str, Any]) -> None:
    clips = [replace(clip, flow=None) for clip in grey_clips(2).clips]
    if not settings.get("depth", True):
        clips = [replace(clip, depth=None) for clip in clips]
    assert len(evaluate(checkpoint(**settings), Clips(clips), progress=False).clips) == 2


def test_unknown_actions_are_left_out_of_the_accuracy() -> None:
    clips = grey_clips(4).clips
    clips[0] = replace(clips[0], action=-1)
    result = evaluate(checkpoint(Oracle()), Clips(clips), progress=False)
    assert result.overall["action_accuracy"] == 1
    assert result.actions.sum() == 3


def test_all_files_are_written(tmp_path: Path) -> None:
    data = write_toy_file(tmp_path / "toy.h5", train=1, val=9)
    saved = save_checkpoint(tmp_path / "model", checkpoint().model, checkpoint().recipe, {})
    result = evaluate(saved, data, out=tmp_path / "out", progress=False)
    names = ["best.png", "confusion.png", "results.csv", "results.json", "results.md", "worst.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    report = (tmp_path / "out" / "results.md").read_text()
    assert "ICASSP 2020" in report
    assert "| paper: AffordanceNet, static image | 0.56 | 0.62 | 0.62 | - | - | - |" in report
    assert "| Margolin F, b2=1 | Margolin F, b2=0.3 |" in report
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert len(rows) == 6 + 4 * 9
    assert float(rows[0]["value"]) == pytest.approx(result.overall["mean_iou"], abs=1e-6)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["mode"] == "video"
    with pytest.raises(VidaffError, match="already holds files"):
        evaluate(saved, data, out=tmp_path / "out", progress=False)
    evaluate(saved, data, out=tmp_path / "out", overwrite=True, limit=2, progress=False)


def test_margolins_f_is_given_for_both_betas() -> None:
    """The oracle finds the left half of what is true, and nothing else: beta squared 0.3 minds that less."""
    (clip,) = grey_clips(1).clips
    assert clip.mask is not None
    seen = clip.mask == clip.action
    truth = seen | np.roll(seen, int(seen.any(axis=0).sum()), axis=1)
    half = replace(clip, mask=np.where(truth, clip.action, 9).astype(np.uint8))
    result = evaluate(checkpoint(Oracle()), Clips([half]), progress=False)
    for name, beta2 in (("margolin", 1.0), ("margolin_03", 0.3)):
        expected = weighted_f_measure(seen, truth, beta2=beta2)
        assert result.to_dict()["overall"][f"mean_{name}"] == pytest.approx(expected)
        assert result.per_class[name][AFFORDANCES[clip.action]] == pytest.approx(expected)
    assert result.overall["mean_margolin_03"] > result.overall["mean_margolin"] + 0.05


def test_results_from_before_beta_squared_03_still_stand_beside(tmp_path: Path) -> None:
    data = write_toy_file(tmp_path / "toy.h5", train=1, val=2)
    evaluate(checkpoint(), data, out=tmp_path / "old", progress=False)
    path = tmp_path / "old" / "results.json"
    old = json.loads(path.read_text())
    for block in ("overall", "intervals"):
        del old[block]["mean_margolin_03"]
    path.write_text(json.dumps(old))
    evaluate(checkpoint(), data, out=tmp_path / "new", beside=[tmp_path / "old"], progress=False)
    row = next(line for line in (tmp_path / "new" / "results.md").read_text().splitlines() if "(loaded model)" in line)
    assert row.split(" | ")[5] == "n/a"


def test_command_line(tmp_path: Path) -> None:
    from vidaff.cli.eval import command

    data = write_toy_file(tmp_path / "toy.h5", train=1, val=9)
    save_checkpoint(tmp_path / "model", checkpoint().model, checkpoint().recipe, {})
    arguments = ["--checkpoint", str(tmp_path / "model"), "--data", str(data), "--limit", "3", "--device", "cpu"]
    done = CliRunner().invoke(command, [*arguments, "--mode", "static", "--split", "train", "--batch-size", "1"])
    assert done.exit_code == 0, done.output
    assert "1 clips of sor3d-aff, split `train`, static inference" in done.output
    assert "| cut |" in done.output
    for extra in (["--mode", "dream"], ["--limit", "0"], ["--batch-size", "0"], ["--split", "test"], ["--device", "x"]):
        refused = CliRunner().invoke(command, [*arguments, *extra])
        assert isinstance(refused.exception, VidaffError), (extra, refused.output)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="no such file or folder"):
        evaluate(tmp_path / "none", tmp_path, progress=False)
    with pytest.raises(VidaffError, match="no such"):
        evaluate(checkpoint(), tmp_path / "none", progress=False)
    with pytest.raises(VidaffError, match="holds no clip"):
        evaluate(checkpoint(), Clips([]), progress=False)
    with pytest.raises(VidaffError, match="has no mask"):
        evaluate(checkpoint(), Clips([replace(toy_clip(0), mask=None)]), progress=False)
    with pytest.raises(VidaffError, match="unknown mode"):
        evaluate(checkpoint(), grey_clips(1), mode="dream", progress=False)


def test_stored_flow_of_another_kind_is_refused(tmp_path: Path) -> None:
    data = write_toy_file(tmp_path / "toy.h5", train=1, val=2)
    settings = PreparedClips(data, "val").settings
    trained = {"flow_method": settings["flow"], "flow_settings": settings.get("flow_settings")}

    model = checkpoint()

    def score(**changed: Any) -> EvalResult:
        return evaluate(replace(model, info={**trained, **changed}), data, progress=False, any_flow=any_flow)

    any_flow = False
    expected = score().overall["mean_iou"]
    with pytest.raises(
        VidaffError, match=r"toy.h5: holds flow by 'dis', but the model was trained with 'pd-dis'; .*--any-flow"
    ):
        score(flow_method="pd-dis")
    with pytest.raises(VidaffError, match=r"with other settings"):
        score(flow_settings={"method": "dis", "jump_m": 7.0})
    any_flow = True
    assert score(flow_method="pd-dis").overall["mean_iou"] == pytest.approx(expected, nan_ok=True)
