"""Pictures that old OpenCV programs saved as XML, which OpenCV itself can no longer load as pictures."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from vidaff.datasets.xml_file import parse_xml
from vidaff.errors import VidaffError
from vidaff.io import check_pixels

_NOT_NUMBERS = re.compile(r"[^0-9\s]")


def read_opencv_xml(path: Path) -> np.ndarray:
    """A single-channel picture (H, W) uint16 from the XML of ``cvSave`` (``opencv-image`` or ``opencv-matrix``).

    Raises :class:`VidaffError` when the file is missing or damaged, when its numbers are not those of its width and
    height, or when one is not between 0 and 65535.
    """
    tree = parse_xml(path)
    width, height = (_side(tree.findtext(f".//{a}") or tree.findtext(f".//{b}"), path) for a, b in _SIDES)
    check_pixels(path, width, height)
    text = tree.findtext(".//data") or ""
    if _NOT_NUMBERS.search(text):
        raise VidaffError(f"{path}: its data are not whole numbers of 0 and above")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of blanks at the end
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    if values.size != width * height:
        raise VidaffError(f"{path}: {values.size} numbers for {width}x{height} pixels")
    if values.max() > 65535:
        raise VidaffError(f"{path}: numbers up to {values.max()}; 16 bits are expected")
    return values.astype(np.uint16).reshape(height, width)


_SIDES = (("width", "cols"), ("height", "rows"))


def _side(text: str | None, path: Path) -> int:
    if text is None or not text.strip().isdecimal() or not 0 < int(text) < 65536:
        raise VidaffError(f"{path}: has no width and height of a picture")
    return int(text)
