"""Transfer to still sets: mappings, views, probabilities, definitions of the numbers, pictures, files."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.datasets.still_trees import write_umd
from vidaff.config import InputSettings, ModelSettings, Recipe
from vidaff.datasets.base import Clip
from vidaff.datasets.prepare import write_clip
from vidaff.datasets.taxonomies import taxonomy_of
from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, CLASSES, DISPLAY_COLOURS, IGNORE
from vidaff.errors import VidaffError
from vidaff.io import read_image, read_json, read_label_image
from vidaff.metrics import weighted_f_measure
from vidaff.models.video import build_video_model
from vidaff.models.video.inputs import IMAGENET_MEAN, IMAGENET_STD
from vidaff.predict import VideoSegmenter
from vidaff.transfer import ClassMapping, TransferSettings, load_mapping, transfer
from vidaff.transfer.choice import spread
from vidaff.transfer.grid import PALE, Shown, pages, truth_display
from vidaff.transfer.runner import Picture, StillRunner
from vidaff.transfer.scores import Judge, read_labels
from vidaff.transfer.views import VIEWS, plan_view
from vidaff.weights import Checkpoint

CUT, GRASP, HAMMER, LIFT, PUSH, SQUEEZE = (
    AFFORDANCES.index(name) for name in ("cut", "grasp", "hammer", "lift", "push", "squeeze")
)
UMD = taxonomy_of("umd")
SIZE = (40, 48)
STEP = 25
"""Red value per class in the pictures of :class:`ColourModel`."""


class ColourModel(nn.Module):
    """Says of every pixel what its red value names; ``sure`` is the distance of the logits. Counts what it sees."""

    def __init__(self, sure: float = 8.0, fail_at: int | None = None) -> None:
        super().__init__()
        self.sure, self.fail_at, self.seen, self.inputs = sure, fail_at, 0, torch.zeros(0)

    def forward(self, rgbd: torch.Tensor, flow: torch.Tensor | None) -> SimpleNamespace:
        self.seen += len(rgbd)
        if self.fail_at is not None and self.seen >= self.fail_at:
            raise KeyboardInterrupt
        assert flow is None or not flow.any()
        self.inputs = rgbd
        red = (rgbd[:, -1, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
        classes = (red / STEP).round().long().clamp(0, 9)
        return SimpleNamespace(logits=self.sure * nn.functional.one_hot(classes, 10).movedim(-1, 1).float())


def toy(model: nn.Module | None = None, *, size: tuple[int, int] = (40, 40), **options: Any) -> Checkpoint:
    recipe = Recipe(model=ModelSettings(**{"depth": False, **options}), input=InputSettings(size=size))
    return Checkpoint(model or ColourModel(), recipe, {"classes": list(CLASSES)})  # type: ignore[arg-type]


def picture_of(predicted: np.ndarray) -> np.ndarray:
    return np.dstack([predicted.astype(np.uint8) * STEP, *[np.full(predicted.shape, 60, np.uint8)] * 2])


def labels_of(background: int, *squares: tuple[int, int]) -> np.ndarray:
    """8x8 squares of the given classes in a row, ``(column of squares, class)``, inside any centre square."""
    labels = np.full(SIZE, background, np.uint8)
    for column, number in squares:
        labels[16:24, 8 + 8 * column : 16 + 8 * column] = number
    return labels


Example = tuple[np.ndarray, np.ndarray]
"""What :class:`ColourModel` says, and the truth."""


def write_file(path: Path, examples: dict[str, Example], *, dataset: str = "umd", depth: bool = False) -> Path:
    taxonomy = taxonomy_of(dataset)
    with h5py.File(path, "w") as file:
        for name, (predicted, truth) in examples.items():
            clip = Clip(
                name=name, rgb=picture_of(predicted)[None], flow=None, mask=truth, affordances=None, action=-1,
                object=name.partition("_")[0], subject="", intrinsics=None, fps=1.0,
                depth=np.full((1, *truth.shape), 700, np.uint16) if depth else None,
            )  # fmt: skip
            write_clip(file.create_group(f"val/{name}"), clip, None)
        file.attrs.update(
            format="vidaff-clips", version=1, dataset=dataset, height=SIZE[0], width=SIZE[1], fps=1.0,
            classes=json.dumps(taxonomy.classes), settings=json.dumps({"centre_crop": None}),
        )  # fmt: skip
    return path


GRASP_T, CUT_T, CONTAIN_T, POUND_T, WRAP_T = (
    UMD.affordances.index(name) for name in ("grasp", "cut", "contain", "pound", "wrap-grasp")
)
EXAMPLES = {
    # Right everywhere.
    "knife_1": (
        labels_of(BACKGROUND, (0, CUT), (1, GRASP)), labels_of(UMD.background, (0, CUT_T), (1, GRASP_T))
    ),
    # Both classes that mean wrap-grasp, and half of its truth: the inside is what has no counterpart.
    "cup_1": (
        labels_of(BACKGROUND, (0, LIFT), (1, SQUEEZE), (2, LIFT)),
        labels_of(UMD.background, (0, WRAP_T), (1, WRAP_T), (2, CONTAIN_T), (3, WRAP_T)),
    ),
    # What means nothing in the set: the grasp is missed, the background is not spoilt.
    "knife_2": (labels_of(BACKGROUND, (1, PUSH), (3, PUSH)), labels_of(UMD.background, (1, GRASP_T))),
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_file(tmp_path_factory.mktemp("umd") / "umd.h5", EXAMPLES)


def run(data: Path, out: Path | None = None, *, checkpoint: Checkpoint | None = None, **options: Any) -> Any:
    chosen = {"dataset": "umd", "device": "cpu", **options}
    return transfer(TransferSettings(checkpoint or toy(), data=data, out=out, **chosen), progress=False)


# -- mappings ----------------------------------------------------------------------------------------------------------


def test_shipped_mappings_name_every_class_once() -> None:
    for dataset in ("umd", "iit-aff"):
        mapping = load_mapping(dataset)
        assert list(mapping.classes) == list(AFFORDANCES) and mapping.about
        assert not {"paint", "push", "rotate", "type"} & {name for name, targets in mapping.classes.items() if targets}
    assert load_mapping("umd").sources("wrap-grasp") == ["lift", "squeeze"]
    assert load_mapping("iit-aff").sources("pound") == ["hammer"]
    assert load_mapping("umd").sources("contain") == []


def test_a_mapping_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("dataset: umd\nclasses: {lift: [wrap-grasp, contain], hammer: pound, push: }\n")
    mapping = load_mapping("umd", path)
    table = mapping.table()
    assert {(UMD.affordances[t], AFFORDANCES[s]) for t, s in np.argwhere(table)} == {
        ("wrap-grasp", "lift"), ("contain", "lift"), ("pound", "hammer"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: umd\nclasses: {lft: [grasp]}", "'lft' is no class of SOR3D-AFF; known: cut"),
        ("dataset: umd\nclasses: {lift: [w-grasp]}", "lift: 'w-grasp' is no class of umd; known: grasp"),
        ("dataset: umd\nclasses: {lift: [grasp, grasp]}", "lift: a class is named twice"),
        ("dataset: umd\nclasses: {lift: [grasp], lift: [cut]}", "'lift' stands there twice"),
        ("dataset: umd\nclasses: {lift: []}", "nothing to score"),
        ("dataset: umd\nclasses: {lift: 3}", "classes.lift"),
        ("dataset: umd\nclasses: {lift: [3]}", "classes.lift.0"),
        ("dataset: umd\nclasses: [lift]", "classes"),
        ("dataset: umd", "classes: is missing"),
        ("dataset: umd\nclass: {}\nclasses: {lift: cut}", "class: unknown key"),
        ("dataset: sor3d-aff\nclasses: {lift: lift}", "dataset must be one of umd, iit-aff"),
        ("dataset: iit-aff\nclasses: {lift: w-grasp}", "is for iit-aff, not for umd"),
        ("- lift", "has the keys dataset and classes"),
        ("dataset: [", "not readable as YAML"),
        ("? [a, b]\n: c", "not readable as YAML"),
        ("", "has the keys dataset and classes"),
    ],
)
def test_a_bad_mapping_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(VidaffError) as caught:
        load_mapping("umd", path)
    message = str(caught.value)
    assert said in message and message.startswith(str(path)) and "\n" not in message and "Value error" not in message


def test_a_missing_or_unreadable_mapping(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="no such file"):
        load_mapping("umd", tmp_path / "none.yaml")
    with pytest.raises(VidaffError, match="not readable as a mapping"):
        load_mapping("umd", tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VidaffError, match="not readable as a mapping"):
        load_mapping("umd", tmp_path / "binary.yaml")


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="dataset: umd\nclasses{}[]&*!?,-#'\"<>|%lift\tgrasp", max_size=80))
def test_any_text_is_a_mapping_or_a_clear_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("m") / "m.yaml"
    path.write_text(text)
    try:
        assert isinstance(load_mapping("umd", path), ClassMapping)
    except VidaffError as error:
        assert "\n" not in str(error)


# -- views -------------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(grid=st.tuples(st.integers(8, 700), st.integers(8, 700)), side=st.integers(32, 400), view=st.sampled_from(VIEWS))
def test_tiles_cover_the_region_and_keep_the_scale(grid: tuple[int, int], side: int, view: str) -> None:
    plan = plan_view(view, grid, side, (64, 64))
    covered = np.zeros(plan.region.size, np.int32)
    for tile in plan.tiles:
        top, left = tile.top - plan.region.top, tile.left - plan.region.left
        assert 0 <= top <= plan.region.height - tile.height and 0 <= left <= plan.region.width - tile.width
        covered[top : top + tile.height, left : left + tile.width] += 1
        if view == "whole":
            assert min(tile.size) >= 64 or grid[0] / grid[1] != 1
            assert tile.size[0] / tile.size[1] == pytest.approx(grid[0] / grid[1], rel=0.02)
        else:
            assert tile.height == tile.width == min(side, *grid) and tile.size == (64, 64)
    assert covered.min() >= 1
    if view == "tiled":
        for axis, length in enumerate(grid):
            places = sorted({(tile.top, tile.left)[axis] for tile in plan.tiles})
            assert all(b - a <= min(side, *grid) / 2 + 1 for a, b in pairwise(places))
            assert places[0] == 0 and places[-1] + min(side, *grid) == length


def test_the_centre_is_the_one_that_the_data_sets_cut(tmp_path: Path) -> None:
    plan = plan_view("centre", (480, 640), 300, (64, 64))
    assert (plan.region.top, plan.region.left, plan.region.size) == (90, 170, (300, 300))
    small = plan_view("centre", (132, 200), 300, (64, 64))
    assert (small.region.top, small.region.left, small.region.size) == (0, 34, (132, 132))
    with pytest.raises(ValueError, match="view"):
        plan_view("left", (480, 640), 300, (64, 64))


def test_the_whole_picture_keeps_its_shape() -> None:
    assert plan_view("whole", (480, 640), 300, (96, 96)).tiles[0].size == (96, 128)
    assert plan_view("whole", (48, 64), 300, (96, 96)).tiles[0].size == (96, 128)


# -- probabilities -----------------------------------------------------------------------------------------------------


def some_picture(view: str = "centre", grid: tuple[int, int] = (40, 48), *, side: int = 300, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    depth = rng.integers(500, 900, grid).astype(np.uint16)
    depth[: grid[0] // 4] = 0
    plan = plan_view(view, grid, side, (40, 40))
    return Picture("p", "", rng.integers(0, 255, (*grid, 3), np.uint8), depth, np.zeros(grid, np.uint8), plan)


@pytest.mark.parametrize("options", [{}, {"second_stream": "none"}, {"depth": False, "attention": "none"}])
def test_the_runner_says_what_the_predictor_says(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    recipe = Recipe(model=ModelSettings(width=0.0625, **options), input=InputSettings(size=(40, 40)))
    model = build_video_model(recipe.model)
    pictures = [some_picture(seed=seed) for seed in range(3)]
    runner = StillRunner(Checkpoint(model, recipe), device="cpu", batch_size=2)
    segmenter = VideoSegmenter(model, recipe, device="cpu", precision="fp32")
    for picture, (seen, probs) in zip(pictures, runner.run(pictures), strict=True):
        assert seen is picture
        part = (slice(0, 40), slice(4, 44))
        alone = segmenter.segment_image(picture.rgb[part], picture.depth[part] if recipe.model.depth else None)
        np.testing.assert_allclose(probs, alone.probs, atol=2e-5)


def test_tiles_blend_to_what_a_pointwise_model_says_of_the_whole() -> None:
    """Of a model that looks at single pixels, tiles at its own scale cannot be told from the whole picture."""
    model = ColourModel(sure=1.0)
    runner = StillRunner(toy(model), device="cpu", batch_size=3)
    whole, tiled = some_picture("whole", (40, 40)), some_picture("tiled", (90, 70), side=40)
    # The whole picture in one go, for reference.
    big = some_picture("tiled", (90, 70), side=40)
    seen = dict(enumerate(runner.run([whole, tiled, whole])))
    assert model.seen == 2 + len(tiled.plan.tiles)
    for (_, probs), grid in zip(seen.values(), [(40, 40), (90, 70), (40, 40)], strict=True):
        assert probs.shape == (10, *grid) and probs.dtype == np.float32
        np.testing.assert_allclose(probs.sum(0), 1, atol=1e-5)
    reference = np.eye(10)[np.clip(np.round(big.rgb[..., 0] / STEP), 0, 9).astype(int)] * (np.e - 1) + 1
    np.testing.assert_allclose(seen[1][1], np.moveaxis(reference / (np.e + 9), 2, 0), atol=1e-5)


def test_batches_do_not_change_what_is_said() -> None:
    pictures = [some_picture("tiled", (60, 50 + 10 * (i // 2)), side=40, seed=i) for i in range(4)]
    results = [
        [probs for _, probs in StillRunner(toy(), device="cpu", batch_size=size).run(pictures)] for size in (1, 7)
    ]
    for one, many in zip(*results, strict=True):
        np.testing.assert_allclose(one, many, atol=1e-6)


def test_a_picture_is_brought_to_the_models_size_and_back() -> None:
    """80 recorded pixels at 40: what the model sees is half as large, what it says is as large as the picture."""
    predicted = np.full((80, 80), BACKGROUND, np.uint8)
    predicted[16:48, 16:64] = LIFT
    rgb = picture_of(predicted)
    plan = plan_view("centre", (80, 80), 300, (40, 40))
    model = ColourModel()
    ((_, probs),) = StillRunner(toy(model), device="cpu").run([Picture("p", "", rgb, None, predicted, plan)])
    assert model.inputs.shape == (1, 1, 3, 40, 40)
    assert (probs.argmax(0) == predicted).all()


def test_models_of_other_classes_are_refused() -> None:
    other = toy()
    other.info["classes"] = list(taxonomy_of("iit-aff").classes)
    with pytest.raises(VidaffError, match="transfer takes a model of SOR3D-AFF"):
        StillRunner(other)
    with pytest.raises(VidaffError, match="transfer takes a model of SOR3D-AFF"):
        StillRunner(toy(num_affordances=7))


# -- numbers -----------------------------------------------------------------------------------------------------------


def one_hot(labels: np.ndarray, probability: float = 0.9) -> np.ndarray:
    probs = np.full((10, *labels.shape), (1 - probability) / 9, np.float32)
    np.put_along_axis(probs, labels[None].astype(np.int64), probability, axis=0)
    return probs


def test_numbers_of_examples_worked_out_by_hand(file: Path) -> None:
    result = run(file)
    iou, f1 = result.scores["argmax"]["iou"], result.scores["argmax"]["f1"]
    assert (iou["cut"], f1["cut"]) == (1, 1)
    assert (iou["grasp"], f1["grasp"]) == (pytest.approx(1 / 2), pytest.approx(2 / 3))
    # 64 pixels of lift and 64 of squeeze are right, 64 of lift lie on what has no counterpart, 64 are missed.
    assert (iou["wrap-grasp"], f1["wrap-grasp"]) == (pytest.approx(2 / 4), pytest.approx(2 / 3))
    assert np.isnan(iou["pound"]) and np.isnan(iou["contain"])  # mapped but not there; there but not mapped
    assert result.scores["argmax"]["mean_iou"] == pytest.approx((1 + 1 / 2 + 2 / 4) / 3)
    assert result.counts["grasp"] == 2 and result.counts["contain"] == 1 and result.counts["pound"] == 0
    assert result.scores["argmax"]["margolin"]["cut"] == pytest.approx(1)
    assert result.scores["argmax"]["margolin"]["grasp"] == pytest.approx(1 / 2)
    assert result.scores["argmax"]["margolin_03"]["cut"] == pytest.approx(1)
    judged = 3 * 40 * 40
    assert result.prevalence["wrap-grasp"] == pytest.approx(192 / judged)
    assert result.table[0].sum() == judged
    assert result.table[0, GRASP_T, PUSH] == 64 and result.table[0, UMD.background, PUSH] == 64
    assert [each["mean_iou_argmax"] for each in result.pictures] == pytest.approx([2 / 4, 1, 0])
    assert [each["name"] for each in result.pictures] == sorted(EXAMPLES)


def test_margolins_f_is_given_for_both_betas() -> None:
    """Half of the truth is found, and nothing else: precision 1 weighs more at beta squared 0.3."""
    truth = labels_of(UMD.background, (0, CUT_T), (1, CUT_T))
    predicted = labels_of(BACKGROUND, (0, CUT))
    judge = Judge(load_mapping("umd"))
    found = judge.summarise([judge.outcome(read_labels(one_hot(predicted), 0.5), truth)])
    for name, beta2 in (("margolin", 1.0), ("margolin_03", 0.3)):
        expected = weighted_f_measure(predicted == CUT, truth == CUT_T, beta2=beta2)
        assert found[name][0, :, CUT_T] == pytest.approx([expected, expected])
        assert found[f"mean_{name}"][0] == pytest.approx([expected, expected])
    assert found["margolin_03"][0, 0, CUT_T] > found["margolin"][0, 0, CUT_T] + 0.05


def test_classes_without_counterpart_can_be_left_out(file: Path) -> None:
    strict, lenient = (run(file, unmapped=how).scores["argmax"] for how in ("wrong", "ignore"))
    assert lenient["iou"]["wrap-grasp"] == pytest.approx(2 / 3) and strict["iou"]["wrap-grasp"] == pytest.approx(2 / 4)
    assert lenient["iou"]["grasp"] == strict["iou"]["grasp"]
    assert lenient["margolin"]["wrap-grasp"] > strict["margolin"]["wrap-grasp"]
    prevalence = run(file, unmapped="ignore").prevalence["wrap-grasp"]
    assert prevalence == pytest.approx(192 / (3 * 40 * 40 - 64))


def test_pixels_that_the_set_does_not_judge_do_not_count() -> None:
    truth = labels_of(UMD.background, (0, CUT_T), (1, IGNORE))
    probs = one_hot(labels_of(BACKGROUND, (0, CUT), (1, CUT)))
    judge = Judge(load_mapping("umd"))
    outcome = judge.outcome(read_labels(probs, 0.5), truth)
    found = judge.summarise([outcome])
    assert found["iou"][0, 0, CUT_T] == 1 and found["margolin"][0, 0, CUT_T] == pytest.approx(1)
    assert outcome.tables[0].sum() == truth.size - 64


def test_a_class_may_mean_two() -> None:
    mapping = ClassMapping(dataset="umd", classes={"lift": ["wrap-grasp", "contain"]})
    truth = labels_of(UMD.background, (0, WRAP_T), (1, CONTAIN_T))
    judge = Judge(mapping)
    found = judge.summarise([judge.outcome(read_labels(one_hot(labels_of(9, (0, LIFT), (1, LIFT))), 0.5), truth)])
    assert found["iou"][0, 0, [WRAP_T, CONTAIN_T]] == pytest.approx([1 / 2, 1 / 2])
    assert found["mean_iou"][0, 0] == pytest.approx(1 / 2)


def test_confidence_must_be_above_the_threshold() -> None:
    probs = one_hot(labels_of(BACKGROUND, (0, CUT)), 0.75)
    assert (read_labels(probs, 0.75).confident == BACKGROUND).all()
    assert (read_labels(probs, 0.74).confident == read_labels(probs, 0.75).argmax).all()
    assert read_labels(probs, 0).confidence[20, 10] == pytest.approx(0.75)


def test_the_confident_reading_leaves_doubts_out(file: Path) -> None:
    unsure = run(file, checkpoint=toy(ColourModel(sure=2.0)))  # 0.45 for the right class
    assert unsure.scores["argmax"]["iou"]["cut"] == 1 and unsure.scores["confident"]["iou"]["cut"] == 0
    assert run(file, checkpoint=toy(ColourModel(sure=2.0)), confidence=0.4).scores["confident"]["iou"]["cut"] == 1
    assert unsure.table[1].sum(axis=0)[:BACKGROUND].sum() == 0


def test_intervals_are_of_pictures() -> None:
    judge = Judge(load_mapping("umd"))
    truth = labels_of(UMD.background, (0, CUT_T))
    right, wrong = (
        judge.outcome(read_labels(one_hot(labels_of(BACKGROUND, (0, said))), 0.5), truth) for said in (CUT, GRASP)
    )
    found = judge.intervals([right, wrong] * 20)
    low, high = found["f1"][:, 0, CUT_T]
    assert 0.4 < low < judge.summarise([right, wrong])["f1"][0, 0, CUT_T] < high < 0.95
    np.testing.assert_array_equal(found["mean_iou"], judge.intervals([right, wrong] * 20)["mean_iou"])
    assert (found["iou"][:, 0, CUT_T] == judge.intervals([right] * 5)["iou"][:, 0, CUT_T]).sum() == 0
    assert judge.intervals([right] * 5)["iou"][:, 0, CUT_T].tolist() == [1, 1]
    assert np.isnan(judge.intervals([right])["mean_iou"]).all()
    assert np.isnan(found["iou"][:, :, POUND_T]).all()


# -- which pictures ----------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(groups=st.lists(st.sampled_from("abcde"), max_size=60), count=st.integers(0, 70))
def test_pictures_are_chosen_evenly_over_categories(groups: list[str], count: int) -> None:
    chosen = spread(groups, count)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, len(groups))
    taken = {name: sum(groups[i] == name for i in chosen) for name in set(groups)}
    for name, number in taken.items():
        assert number == groups.count(name) or number >= max(taken.values()) - 1


def test_the_chosen_lie_apart() -> None:
    assert spread(["a"] * 100, 4) == [12, 37, 62, 87]
    assert spread(["a", "a", "b", "b", "c", "c"], 3) == [1, 3, 5]


def test_limit_takes_of_every_category(file: Path) -> None:
    result = run(file, limit=2)
    assert {each["object"] for each in result.pictures} == {"cup", "knife"}
    assert any("2 of 3 pictures" in note for note in result.notes)


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_the_truth_has_the_colours_of_what_means_it() -> None:
    for dataset in ("umd", "iit-aff"):
        mapping = load_mapping(dataset)
        display = truth_display(mapping)
        assert len(set(display.colours)) == len(display.colours)
        for name, shown, colour in zip(mapping.taxonomy.affordances, display.affordances, display.colours, strict=True):
            sources = mapping.sources(name)
            assert colour == DISPLAY_COLOURS[sources[0]] if sources else colour in PALE
            assert shown.startswith(name) and ("no counterpart" in shown) == (not sources)
    assert "wrap-grasp (lift + squeeze)" in truth_display(load_mapping("umd")).affordances


def test_pages_hold_two_rows_of_pictures() -> None:
    labels = labels_of(BACKGROUND, (0, CUT))
    shown = [Shown("x" * 90, picture_of(labels), labels, 0.9, labels_of(UMD.background, (0, CUT_T)))] * 13
    sheets = list(pages(shown, load_mapping("umd"), title="t", threshold=0.75))
    assert len(sheets) == 2 and sheets[0].shape[0] > 1.7 * sheets[1].shape[0]
    assert sheets[0].shape[1] == sheets[1].shape[1] and sheets[1].dtype == np.uint8
    assert list(pages([], load_mapping("umd"), title="t", threshold=0.75)) == []
    (one,) = pages(shown[:1], load_mapping("umd"), title="t", threshold=0.75)
    assert one.shape[1] < sheets[0].shape[1] / 1.5


def test_only_confident_predictions_are_painted() -> None:
    labels, truth = labels_of(BACKGROUND, (0, CUT)), np.full(SIZE, UMD.background, np.uint8)
    nothing = np.full(SIZE, BACKGROUND, np.uint8)
    drawn = [
        next(pages([Shown("p", picture_of(labels), each, 0.6, truth)], load_mapping("umd"), title="", threshold=0.75))
        for each in (labels, nothing)
    ]
    assert drawn[0].shape == drawn[1].shape and (drawn[0] != drawn[1]).any()
    outline = (np.abs(drawn[0].astype(int) - DISPLAY_COLOURS["cut"]).max(axis=2) == 0).sum()
    chips = (np.abs(drawn[1].astype(int) - DISPLAY_COLOURS["cut"]).max(axis=2) == 0).sum()
    assert outline > chips > 0


# -- files -------------------------------------------------------------------------------------------------------------


def test_everything_is_written(file: Path, tmp_path: Path) -> None:
    result = run(file, tmp_path / "out", labels=True, pictures=2)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    labels = [f"labels/{name}.png" for name in sorted(EXAMPLES)]
    assert names == ["grid-1.png", *labels, "results.csv", "results.json", "results.md"]
    assert read_image(tmp_path / "out" / "grid-1.png").shape[2] == 3
    saved = read_label_image(tmp_path / "out" / "labels" / "cup_1.png")
    assert saved.shape == (40, 40) and (saved == EXAMPLES["cup_1"][0][:, 4:44]).all()
    found = read_json(tmp_path / "out" / "results.json")
    assert found["scores"]["argmax"]["iou"]["grasp"] == pytest.approx(1 / 2)
    assert found["scores"]["argmax"]["iou"]["pound"] is None and found["num_pictures"] == 3
    assert found["sources"]["wrap-grasp"] == ["lift", "squeeze"] and found["predicted_classes"][-1] == "background"
    with open(tmp_path / "out" / "results.csv", newline="") as text:
        rows = {(row["reading"], row["class"], row["metric"]): row for row in csv.DictReader(text)}
    assert len(rows) == 2 * 4 * 8
    assert float(rows["argmax", "mean", "f1"]["value"]) == pytest.approx(result.scores["argmax"]["mean_f1"])
    assert rows["argmax", "contain", "iou"]["value"] == ""
    text_page = (tmp_path / "out" / "results.md").read_text()
    assert "| wrap-grasp | lift + squeeze | 1 | 0.500" in text_page
    assert "| contain | no counterpart | 1 | - | - | - | - | - |" in text_page
    assert "| Margolin F, b2=1 | Margolin F, b2=0.3 |" in text_page
    assert found["scores"]["argmax"]["mean_margolin_03"] == result.scores["argmax"]["mean_margolin_03"]
    assert "stored at 48x40" in text_page and "is wrong, as on the background" in text_page


def test_old_results_are_replaced_only_when_asked(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(file, out, labels=True)
    (out / "mine.txt").write_text("kept")
    with pytest.raises(VidaffError, match="already holds files"):
        run(file, out)
    run(file, out, overwrite=True, pictures=0)
    assert not list(out.glob("grid-*")) and not list(out.glob("labels/*")) and (out / "mine.txt").is_file()


def test_ctrl_c_leaves_nothing(file: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(file, tmp_path / "out", checkpoint=toy(ColourModel(fail_at=3)), labels=True, batch_size=1)
    assert list((tmp_path / "out").iterdir()) == []
    run(file, tmp_path / "out")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", ["Ctrl-C", "disk full", "killed before"])
def test_old_results_stay_until_the_new_ones_are_ready(
    case: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(file, out, labels=True)
    before = contents(out)
    if case == "killed before":
        (out / ".unfinished").mkdir()
        (out / ".unfinished" / "grid-9.png").write_bytes(b"half")
        run(file, out, overwrite=True, labels=True)
        assert contents(out).keys() == before.keys()
        return
    if case == "disk full":

        def full(*_: object) -> None:
            raise VidaffError("cannot write: No space left on device")

        monkeypatch.setattr("vidaff.transfer.job.write_tables", full)
    with pytest.raises((KeyboardInterrupt, VidaffError)):
        model = ColourModel(fail_at=3 if case == "Ctrl-C" else None)
        run(file, out, overwrite=True, labels=True, checkpoint=toy(model), batch_size=1)
    assert contents(out) == before


# -- depth -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def depth_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    folder = tmp_path_factory.mktemp("dpt")
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, backbone_out_indices=[0, 1, 2, 3], is_hybrid=False,
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def test_a_set_without_depth_needs_an_estimator_or_a_model_of_colours(
    file: Path, depth_model: str, tmp_path: Path
) -> None:
    with pytest.raises(VidaffError, match="--depth-model"):
        run(file, tmp_path / "out", checkpoint=toy(depth=True))
    assert not (tmp_path / "out").exists()
    model = ColourModel()
    result = run(file, checkpoint=toy(model, depth=True), depth_model=depth_model)
    assert any("estimated" in note for note in result.notes)
    depth = model.inputs[..., 3, :, :] * 0.4 + 0.8
    assert depth.shape[-2:] == (40, 40) and depth.min() > 0.09 and depth.max() < 10.1
    with pytest.raises(VidaffError, match="colours alone"):
        run(file, depth_model=depth_model)


def test_depth_of_the_set_reaches_the_model(tmp_path: Path) -> None:
    data = write_file(tmp_path / "umd.h5", EXAMPLES, depth=True)
    model = ColourModel()
    run(data, checkpoint=toy(model, depth=True))
    assert model.inputs[..., 3, :, :].numpy() == pytest.approx((0.7 - 0.8) / 0.4)


def test_pictures_that_lack_their_depth_are_counted(tmp_path: Path) -> None:
    data = write_file(tmp_path / "umd.h5", EXAMPLES, depth=True)
    with h5py.File(data, "r+") as stored:
        stored["val/cup_1/depth"][...] = 0
    notes = run(data, checkpoint=toy(depth=True)).notes
    assert any("without any depth" in note and note.endswith(": 1.") for note in notes)


# -- trees and settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset": "sor3d-aff"}, "transfer goes to umd or iit-aff"),
        ({"view": "left"}, "view is one of centre"),
        ({"unmapped": "maybe"}, "unmapped is one of wrong"),
        ({"confidence": 1.0}, "below 1"),
        ({"confidence": float("nan")}, "below 1"),
        ({"crop": 4}, "crop must be at least 8"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"split": "test"}, "no clips of split 'test'"),
        ({"options": {"protocol": "novel"}}, "takes no options"),
        ({"dataset": "iit-aff"}, "not of 'iit-aff'"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], said: str, file: Path) -> None:
    with pytest.raises(VidaffError, match=said):
        run(file, **options)


def test_options_that_a_folder_does_not_take(tmp_path: Path) -> None:
    umd = write_umd(tmp_path)
    assert {each["object"] for each in run(umd, options={"protocol": "novel"}).pictures} == {"ladle"}
    for options, said in (({"size": "300"}, "take no option 'size'"), ({"protocol": "new"}, "protocol is one of")):
        with pytest.raises(VidaffError, match=said):
            run(umd, options=options)


@pytest.mark.real
@pytest.mark.parametrize("view", VIEWS)
def test_the_shipped_model_on_real_crops(view: str, shared_dir: Path, tmp_path: Path) -> None:
    settings = TransferSettings("small", "umd", shared_dir / "data" / "umd_crops", tmp_path, view=view, limit=3)
    result = transfer(settings, progress=False)
    assert len(result.pictures) == 3 and (tmp_path / "grid-1.png").is_file()
    assert result.table.sum() > 0 and 0 <= result.scores["argmax"]["mean_iou"] <= 1
