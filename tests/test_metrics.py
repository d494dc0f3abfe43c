"""Scores of sets: numbers worked out by hand, merging, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.metrics import (
    ClipOutcome,
    SegmentationMeter,
    bootstrap_intervals,
    confusion_matrix,
    scores_from_confusion,
    summarise,
)


def test_scores_by_hand() -> None:
    # Truth: 4 px class 0, 2 px class 1, 2 px background; class 1 is half missed, background half painted as 0.
    target = np.array([[0, 0, 0, 0], [1, 1, 9, 9]])
    pred = np.array([[0, 0, 0, 9], [1, 9, 9, 0]])
    meter = SegmentationMeter()
    meter.update(pred, target)
    scores = meter.compute()
    assert scores.iou[0] == pytest.approx(3 / 5)
    assert scores.iou[1] == pytest.approx(1 / 2)
    assert scores.f1[0] == pytest.approx(6 / 8)
    assert np.isnan(scores.iou[2:]).all()
    assert scores.mean_iou == pytest.approx((3 / 5 + 1 / 2) / 2)
    # cut 0.083, grasp 0.2, renormalised over the two.
    assert scores.f_w == pytest.approx((0.083 * 6 / 8 + 0.2 * 2 / 3) / 0.283)


def test_perfect_prediction_scores_one_and_nothing_scores_nan() -> None:
    meter = SegmentationMeter()
    everything = np.arange(10).reshape(2, 5)
    meter.update(everything, everything)
    scores = meter.compute()
    np.testing.assert_allclose(scores.iou, 1)
    assert scores.f_w == pytest.approx(1)
    meter.reset()
    assert np.isnan(meter.compute().mean_iou)
    meter.update(np.zeros((3, 3), int), np.full((3, 3), 9))
    assert np.isnan(meter.compute().mean_iou)  # painted background: no affordance occurs


def test_ignored_pixels_do_not_count() -> None:
    matrix = confusion_matrix(np.array([3, 77]), np.array([3, 255]), 10)
    assert matrix.sum() == matrix[3, 3] == 1


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    pred = torch.tensor([[1, 2], [9, 9]], dtype=torch.uint8)
    np.testing.assert_array_equal(
        confusion_matrix(pred, pred.long(), 10), confusion_matrix(pred.numpy(), pred.numpy(), 10)
    )


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_merged_meters_equal_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pred, target = rng.integers(0, 10, (2, 6, 5, 4))
    whole, one, other = SegmentationMeter(), SegmentationMeter(), SegmentationMeter()
    whole.update(pred, target)
    one.update(pred[:2], target[:2])
    other.update(pred[2:], target[2:])
    one.merge(other)
    np.testing.assert_array_equal(one.confusion, whole.confusion)


@pytest.mark.parametrize(
    ("pred", "target", "named"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "pred: shape"),
        (np.full((2, 2), 10), np.zeros((2, 2), int), "pred: class ids"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "target: class ids"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "pred: class ids must be integers"),
    ],
)
def test_bad_labels_are_named(pred: np.ndarray, target: np.ndarray, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        SegmentationMeter().update(pred, target)


def test_meters_of_other_classes_do_not_merge() -> None:
    with pytest.raises(ValueError, match="classes"):
        SegmentationMeter().merge(SegmentationMeter(3))


def test_scores_of_a_stack_equal_those_of_each() -> None:
    stack = np.random.default_rng(0).integers(0, 50, (4, 10, 10))
    together = scores_from_confusion(stack)
    for index in range(4):
        for all_, one in zip(together, scores_from_confusion(stack[index]), strict=True):
            np.testing.assert_allclose(all_[index], one)


def outcomes(count: int, rate: float, seed: int = 0) -> list[ClipOutcome]:
    """Clips of class ``i % 3``, each with 100 px of it, of which a noisy share near ``rate`` is found."""
    rng = np.random.default_rng(seed)
    result = []
    for index in range(count):
        confusion, margolin, found = np.zeros((10, 10), int), np.full(9, np.nan), int(100 * rng.uniform(0, 2 * rate))
        confusion[index % 3, index % 3], confusion[index % 3, 9], confusion[9, 9] = found, 100 - found, 900
        margolin[index % 3] = found / 100
        result.append(ClipOutcome(confusion, margolin, bool(rng.random() < rate) if index % 5 else None))
    return result


def test_summary_of_clips() -> None:
    clips = outcomes(30, 0.5)
    summary = summarise(clips)
    total = scores_from_confusion(sum(clip.confusion for clip in clips))  # type: ignore[arg-type]
    np.testing.assert_allclose(summary["iou"][0], total.iou)
    known = [clip.correct for clip in clips if clip.correct is not None]
    assert summary["action_accuracy"][0] == pytest.approx(np.mean(known))
    assert summary["margolin"][0, 0] == pytest.approx(np.mean([clip.margolin[0] for clip in clips[::3]]))


def test_intervals_hold_the_value_shrink_with_clips_and_are_seeded() -> None:
    few, many = outcomes(15, 0.4), outcomes(300, 0.4)
    low, high = bootstrap_intervals(many)["mean_iou"]
    assert low < summarise(many)["mean_iou"][0] < high
    wide = bootstrap_intervals(few)["mean_iou"]
    assert high - low < 0.5 * (wide[1] - wide[0])
    np.testing.assert_array_equal(bootstrap_intervals(few)["iou"], bootstrap_intervals(few)["iou"])
    assert not np.array_equal(bootstrap_intervals(few, seed=1)["mean_iou"], wide)
    assert np.isnan(bootstrap_intervals(few)["iou"][:, 3:]).all()
