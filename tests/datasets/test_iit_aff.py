"""IIT-AFF: the native text form, the Pascal-VOC form with its pickles, and the set's defects."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_tests import DatasetTests
from PIL import Image
from still_trees import IIT_TRAIN, IIT_VAL, SIZE, iit_labels, label_text, write_iit, write_voc

from vidaff.datasets import ClipDataset, load_dataset
from vidaff.datasets.base import ObjectBox
from vidaff.datasets.iit_aff import Box, IitAff
from vidaff.datasets.taxonomies import IIT_AFF
from vidaff.errors import VidaffError
from vidaff.io import read_image, write_image

WRITERS: dict[str, Callable[[Path], Path]] = {
    "native": write_iit, "nested": lambda root: write_iit(root, nested=True), "voc": write_voc,
}  # fmt: skip


class TestNative(DatasetTests):
    def make(self, folder: Path) -> Path:
        return write_iit(folder / "IIT_Affordances_2017").parent

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("iit-aff", root, split, size=(24, 32))


class TestVoc(DatasetTests):
    split = "val"

    def make(self, folder: Path) -> Path:
        return write_voc(folder / "data").parent

    def open(self, root: Path, split: str) -> ClipDataset:
        return IitAff(root, split, centre_crop=32)


@pytest.mark.parametrize("form", WRITERS)
def test_a_picture_holds_what_was_written(tmp_path: Path, form: str) -> None:
    clips = IitAff(WRITERS[form](tmp_path), "train")
    assert [clips.name(index) for index in range(len(clips))] == IIT_TRAIN
    clip = clips.read(0)
    assert clip.depth is None and clip.mask is not None and clip.affordances is not None
    labels = iit_labels()
    assert np.array_equal(clip.mask, np.where(labels > 0, labels - 1, 9))
    assert np.array_equal(clip.affordances, np.where(labels > 0, 1 << (labels.astype(np.uint16) - 1), 0))
    assert [box.name for box in clips.boxes(0)] == ["hammer", "knife"]  # the box without area is left out


@pytest.mark.parametrize("form", WRITERS)
def test_boxes_are_on_the_grid_of_the_clip(tmp_path: Path, form: str) -> None:
    """Both boxes of a tree cross an edge of the centre crop; files name the last pixels of a box, not those behind."""
    root = WRITERS[form](tmp_path)
    expected = {"hammer": (8, 8, 25, 21), "knife": (30, 30, 61, 41)}
    cut = {"hammer": (0, 4, 13, 17), "knife": (18, 26, 40, 37)}
    if form == "voc":
        expected, cut = dict.fromkeys(expected, (1, 2, 31, 41)), dict.fromkeys(cut, (0, 0, 19, 37))
    whole, half = IitAff(root, "train"), IitAff(root, "train", size=(24, 32))
    crop = IitAff(root, "train", centre_crop=40)
    assert whole.object_kinds == IIT_AFF.objects
    assert whole.object_boxes(0) == tuple(ObjectBox(name, *box) for name, box in expected.items())
    assert half.object_boxes(0) == tuple(ObjectBox(n, *(side / 2 for side in box)) for n, box in expected.items())
    assert crop.object_boxes(0) == tuple(ObjectBox(name, *box) for name, box in cut.items())


def test_boxes_outside_a_crop_are_left_out(tree: Path) -> None:
    (tree / "object_labels" / f"{IIT_TRAIN[0]}.txt").write_text("3 0 0 10 40\n4 20 10 30 20\n")
    assert IitAff(tree, "train", centre_crop=40).object_boxes(0) == (ObjectBox("knife", 8, 6, 19, 17),)
    assert IitAff(tree, "train", size=(8, 8), centre_crop=40).object_boxes(0) is not None


def test_a_tree_without_boxes_is_read_without(tree: Path) -> None:
    shutil.rmtree(tree / "object_labels")
    clips = IitAff(tree, "train")
    assert clips.object_kinds == () and clips.object_boxes(0) is None
    assert clips.read(0).mask is not None


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_iit(tmp_path)


def test_holdout_takes_the_validation_pictures_out_of_training(tree: Path) -> None:
    train, val = (IitAff(tree, split, protocol="holdout") for split in ("train", "val"))
    assert [val.name(index) for index in range(len(val))] == IIT_VAL
    assert [train.name(index) for index in range(len(train))] == [name for name in IIT_TRAIN if name not in IIT_VAL]


def test_pictures_without_labels_are_left_out_and_named(tree: Path) -> None:
    (tree / "affordances_labels" / f"{IIT_TRAIN[0]}.txt").unlink()
    (tree / "rgb" / f"{IIT_TRAIN[2]}.jpg").unlink()
    clips = IitAff(tree, "train")
    assert len(clips) == 1 and clips.skipped == [IIT_TRAIN[0], IIT_TRAIN[2]]


def test_ids_out_of_range_are_not_judged(tree: Path) -> None:
    labels = iit_labels().astype(int)
    labels[0, :3] = 12, -1, 10
    (tree / "affordances_labels" / f"{IIT_TRAIN[0]}.txt").write_text(label_text(labels))
    clip = IitAff(tree, "train").read(0)
    assert clip.mask is not None and clip.affordances is not None
    assert clip.mask[0, :4].tolist() == [255, 255, 255, 9] and not clip.affordances[0].any()


def test_labels_of_another_size(tree: Path) -> None:
    path = tree / "affordances_labels" / f"{IIT_TRAIN[0]}.txt"
    path.write_text(label_text(iit_labels()[::2, ::2]))
    mask = IitAff(tree, "train").read(0).mask
    assert mask is not None and mask.shape == SIZE and (mask == 4).sum() == (iit_labels() == 5).sum()
    path.write_text(label_text(iit_labels().T))
    with pytest.raises(VidaffError, match="the picture is 64x48, its label 48x64 pixels"):
        IitAff(tree, "train").read(0)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_pictures_that_are_not_rgb(tree: Path, mode: str) -> None:
    Image.new("RGB", SIZE[::-1], (90, 90, 90)).convert(mode).save(tree / "rgb" / f"{IIT_TRAIN[0]}.jpg")
    assert np.abs(IitAff(tree, "train").read(0).rgb.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("line", ["3 8 8 24", "10 1 2 3 4", "-1 1 2 3 4", "3 1.5 2 3 4", "knife 1 2 3 4"])
def test_bad_boxes_are_one_clear_line(tree: Path, line: str) -> None:
    path = tree / "object_labels" / f"{IIT_TRAIN[0]}.txt"
    path.write_text(line + "\n")
    with pytest.raises(VidaffError, match="are expected"):
        IitAff(tree, "train").boxes(0)
    path.write_text("\n")
    assert IitAff(tree, "train").boxes(0) == []


def test_what_is_missing_is_named(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(VidaffError, match="has no rgb/ folder"):
        IitAff(tmp_path_factory.mktemp("empty"), "train")
    with pytest.raises(VidaffError, match="protocol is one of official, holdout"):
        IitAff(tree, "train", protocol="half")
    os.remove(tree / "test.txt")
    with pytest.raises(VidaffError, match=r"test\.txt: cannot be read"):
        IitAff(tree, "val")
    (tree / "test.txt").write_text("unknown.jpg\n")
    with pytest.raises(VidaffError, match="none of the 1 pictures of split 'val'"):
        IitAff(tree, "val")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return write_voc(tmp_path)


def test_a_mask_that_runs_code_is_refused(voc: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch '{tmp_path / 'proof'}'",)

    mask = voc / "cache" / "GTsegmask_VOC_2012_train" / f"{IIT_TRAIN[0]}_2_segmask.sm"
    mask.write_bytes(pickle.dumps(Hostile(), protocol=2))
    with pytest.raises(VidaffError, match=r"refused, because this pickle asks for posix\.system"):
        IitAff(voc, "train").read(0)
    assert not (tmp_path / "proof").exists()


def test_damage_in_the_voc_form_is_one_clear_line(voc: Path) -> None:
    masks = voc / "cache" / "GTsegmask_VOC_2012_train"
    xml = voc / "VOCdevkit2012" / "VOC2012" / "Annotations"
    names = IIT_TRAIN
    (masks / f"{names[0]}_2_segmask.sm").write_bytes(pickle.dumps(np.zeros((3, 3), np.uint8), protocol=2))
    (masks / f"{names[1]}_2_segmask.sm").unlink()
    (xml / f"{names[2]}.xml").write_text("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")
    clips = IitAff(voc, "train")
    for index, message in enumerate(("a mask of shape", "no mask 00_00000091_2_segmask", "document type is refused")):
        with pytest.raises(VidaffError, match=message):
            clips.read(index)
    for text, message in (
        ("<a", "not readable as XML"), ("<a/>", "names no object"),
        ("<a><object><name>knife</name></object></a>", "corners"),
        ((xml / f"{names[1]}.xml").read_text().replace("hammer", "spoon"), "unknown object 'spoon'"),
    ):  # fmt: skip
        (xml / f"{names[2]}.xml").write_text(text)
        with pytest.raises(VidaffError, match=message):
            clips.read(2)


def test_the_voc_form_has_no_list_of_validation_pictures(voc: Path) -> None:
    with pytest.raises(VidaffError, match=r"val\.txt: cannot be read"):
        IitAff(voc, "train", protocol="holdout")


@pytest.mark.real
def test_the_real_picture(shared_dir: Path) -> None:
    clips = IitAff(shared_dir / "data" / "iit_aff", "val")
    clip = clips.read(0)
    assert clip.rgb.shape == (1, 1024, 1024, 3) and clip.mask is not None
    assert np.unique(clip.mask).tolist() == [1, 4, 5, 6, 9]  # cut, grasp, hit, pound
    assert clips.boxes(0)[0] == Box("hammer", 559, 274, 619, 408)
    # The text labels were made from the masks of the three objects, so they must agree with them.
    masks = [read_image(path)[..., 0] > 0 for path in sorted((shared_dir / "data/iit_aff/instance_png").iterdir())]
    assert (np.logical_or.reduce(masks)[clip.mask != 9]).all()


@pytest.mark.parametrize("height", [48, 96])
def test_pictures_of_mixed_sizes_come_in_one(tree: Path, height: int) -> None:
    write_image(tree / "rgb" / f"{IIT_TRAIN[0]}.jpg", np.zeros((height, height * 4 // 3, 3), np.uint8))
    assert IitAff(tree, "train", size=(24, 32)).read(0).rgb.shape == (1, 24, 32, 3)
