"""The weighted F-measure: against its definition written slowly, the published scorer's numbers, per-class averages."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.metrics import class_averages, f_beta, ranked_f_measure, weighted_f_measure
from vidaff.metrics.margolin import RANK_WEIGHTS


def square(size: int = 40, low: int = 10, high: int = 30) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[low:high, low:high] = True
    return mask


def by_definition(pred: np.ndarray, gt: np.ndarray, beta2: float) -> float:
    """The definition pixel by pixel: every distance is measured, every neighbour summed."""
    height, width = gt.shape
    inside = np.argwhere(gt)
    error = np.abs(pred - gt)
    shared, importance = np.empty(gt.shape), np.ones(gt.shape)
    for place in np.ndindex(gt.shape):
        distances = np.hypot(*(inside - place).T)
        shared[place] = error[place] if gt[place] else error[tuple(inside[distances.argmin()])]
        if not gt[place]:
            importance[place] = 2 - np.exp(np.log(0.5) / 5 * distances.min())
    offsets = [(y, x) for y in range(-3, 4) for x in range(-3, 4)]
    kernel = {offset: np.exp(-(offset[0] ** 2 + offset[1] ** 2) / 50) for offset in offsets}
    total = sum(kernel.values())
    least = error.copy()
    for row, column in inside:
        near = sum(
            kernel[y, x] / total * shared[row + y, column + x]
            for y, x in offsets
            if 0 <= row + y < height and 0 <= column + x < width
        )
        least[row, column] = min(near, error[row, column])
    weighted = least * importance
    hits = gt.sum() - weighted[gt].sum()
    precision, recall = hits / (hits + weighted[~gt].sum()), 1 - weighted[gt].mean()
    return float((1 + beta2) * precision * recall / (beta2 * precision + recall))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.3]), st.booleans())
def test_weighted_f_follows_its_definition(seed: int, beta2: float, hard: bool) -> None:
    """The mask is a rectangle, at the border or not: then no pixel has two nearest mask pixels to choose from."""
    rng = np.random.default_rng(seed)
    gt = np.zeros((14, 17), bool)
    (top, bottom), (left, right) = np.sort(rng.integers(0, 14, 2)), np.sort(rng.integers(0, 17, 2))
    gt[top : bottom + 1, left : right + 1] = True
    pred = rng.random(gt.shape)
    pred = (pred > 0.6).astype(float) if hard else pred
    pred[:: rng.integers(1, 4)] = 0
    pred[top, left] = 0.9
    assert weighted_f_measure(pred, gt, beta2=beta2) == pytest.approx(by_definition(pred, gt, beta2), abs=1e-12)


def test_empty_surroundings_change_nothing() -> None:
    rng = np.random.default_rng(0)
    gt = square(30, 8, 20) & (rng.random((30, 30)) > 0.3)
    pred = np.where(square(30, 4, 26), rng.random((30, 30)), 0)
    inside = weighted_f_measure(pred, gt)
    assert weighted_f_measure(np.pad(pred, 50), np.pad(gt, 50)) == pytest.approx(inside, abs=1e-12)


def test_weighted_f_of_right_wrong_and_missing() -> None:
    mask = square()
    assert weighted_f_measure(mask, mask) == pytest.approx(1)
    assert weighted_f_measure(np.zeros_like(mask), mask) == pytest.approx(0, abs=1e-9)
    assert weighted_f_measure(~mask, mask) == pytest.approx(0, abs=1e-9)
    assert np.isnan(weighted_f_measure(mask, np.zeros_like(mask)))


def test_weighted_f_forgives_near_errors_more_than_far_ones() -> None:
    mask, near, far = square(60, 20, 40), square(60, 20, 40), square(60, 20, 40)
    near[40, 20:40] = True
    far[58, 20:40] = True
    assert weighted_f_measure(far, mask) < weighted_f_measure(near, mask) < 1


def test_weighted_f_beta_prefers_precision_below_one() -> None:
    mask, partial = square(), square(high=20)  # precise, low recall
    assert weighted_f_measure(partial, mask, beta2=0.3) > weighted_f_measure(partial, mask)


@pytest.mark.parametrize("pred", [np.full((4, 4), 2.0), np.full((4, 4), np.nan), np.zeros((3, 4))])
def test_weighted_f_refuses_bad_predictions(pred: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pred"):
        weighted_f_measure(pred, np.ones((4, 4), bool))


@pytest.mark.parametrize("beta2", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_must_be_a_positive_number(beta2: float) -> None:
    with pytest.raises(ValueError, match="beta2"):
        f_beta(0.5, 0.5, beta2=beta2)


def test_a_class_of_a_camera_picture_takes_milliseconds() -> None:
    """60 ms of processor time are allowed; noise everywhere leaves no empty surroundings to skip."""
    rows, columns = np.mgrid[:480, :640]
    gt = np.hypot(rows - 240, columns - 320) < 150
    noise = np.random.default_rng(0).random(gt.shape)
    spent = []
    for _ in range(4):
        start = time.process_time()
        weighted_f_measure(noise, gt)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.06


def test_ranked_f_sums_the_ranks() -> None:
    assert RANK_WEIGHTS.sum() == pytest.approx(1)
    assert RANK_WEIGHTS[0] == pytest.approx(256 / 511)
    first, second = square(40, 5, 15), square(40, 25, 35)
    ranks = np.where(first, 1, np.where(second, 2, 0))
    expected = (256 * weighted_f_measure(first, first) + 128 * weighted_f_measure(first, second)) / 511
    assert ranked_f_measure(first, ranks) == pytest.approx(expected)
    assert ranked_f_measure(second, ranks) < expected
    assert np.isnan(ranked_f_measure(first, np.zeros((40, 40), np.uint8)))


@pytest.mark.parametrize("ranks", [np.full((4, 4), 10), np.full((4, 4), -1), np.ones((4, 4)), np.ones((4, 4, 1), int)])
def test_ranks_are_checked(ranks: np.ndarray) -> None:
    with pytest.raises(ValueError, match="ranks"):
        ranked_f_measure(np.zeros((4, 4)), ranks)


def test_averages_leave_out_pictures_without_the_class() -> None:
    nan = np.nan
    scores = np.array([[nan, 0.2, nan, nan], [0.4, 0.6, nan, 1.0]])
    np.testing.assert_allclose(class_averages(scores), [0.4, 0.4, nan, 1.0])


def test_legacy_averages_keep_the_score_of_the_class_before() -> None:
    nan = np.nan
    scores = np.array([[nan, 0.2, nan, nan], [0.4, 0.6, nan, 1.0]])
    np.testing.assert_allclose(class_averages(scores, legacy=True), [0.4, 0.4, 0.4, 0.6])
    assert np.isnan(scores[0, 0]) and np.isnan(scores[0, 2])  # the caller's scores stay as they are


@given(st.integers(0, 2**32 - 1))
def test_legacy_averages_are_those_of_a_list_that_is_never_emptied(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random((5, 4)) < 0.5, np.nan, rng.random((5, 4)))
    kept, expected = np.full(5, np.nan), []
    for column in scores.T:
        kept = np.where(np.isnan(column), kept, column)
        expected.append(np.nan if np.isnan(kept).all() else np.nanmean(kept))
    np.testing.assert_allclose(class_averages(scores, legacy=True), expected)


def test_averages_refuse_other_shapes() -> None:
    with pytest.raises(ValueError, match="scores"):
        class_averages(np.zeros(3))


@pytest.mark.real
def test_real_iit_aff_pairs_give_the_published_scorers_numbers(shared_dir: Path) -> None:
    from vidaff.io import read_label_image

    folder = shared_dir / "data" / "iit_aff"
    if not (folder / "gt_seg").is_dir():
        pytest.skip("the real label pairs are not beside this checkout")
    scores = np.full((8, 9), np.nan)
    for row, path in enumerate(sorted((folder / "gt_seg").glob("*.png"))):
        truth, pred = read_label_image(path), read_label_image(folder / "pred_seg" / path.name)
        for index in range(9):
            scores[row, index] = weighted_f_measure(pred == index + 1, truth == index + 1)
    clean, legacy = class_averages(scores), class_averages(scores, legacy=True)
    display, engine, pound, support = 2, 3, 6, 7
    assert clean[pound] == pytest.approx(0.8706, abs=5e-5)
    assert np.isnan(clean[[display, engine, support]]).all()
    assert np.nanmean(clean) == pytest.approx(0.8438, abs=5e-5)
    np.testing.assert_allclose(legacy[[pound, display, engine, support]], [0.8809, 0.7184, 0.7184, 0.8809], atol=5e-5)
    assert np.nanmean(legacy) == pytest.approx(0.8230, abs=5e-5)
