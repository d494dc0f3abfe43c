"""Batches: short clips are padded at rest, and a resumed epoch passes over exactly what was seen."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.toy import toy_clip, write_toy_file
from vidaff.datasets import ClipDataset, ClipInfo, load_dataset
from vidaff.flow3d.store import INVALID
from vidaff.training.batches import ClipStore, EpochSampler, without_first_motion
from vidaff.training.losses import class_frequencies


def test_the_first_frame_is_at_rest_with_and_without_a_batch_axis():
    flow = torch.full((2, 3, 4, 5, 3), 7, dtype=torch.int16)
    flow[:, :, 0, 0] = INVALID
    still = without_first_motion(flow)
    assert set(still[:, 0].unique().tolist()) == {0, INVALID}
    assert torch.equal(still[:, 1:], flow[:, 1:]) and (flow[:, 0, 1] == 7).all()
    assert torch.equal(still[0], without_first_motion(flow[0]))


@pytest.mark.parametrize("cache", [True, False])
def test_short_clips_repeat_their_first_frame_at_rest(tmp_path, cache):
    dataset = load_dataset("sor3d-aff", write_toy_file(tmp_path / "toy.h5", train=1, val=1, frames=3), "train")
    store, whole = ClipStore(dataset, clip_length=5, cache=cache), dataset.read(0)
    store.fill(progress=False)
    assert store.cached is cache
    for _ in range(2):  # the second time from the cache
        sample = store[0]
        assert sample["rgb"].shape[0] == sample["depth"].shape[0] == sample["flow"].shape[0] == 5
        assert torch.equal(sample["rgb"][:3], torch.from_numpy(whole.rgb[:1]).expand(3, -1, -1, -1))
        assert not sample["flow"][:3].any() and sample["flow"][3].any()
    shorter = ClipStore(dataset, clip_length=2, cache=cache)[0]
    assert shorter["flow"].shape[0] == 2 and not shorter["flow"][0].any() and whole.flow[1].any()


class CountedMasks(ClipDataset):
    """Clips whose labels tell how many of them are held at once; the second has none."""

    def __init__(self, count):
        super().__init__([ClipInfo(f"clip_{number}", 0, "", "") for number in range(count)])
        self.alive, self.most, self.reads = 0, 0, 0

    def read(self, index, frames=None):
        self.reads += 1
        mask = None
        if index != 1:
            mask = np.full((2, 2), 9 if index else 0, np.uint8)
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(mask, self.gone)
        return replace(toy_clip(index), mask=mask)

    def gone(self):
        self.alive -= 1


@pytest.mark.parametrize("cache", [True, False])
def test_classes_are_counted_one_label_after_the_other_with_a_bar(cache, monkeypatch, capsys):
    for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    dataset = CountedMasks(20)
    store = ClipStore(dataset, clip_length=1, cache=cache)
    store.fill(progress=False)
    shares = class_frequencies(store.masks(), 10)
    assert shares.tolist() == pytest.approx([1 / 19, *[0] * 8, 18 / 19])
    assert "counting classes" in capsys.readouterr().err
    # From the cache nothing is read again; without one, labels do not pile up.
    assert dataset.reads == 20 and (cache or dataset.most <= 2)


def test_a_resumed_epoch_is_the_rest_of_the_whole_one():
    keys = {"global_batch": 4, "seed": 1, "epoch": 2, "rank": 1, "world": 2}
    whole = EpochSampler(21, **keys)
    for seen in range(len(whole) + 1):
        rest = EpochSampler(21, **keys, seen=seen)
        assert list(rest) == list(whole)[seen:] and len(rest) == len(whole) == 10
