"""The whole labelling on a miniature of AGD20K, with boxes and masks of files and tiny networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.labels.toy_chain import content, labelling, tiny_recipe, write_tree
from tests.toy_agd20k import PARTS
from vidaff.datasets.agd20k import Agd20kTrain, LabelFolder, Picture
from vidaff.errors import VidaffError
from vidaff.io import read_label_image, write_image
from vidaff.labels.chain import STEPS, Labelling
from vidaff.labels.engine import Engine, read_manifest, read_records
from vidaff.labels.label_recipe import load_label_recipe


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def labelled(tree, recipe, tmp_path_factory):
    out, lines = tmp_path_factory.mktemp("labels") / "out", []
    labelling(tree, out, recipe, say=lines.append).run()
    return out, lines


def with_refine(recipe, **blocks):
    return recipe.model_copy(update={"refine": recipe.refine.model_copy(update=blocks)})


def test_all_steps_write_what_training_reads(tree, labelled):
    out, lines = labelled
    assert [line.split(":")[0] for line in lines] == list(STEPS)
    train = Agd20kTrain(tree, labels=out, label="raw", size=96)
    assert not train.skipped and not train.notes and len(train) == 16
    assert train.label_counts.get("raw", 0) + train.label_counts.get("initial", 0) == 16
    assert train[0].heatmap.sum() == pytest.approx(1, abs=1e-3)
    record = json.loads((out / "labels.json").read_text())
    assert record["format"] == "vidaff-labels" and set(record["steps"]) == set(STEPS) - {"text", "refine-train"}
    assert list(record["settings"]) == list(STEPS)


def test_labels_of_files_come_through(tree, labelled):
    source, out = LabelFolder(tree / "Seen/trainset/labels"), LabelFolder(labelled[0])
    for name, boxes in source.read_boxes("egocentric").items():
        np.testing.assert_allclose(out.read_boxes("egocentric")[name], boxes, atol=1e-3)
        picture = Picture(*name.split("/"))
        for kind in ("initial", "objects/egocentric"):
            np.testing.assert_array_equal(
                read_label_image(out.mask(kind, picture)), read_label_image(source.mask(kind, picture))
            )
    assert len(out.read_boxes("exocentric")) == 12


def test_similarity_tables_name_all_boxes_and_hold_cosines(labelled):
    for pair in PARTS:
        table = LabelFolder(labelled[0]).read_similarity(*pair)
        assert table.similarity.shape == (4, 3) and np.abs(table.similarity).max() <= 1 + 1e-6
        assert {box.number for box in table.rows} == {0} and all(box.file.endswith(".png") for box in table.columns)


def test_records_say_what_was_asked_and_found(labelled):
    first = next(iter(read_records(labelled[0], "init")))["record"]
    assert first["queries"] == ["knife blade"] and first["found"] == ["knife blade"] and len(first["boxes"][0]) == 5
    assert 0 < first["area"] == first["areas"][0] < 1
    raw = [line["record"] for line in read_records(labelled[0], "refine")]
    assert all(0 <= one["area"] <= one["object"] for one in raw)


def test_a_second_run_does_nothing(tree, recipe, labelled):
    out, _ = labelled
    before, lines = content(out, "manifest", "records", "raw", "refine"), []
    labelling(tree, out, recipe, say=lines.append).run()
    assert content(out, "manifest", "records", "raw", "refine") == before
    assert "refine-train: was done before" in lines


def test_many_processes_write_the_same_bytes(tree, recipe, labelled, tmp_path):
    steps = ("objects", "similarity")
    labelling(tree, tmp_path / "out", recipe, engine=Engine("processes", 2)).run(steps)
    kinds = [*steps, "boxes", *(f"records/{step}" for step in steps)]
    assert content(tmp_path / "out", *kinds) == content(labelled[0], *kinds)
    for step in steps:
        assert read_manifest(tmp_path / "out", step) == read_manifest(labelled[0], step)


def test_changed_settings_need_overwrite(tree, recipe, labelled, tmp_path):
    out, _ = labelled
    other = with_refine(recipe, use=recipe.refine.use.model_copy(update={"threshold": 0.3}))
    with pytest.raises(VidaffError, match="overwrite"):
        labelling(tree, out, other).run(("refine",))
    other = with_refine(recipe, train=recipe.refine.train.model_copy(update={"seed": 2}))
    with pytest.raises(VidaffError, match="--overwrite to train anew"):
        labelling(tree, out, other).run(("refine-train",))


def test_steps_say_what_they_miss(tree, recipe, tmp_path):
    for step, cure in (("similarity", "label objects"), ("refine-train", "label text"), ("refine", "label refine")):
        with pytest.raises(VidaffError, match=cure):
            labelling(tree, tmp_path / step, recipe).run((step,))
    with pytest.raises(VidaffError, match="got 'paint'"):
        labelling(tree, tmp_path, recipe).run(("paint",))


def test_a_folder_with_a_table_gets_initial_labels(tmp_path):
    write_image(tmp_path / "pictures/a.png", np.zeros((20, 30, 3), np.uint8))
    write_image(tmp_path / "pictures/b.png", np.zeros((20, 30, 3), np.uint8))
    write_image(tmp_path / "masks/hold/knife/a.png", np.pad(np.full((6, 8), 255, np.uint8), 3))
    (tmp_path / "pictures.csv").write_text("image,object,affordance\na.png,knife,hold\nb.png,knife,dance_with\n")
    boxes = {"hold/knife/a.png": [[2, 2, 12, 10, 0.9]], "dance_with/knife/b.png": []}
    (tmp_path / "boxes.json").write_text(json.dumps({"format": "vidaff-boxes", "version": 1, "boxes": boxes}))
    for mask in (tmp_path / "masks/hold/knife").glob("*.png"):
        write_image(mask, np.pad(np.full((6, 8), 255, np.uint8), ((3, 11), (3, 19))))
    recipe = load_label_recipe("labels-small", [
        "part.detector.kind=file", f"part.detector.weights={tmp_path / 'boxes.json'}",
        "part.segmenter.kind=file", f"part.segmenter.weights={tmp_path / 'masks'}",
    ])  # fmt: skip
    job = Labelling(
        tmp_path / "pictures", tmp_path / "out", recipe, csv=tmp_path / "pictures.csv", progress=False, max_skipped=1
    )
    job.run(("init",))
    assert read_label_image(tmp_path / "out/initial/hold/knife/a.png").sum() == 48 * 255
    (skipped,) = read_manifest(tmp_path / "out", "init")[0]["skipped"]
    assert "dance_with" in skipped[1]
    with pytest.raises(VidaffError, match="no exocentric pictures"):
        job.run(("similarity",))


def test_nothing_found_writes_no_label(tree, recipe, tmp_path):
    names = [item.name for item in labelling(tree, tmp_path, recipe).items if item.view == "egocentric"]
    boxes = {"format": "vidaff-boxes", "version": 1, "boxes": {name: [] for name in names}}
    (tmp_path / "none.json").write_text(json.dumps(boxes))
    detector = recipe.part.detector.model_copy(update={"weights": str(tmp_path / "none.json")})
    other = recipe.model_copy(update={"part": recipe.part.model_copy(update={"detector": detector})})
    labelling(tree, tmp_path / "out", other).run(("init",))
    assert not list((tmp_path / "out").glob("initial/**/*.png"))
    assert all(line["record"]["area"] == 0 for line in read_records(tmp_path / "out", "init"))
