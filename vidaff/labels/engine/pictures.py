"""Reading the picture of an item, and masks as PNG."""

from __future__ import annotations

import os

import cv2
import numpy as np

from vidaff.datasets.agd20k.labels import MASKS, LabelFolder
from vidaff.datasets.agd20k.tree import Picture
from vidaff.errors import VidaffError
from vidaff.io import MAX_IMAGE_BYTES, decode_image
from vidaff.labels.engine.types import Item, Source

PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
"""Fixed, so that equal masks are equal bytes. Run lengths are all there is to a mask, and filters hide them."""
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV below 4.12 has no say in it
    PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def read_item(item: Item) -> np.ndarray:
    """Picture of an item as (H, W, 3) uint8 RGB, upright; (0, 0, 3) for an item without one.

    Grey, 16-bit, CMYK and transparent pictures become RGB. Raises :class:`VidaffError` with the reason, without the
    file's path, for a picture that is missing, damaged, or larger than 100 megapixels or 256 MiB.
    """
    if item.source is None:
        return np.zeros((0, 0, 3), np.uint8)
    data = read_source(item.source)
    try:
        return decode_image(data, item.file)
    except VidaffError as error:
        raise VidaffError(str(error).removeprefix(f"{item.file}: ")) from error


def read_source(source: Source, *, limit: int = MAX_IMAGE_BYTES) -> bytes:
    """Bytes of a source; raise :class:`VidaffError` when they are missing or more than ``limit``."""
    try:
        with open(source.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size if source.size < 0 else source.size
            if size > limit:
                raise VidaffError(f"larger than {limit >> 20} MiB, refused")
            file.seek(source.offset)
            data = file.read(size)
    except FileNotFoundError as error:
        raise VidaffError("no such file") from error
    except OSError as error:
        raise VidaffError(f"cannot be read ({error.strerror or error})") from error
    if not data or len(data) < size:
        raise VidaffError("empty or cut short")
    return data


def encode_mask(mask: np.ndarray) -> bytes:
    """PNG of a mask (H, W): bool, or uint8 0 / 255; raise :class:`ValueError` for other arrays."""
    if mask.ndim != 2 or not mask.size or mask.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"mask must be (H, W) bool or uint8, got {mask.dtype} with shape {mask.shape}")
    grey = mask if mask.dtype == np.uint8 else mask.astype(np.uint8) * 255
    return cv2.imencode(".png", grey, PNG_OPTIONS)[1].tobytes()


def mask_file(kind: str, picture: Picture, mask: np.ndarray) -> tuple[str, bytes]:
    """A mask as a file of an :class:`~vidaff.labels.engine.Outcome`; ``kind`` as label folders call it."""
    if kind not in MASKS:
        raise ValueError(f"kind must be one of {', '.join(MASKS)}, got {kind!r}")
    return LabelFolder("").mask(kind, picture).as_posix(), encode_mask(mask)
