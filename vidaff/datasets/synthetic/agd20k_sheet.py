"""A picture of a rendered AGD20K: a row for every pair."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vidaff.datasets.synthetic.agd20k_files import VIEWS, labels_of, picture_of, picture_path, truth_of, truth_path
from vidaff.datasets.synthetic.agd20k_labels import fault_of
from vidaff.datasets.synthetic.agd20k_plan import PicturePlan
from vidaff.datasets.synthetic.set_folder import SHEET_FILE
from vidaff.io import read_image, read_label_image, write_image
from vidaff.visualize import blend_heat, contact_sheet

_CELL = 104
_COLUMNS = 3
_BLANK = np.full((_CELL, _CELL, 3), 235, np.uint8)
_RED, _GREEN = np.array([230, 40, 40], np.float32), np.array([40, 190, 70], np.float32)


def write_contact_sheet(out: Path, plans: list[PicturePlan]) -> Path:
    """Write ``contact_sheet.png`` from Seen's files: a picture, its initial label (red), truth (green), use, test."""
    first: dict[tuple[str, str], dict[str, PicturePlan]] = {}
    for plan in plans:
        first.setdefault((plan.verb, plan.noun), {}).setdefault(plan.role, plan)
    rows = [_row(out, found) for found in first.values()]
    captions = [_caption(found) for found in first.values()]
    title = f"{out.name}: picture, initial label, truth, in use with the object's mask, test, ground truth"
    path = out / SHEET_FILE
    write_image(path, contact_sheet(rows, captions=captions, columns=_COLUMNS, title=title))
    return path


def _caption(found: dict[str, PicturePlan]) -> str:
    plan = next(iter(found.values()))
    fault = f" (label: {fault_of(found['train'])})" if "train" in found else ""
    return f"{plan.verb} {plan.noun}{fault}"


def _row(out: Path, found: dict[str, PicturePlan]) -> np.ndarray:
    cells = [_BLANK] * 6
    if "train" in found:
        plan = found["train"]
        rgb = read_image(picture_path(out, "Seen", plan))
        initial = labels_of(out, "Seen").find_mask("initial", picture_of(plan))
        cells[0] = rgb
        cells[1] = _painted(rgb, initial, _RED) if initial else _BLANK
        cells[2] = _painted(rgb, truth_of(out, "Seen").mask("initial", picture_of(plan)), _GREEN)
    if "exo" in found:
        plan = found["exo"]
        mask = labels_of(out, "Seen").mask(f"objects/{VIEWS['exo']}", picture_of(plan))
        cells[3] = _outlined(read_image(picture_path(out, "Seen", plan)), mask)
    if "test" in found:
        plan = found["test"]
        cells[4] = read_image(picture_path(out, "Seen", plan))
        cells[5] = blend_heat(cells[4], read_label_image(truth_path(out, "Seen", plan)) / 255)
    return np.hstack([cv2.resize(cell, (_CELL, _CELL), interpolation=cv2.INTER_AREA) for cell in cells])


def _painted(rgb: np.ndarray, path: Path, tint: np.ndarray) -> np.ndarray:
    mask = read_label_image(path) > 127
    picture = rgb.copy()
    picture[mask] = (0.45 * rgb[mask] + 0.55 * tint).astype(np.uint8)
    return picture


def _outlined(rgb: np.ndarray, path: Path) -> np.ndarray:
    mask = read_label_image(path)
    edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    picture = rgb.copy()
    picture[edge] = (255, 235, 60)
    return picture
