"""Overlays, legend, colour maps and contact sheets."""

from __future__ import annotations

import numpy as np
import pytest

from vidaff import visualize
from vidaff.datasets.taxonomy import AFFORDANCES, DISPLAY_COLOURS
from vidaff.errors import VidaffError

GREY = np.full((60, 80, 3), 100, np.uint8)


def square(value: int) -> np.ndarray:
    labels = np.full((60, 80), 9, np.uint8)
    labels[20:40, 30:50] = value
    return labels


def test_labels_are_painted_in_their_colour_and_nothing_else_is() -> None:
    painted = visualize.blend_labels(GREY, square(2), alpha=0.5, outline=False)
    expected = (100 + np.array(DISPLAY_COLOURS["hammer"])) / 2
    assert np.abs(painted[30, 40] - expected).max() <= 1
    outside = square(2) == 9
    assert (painted[outside] == 100).all()
    assert (GREY == 100).all()


def test_class_zero_is_painted_too() -> None:
    assert (visualize.blend_labels(GREY, square(0))[30, 40] != 100).any()


def test_low_confidence_is_not_painted() -> None:
    confidence = np.full((60, 80), 0.9, np.float32)
    confidence[:, :40] = 0.5
    painted = visualize.blend_labels(GREY, square(2), confidence=confidence, threshold=0.75)
    assert (painted[:, :40] == 100).all() and (painted[30, 45] != 100).any()


def test_colour_labels_matches_the_table() -> None:
    coloured = visualize.colour_labels(np.array([[0, 8, 9, 255]], np.uint8))
    assert coloured[0, :2].tolist() == [list(DISPLAY_COLOURS["cut"]), list(DISPLAY_COLOURS["type"])]
    assert coloured[0, 2].tolist() == [0, 0, 0]


def test_colour_map_survives_nan_constant_and_unknown_names() -> None:
    values = np.array([[0.0, 1.0, np.nan, np.inf]])
    coloured = visualize.colour_map(values)
    assert coloured.shape == (1, 4, 3) and coloured[0, 2].tolist() == [0, 0, 0]
    assert visualize.colour_map(np.zeros((2, 2))).shape == (2, 2, 3)
    assert visualize.colour_map(np.full((2, 2), np.nan)).max() == 0
    with pytest.raises(VidaffError, match="unknown colour map 'nope'"):
        visualize.colour_map(values, name="nope")


def test_missing_depth_is_black_and_near_differs_from_far() -> None:
    coloured = visualize.colour_depth(np.array([[0, 500, 1500]], np.uint16))
    assert coloured[0, 0].max() == 0 and (coloured[0, 1] != coloured[0, 2]).any()


def test_text_is_cut_at_the_border() -> None:
    canvas = np.zeros((10, 20, 3), np.uint8)
    visualize.draw_text(canvas, "a long line of text", (-5, -3), size=14)
    visualize.draw_text(canvas, "elsewhere", (500, 500))
    assert canvas.max() > 0


@pytest.mark.parametrize("size", [(48, 48), (480, 640), (1440, 2560), (77, 33), (200, 900)])
def test_painter_gives_even_sizes_that_stay_legible(size: tuple[int, int]) -> None:
    painter = visualize.OverlayPainter(size)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (*size, 3), np.uint8)
    labels = rng.integers(0, 10, size, np.uint8)
    picture = painter.paint(
        rgb, labels, np.full(9, 1 / 9), confidence=np.ones(size, np.float32), attention=np.ones((4, 4)), note="frame 1"
    )
    assert picture.shape == (*painter.size, 3) and picture.dtype == np.uint8
    assert painter.size[0] % 2 == painter.size[1] % 2 == 0 and 480 <= painter.size[0] <= 1080


def test_painter_names_the_best_action_in_its_colour() -> None:
    painter = visualize.OverlayPainter((480, 640))
    probs = np.eye(9)[3]
    panel = painter.paint(np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 9, np.uint8), probs)[:, 640:]
    header = panel[20:60].reshape(-1, 3)
    assert (header == DISPLAY_COLOURS["lift"]).all(axis=1).sum() > 20
    assert not (header == DISPLAY_COLOURS["cut"]).all(axis=1).any()


def test_contact_sheet_holds_every_picture_and_the_legend() -> None:
    pictures = [np.full((20 + 4 * i, 30, 3), 40 * i + 60, np.uint8) for i in range(5)] + [np.zeros((8, 8), np.uint8)]
    captions = [f"clip {i}" for i in range(6)]
    plain = visualize.contact_sheet(pictures, captions=captions, columns=3, cell=(40, 60))
    full = visualize.contact_sheet(pictures, captions=captions, columns=3, cell=(40, 60), title="t", with_legend=True)
    assert full.shape[1] == plain.shape[1] and full.shape[0] > plain.shape[0]
    for i in range(5):
        assert (plain == 40 * i + 60).all(axis=2).sum() > 400
    with pytest.raises(VidaffError, match="at least one picture"):
        visualize.contact_sheet([])


@pytest.mark.parametrize("width", [120, 400, 1200])
def test_legend_wraps_and_shows_every_colour(width: int) -> None:
    strip = visualize.legend(width=width)
    assert strip.shape[1] == width
    for name in AFFORDANCES:
        assert (strip == DISPLAY_COLOURS[name]).all(axis=2).sum() >= 100
