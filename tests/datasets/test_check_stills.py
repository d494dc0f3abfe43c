"""``vidaff data check`` of UMD, IIT-AFF and UTKinect: planted faults are found and named, sound trees pass."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.io import savemat
from still_trees import (
    IIT_TRAIN,
    SIZE,
    iit_labels,
    label_text,
    umd_labels,
    write_iit,
    write_umd,
    write_umd_frame,
    write_utkinect,
    write_voc,
)

from tests.trees import write_sor3d
from vidaff.cli import cli
from vidaff.datasets.check import Report, check_dataset
from vidaff.io import write_image


def check(name: str, root: Path, *, quick: bool = False) -> Report:
    return check_dataset(name, root, workers=1, quick=quick)


def faults(report: Report) -> list[str]:
    return [f"{p.recording} {p.file}: {p.message}" for p in report.problems if not p.note]


@pytest.fixture
def umd(tmp_path: Path) -> Path:
    root = write_umd(tmp_path)
    (root / "synth.json").write_text("{}")  # a rendered set has its own counts
    return root


@pytest.fixture
def iit(tmp_path: Path) -> Path:
    (tmp_path / "synth.json").write_text("{}")
    return write_iit(tmp_path)


def test_a_sound_umd_tree(umd: Path) -> None:
    report = check("umd", umd.parent)
    assert report.ok, faults(report)
    assert report.recordings == {"train": 3, "val": 3} and report.frames == 24
    assert {problem.message for problem in report.problems} == {"64x48 pixels, published frames have 640x480"}


def test_umd_counts_are_compared_with_the_published_ones(umd: Path) -> None:
    (umd / "synth.json").unlink()
    assert {message.partition(": ")[2] for message in faults(check("umd", umd))} == {
        "3 tools, 54 were published", "3 tools, 51 were published",
        "12 frames, 14823 were published", "12 frames, 14020 were published",
    }  # fmt: skip


def tool(root: Path) -> Path:
    return root / "tools" / "knife_01"


def break_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


UMD_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing depth": (lambda r: (tool(r) / "knife_01_00000002_depth.png").unlink(), "depth.png is missing for 1 of 4"),
    "missing frame": (
        lambda r: [path.unlink() for path in tool(r).glob("*_00000002_*")], "1 frame numbers missing: 2",
    ),
    "empty picture": (
        lambda r: (tool(r) / "knife_01_00000002_rgb.jpg").write_bytes(b""), "knife_01_00000002_rgb.jpg: empty file",
    ),
    "wrong ids": (
        lambda r: savemat(tool(r) / "knife_01_00000002_label.mat", {"gt_label": np.full(SIZE, 9, np.uint8)}),
        r"knife_01_00000002_label.mat: labels 0..7 are expected, got 9",
    ),
    "another kind's label": (
        lambda r: write_umd_frame(tool(r), 2, labels=np.where(umd_labels("mug") > 1, 7, 0).astype(np.uint8)),
        "labelled 7 (wrap-grasp), which no knife of the original set is",
    ),
    "ranks of another frame": (
        lambda r: savemat(tool(r) / "knife_01_00000002_label.mat", {"gt_label": np.roll(umd_labels("knife"), 5, 0)}),
        "disagrees with the ranks",
    ),
    "nothing labelled": (lambda r: write_umd_frame(tool(r), 2, labels=np.zeros(SIZE, np.uint8)), "nothing is labelled"),
    "size": (
        lambda r: write_image(tool(r) / "knife_01_00000002_depth.png", np.ones((9, 9), np.uint16)),
        "9x9 pixels, the colour picture 64x48",
    ),
    "tool not listed": (lambda r: tool(r).rename(r / "tools" / "knife_02"), "1 in tools/ but not listed: knife_02"),
    "no split file": (lambda r: (r / "novel_split.txt").unlink(), "novel_split.txt: cannot be read"),
    "broken link": (
        lambda r: break_link(tool(r) / "knife_01_00000002_label.mat"),
        "knife_01_00000002_label.mat: a link to a file that is not there",
    ),
    "broken link in a mug": (
        lambda r: break_link(r / "tools" / "mug_13" / "mug_13_00000001_label.mat"),
        "mug_13_00000001_label.mat: a link to a file that is not there",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UMD_FAULTS)
def test_each_fault_of_umd_is_found(umd: Path, case: str) -> None:
    spoil, message = UMD_FAULTS[case]
    spoil(umd)
    report = check("umd", umd)
    assert not report.ok and any(message in text for text in faults(report)), faults(report)


@pytest.mark.parametrize("missing", [("category_split.txt",), ("category_split.txt", "novel_split.txt")])
def test_frames_are_looked_through_without_split_files(umd: Path, missing: tuple[str, ...]) -> None:
    for name in missing:
        (umd / name).unlink()
    UMD_FAULTS["wrong ids"][0](umd)
    report = check("umd", umd)
    assert report.recordings == {"all": 6} and report.frames == 24
    found = faults(report)
    assert len(found) == len(missing) + 1, found
    assert all(f" {name}: cannot be read" in text for name, text in zip(missing, found, strict=False))
    assert "labels 0..7 are expected" in found[-1]


def test_quick_opens_only_the_ends(umd: Path) -> None:
    UMD_FAULTS["wrong ids"][0](umd)
    assert check("umd", umd, quick=True).ok
    (tool(umd) / "knife_01_00000004_rgb.jpg").write_bytes(b"x")
    assert not check("umd", umd, quick=True).ok


def test_sound_iit_trees(iit: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    voc = write_voc(tmp_path_factory.mktemp("voc"))
    (voc / "synth.json").write_text("{}")
    for root in (iit, voc):
        report = check("iit-aff", root)
        assert report.ok, faults(report)
        assert report.recordings == {"train": 3, "val": 1} and report.frames == 4


def labels_of(root: Path, text: str) -> object:
    return (root / "affordances_labels" / f"{IIT_TRAIN[0]}.txt").write_text(text)


IIT_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "counts": (lambda r: (r / "synth.json").unlink(), "3 pictures, 6184 were published"),
    "ids": (lambda r: labels_of(r, label_text(iit_labels() * 3)), "pixels have ids other than 0..9"),
    "ragged": (lambda r: labels_of(r, "1 2\n3\n"), "line 2 holds 1 numbers"),
    "size": (lambda r: labels_of(r, label_text(iit_labels().T)), "its label 48x64 pixels"),
    "half the size": (lambda r: labels_of(r, label_text(iit_labels()[::2, ::2])), "it is resized"),
    "no labels": (lambda r: (r / "affordances_labels" / f"{IIT_TRAIN[0]}.txt").unlink(), "has no labels"),
    "no picture": (lambda r: (r / "rgb" / f"{IIT_TRAIN[0]}.jpg").unlink(), "listed, but missing"),
    "damaged picture": (lambda r: (r / "rgb" / f"{IIT_TRAIN[0]}.jpg").write_bytes(b"\xff\xd8"), "truncated JPEG"),
    "box": (
        lambda r: (r / "object_labels" / f"{IIT_TRAIN[0]}.txt").write_text("1 2 3 90 10\n"), "leaves the picture",
    ),
    "test in train": (lambda r: (r / "test.txt").write_text(f"{IIT_TRAIN[0]}.jpg"), "1 pictures are in the training"),
    "val not in train": (lambda r: (r / "val.txt").write_text("00_00000095.jpg"), "are not in train_and_val"),
    "no list": (lambda r: (r / "test.txt").unlink(), "test.txt: cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", IIT_FAULTS)
def test_each_fault_of_iit_aff_is_found(iit: Path, case: str) -> None:
    spoil, message = IIT_FAULTS[case]
    spoil(iit)
    report = check("iit-aff", iit)
    assert not report.ok and any(message in text for text in faults(report)), faults(report)


def test_a_hostile_mask_is_a_fault_and_not_run(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    mask = root / "cache" / "GTsegmask_VOC_2012_test" / "00_00000095_1_segmask.sm"
    mask.write_bytes(pickle.dumps(print, protocol=2))
    assert any("refused, because this pickle asks for" in text for text in faults(check("iit-aff", root)))


UTK_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no depth": (lambda r: (r / "depth/s01_e01/depthImg14.xml").unlink(), "1 of 7 frames have no depth file: 14"),
    "damaged depth": (lambda r: (r / "depth/s01_e01/depthImg14.xml").write_text("<a"), "not readable as XML"),
    "damaged frame": (lambda r: (r / "RGB/s01_e01/colorImg14.jpg").write_bytes(b""), "not a readable picture"),
    "no frames": (lambda r: (r / "RGB/s01_e01/colorImg42.jpg").unlink(), "no frame of clapHands, 40 to 44"),
    "sizes": (lambda r: None, "64x48 pixels, 640x480 are published"),
    "counts": (lambda r: None, "3 usable clips, 100 were published"),
    "missing sequences": (lambda r: None, "s02_e01 RGB: no colour frames"),
    "joints": (lambda r: (r / "joints/joints_s01_e01.txt").write_text("1 2\n"), "61 columns are expected"),
    "labels": (lambda r: (r / "actionLabel.txt").write_text("fly: 1 2"), "line 1"),
    "a line without sense": (lambda r: (r / "actionLabel.txt").write_text("s01_e01\nwalk: x y\n"), "are no numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", UTK_FAULTS)
def test_each_fault_of_utkinect_is_found(tmp_path: Path, case: str) -> None:
    spoil, message = UTK_FAULTS[case]
    spoil(write_utkinect(tmp_path))
    report = check("utkinect", tmp_path)
    assert not report.ok and any(message in text for text in faults(report)), faults(report)


def test_published_defects_of_utkinect_are_notes(tmp_path: Path) -> None:
    root = write_utkinect(tmp_path)
    with open(root / "actionLabel.txt", "a") as file:
        file.write("s03_e01\npush: 2556 3622\ns10_e02\ncarry: NaN NaN\nthrow: 5 9\nwalk: 8 12\n")
    notes = [problem.message for problem in check("utkinect", root).problems if problem.note]
    for part in ("(3556, 3622) taken", "left out", "throw and walk overlap in frames 8 to 9", "1 frame numbers repeat"):
        assert any(part in note for note in notes), (part, notes)


def test_a_folder_of_something_else_is_a_fault(tmp_path: Path) -> None:
    for name in ("umd", "iit-aff", "utkinect"):
        assert not check(name, tmp_path).ok


def test_two_workers_find_the_same(umd: Path) -> None:
    UMD_FAULTS["empty picture"][0](umd)
    assert check_dataset("umd", umd, workers=2).as_dict() == check("umd", umd).as_dict()


@pytest.mark.parametrize(("name", "write"), [("umd", write_umd), ("sor3d-aff", write_sor3d)])
def test_the_verb_prints_a_table_or_json_and_ends_with_1(
    tmp_path: Path, name: str, write: Callable[[Path], Path]
) -> None:
    root = write(tmp_path)
    result = CliRunner().invoke(cli, ["data", "check", name, str(root), "--workers", "1"], catch_exceptions=False)
    assert result.exit_code == 1 and "were published" in " ".join(result.output.split())
    as_json = CliRunner().invoke(cli, ["data", "check", name, str(root), "--json", "--workers", "1"])
    report = json.loads(as_json.output)
    assert as_json.exit_code == 1 and not report["ok"] and set(report["recordings"]) == {"train", "val"}
    (root / "synth.json").write_text("{}")
    result = CliRunner().invoke(cli, ["data", "check", name, str(root), "--workers", "1"], catch_exceptions=False)
    assert result.exit_code == 0 and "no problems" in result.output


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "folder", "count"),
    [("umd", "umd_crops", 10), ("iit-aff", "iit_aff", 3), ("utkinect", "utkinect_meta", 20)],
)
def test_the_real_samples(shared_dir: Path, name: str, folder: str, count: int) -> None:
    """They are parts of the sets, so the counts differ and files are missing; nothing else may be found."""
    found = faults(check(name, shared_dir / "data" / folder))
    expected = ("published", "listed", "is missing", "training list", "no colour frames")
    assert len(found) == count and all(any(part in text for part in expected) for text in found), found
