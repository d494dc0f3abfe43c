"""What every clip data set must do; each one's own test derives from :class:`DatasetTests`."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from vidaff.datasets import Clip, ClipDataset
from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, IGNORE, NUM_AFFORDANCES
from vidaff.errors import VidaffError
from vidaff.flow3d.store import INVALID


class DatasetTests:
    """Derive, write a miniature of the real tree in :meth:`make`, and open its ``split`` in :meth:`open`."""

    split = "train"

    def make(self, folder: Path) -> Path:
        """Write the data set below ``folder`` and return what :meth:`open` takes."""
        raise pytest.UsageError("make() is missing")

    def open(self, root: Path, split: str) -> ClipDataset:
        raise pytest.UsageError("open() is missing")

    @pytest.fixture(scope="class")
    def root(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return self.make(tmp_path_factory.mktemp("data"))

    @pytest.fixture
    def clips(self, root: Path) -> ClipDataset:
        return self.open(root, self.split)

    def test_every_clip_keeps_the_contract(self, clips: ClipDataset) -> None:
        assert len(clips) > 0
        for index in range(len(clips)):
            clip = clips.read(index)
            check_clip(clip)
            assert clip.name == clips.name(index)
            assert vars(clips.info(index)).items() <= vars(clip).items()

    def test_names_are_unique_and_found_again(self, clips: ClipDataset) -> None:
        names = [clips.name(index) for index in range(len(clips))]
        assert len(set(names)) == len(names)
        assert [clips.index_of(name) for name in names] == list(range(len(names)))
        with pytest.raises(VidaffError, match="no clip is called"):
            clips.index_of("nobody")

    def test_frames_can_be_read_in_part(self, clips: ClipDataset) -> None:
        for index in range(len(clips)):
            whole = clips.read(index)
            for part in (slice(-1, None), slice(0, 1), slice(-2, None)):
                some = clips.read(index, part)
                check_clip(some)
                assert np.array_equal(some.rgb, whole.rgb[part])
                for name in ("depth", "flow"):
                    array = getattr(whole, name)
                    assert array is None or np.array_equal(getattr(some, name), array[part])
                assert (some.mask is None) == (whole.mask is None)
                if some.mask is not None and whole.mask is not None:
                    assert np.array_equal(some.mask, whole.mask)

    def test_the_static_image_is_the_last_frame_without_motion(self, clips: ClipDataset) -> None:
        whole, static = clips.read(0), clips.read_static(0)
        assert np.array_equal(static.rgb, whole.rgb[-1:])
        if static.flow is not None:
            assert not static.flow[static.flow != INVALID].any()
            assert static.depth is None or ((static.flow == INVALID).all(axis=-1) == (static.depth == 0)).all()

    def test_a_slice_of_nothing_is_refused(self, clips: ClipDataset) -> None:
        with pytest.raises(VidaffError):
            clips.read(0, slice(0, 0))

    def test_positions_outside_are_index_errors(self, clips: ClipDataset) -> None:
        for index in (-1, len(clips)):
            with pytest.raises(IndexError):
                clips.read(index)

    def test_it_can_be_pickled_before_and_after_reading(self, clips: ClipDataset) -> None:
        first = clips.read(0)
        copy = pickle.loads(pickle.dumps(clips))
        assert np.array_equal(copy.read(0).rgb, first.rgb)

    def test_actions_are_counted(self, clips: ClipDataset) -> None:
        counts = clips.action_counts()
        assert tuple(counts) == AFFORDANCES
        known = [clips.info(index).action for index in range(len(clips)) if clips.info(index).action >= 0]
        assert sum(counts.values()) == len(known)

    def test_an_unknown_split_is_refused_by_name(self, root: Path) -> None:
        with pytest.raises(VidaffError, match="test"):
            self.open(root, "test")


def check_clip(clip: Clip) -> None:
    """Types, shapes and ranges that the base module promises."""
    frames, height, width = clip.rgb.shape[:3]
    assert frames >= 1 and clip.rgb.shape[3:] == (3,) and clip.rgb.dtype == np.uint8
    if clip.depth is not None:
        assert clip.depth.shape == (frames, height, width) and clip.depth.dtype == np.uint16
    if clip.flow is not None:
        assert clip.flow.shape == (frames, height, width, 3) and clip.flow.dtype == np.int16
    if clip.mask is not None:
        assert clip.mask.shape == (height, width) and clip.mask.dtype == np.uint8
        assert set(np.unique(clip.mask)) <= {*range(BACKGROUND + 1), IGNORE}
    if clip.affordances is not None:
        assert clip.affordances.shape == (height, width) and clip.affordances.dtype == np.uint16
        assert clip.affordances.max() < 1 << NUM_AFFORDANCES
    assert -1 <= clip.action < NUM_AFFORDANCES and clip.fps > 0
