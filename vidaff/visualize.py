"""Pictures for people: label overlays, legend and action bars, attention, depth, contact sheets.

All pictures are (H, W, 3) uint8 RGB; nothing here changes its arguments except :func:`draw_text`, which draws in place.
Text is drawn with the DejaVu font that matplotlib ships, because OpenCV's line fonts are hard to read in small sizes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vidaff.datasets.taxonomies import SOR3D_AFF, Taxonomy
from vidaff.datasets.taxonomy import IGNORE
from vidaff.errors import VidaffError

Colour = tuple[int, int, int]
PAPER: Colour = (24, 26, 31)
"""Dark ground of panels and sheets: every class colour keeps a contrast above 4 to 1 on it."""
TRACK: Colour = (48, 51, 59)
DIM: Colour = (150, 154, 164)
INK: Colour = (238, 240, 244)


@functools.lru_cache(maxsize=16)
def class_colours(taxonomy: Taxonomy = SOR3D_AFF) -> np.ndarray:
    """Look-up table (256, 3) uint8 RGB from label id to display colour; background black, ignore grey."""
    table = np.zeros((256, 3), np.uint8)
    table[: taxonomy.background] = taxonomy.colours
    table[IGNORE] = (120, 120, 120)
    table.setflags(write=False)
    return table


@functools.lru_cache(maxsize=16)
def colour_table(name: str) -> np.ndarray:
    """Table (256, 3) uint8 RGB of a matplotlib colour map; raise :class:`VidaffError` for an unknown name."""
    import matplotlib

    if name not in matplotlib.colormaps:
        raise VidaffError(f"unknown colour map {name!r}; try turbo, viridis, magma or gray")
    table = (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    table.setflags(write=False)
    return table


def apply_table(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Colour (H, W) uint8 by a (256, 3) table: (H, W, 3) uint8."""
    return cv2.applyColorMap(np.ascontiguousarray(values), table.reshape(256, 1, 3))


def colour_labels(labels: np.ndarray, *, taxonomy: Taxonomy = SOR3D_AFF) -> np.ndarray:
    """Colour a label map (H, W) uint8 (0..K-1 affordances, K background, 255 ignore) with the set's colours."""
    return apply_table(labels, class_colours(taxonomy))


def colour_map(
    values: np.ndarray, *, low: float | None = None, high: float | None = None, name: str = "turbo"
) -> np.ndarray:
    """Colour a map (H, W) of numbers: ``low`` and ``high`` (default: the finite extremes) span the colour map.

    NaN and infinite values become black.
    """
    values = np.asarray(values, np.float32)
    finite = np.isfinite(values)
    if low is None:
        low = float(values[finite].min()) if finite.any() else 0.0
    if high is None:
        high = float(values[finite].max()) if finite.any() else 1.0
    span = max(high - low, 1e-12)
    scaled = np.where(finite, np.clip((values - low) / span, 0, 1) * 255, 0).astype(np.uint8)
    coloured = apply_table(scaled, colour_table(name))
    coloured[~finite] = 0
    return coloured


def colour_depth(depth: np.ndarray, *, near: float | None = None, far: float | None = None) -> np.ndarray:
    """Colour a depth map (H, W) in any unit, near warm and far cold; missing depth (0, NaN) is black."""
    values = np.where(np.asarray(depth) > 0, depth, np.nan).astype(np.float32)
    return colour_map(-values, low=None if far is None else -far, high=None if near is None else -near)


def blend_labels(
    rgb: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    threshold: float = 0.0,
    alpha: float = 0.5,
    outline: bool = True,
    taxonomy: Taxonomy = SOR3D_AFF,
) -> np.ndarray:
    """Paint a label map over a picture of the same size; the picture stays visible through it.

    ``rgb (H, W, 3) uint8``, ``labels (H, W) uint8``, ``confidence (H, W)`` 0..1: pixels below ``threshold`` and
    background are left alone. Ignored pixels are greyed. Ids and colours are those of ``taxonomy``. Returns a new
    (H, W, 3) uint8 picture.
    Source: Thermos et al., ICASSP 2020, section 4.3 (pictures keep only what is above 0.75).
    """
    shown = labels
    if confidence is not None and threshold > 0:
        shown = np.where(confidence >= threshold, labels, np.uint8(taxonomy.background))
    paint = apply_table(shown, class_colours(taxonomy))
    mask = cv2.compare(shown, taxonomy.background, cv2.CMP_NE)
    picture = rgb.copy()
    cv2.copyTo(cv2.addWeighted(rgb, 1 - alpha, paint, alpha, 0), mask, picture)
    if outline:
        edge = cv2.morphologyEx(shown, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        cv2.copyTo(paint, cv2.bitwise_and(cv2.compare(edge, 0, cv2.CMP_NE), mask), picture)
    return picture


def blend_heat(rgb: np.ndarray, heat: np.ndarray, *, alpha: float = 0.55, name: str = "inferno") -> np.ndarray:
    """Lay a map (h, w) of 0..1 values, resized to the picture, over a darkened grey copy of the picture."""
    height, width = rgb.shape[:2]
    level = (np.clip(np.nan_to_num(heat), 0, 1) * 255).astype(np.uint8)
    level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 1 - alpha, apply_table(level, colour_table(name)), alpha, 0)


@functools.lru_cache(maxsize=32)
def _font(size: int, bold: bool):  # type: ignore[no-untyped-def]
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


@functools.lru_cache(maxsize=256)
def _glyphs(text: str, size: int, bold: bool) -> np.ndarray:
    """Coverage (h, w, 1) uint8 of one line of text; the cache makes repeated words free."""
    from PIL import Image, ImageDraw

    font = _font(size, bold)
    width = max(1, math.ceil(font.getlength(text)))
    ascent, descent = font.getmetrics()
    picture = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture)[..., None]


def text_size(text: str, *, size: int = 14, bold: bool = False) -> tuple[int, int]:
    """Height and width in pixels of one line of text."""
    height, width = _glyphs(text, size, bold).shape[:2]
    return height, width


def draw_text(
    image: np.ndarray,
    text: str,
    xy: tuple[int, int],
    *,
    size: int = 14,
    colour: Colour = INK,
    bold: bool = False,
    anchor: str = "left",
) -> None:
    """Draw one line of text in place: ``xy`` is its top left, top middle or top right by ``anchor``.

    What falls outside of the picture is cut off.
    """
    glyphs = _glyphs(text, size, bold)
    height, width = glyphs.shape[:2]
    x = xy[0] - {"left": 0, "middle": width // 2, "right": width}[anchor]
    y = xy[1]
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(height, image.shape[0] - y), min(width, image.shape[1] - x)
    if bottom <= top or right <= left:
        return
    cover = glyphs[top:bottom, left:right] * np.float32(1 / 255)
    region = image[y + top : y + bottom, x + left : x + right]
    region[...] = (region + (np.asarray(colour, np.float32) - region) * cover + 0.5).astype(np.uint8)


def fit(picture: np.ndarray, size: tuple[int, int], *, ground: Colour = PAPER) -> np.ndarray:
    """Scale a picture into ``size`` = (height, width), keeping its shape; the rest is ``ground``."""
    height, width = size
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = np.full((height, width, 3), ground, np.uint8)
    y, x = (height - inner[1]) // 2, (width - inner[0]) // 2
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(picture, inner, interpolation=smooth)
    return canvas


def legend(
    names: Sequence[str] | None = None, *, width: int = 640, size: int = 13, taxonomy: Taxonomy = SOR3D_AFF
) -> np.ndarray:
    """Strip of colour chips with class names, (h, ``width``, 3); it wraps into as many lines as it needs.

    ``names``: some of the affordances of ``taxonomy``, all by default; other names get a grey chip.
    """
    names = taxonomy.affordances if names is None else names
    colours = dict(zip(taxonomy.affordances, taxonomy.colours, strict=True))
    line, chip, gap = round(size * 1.9), round(size * 0.95), round(size * 0.45)
    spots, x, y = [], gap * 2, 0
    for name in names:
        need = chip + gap + text_size(name, size=size)[1] + 3 * gap
        if x + need > width and x > gap * 2:
            x, y = gap * 2, y + line
        spots.append((name, x, y))
        x += need
    strip = np.full((y + line, width, 3), PAPER, np.uint8)
    for name, x, y in spots:
        top = y + (line - chip) // 2
        strip[top : top + chip, x : x + chip] = colours.get(name, DIM)
        draw_text(strip, name, (x + chip + gap, y + (line - text_size(name, size=size)[0]) // 2), size=size)
    return strip


def contact_sheet(
    pictures: Sequence[np.ndarray],
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    cell: tuple[int, int] | None = None,
    title: str = "",
    with_legend: bool = False,
    taxonomy: Taxonomy = SOR3D_AFF,
) -> np.ndarray:
    """Lay pictures out in a grid, each scaled into a ``cell`` = (height, width), with captions below.

    Pictures may be (H, W) or (H, W, 3) uint8 of any size; ``columns`` defaults to a near-square grid and ``cell`` to
    the size of the first picture. The legend names the affordances of ``taxonomy``.
    """
    if not pictures:
        raise VidaffError("a contact sheet needs at least one picture")
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    height, width = cell or (pictures[0].shape[0], pictures[0].shape[1])
    pad, words = 6, 20 if captions else 0
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((pad + rows * (height + words + pad), pad + columns * (width + pad), 3), PAPER, np.uint8)
    for index, picture in enumerate(pictures):
        y = pad + index // columns * (height + words + pad)
        x = pad + index % columns * (width + pad)
        colour = picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
        sheet[y : y + height, x : x + width] = fit(colour, (height, width))
        if captions and index < len(captions):
            cell_words = sheet[y + height : y + height + words, x : x + width]
            draw_text(cell_words, captions[index], (2, 3), size=11, colour=DIM)
    return _framed(sheet, title, taxonomy if with_legend else None)


def _framed(sheet: np.ndarray, title: str, classes: Taxonomy | None) -> np.ndarray:
    parts = [sheet]
    if title:
        head = np.full((32, sheet.shape[1], 3), PAPER, np.uint8)
        draw_text(head, title, (8, 7), size=15, bold=True)
        parts.insert(0, head)
    if classes is not None:
        parts.append(legend(width=sheet.shape[1], taxonomy=classes))
    return np.concatenate(parts)


class OverlayPainter:
    """Draws the frames of an overlay video: the painted picture, and beside it a panel that is legend and action bar.

    The panel lists the classes once, each with its colour, its action probability as a bar, and its name bright
    while pixels of it are painted. Below it the attention is laid over a small grey copy of the picture. Models that
    tell no actions (``actions=False``) get the list without the bars.

    ``size``: (height, width) of the source. The picture is scaled to ``display_height`` rows where given, else to
    between 480 and 1080 rows, so that the text stays legible beside thumbnails and large films alike.
    ``OverlayPainter.size`` is the (height, width) of what :meth:`paint` returns; both are even, as H.264 needs.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        threshold: float = 0.75,
        alpha: float = 0.5,
        display_height: int | None = None,
        taxonomy: Taxonomy = SOR3D_AFF,
        actions: bool = True,
    ) -> None:
        height, width = size
        rows = display_height or min(max(height, 480), 1080)
        self.picture_size = (_even(rows), _even(width * rows / height))
        self.threshold, self.alpha, self.taxonomy, self.actions = threshold, alpha, taxonomy, actions
        self.names, self.colours = taxonomy.affordances, taxonomy.colours
        self.unit = self.picture_size[0] / 480
        self.panel = self._static_panel()
        self.size = (self.picture_size[0], self.picture_size[1] + self.panel.shape[1])

    def _u(self, value: float) -> int:
        return round(value * self.unit)

    def _static_panel(self) -> np.ndarray:
        u = self._u
        panel = np.full((self.picture_size[0], _even(u(236)), 3), PAPER, np.uint8)
        title, top = ("ACTION", u(14)) if self.actions else ("AFFORDANCES", u(52))
        draw_text(panel, title, (u(16), top), size=u(10), colour=DIM, bold=True)
        for row, colour in enumerate(self.colours):
            y, chip = self._row(row), u(12)
            panel[y + u(4) : y + u(4) + chip, u(16) : u(16) + chip] = colour
            if self.actions:
                x0, x1 = self._bar()
                panel[y + u(7) : y + u(13), x0:x1] = TRACK
        return panel

    def _row(self, row: int) -> int:
        return self._u(72 + 23 * row)

    def _bar(self) -> tuple[int, int]:
        return self._u(104), self._u(186)

    def paint(
        self,
        rgb: np.ndarray,
        labels: np.ndarray,
        action_probs: np.ndarray,
        *,
        confidence: np.ndarray | None = None,
        attention: np.ndarray | None = None,
        note: str = "",
    ) -> np.ndarray:
        """Draw one frame.

        ``rgb (H, W, 3) uint8``, ``labels (H, W) uint8``, ``action_probs (A,)`` 0..1, ``confidence (H, W)`` 0..1,
        ``attention (h, w)`` 0..1, ``note``: one short line for the foot of the panel. Returns ``self.size`` RGB uint8.
        """
        picture, shown, sure = self._display(rgb, labels, confidence)
        painted = blend_labels(
            picture, shown, confidence=sure, threshold=self.threshold, alpha=self.alpha, taxonomy=self.taxonomy
        )
        panel = self.panel.copy()
        self._draw_names(panel, self._present(shown, sure))
        if self.actions:
            self._draw_actions(panel, action_probs)
        if attention is not None:
            self._draw_attention(panel, picture, attention)
        if note:
            draw_text(panel, note, (self._u(16), panel.shape[0] - self._u(24)), size=self._u(11), colour=DIM)
        return np.concatenate((painted, panel), axis=1)

    def _display(
        self, rgb: np.ndarray, labels: np.ndarray, confidence: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        height, width = self.picture_size
        if rgb.shape[:2] == (height, width):
            return rgb, labels, confidence
        smooth = cv2.INTER_AREA if height < rgb.shape[0] else cv2.INTER_CUBIC
        picture = cv2.resize(rgb, (width, height), interpolation=smooth)
        shown = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        if confidence is not None:
            confidence = cv2.resize(confidence, (width, height), interpolation=cv2.INTER_NEAREST)
        return picture, shown, confidence

    def _present(self, shown: np.ndarray, confidence: np.ndarray | None) -> np.ndarray:
        if confidence is not None and self.threshold > 0:
            shown = shown[confidence >= self.threshold]
        return np.bincount(shown.ravel(), minlength=256)[: len(self.names)] > 0

    def _draw_names(self, panel: np.ndarray, present: np.ndarray) -> None:
        u = self._u
        for row, (name, bright) in enumerate(zip(self.names, present.tolist(), strict=True)):
            spot = (u(34), self._row(row) + u(2))
            draw_text(panel, name, spot, size=u(13), bold=bright, colour=INK if bright else DIM)

    def _draw_actions(self, panel: np.ndarray, probs: np.ndarray) -> None:
        u = self._u
        best = int(np.argmax(probs))
        x0, x1 = self._bar()
        draw_text(panel, self.names[best], (u(16), u(28)), size=u(24), bold=True, colour=self.colours[best])
        draw_text(panel, f"{probs[best]:.0%}", (u(220), u(28)), size=u(24), bold=True, anchor="right")
        for row, (colour, prob) in enumerate(zip(self.colours, probs, strict=True)):
            y = self._row(row)
            panel[y + u(7) : y + u(13), x0 : x0 + round((x1 - x0) * float(prob))] = colour
            draw_text(panel, f"{prob:.0%}", (u(220), y + u(3)), size=u(11), colour=DIM, anchor="right")

    def _draw_attention(self, panel: np.ndarray, picture: np.ndarray, attention: np.ndarray) -> None:
        u = self._u
        top, bottom = self._row(len(self.names)) + u(28), panel.shape[0] - u(32)
        draw_text(panel, "ATTENTION", (u(16), top - u(18)), size=u(10), colour=DIM, bold=True)
        room, wide = bottom - top, u(204)
        scale = min(room / picture.shape[0], wide / picture.shape[1])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        panel[top : top + size[1], u(16) : u(16) + size[0]] = blend_heat(small, attention)


def _even(value: float) -> int:
    return max(2, 2 * round(value / 2))
