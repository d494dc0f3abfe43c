"""AGD20K's trees and samples, against the authors' and against the traps of their files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from agd20k_trees import GOLDEN, HEIGHT, PAIRS, WIDTH, bar, golden_records, replay, unpack_golden, write_tree
from PIL import Image

from vidaff.datasets.agd20k import (
    AFFORDANCES,
    OBJECTS,
    Agd20kTest,
    Agd20kTrain,
    Agd20kTree,
    LabelFolder,
    Picture,
    read_text_features,
)
from vidaff.datasets.agd20k.classes import UNSEEN_AFFORDANCES, UNSEEN_TEST_OBJECTS, UNSEEN_TRAIN_OBJECTS
from vidaff.datasets.agd20k.draws import NegativePictures
from vidaff.errors import VidaffError
from vidaff.io import write_image

TRAIN = [tag for tag in golden_records() if tag.startswith("train_")]
TEST = [tag for tag in golden_records() if tag.startswith("test_") and tag[5:].isdigit()]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_golden(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("template"))


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "root")


def ego(root: Path, picture: Picture) -> Path:
    return root / "Seen" / "trainset" / "egocentric" / picture.name


def labels(root: Path) -> LabelFolder:
    return LabelFolder(root / "Seen" / "trainset" / "labels")


FIRST = Picture("carry", "skis", "skis_ego_0.png")


# Parity with the authors' code


def open_as(root: Path, tag: str) -> tuple[Agd20kTrain, str]:
    split = tag.split("_")[1].lower()
    return Agd20kTrain(root, split, label="refined" if "refined" in tag else "initial"), split


@pytest.mark.parametrize("tag", TRAIN)
def test_training_samples_are_the_authors(golden: Path, tag: str) -> None:
    (train, split), record = open_as(golden, tag), golden_records()[tag]
    index = [picture.name for picture in train.pictures].index(record["path"].partition("egocentric/")[2])
    sample = train.sample(index, replay(train, index, record["random_log"], other_verb=split == "unseen"))
    with np.load(GOLDEN / "agd20k_samples.npz") as wanted:
        for field, found in (("image", sample.image), ("gt_prob", sample.heatmap), ("exo", sample.exo)):
            assert np.abs(found[..., 3::12, 5::12] - wanted[f"{tag}.{field}"]).max() < 1e-6, field
        assert np.array_equal(sample.exo_mask.reshape(1, 14, 14), wanted[f"{tag}.exo_mask14"])
    assert AFFORDANCES[sample.verb] == record["verb"] and OBJECTS[sample.noun] == record["noun"]
    assert train.pairs[sample.pair] == (record["verb"], record["noun"])


@pytest.mark.parametrize("tag", TEST)
def test_test_samples_are_the_authors(golden: Path, tag: str) -> None:
    test, record = Agd20kTest(golden, "seen"), golden_records()[tag]
    sample = test[[picture.name for picture in test.pictures].index(record["path"].partition("egocentric/")[2])]
    with np.load(GOLDEN / "agd20k_samples.npz") as wanted:
        assert np.abs(sample.image[..., 3::12, 5::12] - wanted[f"{tag}.image"]).max() < 1e-6
        assert np.abs(sample.heatmap[..., 3::12, 5::12] - wanted[f"{tag}.gt_prob"]).max() < 1e-9


@pytest.mark.real
@pytest.mark.parametrize("tag", [*TRAIN, *TEST])
def test_every_pixel_is_the_authors(shared_dir: Path, tag: str) -> None:
    folder = shared_dir / "golden" / "wsag"
    record = json.loads((folder / "manifest.json").read_text())["dataset"][tag]
    name = record["path"].partition("egocentric/")[2]
    with np.load(folder / "dataset.npz") as wanted:
        if tag.startswith("test"):
            test = Agd20kTest(folder / "mini_agd20k", "seen")
            image, heatmap = test[[picture.name for picture in test.pictures].index(name)][:2]
        else:
            train, split = open_as(folder / "mini_agd20k", tag)
            index = [picture.name for picture in train.pictures].index(name)
            sample = train.sample(index, replay(train, index, record["random_log"], other_verb=split == "unseen"))
            image, heatmap = sample.image, sample.heatmap
            assert np.abs(sample.exo - wanted[f"{tag}.exo"]).max() < 1e-6
        assert np.abs(image - wanted[f"{tag}.image"]).max() < 1e-6
        assert np.abs(heatmap - wanted[f"{tag}.gt_prob"]).max() < 1e-8


@pytest.mark.parametrize("split", ["Seen", "Unseen"])
def test_the_items_and_the_irrelevant_objects_are_the_authors(golden: Path, split: str) -> None:
    records: dict = golden_records()
    tree = Agd20kTree(golden, split.lower())
    wanted = [name.partition("egocentric/")[2] for name in records[f"test_items_{split}"]]
    assert [picture.name for picture in tree.test] == wanted
    negatives = NegativePictures(tree.train, "irrelevant")
    for noun, others in records[f"irrelevant_nouns_{split}"].items():
        assert sorted(negatives.irrelevant(noun)) == sorted(others), noun


def test_our_formats_hold_the_same_as_the_authors(golden: Path, tmp_path: Path) -> None:
    theirs = Agd20kTrain(golden, "seen", stitch=1)
    folder = LabelFolder(tmp_path / "Seen")
    for picture, (kind, path) in theirs._label_paths.items():
        with Image.open(path) as image:
            folder.write_mask(kind, picture, np.array(image.convert("L")))
    for view in ("egocentric", "exocentric"):
        folder.write_boxes(view, theirs.places.boxes(view) or {})
    for pair in theirs.pairs:
        table = theirs.places.similarity(*pair)
        assert table is not None
        folder.write_similarity(*pair, table)
    ours = Agd20kTrain(golden, "seen", stitch=1, labels=tmp_path)
    assert ours.label_counts == theirs.label_counts == {"refined": 5, "initial": 5}
    for index in range(len(theirs)):
        for one, other in zip(theirs[index], ours[index], strict=True):
            assert np.array_equal(one, other)


# Samples


def test_a_sample_has_the_shapes_and_ranges_that_the_network_takes(root: Path) -> None:
    train = Agd20kTrain(root, num_exo=2, size=64, patch=16)
    sample = train[1]
    assert sample.image.shape == (3, 64, 64) and sample.exo.shape == (2, 3, 64, 64)
    assert sample.heatmap.shape == (1, 64, 64) and sample.heatmap.min() >= 0
    assert sample.heatmap.sum() == pytest.approx(1, abs=1e-5)
    assert sample.exo_mask.shape == (2, 16) and set(np.unique(sample.exo_mask)) == {0.0, 1.0}
    assert {sample.image.dtype, sample.heatmap.dtype, sample.exo.dtype, sample.exo_mask.dtype} == {np.dtype("f4")}
    assert len(train) == 15 and not train.skipped and not train.notes
    with pytest.raises(IndexError):
        train[15]


def test_samples_depend_on_seed_epoch_and_index_alone(root: Path) -> None:
    train, again, other = (Agd20kTrain(root, size=64, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(train[2], again[2], strict=True))
    first = train[2].image
    assert not np.array_equal(first, other[2].image)
    train.epoch = 1
    assert not np.array_equal(first, train[2].image)


def test_batches_keep_their_names(root: Path) -> None:
    from torch.utils.data import DataLoader

    batch = next(iter(DataLoader(Agd20kTrain(root, size=64), batch_size=2)))
    assert batch.image.shape == (2, 3, 64, 64) and batch.verb.tolist() == [3, 3] and batch.exo_mask.shape == (2, 1, 16)
    batch = next(iter(DataLoader(Agd20kTrain(root, size=64, num_exo=0), batch_size=2)))
    assert batch.exo.shape == (2, 0, 3, 64, 64)


def test_a_stitched_label_stays_in_its_quadrant(root: Path) -> None:
    train = Agd20kTrain(root, size=64, stitch=1)
    seen = set()
    for index in range(len(train)):
        draw = train.draw(index, np.random.default_rng(index))
        assert draw.stitch is not None
        heat = train.sample(index, draw).heatmap[0].reshape(2, 32, 2, 32).sum(axis=(1, 3)).ravel()
        assert heat[draw.stitch.quadrant] == pytest.approx(1, abs=1e-5) and np.count_nonzero(heat) == 1
        nouns = {picture.object for picture in draw.stitch.negatives}
        verbs = {verb for verb, noun in PAIRS if noun == train.pictures[index].object}
        assert not any((verb, noun) in PAIRS for verb in verbs for noun in nouns)
        seen.add(draw.stitch.quadrant)
    assert seen == {0, 1, 2, 3}


def test_the_other_rule_takes_any_other_affordance(root: Path) -> None:
    train = Agd20kTrain(root, stitch=1, negatives="other_verb", num_exo=0)
    drawn = [train.draw(index, np.random.default_rng(index)).stitch for index in range(len(train))]
    for picture, stitch in zip(train.pictures, drawn, strict=True):
        assert stitch is not None and all(one.affordance != picture.affordance for one in stitch.negatives)
    knife_with_knife = [
        picture.object in {one.object for one in stitch.negatives}
        for picture, stitch in zip(train.pictures, drawn, strict=True) if stitch and picture.object == "knife"
    ]  # fmt: skip
    assert any(knife_with_knife)


def test_no_stitching_with_a_single_affordance() -> None:
    only = [Picture("carry", "skis", "a.jpg")]
    assert NegativePictures(only, "irrelevant").stitch(only[0], np.random.default_rng(0)) is None
    two = [*only, Picture("hold", "skis", "a.jpg")]  # nothing is irrelevant: the other rule is used
    assert NegativePictures(two, "irrelevant").draw(two[0], np.random.default_rng(0)) == two[1]


def test_the_most_similar_pictures_are_drawn(tmp_path: Path) -> None:
    train = Agd20kTrain(write_tree(tmp_path, count=12, splits=("Seen",)), num_exo=1)
    table = train.places.similarity("carry", "skis")
    assert table is not None
    pool = train.exo_pool(0, 0)
    assert len(pool) == 10 and set(pool).isdisjoint(table.columns[i] for i in np.argsort(table.similarity[0])[:2])
    assert len(Agd20kTrain(tmp_path, exo_choice="uniform").exo_pool(0, 0)) == 12


def test_masks_of_the_exocentric_object(root: Path) -> None:
    files = sorted(file.name for file in (root / "Seen/trainset/exocentric/carry/skis").iterdir())
    for file in files:
        labels(root).write_mask("objects/exocentric", Picture("carry", "skis", file), bar())
    kinds = {kind: Agd20kTrain(root, exo_mask=kind)[0].exo_mask for kind in ("box", "object", "none")}
    assert kinds["none"].all() and 0 < kinds["object"].sum() < kinds["box"].sum() < 196


def test_held_out_files_are_on_one_side_only(golden: Path) -> None:
    train = Agd20kTrain(golden, "seen", num_exo=0)
    fit, judged = train.held_out(0.5)
    assert sorted(fit + judged) == list(range(len(train))) and fit and judged
    sides = [{(train.pictures[i].object, train.pictures[i].file) for i in part} for part in (fit, judged)]
    assert sides[0].isdisjoint(sides[1])
    assert {thing for thing, _ in sides[0]} == {thing for thing, _ in sides[1]}
    with pytest.raises(ValueError, match="share"):
        train.held_out(1.0)


def test_the_whole_picture_with_its_label(root: Path) -> None:
    whole = Agd20kTrain(root, size=64).whole(0)
    rows, columns = whole.heatmap[0].sum(axis=1), whole.heatmap[0].sum(axis=0)
    assert rows.argmax() in range(24, 40) and columns.argmax() in range(8, 24)  # of a bar at 10..30 and 8..20


# Classes and splits


def test_the_fixed_lists() -> None:
    assert (len(AFFORDANCES), len(OBJECTS)) == (36, 50)
    assert list(AFFORDANCES) == sorted(AFFORDANCES) and list(OBJECTS) == sorted(OBJECTS)
    assert (len(UNSEEN_AFFORDANCES), len(UNSEEN_TRAIN_OBJECTS), len(UNSEEN_TEST_OBJECTS)) == (25, 33, 14)
    assert OBJECTS.index("javelin") == 28


@pytest.mark.parametrize("split", ["Seen", "test", "", "easy"])
def test_a_wrong_split_is_named(root: Path, split: str) -> None:
    with pytest.raises(VidaffError, match="splits are seen, unseen, hard"):
        Agd20kTrain(root, split)


def test_a_wrong_root_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="give the folder above"):
        Agd20kTest(root / "Seen")
    with pytest.raises(VidaffError, match="no folder Seen/"):
        Agd20kTest(tmp_path / "nothing")


def test_the_folder_above_will_do(tmp_path: Path) -> None:
    write_tree(tmp_path / "AGD20K")
    assert len(Agd20kTest(tmp_path)) == 10


def test_hard_divides_the_objects_at_hot_dog(root: Path) -> None:
    assert {picture.object for picture in Agd20kTrain(root, "hard").pictures} == {"bicycle", "fork"}
    assert {picture.object for picture in Agd20kTest(root, "hard").pictures} == {"knife", "skis"}


def test_a_manifest_divides_hard_in_another_way(root: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "hard.json"
    manifest.write_text(json.dumps({"train": ["skis", "hold/fork/fork_ego_1.png"], "test": ["bicycle"]}))
    train, test = Agd20kTrain(root, "hard", manifest=manifest), Agd20kTest(root, "hard", manifest=manifest)
    assert [one.name for one in train.pictures][-1] == "hold/fork/fork_ego_1.png" and len(train) == 4
    assert {picture.object for picture in test.pictures} == {"bicycle"}
    for content, message in (
        ({"train": ["spoon"], "test": ["skis"]}, "'spoon' is neither"),
        ({"train": ["skis"]}, "is expected"),
        ({"train": [1], "test": ["skis"]}, "is expected"),
    ):
        manifest.write_text(json.dumps(content))
        with pytest.raises(VidaffError, match=message):
            Agd20kTrain(root, "hard", manifest=manifest)
    with pytest.raises(VidaffError, match="divides the split 'hard'"):
        Agd20kTrain(root, "seen", manifest=manifest)


def test_other_classes(root: Path) -> None:
    write_image(root / "Seen/trainset/egocentric/scrub/pan/pan_0.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(VidaffError, match=r"'scrub' is no affordance.*classes\.json"):
        Agd20kTrain(root)
    verbs, nouns = sorted({verb for verb, _ in PAIRS} | {"scrub"}), sorted({noun for _, noun in PAIRS} | {"pan"})
    (root / "classes.json").write_text(json.dumps({"affordances": verbs, "objects": nouns}))
    train = Agd20kTrain(root)
    assert train.classes.affordances == tuple(verbs) and train[0].verb == 0
    assert train.skipped == [("scrub/pan/pan_0.png", "no pseudo-label")]
    (root / "classes.json").write_text('{"affordances": [], "objects": ["a"]}')
    with pytest.raises(VidaffError, match=r"classes\.json"):
        Agd20kTrain(root)


@pytest.mark.parametrize(
    "option", [{"label": "PL"}, {"exo_choice": "best"}, {"exo_mask": "sam"}, {"negatives": "none"}, {"size": 100},
               {"num_exo": -1}, {"stitch": 2}],
)  # fmt: skip
def test_wrong_options_are_refused(root: Path, option: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        Agd20kTrain(root, **option)


# Traps


def save_turned(path: Path, rgb: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(path, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_turned_by_its_exif_data_is_upright_and_so_is_its_label(root: Path, orientation: int) -> None:
    """The upright picture is dark but for the bar that its label marks; the file holds it turned."""
    upright = np.repeat(bar()[..., None] * np.uint8(255), 3, axis=2)
    turn: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # from upright to what such a file stores
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    stored = np.ascontiguousarray(turn[orientation](upright))
    save_turned(ego(root, FIRST), stored, orientation)
    train = Agd20kTrain(root, size=64, num_exo=0, stitch=0)

    def agreement() -> float:
        sample = train.whole(0)
        return float((sample.heatmap[0] * (sample.image[0] > 0)).sum() / sample.heatmap.sum())

    before = agreement()
    assert before > 0.5
    if orientation >= 5:  # a label made on the stored pixels has another size, and is turned
        labels(root).write_mask("initial", FIRST, np.ascontiguousarray(turn[orientation](bar())))
        assert agreement() == pytest.approx(before, abs=1e-6)


def test_a_label_of_another_size_is_named(root: Path) -> None:
    labels(root).write_mask("initial", FIRST, np.ones((WIDTH, HEIGHT), bool))
    with pytest.raises(VidaffError, match=r"skis_ego_0\.png: 40x56 pixels, its picture .* has 56x40"):
        Agd20kTrain(root).whole(0)


def test_a_picture_without_a_label_is_left_out(root: Path) -> None:
    labels(root).mask("initial", FIRST).unlink()
    train = Agd20kTrain(root)
    assert len(train) == 14 and train.skipped == [(FIRST.name, "no pseudo-label")]


def test_no_labels_at_all(root: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match=r"no pseudo-labels.*vidaff label"):
        Agd20kTrain(root, labels=root / "Seen" / "testset")
    with pytest.raises(VidaffError, match="no such folder of labels"):
        Agd20kTrain(root, labels=tmp_path / "nothing")


def test_missing_detections(root: Path) -> None:
    boxes = labels(root).read_boxes("egocentric")
    assert boxes is not None
    boxes[FIRST.name] = boxes[FIRST.name][:0]
    labels(root).write_boxes("egocentric", boxes)
    labels(root).similarity_path("hold", "fork").unlink()
    train = Agd20kTrain(root)
    assert dict(train.notes)[FIRST.name] == "no box of its object" and len(train.exo_pool(0, 0)) == 3
    assert dict(train.notes)["hold/fork/fork_ego_0.png"].startswith("no similarity table")
    assert len(train.notes) == 4 and train[0].exo.shape == (1, 3, 224, 224)


def test_exocentric_boxes_are_needed_only_for_exocentric_pictures(root: Path) -> None:
    boxes = labels(root).read_boxes("exocentric")
    assert boxes is not None
    labels(root).write_boxes("exocentric", {name: found for name, found in boxes.items() if "skis" not in name})
    train = Agd20kTrain(root)
    assert [reason for _, reason in train.skipped] == ["no exocentric picture of it has a box"] * 3
    labels(root).boxes_path("exocentric").unlink()
    with pytest.raises(VidaffError, match="vidaff label objects makes them, num_exo 0 does without"):
        Agd20kTrain(root)
    assert len(Agd20kTrain(root, num_exo=0)) == 15


def test_numbers_that_are_none_are_the_least_similar(tmp_path: Path) -> None:
    root = write_tree(tmp_path, count=12, splits=("Seen",))
    table = labels(root).read_similarity("carry", "skis")
    assert table is not None
    table.similarity[0, 0] = np.nan
    labels(root).write_similarity("carry", "skis", table)
    assert table.columns[0] not in Agd20kTrain(root).exo_pool(0, 0)


@pytest.mark.parametrize("mask", [np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)])
def test_a_label_of_nothing_or_everything_is_uniform(root: Path, mask: np.ndarray) -> None:
    labels(root).write_mask("initial", FIRST, mask)
    train = Agd20kTrain(root, size=64, stitch=0)
    for heat in (train[0].heatmap, train.whole(0).heatmap):
        assert np.allclose(heat, 1 / 64**2, rtol=1e-4)


def test_ground_truth_of_nothing_is_uniform(root: Path) -> None:
    write_image(root / "Seen/testset/GT/carry/skis/skis_test_0.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    test = Agd20kTest(root)
    assert np.allclose(test[0].heatmap, 1 / 224**2) and np.allclose(test.ground_truth(0), 1 / HEIGHT / WIDTH)
    assert test.ground_truth(1).sum() == pytest.approx(1) and test.rgb(1).shape == (HEIGHT, WIDTH, 3)


def test_labels_with_three_channels_are_grey(root: Path) -> None:
    wanted = Agd20kTrain(root, size=64).whole(0).heatmap
    write_image(labels(root).mask("initial", FIRST), np.repeat(bar()[..., None] * np.uint8(255), 3, axis=2))
    assert np.array_equal(Agd20kTrain(root, size=64).whole(0).heatmap, wanted)


def test_stray_files_count_for_nothing(root: Path) -> None:
    before = [picture.name for picture in Agd20kTrain(root).pictures]
    for stray in ("Thumbs.db", ".DS_Store", "notes.txt", "skis.jpg.part"):
        (ego(root, FIRST).parent / stray).write_bytes(b"x")
        (root / "Seen" / "trainset" / "egocentric" / stray).write_bytes(b"x")
        (labels(root).mask("initial", FIRST).parent / stray).write_bytes(b"x")
    assert [picture.name for picture in Agd20kTrain(root).pictures] == before
    assert len(Agd20kTest(root)) == 10


def test_a_root_that_holds_the_words_of_the_layout(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "egocentric" / "exocentric" / "GT")
    assert len(Agd20kTrain(root)) == 15 and Agd20kTest(root)[0].image.shape == (3, 224, 224)


def test_broken_files_are_named(root: Path) -> None:
    ego(root, FIRST).write_bytes(ego(root, FIRST).read_bytes()[:200])
    with pytest.raises(VidaffError, match=r"carry/skis/skis_ego_0\.png"):
        Agd20kTrain(root).whole(0)
    for path in (labels(root).boxes_path("exocentric"), labels(root).similarity_path("carry", "skis")):
        kept = path.read_bytes()
        for broken in (
            b"",
            b"{}",
            kept[: len(kept) // 2],
            b'{"format": "vidaff-boxes", "version": 1, "boxes": {"a": [1]}}',
        ):
            path.write_bytes(broken)
            with pytest.raises(VidaffError, match=path.name):
                Agd20kTrain(root)
        path.write_bytes(kept)


def test_no_test_set(root: Path) -> None:
    for path in (root / "Seen/testset/GT").rglob("*.png"):
        path.unlink()
    with pytest.raises(VidaffError, match="ground truth of none of 10"):
        Agd20kTest(root)
    assert len(Agd20kTrain(root)) == 15


def test_text_features_of_both_formats(golden: Path, root: Path) -> None:
    theirs, ours = read_text_features(golden), read_text_features(root)
    assert theirs is not None and ours is not None
    train = Agd20kTrain(golden)
    assert theirs.part_table(train.pairs).shape == (5, 512)
    table = theirs.verb_table(train.classes, train.pairs)
    assert table.shape == (36, 512) and np.array_equal(table[3], theirs.verbs["carry"]) and not table[0].any()
    assert ours.noun_table(train.classes, train.pairs).shape == (50, 8)
    with pytest.raises(VidaffError, match="1 parts are missing: hold skis"):
        ours.part_table([("hold", "skis")])
    (root / "text.safetensors").unlink()
    assert read_text_features(root) is None
    (root / "text.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(VidaffError, match=r"text\.safetensors"):
        read_text_features(root)


def test_the_package_does_without_torch() -> None:
    program = "import sys, vidaff.datasets.agd20k, vidaff.datasets.agd20k.check; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
