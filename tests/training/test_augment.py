"""Augmentation: mirrored clips stay true, missing values stay missing, and it runs where the batch lies."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vidaff.config import TrainSettings
from vidaff.flow3d.store import INVALID
from vidaff.training.augment import augment, last_frame, step_generator, without_first_frames

EVERYTHING = TrainSettings(
    flip=True, colour_jitter=0.2, depth_shift=0.01, flow_noise=0.01, flow_dropout=0.3, depth_dropout=0.3
)


def a_batch(count=64, time=3, size=4, device="cpu"):
    """Pixel (0, 0) has neither depth nor flow; pixel (0, 1) moves by (5, 3, 1) mm in the last frame."""
    flow = torch.zeros(count, time, size, size, 3, dtype=torch.int16, device=device)
    flow[:, -1, 0, 1] = torch.tensor([50, 30, 10], dtype=torch.int16)
    flow[:, :, 0, 0] = INVALID
    depth = torch.full((count, time, size, size), 700, dtype=torch.int32, device=device)
    depth[:, :, 0, 0] = 0
    mask = torch.full((count, size, size), 9, dtype=torch.uint8, device=device)
    mask[:, 0, 1] = 255
    rgb = torch.full((count, time, size, size, 3), 100, dtype=torch.uint8, device=device)
    return {"rgb": rgb, "depth": depth, "flow": flow, "mask": mask, "affordances": mask.int()}


def test_mirroring_moves_every_picture_and_turns_the_x_motion():
    before = a_batch()
    kept = {key: value.clone() for key, value in before.items()}
    after = augment(before, TrainSettings(flip=True), step_generator(0))
    mirrored = after["mask"][:, 0, 2] == 255
    assert 16 < mirrored.sum() < 48
    for key in ("mask", "affordances"):
        assert torch.equal(after[key][mirrored], kept[key][mirrored].flip(2))
    assert (after["depth"][mirrored][:, :, 0, 3] == 0).all()
    assert (after["flow"][mirrored][:, -1, 0, 2] == torch.tensor([-50, 30, 10])).all()
    assert (after["flow"][mirrored][:, :, 0, 3] == INVALID).all()
    for key, value in kept.items():
        assert torch.equal(after[key][~mirrored], value[~mirrored])
        assert torch.equal(before[key], value), "the caller's batch was changed"


def test_missing_values_stay_missing_and_present_ones_present():
    after = augment(a_batch(), TrainSettings(depth_shift=0.5, flow_noise=0.01), step_generator(0))
    assert (after["depth"][:, :, 0, 0] == 0).all()
    assert (after["depth"][:, :, 1:] > 0).all()
    assert after["depth"][:, 0, 1, 1].unique().numel() > 32
    assert (after["flow"][:, :, 0, 0] == INVALID).all()
    assert (after["flow"][:, :, 1:] != INVALID).all()


@pytest.mark.parametrize(("key", "setting"), [("flow", "flow_dropout"), ("depth", "depth_dropout")])
def test_dropout_empties_whole_clips(key, setting):
    after = augment(a_batch(), TrainSettings(**{setting: 0.5}), step_generator(0))[key]
    filled = after.flatten(1).any(dim=1)
    assert 16 < filled.sum() < 48
    assert torch.equal(after[filled], a_batch()[key][filled])


def test_draws_depend_on_the_keys_alone():
    one, same, other = (augment(a_batch(), EVERYTHING, step_generator(*keys)) for keys in ((1, 2), (1, 2), (2, 1)))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["rgb"], other["rgb"])


def test_runs_on_the_device_of_the_batch():
    generator = step_generator(0)
    with FakeTensorMode():  # shapes, types and devices only: no GPU is needed
        batch = a_batch(device="cuda")
        after = augment(batch, EVERYTHING, generator)
        for key, value in after.items():
            assert (value.device.type, value.dtype, value.shape) == ("cuda", batch[key].dtype, batch[key].shape)


def test_cut_clips_begin_without_motion():
    batch = a_batch(count=2)
    later = without_first_frames(batch, 2)
    assert later["rgb"].shape[1] == later["flow"].shape[1] == 1
    assert set(later["flow"].unique().tolist()) == {0, INVALID}
    assert (batch["flow"][:, -1, 0, 1, 0] == 50).all()
    still = last_frame(batch)
    assert "flow" not in still
    assert still["depth"].shape[1] == 1
