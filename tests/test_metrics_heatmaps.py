"""KLD, SIM and NSS: by hand, on flat maps, against the authors' numbers, and the resizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidaff.metrics import heatmap_scores, resize_heatmap


def test_scores_by_hand() -> None:
    pred, gt = np.array([[1.0, 3.0]]), np.array([[0.0, 2.0]])
    scores = heatmap_scores(pred, gt)
    assert scores.kld == pytest.approx(np.log(1 / 0.75))
    assert scores.sim == pytest.approx(0.75)
    assert scores.nss == pytest.approx(0.25 / np.sqrt(0.125))  # deviations +-0.25, divided by n - 1
    older = heatmap_scores(pred, gt, protocol="locate")
    assert older.kld == pytest.approx(np.log(1 / 0.75))
    assert older.nss == pytest.approx(1)


def test_the_unit_of_a_map_does_not_matter() -> None:
    pred, gt = np.random.default_rng(0).random((2, 9, 7))
    np.testing.assert_allclose(heatmap_scores(255 * pred, 7 * gt), heatmap_scores(pred, gt), rtol=1e-6)
    assert heatmap_scores(gt, gt).kld == pytest.approx(0, abs=1e-6)
    assert heatmap_scores(gt, gt).sim == pytest.approx(1)


@pytest.mark.parametrize(("protocol", "eps"), [("plsp", 1e-10), ("locate", 1e-12)])
def test_a_missed_pixel_costs_what_the_protocol_caps_it_at(protocol: str, eps: float) -> None:
    pred, gt = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert heatmap_scores(pred, gt, protocol=protocol).kld == pytest.approx(-np.log(eps), rel=1e-6)


@pytest.mark.parametrize("protocol", ["plsp", "locate"])
def test_flat_and_empty_maps_have_scores(protocol: str) -> None:
    gt, zeros = np.eye(5), np.zeros((5, 5))
    assert heatmap_scores(np.full((5, 5), 0.1), gt, protocol=protocol).nss == 0
    empty = heatmap_scores(zeros, gt, protocol=protocol)
    assert (empty.sim, empty.nss) == (0, 0) and empty.kld > 15
    even = heatmap_scores(gt, zeros, protocol=protocol)
    assert even.nss == 0 and even.sim == pytest.approx(0.2)
    assert even == heatmap_scores(gt, np.ones((5, 5)), protocol=protocol)


@pytest.mark.parametrize("protocol", ["plsp", "locate"])
def test_nss_looks_where_the_truth_is_above_a_tenth(protocol: str) -> None:
    pred = np.array([[1.0, 5.0, 2.0, 1.0]])
    above, below = (heatmap_scores(pred, np.array([[2.0, low, 12.0, 2.0]]), protocol=protocol) for low in (3.1, 2.9))
    assert above.nss > 0 > below.nss


@pytest.mark.parametrize(
    ("pred", "gt", "named"),
    [
        (np.ones((2, 2)), np.ones((2, 3)), "pred: shape"),
        (np.ones(4), np.ones(4), "pred: must be"),
        (np.ones((2, 2)), -np.ones((2, 2)), "gt: values"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "pred: values"),
    ],
)
def test_bad_maps_are_named(pred: np.ndarray, gt: np.ndarray, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        heatmap_scores(pred, gt)


def test_unknown_protocols_are_named() -> None:
    with pytest.raises(ValueError, match="protocol: unknown 'other'"):
        heatmap_scores(np.ones((2, 2)), np.ones((2, 2)), protocol="other")


def test_resizing_is_that_of_torch_without_antialiasing() -> None:
    torch = pytest.importorskip("torch")
    heat = np.random.default_rng(0).random((301, 97))
    expected = torch.nn.functional.interpolate(torch.from_numpy(heat)[None, None], size=(224, 224), mode="bilinear")
    np.testing.assert_allclose(resize_heatmap(heat), expected[0, 0].numpy(), atol=1e-6)


@pytest.mark.real
def test_the_authors_numbers(shared_dir: Path) -> None:
    path = shared_dir / "golden" / "wsag" / "metrics.npz"
    if not path.is_file():
        pytest.skip("the reference numbers are not beside this checkout")
    golden = np.load(path, allow_pickle=False)
    ours = [heatmap_scores(pred, gt) for pred, gt in zip(golden["pred"], golden["gt"], strict=True)]
    for name in ("kld", "sim", "nss"):
        np.testing.assert_allclose([getattr(scores, name) for scores in ours], golden[name], rtol=1e-5, atol=1e-6)
