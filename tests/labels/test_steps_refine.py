"""The refinement stage against the authors' code: samples, raw labels, lists of pairs; and its training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.agd20k_trees import unpack_golden
from vidaff.datasets.agd20k import Agd20kTree
from vidaff.datasets.agd20k.labels import Box
from vidaff.datasets.agd20k.places import LabelPlaces
from vidaff.errors import VidaffError
from vidaff.labels.engine import tree_items
from vidaff.labels.pictures import LabelledPictures
from vidaff.labels.refine_infer import picture_probabilities, whole_view
from vidaff.labels.refine_pairs import refined_pairs
from vidaff.labels.refine_pixels import Rect, square_around, view
from vidaff.labels.refine_recipe import RefineUse, load_refine_recipe
from vidaff.labels.refine_samples import RefineDraw, RefineSet
from vidaff.labels.steps.refine import marked
from vidaff.models.image.recipe import PictureInput

CLIP = {name: getattr(PictureInput(), name) for name in ("mean", "std")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> LabelledPictures:
    return open_tree(unpack_golden(tmp_path_factory.mktemp("golden")))


def open_tree(root) -> LabelledPictures:
    tree = Agd20kTree(root, "seen")
    return LabelledPictures(tree_items(tree, ("egocentric", "exocentric")), LabelPlaces(tree))


@pytest.fixture(scope="module")
def golden(shared_dir):
    folder = shared_dir / "golden" / "wsag"
    if not (folder / "dataset.npz").is_file():
        pytest.skip("the authors' samples are not beside this checkout")
    return folder


def skis(pictures, **changes) -> RefineSet:
    return RefineSet(pictures, [("carry", "skis")], **{"size": 224, **CLIP, **changes})


@pytest.mark.parametrize("number", [0, 1])
def test_samples_equal_the_authors(golden, number):
    arrays = np.load(golden / "dataset.npz", allow_pickle=False)
    log = json.loads((golden / "manifest.json").read_text())["dataset"][f"refine_train_{number}"]["random_log"]
    data = skis(open_tree(golden / "mini_agd20k"), num_exo=2)
    choices = [int(entry[2]) for entry in log if entry[0] == "choice"]
    top, left = next(entry[1:] for entry in reversed(log) if entry[0] == "crop_ij")
    exo = tuple(Box(f"skis_exo_00000{choice}.jpg", 0) for choice in choices)
    sample = data.sample(number, RefineDraw(log[0][2], exo, top, left, flip=log[-1][1] < 0.5))
    expected = {name.split(".")[1]: arrays[name] for name in arrays if name.startswith(f"refine_train_{number}.")}
    np.testing.assert_allclose(sample.image, expected["image"], atol=1e-5)
    np.testing.assert_array_equal(sample.box, expected["ego_box"])
    np.testing.assert_allclose(sample.region, expected["ego_region"], atol=1e-5)
    np.testing.assert_allclose(sample.exo[:1], expected["exo_regions"], atol=1e-5)
    np.testing.assert_allclose(sample.exo_masks, expected["exo_region_masks"], atol=1e-6)
    np.testing.assert_array_equal(sample.weights, expected["crop_weights"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_raw_labels_equal_the_authors(golden, number):
    arrays = np.load(golden / "refine_infer.npz", allow_pickle=False)
    thing = arrays[f"i{number}.obj_mask"][0]
    probabilities = picture_probabilities(torch.from_numpy(arrays[f"i{number}.logits"][0, 0]), thing.shape)
    np.testing.assert_allclose(probabilities, arrays[f"i{number}.prob"], atol=1e-6)
    saved = ((probabilities > 0.95) * thing * 255).astype(np.uint8)
    np.testing.assert_array_equal(saved, arrays[f"i{number}.saved_u8"])


def test_the_whole_picture_equals_the_authors(pictures, golden):
    arrays = np.load(golden / "dataset.npz", allow_pickle=False)
    rgb = pictures.read("egocentric", skis(pictures).items[0])
    np.testing.assert_allclose(whole_view(rgb, 224, **CLIP), arrays["refine_test_0.image"], atol=1e-5)


def test_refined_pairs_equal_the_authors(golden):
    listed = json.loads((golden / "manifest.json").read_text())["ops"]["refined_classes"]
    present = {tuple(pair) for pairs in listed.values() for pair in pairs if isinstance(pair, list)}
    present |= {("hold", "knife"), ("ride", "bicycle"), ("throw", "frisbee")}
    for split in ("seen", "unseen"):
        assert refined_pairs("split", present, split) == sorted(map(tuple, listed[split]))


def test_pairs_by_name():
    present = {("hold", "fork"), ("hold", "skis"), ("ride", "bicycle")}
    assert refined_pairs("split", present, "hard") == [("hold", "skis")]
    assert refined_pairs("both", present, "seen") == [("hold", "fork"), ("hold", "skis")]
    assert refined_pairs("all", present, "seen") == sorted(present)
    assert refined_pairs(("ride/bicycle",), present, "seen") == [("ride", "bicycle")]
    with pytest.raises(ValueError, match="ride/horse"):
        refined_pairs(("ride/horse",), present, "seen")


def test_a_mirrored_sample_is_the_mirror_image(pictures):
    data = skis(pictures, num_exo=1)
    draw = data.draw(0, np.random.default_rng(0))
    straight, mirrored = (data.sample(0, draw._replace(flip=flip)) for flip in (False, True))
    np.testing.assert_array_equal(straight.image[..., ::-1], mirrored.image)
    np.testing.assert_array_equal(straight.region[..., ::-1], mirrored.region)
    np.testing.assert_array_equal(straight.label[..., ::-1], mirrored.label)
    left, top, right, bottom = straight.box
    assert mirrored.box.tolist() == [224 - right, top, 224 - left, bottom]
    np.testing.assert_array_equal(straight.exo, mirrored.exo)


def test_labels_of_the_whole_object_say_nothing_of_refined_pairs(pictures, monkeypatch):
    whole = np.ones((400, 400), bool)
    monkeypatch.setattr(pictures, "mask", lambda kind, picture, size: whole[: size[0], : size[1]])
    draw = skis(pictures, num_exo=1).draw(0, np.random.default_rng(0))
    trusted, doubted = (
        skis(pictures, num_exo=1, refined=pairs).sample(0, draw) for pairs in ((), (("carry", "skis"),))
    )
    assert trusted.thing.any() and not doubted.thing.any()
    assert skis(pictures, num_exo=1, refined=(("carry", "skis"),), label_whole=1.1).sample(0, draw).thing.any()


def test_samples_depend_on_seed_epoch_and_index_alone(pictures):
    first, second = skis(pictures, num_exo=2), skis(pictures, num_exo=2)
    np.testing.assert_array_equal(first[1].image, second[1].image)
    second.epoch = 1
    assert any(not np.array_equal(first[i].image, second[i].image) for i in range(len(first)))


def test_a_crop_that_misses_the_object_weighs_nothing(pictures):
    data = skis(pictures, num_exo=2)
    name = data.items[0].name
    data._boxes = {**data._boxes, name: np.array([[0, 0, 2, 1, 0.9]], np.float32)}
    sample = data.sample(0, data.draw(0, np.random.default_rng(1))._replace(box=0, top=32, left=32))
    assert not sample.region.any() and not sample.weights.any()
    assert sample.box.tolist() == [0, 0, 224, 224]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(-9, 40), st.integers(-9, 40), st.integers(1, 25))
def test_views_equal_padding_and_resizing_by_torch(height, width, left, top, side):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 2)).astype(np.uint8)
    square = Rect(left, top, left + side, top + side)
    padded = np.zeros((height + 100, width + 100, 2), np.float32)
    padded[40 : 40 + height, 40 : 40 + width] = image
    cut = torch.from_numpy(padded[top + 40 : top + 40 + side, left + 40 : left + 40 + side]).permute(2, 0, 1)
    wanted = torch.nn.functional.interpolate(cut[None], size=(16, 16), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(view(image, square, 16), wanted.permute(1, 2, 0).numpy(), atol=2e-3)


@given(st.integers(1, 50), st.integers(1, 50))
def test_squares_hold_their_rectangle(width, height):
    square = square_around(Rect(3, 5, 3 + width, 5 + height))
    assert square.right - square.left == square.bottom - square.top == max(width, height)
    assert square.left <= 3 and square.right >= 3 + width and square.top <= 5 and square.bottom >= 5 + height


def test_recipes_have_the_authors_numbers():
    recipe = load_refine_recipe("refine")
    assert recipe.model.task == "refinement"
    train = recipe.train
    assert (train.epochs, train.use_epoch, train.batch_size, train.micro_batch, train.num_exo) == (20, 10, 20, 1, 3)
    assert (train.lr, train.encoder_lr, train.exo_loss, train.label_loss) == (1e-4, 0.1, 4.0, 0.0)
    assert recipe.use.threshold == 0.95


@pytest.mark.parametrize(
    "override",
    ["train.exo_loss=0", "train.micro_batch=3", "model.task=grounding", "use.threshold=1", "train.betas=[1, 0]"],
)
def test_recipes_that_cannot_be(override):
    with pytest.raises(VidaffError, match=r"recipe refine: (train|model|use)?"):
        load_refine_recipe("refine", [override])


def test_no_exocentric_boxes_is_one_clear_line(pictures, monkeypatch):
    monkeypatch.setattr(type(pictures.places), "boxes", lambda self, view: None)
    with pytest.raises(VidaffError, match="exocentric"):
        skis(pictures)


def test_a_relative_threshold_finds_what_stands_out_and_a_low_peak_marks_nothing():
    inside = np.zeros((4, 4), bool)
    inside[1:3] = True
    sure = np.full((4, 4), 0.9, np.float32)  # higher outside of the object, where it says nothing
    sure[1:3] = [[0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.1, 0.35]]
    mask, peak = marked(sure, inside, RefineUse(threshold=0.5))
    assert not mask.any() and peak == pytest.approx(0.4)
    mask, _ = marked(sure, inside, RefineUse(threshold=0.7, relative=True))
    assert np.argwhere(mask).tolist() == [[1, 2], [1, 3], [2, 3]]
    assert not marked(sure, inside, RefineUse(threshold=0.7, relative=True, least_peak=0.5))[0].any()
    mask, peak = marked(sure, np.zeros((4, 4), bool), RefineUse())
    assert not mask.any() and peak == 0.0


def test_the_authors_rule_is_the_default():
    use = load_refine_recipe("refine").use
    assert (use.threshold, use.relative, use.least_peak) == (0.95, False, 0.0)
