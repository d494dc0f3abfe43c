"""Losses: ignored pixels and unknown actions do not count, rare classes weigh more, absent ones do not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidaff.training.losses import any_part_nll, class_frequencies, class_weights, dice_loss, segmentation_nll


def logits_of(labels, sure=20.0):
    return torch.nn.functional.one_hot(labels, 10).movedim(-1, 1).float() * sure


@pytest.fixture
def target():
    labels = torch.full((2, 4, 4), 9, dtype=torch.uint8)
    labels[:, :2, :2] = 3
    labels[0, 3, 3] = 255
    return labels


def test_ignored_pixels_do_not_count(target):
    right = torch.where(target == 255, 0, target).long()
    assert segmentation_nll(logits_of(right), target, None) < 1e-6
    assert dice_loss(logits_of(right), target) < 1e-3
    nothing = torch.full_like(target, 255)
    assert segmentation_nll(logits_of(right), nothing, None) == dice_loss(logits_of(right), nothing) == 0


def test_any_of_a_pixels_affordances_satisfies():
    bits = torch.full((1, 2, 2), (1 << 1) | (1 << 3))
    bits[0, 0, 0] = 0
    guess = torch.tensor([[[9, 1], [3, 1]]])
    assert any_part_nll(logits_of(guess), bits, None) < 1e-6
    assert any_part_nll(logits_of(torch.full_like(guess, 2)), bits, torch.ones(10)) > 10


def test_rare_classes_weigh_more_and_absent_ones_change_nothing():
    frequencies = np.array([0.04, 0.01, 0, 0, 0, 0, 0, 0, 0, 0.95])
    weights = class_weights(frequencies, background=0.3, balance=0.5)
    assert weights.tolist() == pytest.approx([2 / 3, 4 / 3, *[1] * 7, 0.3])
    assert class_weights(frequencies, background=1, balance=0) is None


def test_frequencies_leave_ignored_pixels_out():
    masks = [np.array([[0, 0, 255, 9]], np.uint8)]
    assert class_frequencies(masks, 10).tolist() == pytest.approx([2 / 3, *[0] * 8, 1 / 3])
