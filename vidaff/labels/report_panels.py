"""Small pictures of labels for the report: the picture, and one panel a label, as JPEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np

from vidaff.errors import VidaffError
from vidaff.labels.engine import Item, read_item
from vidaff.labels.report_looks import KINDS, OBJECT, Look, Place
from vidaff.labels.report_records import boxes_of

Colour = tuple[int, int, int]
SIDE: Final = 208
"""Longest side of a panel in pixels."""
QUALITY: Final = 82
COLOURS: Final[dict[str, Colour]] = {
    "initial": (50, 130, 255), "raw": (255, 130, 30), "refined": (20, 190, 90), "truth": (225, 60, 200),
}  # fmt: skip
"""The first three in the order of :data:`vidaff.charts.COLOURS`, so that charts and pictures agree."""
OUTLINE: Final[Colour] = (255, 255, 255)
BOX: Final[Colour] = (255, 230, 0)
GROUND: Final = 96
"""Grey of what stands for a picture that cannot be read."""
ABSENT: Final = {
    "initial": "no label",
    "raw": "nothing marked",
    "refined": "no region kept: the initial label counts",
    "truth": "no truth",
}


def legend_of(columns: Sequence[str]) -> list[tuple[Colour, str]]:
    """Colours and what they mean, for pages with these columns."""
    marks = [(COLOURS[name], name) for name in columns if name in COLOURS]
    return [*marks, (OUTLINE, "outline of the whole object"), (BOX, "boxes of the part")]


def draw_row(
    look: Look, columns: Sequence[str], place: Place, truth: Place | None, record: Mapping[str, Any]
) -> list[bytes | str]:
    """JPEG files for ``columns`` (``image``, kinds of labels, ``truth``); text where there is nothing to show."""
    item, image = look.item, _picture(look.item)
    size = (image.shape[0], image.shape[1]) if isinstance(image, np.ndarray) else None
    masks: dict[str, np.ndarray | str] = {}
    for name in (OBJECT, *(column for column in columns if column != "image")):
        masks[name] = _mask(name, item, place, truth, size)
        if size is None and isinstance(mask := masks[name], np.ndarray):
            size = (mask.shape[0], mask.shape[1])
    if size is None:
        return [image if column == "image" and isinstance(image, str) else _absent(column, look) for column in columns]
    ground = image if isinstance(image, np.ndarray) else np.full((*size, 3), GROUND, np.uint8)
    boxes = [box[:4] for box in boxes_of(record) if np.isfinite(box[:4]).all()]
    return [
        (_encode(_small(ground)) if isinstance(image, np.ndarray) else image)
        if column == "image"
        else _panel(ground, masks, column, look, boxes if column == "initial" else [])
        for column in columns
    ]


def _picture(item: Item) -> np.ndarray | str:
    if item.source is None:
        return "no picture"
    try:
        return read_item(item)
    except VidaffError as error:
        return str(error)


def _mask(name: str, item: Item, place: Place, truth: Place | None, size: tuple[int, int] | None) -> np.ndarray | str:
    """A mask, or why it is not to be seen; empty where there is none."""
    where, kind = (truth, "initial") if name == "truth" else (place, name)
    try:
        mask = None if where is None else where.read(kind, item, size)
    except VidaffError:
        return "unreadable, or of another size than its picture"
    return "" if mask is None else mask


def _absent(column: str, look: Look) -> str:
    if column in KINDS and column not in look.ran:
        return "not tried"
    return look.trouble if column == "initial" and look.trouble else ABSENT.get(column, "")


def _panel(
    ground: np.ndarray, masks: Mapping[str, np.ndarray | str], column: str, look: Look, boxes: Sequence[Any]
) -> bytes | str:
    mask, thing = masks[column], masks[OBJECT]
    if isinstance(mask, str):
        return mask or _absent(column, look)
    panel = paint(_small(ground), mask, COLOURS[column], thing if isinstance(thing, np.ndarray) else None)
    scale = panel.shape[1] / ground.shape[1], panel.shape[0] / ground.shape[0]
    for left, top, right, bottom in boxes:
        limits = (left, top, right, bottom)
        corners = [round(min(max(value * scale[axis % 2], -1), 2 * SIDE)) for axis, value in enumerate(limits)]
        cv2.rectangle(panel, (corners[0], corners[1]), (corners[2], corners[3]), BOX, 1)
    return _encode(panel)


def paint(panel: np.ndarray, mask: np.ndarray, colour: Colour, thing: np.ndarray | None = None) -> np.ndarray:
    """``panel`` (h, w, 3) uint8, paler, with ``mask`` (H, W) bool in ``colour`` and the outline of ``thing``."""
    height, width = panel.shape[:2]
    grey = cv2.cvtColor(cv2.cvtColor(panel, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    pale = cv2.addWeighted(panel, 0.4, grey, 0.45, 0).astype(np.float32)
    # Averaged over the pixels of a cell, so that a thin label stays visible in a small picture.
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)[..., None]
    painted = (pale * (1 - 0.6 * share) + np.array(colour, np.float32) * (0.6 * share)).round().astype(np.uint8)
    if thing is not None:
        _outline(painted, thing, OUTLINE)
    _outline(painted, mask, colour)
    return painted


def _outline(panel: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    small = cv2.resize(mask.astype(np.uint8), (panel.shape[1], panel.shape[0]), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(panel, contours, -1, colour, 1)


def _small(image: np.ndarray) -> np.ndarray:
    """Scaled so that the longer side has :data:`SIDE` pixels."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _encode(panel: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(panel, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
