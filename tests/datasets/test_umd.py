"""UMD: splits, labels and ranks, frames that lack files, and the sets that only look like it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from dataset_tests import DatasetTests
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat
from still_trees import SIZE, umd_labels, write_umd, write_umd_frame

from vidaff.datasets import ClipDataset, load_dataset
from vidaff.datasets.taxonomies import UMD
from vidaff.datasets.umd import Umd, is_manual, read_labels, read_split
from vidaff.errors import VidaffError
from vidaff.io import write_image


class TestWholePictures(DatasetTests):
    def make(self, folder: Path) -> Path:
        return write_umd(folder).parent

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("umd", root, split, size=(24, 32))


class TestRankedCentre(DatasetTests):
    split = "val"

    def make(self, folder: Path) -> Path:
        return write_umd(folder)

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("umd", root, split, size=(24, 24), centre_crop=40, labels="ranked")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_umd(tmp_path_factory.mktemp("umd"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write_umd(tmp_path)


def tools(clips: ClipDataset) -> list[str]:
    return sorted({clips.name(index).rpartition("_")[0] for index in range(len(clips))})


def test_a_frame_holds_what_was_written(tree: Path) -> None:
    clip = (clips := Umd(tree, "val")).read(clips.index_of("mug_13_00000002"))
    assert (clip.object, clip.action, clip.subject, clip.flow) == ("mug", -1, "", None)
    assert clip.depth is not None and clip.mask is not None and clip.affordances is not None
    assert clip.depth[0, 0, 0] == 802 and (clip.depth[0, 22:24, 20:40] == 0).all()
    labels = umd_labels("mug")
    assert np.array_equal(clip.mask, np.where(labels > 0, labels - 1, 7))  # wrap-grasp 6, grasp 0, background 7
    assert np.array_equal(clip.affordances, np.where(labels > 0, 1 << (labels.astype(np.uint16) - 1), 0))
    assert np.array_equal(UMD.to_disk()[clip.mask], labels)


def test_the_two_protocols_split_by_tool(tree: Path) -> None:
    assert tools(Umd(tree, "train")) == ["bowl_01", "knife_01", "turner_07"]
    assert tools(Umd(tree, "val")) == ["bowl_02", "ladle_01", "mug_13"]
    assert tools(Umd(tree, "val", protocol="novel")) == ["ladle_01"]
    assert not set(tools(Umd(tree, "train", protocol="novel"))) & {"ladle_01"}


def test_frames_labelled_by_hand(own: Path) -> None:
    clips = Umd(own, "train", frames="manual")
    assert [clips.name(index)[-1] for index in range(len(clips))] == ["1", "4"] * 3
    # Without gt_type every third frame is taken to be labelled by hand; with it the number does not matter.
    folder = own / "tools" / "bowl_01"
    stems = [write_umd_frame(folder, number, kind=None) for number in (7, 8)]
    stems += [write_umd_frame(folder, number, kind=kind) for number, kind in ((9, "manual"), (10, "automatic"))]
    assert [is_manual(folder / f"{stem}_label.mat") for stem in stems] == [True, False, True, False]


def test_ranks_tell_more_than_the_label(tree: Path) -> None:
    clips = Umd(tree, "train", labels="ranked")
    index = clips.index_of("knife_01_00000001")
    clip, ranks = clips.read(index), clips.ranks(index)
    assert clip.affordances is not None and clip.mask is not None
    assert ranks.shape == (*SIZE, 7) and set(np.unique(ranks)) == {0, 1, 2, 9}
    assert clip.affordances[22, 15] == 0b101 and clip.affordances[22, 35] == 0b110  # scoop is second everywhere
    assert ((clip.affordances > 0) == (clip.mask < 7)).all()
    assert Umd(tree, "train", size=(24, 24), centre_crop=40).ranks(0).shape == (24, 24, 7)


def test_ties_and_doubles_are_read(own: Path) -> None:
    """MATLAB writes doubles unless told otherwise, and the README allows ties."""
    folder = own / "tools" / "knife_01"
    labels = umd_labels("knife")
    tied = np.where(labels[..., None] > 0, np.array([1, 1, 9, 9, 9, 9, 9]), 0)
    savemat(folder / "knife_01_00000001_label.mat", {"gt_label": labels.astype(float)})
    savemat(folder / "knife_01_00000001_label_rank.mat", {"gt_label": tied.astype(float)})
    clip = (clips := Umd(own, "train", labels="ranked")).read(clips.index_of("knife_01_00000001"))
    assert clip.affordances is not None and clip.affordances.max() == 0b11
    assert np.array_equal(read_labels(folder / "knife_01_00000001_label.mat"), labels)


def test_depth_pairs_by_number_and_may_be_missing(own: Path) -> None:
    """As in mug_13 of the samples, where a depth file carries the next frame's number."""
    folder = own / "tools" / "mug_13"
    (folder / "mug_13_00000004_depth.png").rename(folder / "mug_13_00000005_depth.png")
    clips = Umd(own, "val")
    clip = clips.read(clips.index_of("mug_13_00000004"))
    assert clip.depth is not None and not clip.depth.any()
    assert len(clips) == 12 and "mug_13_00000005" not in [clips.name(i) for i in range(12)]
    for path in own.glob("tools/*/*_depth.png"):
        path.unlink()
    assert Umd(own, "val").read(0).depth is None


def test_frames_without_labels_are_left_out(own: Path) -> None:
    (own / "tools" / "bowl_01" / "bowl_01_00000002_label.mat").unlink()
    assert len(Umd(own, "train")) == 11


def test_a_small_picture_gives_its_largest_square(tree: Path) -> None:
    assert Umd(tree, "train", centre_crop=300).read(0).rgb.shape == (1, 48, 48, 3)
    assert Umd(tree, "train", centre_crop=300, size=(96, 96)).read(0).rgb.shape == (1, 96, 96, 3)


def test_the_nominal_camera_is_that_of_whole_frames(own: Path) -> None:
    assert Umd(own, "train").read(0).intrinsics is None
    write_umd_frame(own / "tools" / "bowl_01", 1, labels=np.full((480, 640), 4, np.uint8))
    camera = Umd(own, "train", size=(240, 320)).read(0).intrinsics
    assert camera is not None and camera.fx == pytest.approx(285.15)


def test_umd_gt_is_refused(own: Path) -> None:
    """UMD+GT has the same files with six affordances: 6 is wrap-grasp there, support here."""
    labels = umd_labels("mug")
    labels[labels == 7] = 6
    write_umd_frame(own / "tools" / "mug_13", 1, labels=labels)
    with pytest.raises(VidaffError, match=r"a mug labelled 6 \(support\): this is UMD\+GT"):
        Umd(own, "val")
    assert len(Umd(own, "train")) == 12  # turners are labelled 6 by right


SPOILS = {
    "empty picture": ("rgb.jpg", b"", "not a readable picture"),
    "empty label": ("label.mat", b"", "not a MAT file"),
    "8-bit depth": ("depth.png", np.zeros(SIZE, np.uint8), "16-bit"),
    "depth of another size": ("depth.png", np.zeros((9, 9), np.uint16), "9x9 pixels, its colour picture 64x48"),
    "label of another size": ("label.mat", np.zeros((9, 8), np.uint8), "8x9 pixels, its colour picture 64x48"),
    "ids out of range": ("label.mat", np.full(SIZE, 8, np.uint8), r"labels 0\.\.7 are expected, got 8"),
    "half an id": ("label.mat", np.full(SIZE, 0.5), "whole numbers"),
    "three axes": ("label.mat", np.zeros((*SIZE, 7), np.uint8), "no variable gt_label with 2 axes"),
    "six ranks": ("label_rank.mat", np.zeros((*SIZE, 6), np.uint8), "7 ranks"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILS)
def test_files_that_cannot_be_used_are_named(own: Path, case: str) -> None:
    kind, content, message = SPOILS[case]
    path = own / "tools" / "knife_01" / f"knife_01_00000001_{kind}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif kind == "depth.png":
        write_image(path, content)
    else:
        savemat(path, {"gt_label": content})
    clips = Umd(own, "train", labels="ranked")
    with pytest.raises(VidaffError, match=message) as caught:
        clips.read(clips.index_of("knife_01_00000001"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "random"}, "protocol is one of category, novel"), ({"fps": 10.0}, "take no option 'fps'"),
        ({"size": (4, 4)}, "least is 8x8"), ({"centre_crop": 2}, "at least 8"), ({"frames": "some"}, "all, manual"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(tree: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(VidaffError, match=message):
        load_dataset("umd", tree, "train", **options)


def test_what_is_missing_is_named(own: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="has no tools/ folder"):
        Umd(tmp_path / "elsewhere", "train")
    (own / "category_split.txt").write_text("1 spoon_99\n")
    with pytest.raises(VidaffError, match="none of the 1 tools of split 'train'"):
        Umd(own, "train")
    for name in os.listdir(own / "tools" / "ladle_01"):
        (own / "tools" / "ladle_01" / name).unlink()
    with pytest.raises(VidaffError, match="none of the 1 tools of split 'val' has a frame"):
        Umd(own, "val", protocol="novel")


@given(
    listed=st.dictionaries(st.from_regex(r"[a-z]{1,6}_[0-9]{2}", fullmatch=True), st.sampled_from([1, 2]), max_size=9)
)
def test_any_split_file_survives(listed: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("split") / "s.txt"
    path.write_text("\n".join(f"{side}  {tool} " for tool, side in listed.items()))
    assert read_split(path) == listed


@pytest.mark.parametrize("text", ["3 bowl_01", "1 bowl", "1", "1 bowl_01\n2 bowl_01", "one bowl_01", "1 ../bowl_01"])
def test_a_bad_split_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.txt").write_text(text)
    with pytest.raises(VidaffError, match=r"s\.txt: line [12]: '1 bowl_01'"):
        read_split(tmp_path / "s.txt")


@pytest.mark.real
@pytest.mark.parametrize(("protocol", "counts"), [("category", (22, 25)), ("novel", (36, 11))])
def test_the_real_crops(shared_dir: Path, protocol: str, counts: tuple[int, int]) -> None:
    root = shared_dir / "data" / "umd_crops"
    splits = [Umd(root, split, protocol=protocol, labels="ranked") for split in ("train", "val")]
    assert tuple(map(len, splits)) == counts
    names = []
    for clips in splits:
        for index in range(len(clips)):
            clip, ranks = clips.read(index), clips.ranks(index)
            names.append(clip.name)
            assert clip.mask is not None and clip.depth is not None and (clip.mask < 7).any()
            first = clip.mask[..., None] == np.arange(7)
            assert np.array_equal(first, ranks == 1)  # no ties in the real labels
            assert clip.depth.any() != clip.name.startswith("mug_13")
    assert len(set(names)) == 47
