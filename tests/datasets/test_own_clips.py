"""Own clips: the simple folder form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_tests import DatasetTests

from tests.trees import write_own_clip
from vidaff.datasets import ClipDataset, load_dataset
from vidaff.datasets.own_clips import OwnClips
from vidaff.errors import VidaffError
from vidaff.io import write_image


class TestSplitFolders(DatasetTests):
    def make(self, folder: Path) -> Path:
        for name in ("a2", "a10"):
            write_own_clip(folder / "train" / name)
        write_own_clip(folder / "val" / "b", sheet={})
        return folder

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("own-clips", root, split, size=(24, 24))


class TestUnlabelledColour(DatasetTests):
    split = "val"

    def make(self, folder: Path) -> Path:
        for number in range(3):
            write_image(folder / "train" / "x" / "rgb" / f"frame{number}.png", np.full((20, 30, 3), number, np.uint8))
        write_own_clip(folder / "val" / "y", sheet={"fps": 10})
        return folder

    def open(self, root: Path, split: str) -> ClipDataset:
        return OwnClips(root, split)


def test_a_clip_holds_what_was_written(tmp_path: Path) -> None:
    clip = OwnClips(write_own_clip(tmp_path / "c").parent, "val").read(0)
    assert clip.rgb.shape == (4, 32, 40, 3) and clip.fps == 10
    assert clip.depth is not None and clip.depth.shape == (4, 32, 40) and clip.depth[0, 20, 20] == 800
    assert clip.mask is not None and (clip.mask == 0).sum() == 64
    assert (clip.name, clip.action, clip.object, clip.subject) == ("c", 0, "knife", "me")
    assert clip.intrinsics is not None and clip.intrinsics.fx == 40  # given for depth of half the size


def test_one_clip_alone_and_a_flat_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_own_clip(tmp_path / name)
    (tmp_path / "notes").mkdir()
    assert len(OwnClips(tmp_path / "a", "train")) == 1
    flat = OwnClips(tmp_path, "train")
    assert [flat.name(0), flat.name(1)] == ["a", "b"]
    assert len(OwnClips(tmp_path, "val")) == 2


def test_a_colour_mask_counts_as_well(tmp_path: Path) -> None:
    from tests.trees import colour_mask

    folder = write_own_clip(tmp_path / "c")
    write_image(folder / "mask.png", colour_mask(32, 40, "cut"))
    mask = OwnClips(tmp_path, "val").read(0).mask
    assert np.unique(mask).tolist() == [0, 9]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        ('{"action": "fly"}', "unknown affordance 'fly'"),
        ('{"actions": "cut"}', "got actions"),
        ('{"action": 3}', "action must be a text"),
        ('{"fps": "fast"}', "fps must be a number"),
        ('{"fps": 0}', "fps must be a number"),
        ('{"intrinsics": {"fx": 1}}', "fy must be a number"),
        ('{"intrinsics": [1]}', "a camera needs the keys"),
        ("[]", "got no mapping"),
        ("{", "not readable as JSON"),
    ],
)
def test_a_bad_sheet_is_one_clear_line(tmp_path: Path, sheet: str, message: str) -> None:
    folder = write_own_clip(tmp_path / "c")
    (folder / "clip.json").write_text(sheet)
    with pytest.raises(VidaffError, match=message):
        OwnClips(tmp_path, "val")


def test_bad_pictures_are_one_clear_line(tmp_path: Path) -> None:
    folder = write_own_clip(tmp_path / "c")
    write_image(folder / "mask.png", np.full((32, 40), 77, np.uint8))
    with pytest.raises(VidaffError, match=r"class ids .* got \[77\]"):
        OwnClips(tmp_path, "val").read(0)
    write_image(folder / "depth" / "2.png", np.zeros((16, 16), np.uint16))
    with pytest.raises(VidaffError, match="its depth 16x16"):
        OwnClips(tmp_path, "val").read(0)


def test_folders_without_clips_are_named(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="holds no clip"):
        OwnClips(tmp_path, "val")
    (tmp_path / "train").mkdir()
    with pytest.raises(VidaffError, match="val: no such folder"):
        OwnClips(tmp_path, "val")


def test_the_sheet_of_a_clip_without_json_is_empty(tmp_path: Path) -> None:
    folder = write_own_clip(tmp_path / "c", sheet={})
    assert json.loads((folder / "clip.json").read_text()) == {}
    clip = OwnClips(tmp_path, "val").read(0)
    assert (clip.action, clip.object) == (-1, "")
