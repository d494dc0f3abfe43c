"""The still sets on disk: what the loaders and the checker read, resuming, growing, determinism, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vidaff.cli.synth import command
from vidaff.datasets.check import check_dataset
from vidaff.datasets.iit_aff import IitAff
from vidaff.datasets.synthetic import IitAffSettings, UmdSettings, render_iit_aff, render_umd, still_iit_aff, still_umd
from vidaff.datasets.synthetic.still_kinds import UMD_KINDS, UMD_NOVEL
from vidaff.datasets.synthetic.still_set import StillSettings, render_stills
from vidaff.datasets.taxonomies import IIT_AFF, UMD
from vidaff.datasets.umd import CATEGORY_LABELS, Umd, applicable
from vidaff.errors import VidaffError

UMD_SET = UmdSettings(pictures_train=34, pictures_val=17, size=96, frames=2)
IIT_SET = IitAffSettings(pictures_train=10, pictures_val=4, size=96)
SETS = {"umd": UMD_SET, "iit-aff": IIT_SET}


def render(out: Path, settings: StillSettings, *, workers: int = 1, **options: bool) -> Path:
    render_stills(out, settings, workers=workers, progress=False, **options)
    return out


def content(root: Path) -> dict[str, bytes]:
    """All files of a set by their relative names."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def stamps(root: Path) -> dict[str, int]:
    """When the files of the pictures were written."""
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.parent != root}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stills")
    return {name: render(folder / name / "set", settings) for name, settings in SETS.items()}


@pytest.fixture(params=SETS)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def copy(roots: dict[str, Path], name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(roots[name], tmp_path / "set"))


def test_the_checker_finds_nothing(roots: dict[str, Path], name: str) -> None:
    report = check_dataset(name, roots[name], workers=1)
    assert report.ok, report.problems
    assert report.frames == SETS[name].pictures_train + SETS[name].pictures_val


def test_the_loader_reads_umd(roots: dict[str, Path]) -> None:
    train = Umd(roots["umd"], "train", labels="ranked")
    assert (len(train), len(Umd(roots["umd"], "val"))) == (34, 17)
    for index in range(len(train)):
        clip = train.read(index)
        assert clip.rgb.shape == (1, 96, 128, 3)
        assert clip.depth is not None and clip.mask is not None
        assert clip.depth.shape == (1, 96, 128)
        seen = set(np.unique(clip.mask).tolist()) - {UMD.background}
        assert seen
        assert {number + 1 for number in seen} <= CATEGORY_LABELS[clip.object]
        ranks = train.ranks(index)
        np.testing.assert_array_equal(clip.affordances, applicable(ranks))
        np.testing.assert_array_equal(ranks.min(axis=2) == 1, clip.mask != UMD.background)
        first = ranks.argmin(axis=2)[clip.mask != UMD.background]
        np.testing.assert_array_equal(first, clip.mask[clip.mask != UMD.background])


def test_umd_labels_are_those_of_the_picture_rendered_again(roots: dict[str, Path]) -> None:
    dataset = Umd(roots["umd"], "val")
    by_name = {dataset.name(index): index for index in range(len(dataset))}
    for index in range(0, 17, 4):
        plan = UMD_SET.plan("val", index)
        scene, shot = still_umd.shoot(plan, UMD_SET.shape)
        mask = dataset.read(by_name[plan.stem]).mask
        assert mask is not None
        for number, (_, part) in enumerate(scene.numbers(), start=1):
            label = UMD_KINDS[plan.category].ranks[part].index(1)
            assert (mask[shot.parts == number] == label).all()
        assert (mask[shot.parts == 0] == UMD.background).all()


def test_umd_splits(roots: dict[str, Path]) -> None:
    assert len(Umd(roots["umd"], "train", frames="manual")) == 17
    novel = {split: Umd(roots["umd"], split, protocol="novel") for split in ("train", "val")}
    assert {clip.object for clip in map(novel["val"].read, range(0, len(novel["val"]), 2))} <= UMD_NOVEL
    assert not {novel["train"].read(index).object for index in range(0, len(novel["train"]), 2)} & UMD_NOVEL
    tools = {
        split: {dataset.name(index).rpartition("_")[0] for index in range(len(dataset))}
        for split, dataset in ((split, Umd(roots["umd"], split)) for split in ("train", "val"))
    }
    assert not tools["train"] & tools["val"]


def test_the_loader_reads_iit_aff(roots: dict[str, Path]) -> None:
    for split, count in (("train", 10), ("val", 4)):
        dataset = IitAff(roots["iit-aff"], split)
        assert len(dataset) == count
        assert not dataset.skipped
        for index in range(count):
            clip = dataset.read(index)
            scene, shot = still_iit_aff.shoot(IIT_SET.plan(split, index), IIT_SET.shape)
            expected = IIT_AFF.from_disk()[still_iit_aff.affordance_table(scene)[shot.parts]]
            np.testing.assert_array_equal(clip.mask, expected)
            boxes = dataset.boxes(index)
            assert [box.name for box in boxes] == [item.kind for item in scene.items]
            labelled = expected != IIT_AFF.background
            covered = np.zeros_like(labelled)
            for box in boxes:
                covered[box.ymin : box.ymax + 1, box.xmin : box.xmax + 1] = True
            assert not (labelled & ~covered).any()


def test_the_holdout_of_iit_aff_is_part_of_training(roots: dict[str, Path]) -> None:
    held = IitAff(roots["iit-aff"], "val", protocol="holdout")
    assert [held.name(index) for index in range(len(held))] == ["00_00000008"]
    assert len(IitAff(roots["iit-aff"], "train", protocol="holdout")) == 9


def test_two_workers_write_the_same_bytes(roots: dict[str, Path], name: str, tmp_path: Path) -> None:
    again = render(tmp_path / "set", SETS[name], workers=2)
    assert content(again) == content(roots[name])


def test_resuming_a_complete_set_writes_no_picture(copy: Path, name: str) -> None:
    before, files = stamps(copy), content(copy)
    render(copy, SETS[name], resume=True)
    assert stamps(copy) == before
    assert content(copy) == files


def test_resuming_renders_what_is_missing_and_clears_leftovers(copy: Path, name: str) -> None:
    files = content(copy)
    lost = sorted(path for path in copy.rglob("*.jpg"))[3]
    others = {path: stamp for path, stamp in stamps(copy).items() if lost.stem.removesuffix("_rgb") not in path}
    lost.unlink()
    leftover = lost.parent / ".half.abc.tmp.jpg"
    leftover.write_bytes(b"half")
    render(copy, SETS[name], resume=True)
    assert content(copy) == files
    assert not leftover.exists()
    now = stamps(copy)
    assert {path: now[path] for path in others} == others


def test_a_set_grows_and_never_shrinks(tmp_path: Path) -> None:
    small = IitAffSettings(pictures_train=1, pictures_val=2, size=96)
    render_iit_aff(tmp_path, small, workers=1, progress=False)
    more = IitAffSettings(pictures_train=3, pictures_val=1, size=96)
    found = render_iit_aff(tmp_path, more, workers=1, progress=False, resume=True)
    assert (found.pictures_train, found.pictures_val) == (3, 2)
    assert (len(IitAff(tmp_path, "train")), len(IitAff(tmp_path, "val"))) == (3, 2)
    assert json.loads((tmp_path / "synth.json").read_text())["pictures_val"] == 2


def test_overwriting_removes_the_set_only(tmp_path: Path) -> None:
    render_umd(tmp_path, UmdSettings(pictures_train=3, pictures_val=0, size=96), workers=1, progress=False)
    (tmp_path / "notes.txt").write_text("mine")
    other = UmdSettings(pictures_train=1, pictures_val=0, size=96, seed=5)
    render_umd(tmp_path, other, workers=1, progress=False, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list((tmp_path / "tools").rglob("*_rgb.jpg"))) == 1


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {}, "already holds files"),
        ({"size": 100}, {"resume": True}, "was rendered with size 96"),
        ({"seed": 1}, {"resume": True}, "seed"),
        ({}, {"resume": True, "overwrite": True}, "one of them"),
    ],
)
def test_refusals(
    roots: dict[str, Path], name: str, change: dict[str, int], options: dict[str, bool], words: str
) -> None:
    from dataclasses import replace

    before = content(roots[name])
    with pytest.raises(VidaffError, match=words):
        render(roots[name], replace(SETS[name], **change), **options)
    assert content(roots[name]) == before


def test_a_set_of_another_kind_is_not_resumed(roots: dict[str, Path]) -> None:
    with pytest.raises(VidaffError, match="dataset 'umd'"):
        render(roots["umd"], IIT_SET, resume=True)


@pytest.mark.parametrize("verb", ["umd", "iit-aff"])
def test_command_line(tmp_path: Path, verb: str) -> None:
    counts = ["--pictures-train", "2", "--pictures-val", "1", "--size", "96", "--workers", "1", "--quiet"]
    result = CliRunner().invoke(command, [verb, str(tmp_path / "set"), *counts])
    assert result.exit_code == 0, result.output
    assert "2 training and 1 test pictures" in result.output
    assert (tmp_path / "set" / "contact_sheet.png").is_file()
    again = CliRunner().invoke(command, [verb, str(tmp_path / "set"), *counts])
    assert isinstance(again.exception, VidaffError)
