"""``vidaff data check``: each planted fault is found, named with its file, and nothing else is reported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trees import colour_mask, write_own_clip, write_recording, write_sor3d
from vidaff.datasets.check import Report, check_dataset
from vidaff.errors import VidaffError
from vidaff.io import write_image, write_json

NAME = "Subject1_cut_a_knife"
PUBLISHED = {"train: 3 recordings, 962 were published", "val: 2 recordings, 239 were published"}


def check(root: Path, name: str = "sor3d-aff", *, quick: bool = False) -> Report:
    return check_dataset(name, root, workers=1, quick=quick)


def findings(report: Report) -> set[str]:
    return {f"{problem.recording}: {problem.message}" for problem in report.problems}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = write_sor3d(tmp_path)
    write_json(root / "synth.json", {})
    return root


def test_a_sound_tree_has_no_problems(tree: Path) -> None:
    report = check(tree)
    assert report.ok and not report.problems
    assert report.recordings == {"train": 3, "val": 2} and report.frames == 25


def test_counts_are_compared_with_the_published_ones(tree: Path) -> None:
    os.remove(tree / "synth.json")
    report = check(tree)
    assert not report.ok and findings(report) == PUBLISHED


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: os.remove(folder / name)


def halve(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:90])


def picture(name: str, pixels: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: write_image(folder / name, pixels)


def content(name: str, value: object) -> Callable[[Path], object]:
    return lambda folder: write_json(folder / name, value)


def rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / old).rename(folder / new)


WRONG = colour_mask(32, 40, "cut")
WRONG[20:30, 2:10] = (200, 30, 30)
SMALL = np.zeros((16, 20, 3), np.uint8)
CASES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing number": (rename("rgb/0005.png", "rgb/0009.png"), "rgb", "4 frame numbers missing: 5, 6, 7, 8"),
    "truncated frame": (halve("rgb/0002.png"), "rgb/0002.png", "truncated PNG"),
    "empty frame": (lambda f: (f / "rgb/0002.png").write_bytes(b""), "rgb/0002.png", "not a readable picture"),
    "frame size": (picture("rgb/0003.png", SMALL), "rgb/0003.png", "20x16 pixels, the frames before it 40x32"),
    "wrong colours": (picture("rgb/z_1_mask.png", WRONG), "rgb/z_1_mask.png", "RGB (200, 30, 30)"),
    "mask without its action": (
        picture("rgb/z_1_mask.png", colour_mask(32, 40, "lift")), "rgb/z_1_mask.png", "nothing is labelled cut",
    ),
    "truncated mask": (halve("rgb/z_1_mask.png"), "rgb/z_1_mask.png", "truncated PNG"),
    "mask size": (picture("rgb/z_1_mask.png", colour_mask(16, 20, "cut")), "rgb/z_1_mask.png", "mask of 20x16"),
    "missing extra": (remove("rgb/z_2_x.png"), "", "4 extra files with '_'"),
    "extras before frames": (rename("rgb/z_2_x.png", "rgb/0001_x.png"), "rgb", "do not sort after the frames"),
    "mask not first": (rename("rgb/z_4_hotspot.json", "rgb/z_0_h.json"), "rgb/z_0_h.json", "must be the mask picture"),
    "hotspot not last": (rename("rgb/z_4_hotspot.json", "rgb/z_4_hotspot.txt"), "rgb/z_4_hotspot.txt", "hotspot JSON"),
    "bad hotspot": (content("rgb/z_4_hotspot.json", {"center": [{}]}), "rgb/z_4_hotspot.json", "must be numbers"),
    "hotspot outside": (
        content("rgb/z_4_hotspot.json", {"center": [{"x_coord": 1920, "y_coord": 1, "radius": 1}]}),
        "rgb/z_4_hotspot.json", "lies outside the picture",
    ),
    "missing depth": (remove("depth/0002.png"), "depth", "1 of 5 files missing for frames 0002"),
    "extra depth": (picture("depth/0007.png", np.ones((32, 40), np.uint16)), "depth", "without a frame: 0007"),
    "depth size": (picture("depth/0002.png", np.ones((9, 9), np.uint16)), "depth/0002.png", "9x9 pixels"),
    "8-bit depth": (picture("depth/0002.png", SMALL[..., 0]), "depth/0002.png", "16-bit"),
    "missing parts": (remove("parts/0001.png"), "parts", "1 of 5 files missing"),
    "missing flow": (remove("flow/0001.npz"), "flow", "1 of 5 files missing"),
    "truncated parts": (halve("parts/0001.png"), "parts/0001.png", "truncated PNG"),
    "unknown part": (picture("parts/0001.png", np.full((32, 40), 77, np.uint8)), "parts/0001.png", "grey values 0.."),
    "part without sense": (
        content("parts.json", {"parts": [{"name": "x", "affordances": ["fly"]}]}), "parts.json", "unknown affordance",
    ),
    "truncated flow": (halve("flow/0002.npz"), "flow/0002.npz", "not readable as packed flow"),
    "bad camera": (lambda f: (f / "intrinsics.yaml").write_text("fx: 1"), "", "fy must be a number"),
    "no rgb": (rename("rgb", "colour"), "", "has no rgb/ folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_found_in_its_file(tree: Path, case: str) -> None:
    spoil, file, message = CASES[case]
    spoil(tree / "train" / NAME)
    report = check(tree)
    assert not report.ok
    assert {problem.recording for problem in report.problems} == {f"train/{NAME}"}
    assert any(problem.file == file and message in problem.message for problem in report.problems), report.problems


@pytest.mark.parametrize("name", ["Subject1_fly_x_cup", "Subject1_cut_x_dragon", "me_cut_x_cup"])
def test_bad_names_are_found_and_the_frames_still_looked_at(tree: Path, name: str) -> None:
    (tree / "train" / NAME).rename(tree / "train" / name)
    halve("rgb/0003.png")(tree / "train" / name)
    messages = " ".join(findings(check(tree)))
    assert name in messages and (name.startswith("me") or "unknown" in messages)


def test_the_kinects_two_grids_are_a_note_not_a_fault(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "train", NAME, frames=1, size=(1080, 1920))
    write_image(folder / "depth" / "0001.png", np.ones((424, 512), np.uint16))
    os.remove(folder / "intrinsics.yaml")
    notes = [problem.message for problem in check(tmp_path).problems if problem.note]
    assert len(notes) == 1 and "--geometry aligned" in notes[0]


def test_quick_reads_only_the_ends(tree: Path) -> None:
    halve("rgb/0002.png")(tree / "train" / NAME)
    assert check(tree, quick=True).ok and not check(tree).ok
    halve("rgb/0005.png")(tree / "train" / NAME)
    assert not check(tree, quick=True).ok


def test_a_missing_split_and_a_missing_folder(tmp_path: Path) -> None:
    write_recording(tmp_path / "train", NAME)
    assert "val: no val/ folder with recordings" in findings(check(tmp_path))
    with pytest.raises(VidaffError, match="no such folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(VidaffError, match="unknown data set"):
        check(tmp_path, "imagenet")


def test_own_clips_are_checked_too(tmp_path: Path) -> None:
    folder = write_own_clip(tmp_path / "a")
    sound = check(tmp_path, "own-clips")
    assert sound.recordings == {"all": 1} and sound.ok, sound.problems
    write_image(folder / "mask.png", np.full((32, 40), 77, np.uint8))
    (tmp_path / "b" / "rgb").mkdir(parents=True)
    found = findings(check(tmp_path, "own-clips"))
    assert len(found) == 2 and any("[77]" in text for text in found) and any("no frames" in text for text in found)


def test_two_workers_find_the_same(tree: Path) -> None:
    halve("rgb/0002.png")(tree / "train" / NAME)
    assert check_dataset("sor3d-aff", tree, workers=2).as_dict() == check(tree).as_dict()
