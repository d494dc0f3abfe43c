"""UTKinect-Action3D: XML depth, sparse and repeated frame numbers, and the defects of the label file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_tests import DatasetTests
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from still_trees import UTK_FRAMES, depth_xml, write_utkinect

from vidaff.datasets import ClipDataset, load_dataset
from vidaff.datasets.opencv_xml import read_opencv_xml
from vidaff.datasets.utkinect import ACTIONS, CORRECTIONS, Interval, UTKinect, read_actions, read_joints
from vidaff.errors import VidaffError


class TestHalfSplit(DatasetTests):
    def make(self, folder: Path) -> Path:
        root = write_utkinect(folder)
        text = (root / "actionLabel.txt").read_text()
        (root / "actionLabel.txt").write_text(text.replace("clapHands", "waveHands"))
        return root

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("utkinect", root, split, size=(24, 32), fps=None)

    def test_actions_are_counted(self, clips: ClipDataset) -> None:
        counts = clips.action_counts()
        assert tuple(counts) == ACTIONS and sum(counts.values()) == len(clips) == 3


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_utkinect(tmp_path)


def test_a_clip_is_the_frames_that_exist_within_its_action(tree: Path) -> None:
    clips = UTKinect(tree, "train", fps=None)
    assert [clips.frame_numbers(index) for index in range(3)] == [[10, 14, 16, 20], [30, 32], [42]]
    clip = clips.read(0)
    assert (clip.name, clip.subject, ACTIONS[clip.action], clip.mask) == ("s01_e01_walk", "s01", "walk", None)
    assert clip.rgb.shape == (4, 48, 64, 3) and clip.depth is not None
    assert clip.depth[:, 5, 5].tolist() == [2010, 2014, 2016, 2020]  # from half the size to the colours' grid
    assert clips.read(2).action == 9 and clips.length(1) == 2
    assert UTKinect(tree, "train", fps=5).frame_numbers(0) == [10, 20]


def test_packed_depth_is_unpacked(tmp_path: Path) -> None:
    clip = UTKinect(write_utkinect(tmp_path, packed=True), "val", fps=None).read(0)
    assert clip.depth is not None and clip.depth[:, 0, 0].tolist() == [2010, 2014, 2016, 2020]


@pytest.mark.parametrize("spoilt", [depth_xml(10, np.zeros((24, 32), np.int64)), "<damaged"])
def test_a_blank_or_damaged_frame_does_not_hide_that_depth_is_packed(tmp_path: Path, spoilt: str) -> None:
    tree = write_utkinect(tmp_path, packed=True)
    (tree / "depth" / "s06_e02" / "depthImg10.xml").write_text(spoilt)
    clip = UTKinect(tree, "val", fps=None).read(0, slice(1, None))
    assert clip.depth is not None and clip.depth[:, 0, 0].tolist() == [2014, 2016, 2020]


def test_missing_depth_is_zero_or_absent(tree: Path) -> None:
    (tree / "depth" / "s01_e01" / "depthImg14.xml").unlink()
    depth = UTKinect(tree, "train", fps=None).read(0).depth
    assert depth is not None and depth[:, 0, 0].tolist() == [2010, 0, 2016, 2020]
    for path in (tree / "depth" / "s01_e01").iterdir():
        path.unlink()
    assert UTKinect(tree, "train").read(0).depth is None


def test_joints_go_with_the_frames(tree: Path) -> None:
    clips = UTKinect(tree, "train", fps=None)
    assert clips.joints(0).shape == (4, 20, 3) and clips.joints(0)[1, 3, 2] == pytest.approx(0.14)
    assert np.isnan(clips.joints(2)).all()  # the file ends before frame 42
    joints = read_joints(tree / "joints" / "joints_s01_e01.txt")
    assert joints.numbers.tolist() == list(UTK_FRAMES[:-1]) and joints.repeated == 1
    (tree / "joints" / "joints_s01_e01.txt").write_text("1 2 3\n")
    with pytest.raises(VidaffError, match="61 columns are expected, got 3"):
        clips.joints(0)


def test_protocols(tree: Path) -> None:
    held = UTKinect(tree, "val", protocol="s01_e01")
    assert {held.info(index).subject for index in range(len(held))} == {"s01"}
    rest = UTKinect(tree, "train", protocol="s01_e01")
    assert {rest.info(index).subject for index in range(len(rest))} == {"s06"}
    with pytest.raises(VidaffError, match="protocol is 'half' or a sequence"):
        UTKinect(tree, "val", protocol="s11_e01")
    with pytest.raises(VidaffError, match="no colour frames of split 'val'"):
        UTKinect(tree, "val", protocol="s02_e01")


def labels(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "actionLabel.txt"
    path.write_text(text)
    return path


def test_published_defects_are_corrected_and_reported(tmp_path: Path) -> None:
    text = "s03_e01\npush: 2556 3622 \n\ns10_e02\ncarry:  NaN NaN\npull: 1982 2062\nwalk: 9 5\nthrow: 5 9\n"
    found, fixes = read_actions(labels(tmp_path, text))
    assert found == [
        Interval("s03_e01", "push", 3556, 3622), Interval("s10_e02", "pull", 1994, 2062),
        Interval("s10_e02", "throw", 5, 9),
    ]  # fmt: skip
    assert [(fix.sequence, fix.action) for fix in fixes] == [
        ("s03_e01", "push"), ("s10_e02", "carry"), ("s10_e02", "pull"), ("s10_e02", "walk"),
    ]  # fmt: skip
    assert "3556" in fixes[0].message and "left out" in fixes[1].message and "before they begin" in fixes[3].message


def test_only_lines_that_read_as_published_are_corrected(tmp_path: Path) -> None:
    found, fixes = read_actions(labels(tmp_path, "s03_e01\npush: 3500 3622\n"))
    assert found == [Interval("s03_e01", "push", 3500, 3622)] and not fixes


@pytest.mark.parametrize(
    "text", ["walk: 1 2", "s01_e01\nfly: 1 2", "s01_e01\nwalk 1 2", "s01_e01\nwalk: 1 2\nwalk: 3 4", "s1_e1"]
)
def test_a_bad_label_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(VidaffError, match=r"actionLabel\.txt: line [123]: 's01_e01', or one of its actions"):
        read_actions(labels(tmp_path, text))


@given(
    rows=st.dictionaries(st.sampled_from(ACTIONS), st.tuples(st.integers(0, 9999), st.integers(0, 9999))),
    blank=st.sampled_from([" ", "  "]), end=st.sampled_from(["\n", " \r\n", "\n\n"]),
)  # fmt: skip
def test_any_label_file_survives(
    rows: dict[str, tuple[int, int]], blank: str, end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "s02_e01" + end + "".join(f"{name}:{blank}{a}{blank}{b}{end}" for name, (a, b) in rows.items())
    found, fixes = read_actions(labels(tmp_path_factory.mktemp("utk"), text))
    assert {entry.action: (entry.start, entry.end) for entry in found} == {
        k: v for k, v in rows.items() if v[0] <= v[1]
    }
    assert len(found) + len(fixes) == len(rows)


@given(depth=hnp.arrays(np.uint16, st.tuples(st.integers(1, 6), st.just(8))))
def test_any_depth_survives_the_xml(depth: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("xml") / "d.xml"
    path.write_text(depth_xml(7, depth))
    assert np.array_equal(read_opencv_xml(path), depth)
    path.write_text(depth_xml(7, depth).replace("width>", "cols>").replace("height>", "rows>"))
    assert np.array_equal(read_opencv_xml(path), depth)


XML = depth_xml(7, np.ones((2, 8), np.uint16))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as XML"), (XML[:150], "not readable as XML"), (XML.replace("<width>8", "<width>9"), "16 n"),
        (XML.replace("<width>8", "<width>-8"), "has no width"), (XML.replace("1 1", "1 -1"), "whole numbers"),
        (XML.replace("1 1", "1 70000"), "16 bits"), (XML.replace("<width>8", "<width>60000"), "16 nu"),
        (XML.replace("?>", "?><!DOCTYPE a [<!ENTITY b 'c'>]>"), "document type"),
    ],
)  # fmt: skip
def test_bad_depth_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.xml").write_text(text)
    with pytest.raises(VidaffError, match=message):
        read_opencv_xml(tmp_path / "d.xml")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match=r"has no actionLabel\.txt"):
        UTKinect(tmp_path, "train")


@pytest.mark.real
def test_the_real_label_files_agree_once_corrected(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "utkinect_meta"
    published, fixes = read_actions(folder / "actionLabel.txt")
    corrected, left = read_actions(folder / "actionLabel_modified.txt")
    assert published == corrected and len(published) == 199
    assert {(fix.sequence, fix.action) for fix in fixes} == {*CORRECTIONS, ("s10_e02", "carry")} and len(left) == 1
    joints = read_joints(folder / "joints_s01_e01.txt")
    assert (len(joints.numbers), joints.repeated) == (545, 15) and (np.diff(joints.numbers) > 0).all()
