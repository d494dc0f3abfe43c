"""The picture grid: columns of picture, prediction and truth, as in the paper's figure 4.

Predictions have the colours of SOR3D-AFF. A true class has the colour of the class that means it, so that what agrees
looks alike; true classes without counterpart have pale and earthy colours that no prediction has.

Deviation from the paper: the display colours of :mod:`vidaff.datasets.taxonomy`, because the greens of the authors'
masks cannot be told apart by eye.
Source: Thermos et al., ICASSP 2020, section 4.3 and figure 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vidaff.datasets.taxonomies import Taxonomy
from vidaff.datasets.taxonomy import BACKGROUND, DISPLAY_COLOURS
from vidaff.transfer.mapping import ClassMapping
from vidaff.visualize import DIM, PAPER, Colour, blend_labels, draw_text, fit, legend, text_size

COLUMNS, BANDS = 6, 2
"""Pictures side by side, and rows of them on a page."""
CELL, LARGEST, PAD, MARGIN, WORDS, NARROWEST = 220, 440, 6, 96, 18, 660
"""Pixels: a cell's width, its width at most, between cells, row titles, captions, and all cells together at least."""
ALPHA = 0.65
"""How much of the paint is seen: more than in videos, because pale colours must stand out on real objects."""
PALE: tuple[Colour, ...] = (
    (205, 170, 125), (168, 172, 178), (150, 105, 70), (238, 228, 205), (135, 150, 90), (95, 110, 135), (150, 60, 70),
    (90, 130, 125), (110, 85, 120),
)  # fmt: skip
"""Colours of true classes that no class of SOR3D-AFF means."""


@dataclass(frozen=True)
class Shown:
    """A picture of the grid: ``rgb`` (h, w, 3) uint8; ``confident`` (h, w) ids of SOR3D-AFF; ``truth`` (h, w) ids.

    ``confidence``: the highest probability that any affordance has in the picture.
    """

    name: str
    rgb: np.ndarray
    confident: np.ndarray
    confidence: float
    truth: np.ndarray


def truth_display(mapping: ClassMapping) -> Taxonomy:
    """The classes of the still set with the colours, and the names, that they have in the grid."""
    taxonomy = mapping.taxonomy
    pale, used = iter(PALE), set()
    names: list[str] = []
    colours: list[Colour] = []
    for name in taxonomy.affordances:
        sources = mapping.sources(name)
        free = next((source for source in sources if source not in used), None)
        used.add(free)
        colours.append(next(pale) if free is None else DISPLAY_COLOURS[free])
        meant = " + ".join(sources) or "no counterpart"
        names.append(name if sources == [name] else f"{name} ({meant})")
    return replace(taxonomy, affordances=tuple(names), colours=tuple(colours))


@dataclass(frozen=True)
class _Layout:
    """``cell`` (height, width) of a picture, ``width`` of the page, in pixels; ``display`` and ``threshold``."""

    cell: tuple[int, int]
    width: int
    display: Taxonomy
    threshold: float

    @property
    def step(self) -> tuple[int, int]:
        """Height and width from one cell to the next."""
        return self.cell[0] + PAD, self.cell[1] + PAD


def _layout(shown: Sequence[Shown], display: Taxonomy, threshold: float) -> _Layout:
    """Few pictures are drawn larger; cells are as flat as the pictures, which need not be square."""
    columns = min(COLUMNS, len(shown))
    side = max(CELL, min(LARGEST, COLUMNS * CELL // (columns + 1)))
    tallest = max(each.truth.shape[0] / each.truth.shape[1] for each in shown)
    cell = (round(side * min(1.25, tallest)), side)
    return _Layout(cell, MARGIN + max(columns * (side + PAD), NARROWEST), display, threshold)


def pages(shown: Sequence[Shown], mapping: ClassMapping, *, title: str, threshold: float) -> Iterator[np.ndarray]:
    """Draw the pictures on as many pages as they need, each (H, W, 3) uint8; of no pictures, none."""
    if not shown:
        return
    layout = _layout(shown, truth_display(mapping), threshold)
    size = COLUMNS * BANDS
    parts = [shown[first : first + size] for first in range(0, len(shown), size)]
    for number, part in enumerate(parts, start=1):
        heading = f"{title}  ({number} of {len(parts)})" if len(parts) > 1 else title
        bands = [_band(part[first : first + COLUMNS], layout) for first in range(0, len(part), COLUMNS)]
        yield np.concatenate([_heading(heading, layout.width), *bands, *_legends(layout)])


def _band(shown: Sequence[Shown], layout: _Layout) -> np.ndarray:
    """One row of pictures with its two rows of labels below."""
    (height, width), (down, across) = layout.cell, layout.step
    band = np.full((WORDS + 3 * down + PAD, layout.width, 3), PAPER, np.uint8)
    for number, title in enumerate(("picture", "prediction", "truth")):
        draw_text(band, title, (8, WORDS + number * down + height // 2 - 12), size=13)
    draw_text(band, f"above {layout.threshold:g}", (8, WORDS + down + height // 2 + 5), size=13, colour=DIM)
    for column, each in enumerate(shown):
        left = MARGIN + column * across
        draw_text(band, _shortened(each.name, width), (left, 2), size=11, colour=DIM)
        for number, picture in enumerate(_cells(each, layout)):
            top = WORDS + number * down
            band[top : top + height, left : left + width] = picture
    return band


def _cells(shown: Shown, layout: _Layout) -> list[np.ndarray]:
    """Picture, prediction and truth, each (*cell, 3)."""
    height, width = shown.truth.shape
    scale = min(layout.cell[0] / height, layout.cell[1] / width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # Painted at the size at which it is shown, so that outlines stay a pixel wide.
    rgb = fit(shown.rgb, size)
    predicted, truth = (_nearest(labels, size) for labels in (shown.confident, shown.truth))
    cells = [
        rgb,
        blend_labels(rgb, predicted, alpha=ALPHA),
        blend_labels(rgb, truth, alpha=ALPHA, taxonomy=layout.display),
    ]
    if (shown.confident == BACKGROUND).all():
        _note(cells[1], f"nothing (highest: {shown.confidence:.3f})")
    return [fit(picture, layout.cell) for picture in cells]


def _note(picture: np.ndarray, words: str) -> None:
    """Write a line on a dark plate at the foot of a picture, in place."""
    height, width = text_size(words, size=11)
    picture[-height - 4 :, : width + 8] = PAPER
    draw_text(picture, words, (4, picture.shape[0] - height - 2), size=11)


def _nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    resized: np.ndarray = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def _shortened(name: str, width: int) -> str:
    """The end of a name that is too long for its column, which is where names differ."""
    while text_size(name, size=11)[1] > width and len(name) > 8:
        name = "…" + name[2:]
    return name


def _heading(text: str, width: int) -> np.ndarray:
    strip = np.full((32, width, 3), PAPER, np.uint8)
    draw_text(strip, text, (8, 7), size=15, bold=True)
    return strip


def _legends(layout: _Layout) -> list[np.ndarray]:
    strips = []
    inner = layout.width - MARGIN
    for title, chips in (("prediction", legend(width=inner)), ("truth", legend(width=inner, taxonomy=layout.display))):
        left = np.full((chips.shape[0], MARGIN, 3), PAPER, np.uint8)
        draw_text(left, title, (8, 4), size=13, colour=DIM)
        strips.append(np.concatenate([left, chips], axis=1))
    return strips
