"""Label pictures written as text: a line a row, numbers between blanks."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from vidaff.datasets.taxonomies import IGNORE
from vidaff.errors import VidaffError

MAX_BYTES = 64 * 2**20
_ALLOWED = b"0123456789 \t\r\n-+.eE"
_LONE_SIGN = re.compile(rb"[-+](?![0-9.])")


def read_label_text(path: Path, highest: int) -> np.ndarray:
    """Labels (H, W) uint8 of a text file: 0..``highest``, and 255 (not judged) for every id outside that range.

    Raises :class:`VidaffError` when the file is missing, empty or too large, holds anything but numbers, or its lines
    differ in length.
    """
    return known_ids(parse_numbers(read_bytes(path), path), highest)


def read_bytes(path: Path) -> bytes:
    """A text file of at most 64 MiB; raise :class:`VidaffError` naming it when it cannot be read."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise VidaffError(f"{path}: larger than {MAX_BYTES >> 20} MiB, refused as text")
        return path.read_bytes()
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error


def known_ids(values: np.ndarray, highest: int) -> np.ndarray:
    """Numbers -> uint8 ids; what is not a whole number of 0..``highest`` becomes 255."""
    with np.errstate(invalid="ignore"):
        ids = np.where((values >= 0) & (values <= highest), values, IGNORE).astype(np.uint8)
    if values.dtype.kind == "f":
        ids[ids != values] = IGNORE
    return ids


def parse_numbers(data: bytes, where: str | Path = "text") -> np.ndarray:
    """Lines of numbers -> (H, W) int64, or float64 when some are written with a point or an exponent.

    Blank lines count for nothing. Raises :class:`VidaffError` naming ``where`` and the line that is wrong.
    """
    foreign = data.translate(None, _ALLOWED)
    if foreign:
        raise VidaffError(f"{where}: numbers between blanks are expected, got {foreign[:20]!r}")
    if (b"-" in data or b"+" in data) and _LONE_SIGN.search(data):  # NumPy takes it for a zero
        raise VidaffError(f"{where}: a sign without a number")
    kind = np.float64 if any(mark in data for mark in (b".", b"e", b"E")) else np.int64
    rows: list[np.ndarray] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns of a line that it read in part
        for number, line in enumerate(data.splitlines(), start=1):
            if not line.strip():
                continue
            row = _numbers(line, kind)
            if row is None:
                raise VidaffError(f"{where}: line {number} is no row of numbers")
            if rows and row.size != rows[0].size:
                raise VidaffError(
                    f"{where}: line {number} holds {row.size} numbers, the lines before it {rows[0].size}"
                )
            rows.append(row)
    if not rows:
        raise VidaffError(f"{where}: holds no numbers")
    return np.stack(rows)


def _numbers(line: bytes, kind: type) -> np.ndarray | None:
    """Numbers of a line; ``None`` when something in it is none."""
    try:
        return np.fromstring(line, dtype=kind, sep=" ")
    except (ValueError, DeprecationWarning):
        return None


def read_list(path: Path) -> list[str]:
    """Names of a list of pictures, one a line, without folder and ``.jpg``, each once."""
    try:
        lines = read_bytes(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise VidaffError(f"{path}: a list of pictures in UTF-8 is expected") from error
    names = [line.strip().replace("\\", "/").rpartition("/")[2] for line in lines if line.strip()]
    return list(dict.fromkeys(name.removesuffix(".jpg") for name in names))
