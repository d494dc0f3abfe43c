"""The real tree: order of frames, extras, labels, sampling, geometry, and everything that can be wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_tests import DatasetTests, check_clip

from tests.trees import colour_mask, frame, write_recording, write_sor3d
from vidaff.datasets import ClipDataset, load_dataset
from vidaff.datasets.sor3d_aff import Sor3dAff
from vidaff.errors import VidaffError
from vidaff.io import write_image, write_json

NAME = "Subject1_cut_a_knife"


class TestSor3dAff(DatasetTests):
    def make(self, folder: Path) -> Path:
        return write_sor3d(folder)

    def open(self, root: Path, split: str) -> ClipDataset:
        return Sor3dAff(root, split, exact_flow=True)


class TestResized(DatasetTests):
    split = "val"

    def make(self, folder: Path) -> Path:
        return write_sor3d(folder)

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("sor3d-aff", root, split, size=(16, 24), exact_flow=True, all_labels=True)


class TestTheAuthorsFilesAlone(DatasetTests):
    def make(self, folder: Path) -> Path:
        return write_sor3d(folder, extras=False, size=(90, 160))

    def open(self, root: Path, split: str) -> ClipDataset:
        return Sor3dAff(root, split, geometry="crop")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "train", NAME)


def one(recording: Path, **options: object) -> Sor3dAff:
    return Sor3dAff(recording.parents[1], "train", **options)


def test_a_clip_holds_what_was_written(recording: Path) -> None:
    clip = one(recording, exact_flow=True).read(0)
    check_clip(clip)
    assert clip.rgb[:, 5, 5, 2].tolist() == [10, 20, 30, 40, 50]
    assert clip.depth is not None and clip.flow is not None and clip.mask is not None and clip.affordances is not None
    assert clip.depth[:, 9, 9].tolist() == [801, 802, 803, 804, 805] and not clip.depth[:, :2, :2].any()
    assert not clip.flow[0].any() and (clip.flow[1:, ..., 0] == 27).all()
    assert np.unique(clip.mask).tolist() == [0, 9]  # the other affordance in the mask is background
    assert clip.affordances[9, 11] == 1 and clip.affordances[20, 30] == 1 << 1 | 1 << 3
    assert (clip.action, clip.object, clip.subject, clip.fps) == (0, "knife", "Subject1", 10)
    assert clip.intrinsics is not None and clip.intrinsics.fx == 40


def test_frames_are_sorted_by_number_not_by_name(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "train", NAME, frames=12, extras=False)
    for path in sorted(folder.glob("rgb/0*.png")):
        path.rename(path.with_name(f"{int(path.stem)}.png"))
    (folder / "rgb" / ".DS_Store").write_bytes(b"x")
    clip = one(folder, fps=None).read(0)
    assert clip.rgb[:, 5, 5, 2].tolist() == [10 * n for n in range(1, 13)]


def test_the_last_frame_always_stays(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "train", NAME, frames=8, fps=30)
    cases: list[tuple[dict[str, object], list[int]]]
    cases = [({}, [2, 5, 8]), ({"clip_length": 2}, [5, 8]), ({"fps": None}, [*range(1, 9)])]
    for options, frames in cases:
        assert one(folder, **options).read(0).rgb[:, 5, 5, 2].tolist() == [10 * n for n in frames]
    assert one(folder, frame_rule="authors").read(0).rgb[:, 5, 5, 2].tolist() == [80]


def test_a_recording_without_a_rate_is_taken_as_30_a_second(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "train", NAME, frames=7, extras=False)
    assert one(folder).length(0) == 3


def test_labels_of_all_classes_and_black_as_ignore(recording: Path) -> None:
    options: list[tuple[dict[str, object], list[int]]]
    options = [({}, [0, 9]), ({"all_labels": True}, [0, 1, 9]), ({"black_is_ignore": True}, [0, 9, 255])]
    for option, values in options:
        mask = one(recording, **option).read(0).mask
        assert np.unique(mask).tolist() == values  # type: ignore[arg-type]


def test_masks_are_decoded_before_they_are_resized(recording: Path) -> None:
    mask = one(recording, size=(97, 81), all_labels=True).read(0).mask
    assert np.unique(mask).tolist() == [0, 1, 9]  # type: ignore[arg-type]


def test_the_authors_window_is_cut(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "train", NAME, size=(72, 128))
    clip = one(folder, geometry="crop").read(0)
    assert clip.rgb.shape == (5, 60, 60, 3)
    assert np.array_equal(clip.rgb[0], frame(72, 128, 1)[:60, 40:100])
    assert clip.intrinsics is not None and clip.intrinsics.cx == 63.5 - 40
    assert one(folder, geometry="crop", size=(30, 30)).read(0).intrinsics.fx == 20  # type: ignore[union-attr]


def drop(pattern: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def cut(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def put(name: str, content: np.ndarray | object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        if isinstance(content, np.ndarray):
            write_image(folder / name, content)
        else:
            write_json(folder / name, content)

    return spoil


SMALL = np.zeros((8, 8, 3), np.uint8)
GREY = np.full((32, 40, 3), 77, np.uint8)
SPOILED = {
    "no rgb folder": (drop("rgb"), "has no rgb/ folder"),
    "no frames": (drop("rgb/0*.png"), "no frames"),
    "no extras": (drop("rgb/z_*"), "4 extra files"),
    "three extras": (drop("rgb/z_2*"), "found 3"),
    "truncated frame": (cut("rgb/0002.png"), "0002.png: truncated PNG"),
    "truncated mask": (cut("rgb/z_1_mask.png"), "z_1_mask.png: truncated PNG"),
    "frame of another size": (put("rgb/0003.png", SMALL), "0003.png.* 8x8"),
    "mask of another size": (put("rgb/z_1_mask.png", SMALL), "z_1_mask.png: 8x8"),
    "mask of wrong colours": (put("rgb/z_1_mask.png", GREY), "no affordance.*77, 77, 77"),
    "two frames with one number": (put("rgb/2.png", SMALL), "same frame number"),
    "frame without a number": (put("rgb/first.png", SMALL), "exactly one number"),
    "missing depth": (drop("depth/0004.png"), "no file for frame 0004"),
    "8-bit depth": (put("depth/0002.png", GREY[..., 0]), "16-bit"),
    "depth of another size": (put("depth/0001.png", np.zeros((9, 9), np.uint16)), "--geometry aligned"),
    "missing parts": (drop("parts/0005.png"), "no file for frame 0005"),
    "no table of parts": (drop("parts.json"), "parts.json: no such file"),
    "parts without affordances": (put("parts.json", {"parts": [{"name": "x"}] * 2}), "affordance names"),
    "unknown affordance": (put("parts.json", {"parts": [{"affordances": ["fly"]}] * 2}), "unknown affordance 'fly'"),
    "too few parts": (put("parts.json", {"parts": []}), "grey values"),
    "missing flow": (drop("flow/0003.npz"), "no file for frame 0003"),
    "no flow": (drop("flow"), "no stored flow"),
    "truncated flow": (cut("flow/0003.npz"), "not readable as packed flow"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_recording_is_one_clear_line(recording: Path, case: str) -> None:
    spoil, message = SPOILED[case]
    spoil(recording)
    with pytest.raises(VidaffError, match=message) as caught:
        one(recording, exact_flow=True).read(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Subject1_fly_a_knife", "unknown affordance 'fly'"),
        ("Subject1_cut_a_dragon", "unknown object 'dragon'"),
        ("Peter_cut_a_knife", "not named Subject<N>"),
        ("Subject1_cut", "not named Subject<N>"),
    ],
)
def test_unknown_names_are_errors(tmp_path: Path, name: str, message: str) -> None:
    write_recording(tmp_path / "train", NAME)
    shutil.copytree(tmp_path / "train" / NAME, tmp_path / "train" / name)
    with pytest.raises(VidaffError, match=message):
        Sor3dAff(tmp_path, "train")


def test_an_absent_or_empty_split_is_named(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(VidaffError, match="holds no recordings"):
        Sor3dAff(tmp_path, "train")
    with pytest.raises(VidaffError, match="has no val/ folder"):
        Sor3dAff(tmp_path, "val")
    with pytest.raises(VidaffError, match="no such file or folder"):
        load_dataset("sor3d-aff", tmp_path / "nowhere", "train")
    with pytest.raises(VidaffError, match="unknown data set"):
        load_dataset("imagenet", tmp_path, "train")


def test_exact_flow_does_not_pretend_to_skip_frames(recording: Path) -> None:
    with pytest.raises(VidaffError, match="neighbouring frames"):
        one(recording, exact_flow=True, fps=5).read(0)


def test_a_whole_flow_file_is_read(recording: Path) -> None:
    shutil.rmtree(recording / "flow")
    flow = np.arange(5, dtype=np.int16)[:, None, None, None] * np.ones((5, 32, 40, 3), np.int16)
    np.savez_compressed(recording / "flow.npz", flow=flow)
    assert np.array_equal(one(recording, exact_flow=True).read(0).flow, flow)  # type: ignore[arg-type]
    np.savez_compressed(recording / "flow.npz", flow=flow[:3])
    with pytest.raises(VidaffError, match="flow of 3 frames"):
        one(recording, exact_flow=True).read(0)


def test_a_pickle_in_a_flow_file_is_not_run(recording: Path) -> None:
    np.savez(recording / "flow" / "0002.npz", flow=np.array([{"a": 1}], dtype=object))
    with pytest.raises(VidaffError, match="packed flow"):
        one(recording, exact_flow=True).read(0)


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0}, {"clip_length": 0}, {"frame_rule": "random"}, {"geometry": "round"}, {"size": (4, 4)},
        {"geometry": "aligned"}, {"centre_crop": 300},
    ],
)  # fmt: skip
def test_bad_options_are_refused_at_once(recording: Path, options: dict[str, object]) -> None:
    with pytest.raises(VidaffError):
        one(recording, **options)


@pytest.mark.real
def test_the_colours_of_the_authors_figure_are_decoded(shared_dir: Path) -> None:
    """Panels are resampled, so their borders are blends; the areas are not."""
    from vidaff.datasets.masks import UNKNOWN, classify_colours
    from vidaff.datasets.taxonomy import AFFORDANCES
    from vidaff.io import read_image

    found = set()
    for path in sorted((shared_dir / "data" / "sor3d_aff_panels").glob("seg_mask_*.png")):
        labels = classify_colours(read_image(path))
        assert (labels == UNKNOWN).mean() < 0.05
        found |= {AFFORDANCES[label] for label in np.unique(labels) if label < 9 and (labels == label).sum() > 50}
    assert found == {"grasp", "lift", "push"}


def test_colour_masks_of_every_action_round_trip() -> None:
    from vidaff.datasets.masks import decode_mask
    from vidaff.datasets.taxonomy import AFFORDANCES

    for action, name in enumerate(AFFORDANCES):
        labels = decode_mask(colour_mask(16, 16, name), action)
        assert (labels == action).sum() == 16 and (labels == 9).sum() == 240
