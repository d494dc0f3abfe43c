"""``vidaff data check agd20k``: planted faults are found and named, a sound tree passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from agd20k_trees import HEIGHT, WIDTH, bar, unpack_golden, write_tree
from click.testing import CliRunner
from PIL import Image

from vidaff.cli import cli
from vidaff.datasets.agd20k import Box, LabelFolder, Picture, SimilarityTable
from vidaff.datasets.check import Report, check_dataset
from vidaff.io import write_image

SKIS = Picture("carry", "skis", "skis_ego_0.png")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("template"))


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "root")


def labels(root: Path) -> LabelFolder:
    return LabelFolder(root / "Seen" / "trainset" / "labels")


def said(report: Report, *, notes: bool = False) -> list[str]:
    return [f"{p.recording} {p.file}: {p.message}" for p in report.problems if p.note == notes]


def check(root: Path, *, quick: bool = False) -> Report:
    return check_dataset("agd20k", root, workers=1, quick=quick)


def test_a_sound_tree(root: Path) -> None:
    report = check(root)
    assert report.ok and not report.problems, said(report) + said(report, notes=True)
    assert report.frames == 80 and report.recordings["Unseen/testset/egocentric"] == 10


def test_published_counts(root: Path) -> None:
    (root / "synth.json").unlink()
    report = check(root)
    assert [line.partition(": ")[2] for line in said(report)] == [
        "10 test pictures with ground truth, 1675 were published",
        "10 test pictures with ground truth, 540 were published",
    ]
    notes = "\n".join(said(report, notes=True))
    for part in ("6 test pictures in the split 'hard', 807", "6 exocentric pictures in the split 'hard', 11889",
                 "15 exocentric training pictures, 13323", "other affordances than published, 21"):  # fmt: skip
        assert part in notes


def test_the_authors_files(tmp_path: Path) -> None:
    root = unpack_golden(tmp_path)
    (root / "synth.json").write_text("{}")
    report = check(root)
    assert report.ok, said(report)
    assert (
        "Seen/testset/egocentric/carry/skis skis_900000.png: ground truth: nothing is marked; it counts as uniform"
        in (said(report, notes=True))
    )


def test_faults_of_pictures(root: Path) -> None:
    trainset, testset = root / "Seen" / "trainset", root / "Seen" / "testset"
    (trainset / "egocentric" / SKIS.name).write_bytes(b"\x89PNG")
    write_image(trainset / "egocentric/fly/kite/kite.png", np.zeros((9, 9, 3), np.uint8))
    write_image(trainset / "egocentric/carry/kite/kite.png", np.zeros((9, 9, 3), np.uint8))
    write_image(trainset / "egocentric/carry/skis/skis_ego_1.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    write_image(testset / "GT/hold/fork/fork_test_7.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    write_image(testset / "GT/hold/fork/fork_test_0.png", np.zeros((9, 9), np.uint8))
    (trainset / "egocentric/carry/skis/Thumbs.db").write_bytes(b"x")
    report = check(root)
    faults, notes = "\n".join(said(report)), "\n".join(said(report, notes=True))
    for part in (
        "skis_ego_0.png: truncated PNG", "trainset/egocentric/fly: no affordance of AGD20K",
        "trainset/egocentric/carry/kite: no object of AGD20K", "share labels: skis_ego_1",
        "1 ground truths without a picture: fork_test_7", "fork_test_0.png: 9x9 pixels, its picture",
    ):  # fmt: skip
        assert part in faults, part
    assert "1 files that are no pictures, not read: Thumbs.db" in notes


def test_faults_of_labels(root: Path) -> None:
    folder = labels(root)
    folder.write_mask("initial", SKIS, np.ones((9, 9), bool))
    folder.write_mask("refined", Picture("hold", "fork", "fork_ego_1.png"), np.zeros((HEIGHT, WIDTH), bool))
    folder.mask("initial", Picture("hold", "knife", "knife_ego_2.png")).unlink()
    for view in ("egocentric", "exocentric"):
        boxes = folder.read_boxes(view)
        assert boxes is not None
        boxes["carry/skis/skis_" + view[:3] + "_2.png"] = np.array([[0, 0, 90, 30, 1], [9, 9, 5, 12, 1]], np.float32)
        boxes["hold/fork/fork_" + view[:3] + "_2.png"] = np.zeros((0, 5), np.float32)
        folder.write_boxes(view, boxes)
    folder.similarity_path("ride", "bicycle").unlink()
    folder.write_similarity(
        "cut_with", "knife", SimilarityTable(np.full((1, 1), np.nan), (Box("x", 0),), (Box("y", 3),))
    )
    report = check(root)
    faults, notes = "\n".join(said(report)), "\n".join(said(report, notes=True))
    for part in (
        "skis_ego_0.png: 9x9 pixels, its picture", "skis_ego_2.png: 1 boxes leave the picture of 56x40",
        "skis_exo_2.png: a box without area",
        "similarity of cut_with knife: names 1 egocentric boxes that are not there: x",
        "similarity of hold fork: names 1 exocentric boxes that are not there: fork_exo_2.png",
    ):  # fmt: skip
        assert part in faults, part
    for part in (
        "refined: nothing is marked", "no pseudo-label: not trained on: knife_ego_2.png", "no box of the object",
        "no similarity table for 1 of 5 pairs: ride bicycle", "holds numbers that are none",
    ):  # fmt: skip
        assert part in notes, part


def test_missing_parts(root: Path) -> None:
    (root / "text.safetensors").unlink()
    for view in ("egocentric", "exocentric"):
        labels(root).boxes_path(view).unlink()
    for path in (root / "Unseen").rglob("*"):
        if path.is_file():
            path.unlink()
    (root / "Unseen").rename(root / "elsewhere")
    report = check(root)
    assert said(report) == [f"Unseen : {root}: has no folder Unseen/; the folder AGD20K is expected"]
    notes = "\n".join(said(report, notes=True))
    assert "no text features" in notes and "no boxes of the objects in exocentric pictures" in notes


def test_a_hostile_table_is_a_finding(root: Path, tmp_path: Path) -> None:
    import os

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch '{tmp_path / 'proof'}'",)

    labels(root).similarity_path("hold", "fork").unlink()
    path = root / "Seen" / "trainset" / "CLIPsim" / "hold_fork.npy"
    path.parent.mkdir()
    np.save(path, np.array(Hostile(), object), allow_pickle=True)
    report = check(root)
    assert any("hold_fork.npy: refused, because this pickle asks for posix.system" in line for line in said(report))
    assert not (tmp_path / "proof").exists()


def test_turned_pictures_are_noted(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "Seen" / "trainset" / "egocentric" / SKIS.name
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8)).save(path, exif=exif)
    labels(root).write_mask("initial", SKIS, bar())
    report = check(root)
    assert report.ok and any("turned by its EXIF data" in line for line in said(report, notes=True))


def test_a_quick_look_opens_the_first_and_the_last(root: Path) -> None:
    folder = root / "Seen" / "trainset" / "egocentric" / "carry" / "skis"
    for number, found in ((1, True), (2, False)):
        kept = (folder / f"skis_ego_{number}.png").read_bytes()
        (folder / f"skis_ego_{number}.png").write_bytes(b"\x89PNG")
        assert check(root, quick=True).ok == found
        (folder / f"skis_ego_{number}.png").write_bytes(kept)


def test_the_verb(root: Path) -> None:
    run = CliRunner().invoke(cli, ["data", "check", "agd20k", str(root), "--workers", "1"])
    assert run.exit_code == 0 and "80 frames; no problems" in " ".join(run.output.split())
    (root / "Seen" / "trainset" / "egocentric" / SKIS.name).write_bytes(b"")
    run = CliRunner().invoke(cli, ["data", "check", "agd20k", str(root), "--workers", "2", "--json"])
    report = json.loads(run.output)
    assert run.exit_code == 1 and report["problems"][0]["file"] == SKIS.file and report["frames"] == 80
    run = CliRunner().invoke(cli, ["data", "prepare", "agd20k", str(root), str(root / "a.h5")])
    assert run.exit_code == 2
