"""Reading files from others safely, and writing our own so that no half-written file keeps its final name."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.errors import VidaffError

MAX_JSON_BYTES = 64 * 2**20
MAX_IMAGE_BYTES = 256 * 2**20
MAX_IMAGE_PIXELS = 100_000_000
PICTURE_FORMATS = ("JPEG", "BMP", "PPM", "WEBP", "GIF", "AVIF", "JPEG2000")
"""Formats, besides PNG and TIFF, whose size Pillow reads and whose pixels OpenCV decodes."""
JPEG = b"\xff\xd8"
"""First bytes of every JPEG."""
KEPT_BYTES = 16 * 2**20
"""Largest block of memory that is kept for the next picture, see :func:`_keep_memory`."""


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it to ``path``.

    The temporary name keeps the suffix, because writers such as OpenCV choose the format by it. On any
    failure, Ctrl-C included, the temporary file is removed and ``path`` is left as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}", dir=path.parent)
    except OSError as error:
        raise VidaffError(f"cannot write {path}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EISDIR):
            raise VidaffError(f"cannot write {path}: {error.strerror}; nothing was kept") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 ``text`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path, *, limit: int | None = None) -> Any:
    """Read a JSON file; raise :class:`VidaffError` naming the file when it is missing or broken.

    ``limit``: largest size in bytes, by default 64 MiB.
    """
    path = Path(path)
    limit = MAX_JSON_BYTES if limit is None else limit
    try:
        if path.stat().st_size > limit:
            raise VidaffError(f"{path}: larger than {limit >> 20} MiB, refused as JSON")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VidaffError(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise VidaffError(f"{path}: not readable as JSON ({error})") from error


def read_image(path: str | Path) -> np.ndarray:
    """Read a colour picture as (H, W, 3) uint8 RGB; raise :class:`VidaffError` when it is missing or truncated."""
    return decode_image(_read_picture(path), path)


def read_depth_image(path: str | Path) -> np.ndarray:
    """Read a 16-bit single-channel depth picture (PNG, PGM, TIFF) as (H, W) uint16, unit as stored."""
    import cv2

    depth = _decode(path, cv2.IMREAD_UNCHANGED)
    if depth.ndim != 2 or depth.dtype != np.uint16:
        raise VidaffError(
            f"{path}: depth must be a 16-bit single-channel picture, got {depth.dtype} with shape {depth.shape}"
        )
    return depth


def read_label_image(path: str | Path) -> np.ndarray:
    """Read an 8-bit picture as stored: (H, W) uint8 of ids, or (H, W, 3) uint8 RGB when it has colours."""
    import cv2

    image = _decode(path, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise VidaffError(f"{path}: labels must be an 8-bit picture, got {image.dtype} with shape {image.shape}")
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., 2::-1])


def _decode(path: str | Path, flags: int) -> np.ndarray:
    return _decode_bytes(_read_picture(path), path, flags)


def _read_picture(path: str | Path) -> bytes:
    path = Path(path)
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_IMAGE_BYTES else None
    except FileNotFoundError as error:
        raise VidaffError(f"{path}: no such file") from error
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error
    if data is None:
        raise VidaffError(f"{path}: larger than {MAX_IMAGE_BYTES >> 20} MiB, refused as a picture")
    return data


def decode_image(data: bytes, name: str | Path) -> np.ndarray:
    """Decode the bytes of a colour picture as (H, W, 3) uint8 RGB, upright.

    Grey, 16-bit, CMYK and transparent pictures become RGB. Raises :class:`VidaffError`, beginning with ``name``, for
    what is damaged, of an unknown format, or larger than 100 megapixels.
    """
    import cv2

    if data.startswith(JPEG):
        return _decode_bytes(data, name, cv2.IMREAD_COLOR_RGB)
    # OpenCV has formats (PFM, PAM) that take no notice of the order asked for.
    return cv2.cvtColor(_decode_bytes(data, name, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _decode_bytes(data: bytes, name: str | Path, flags: int) -> np.ndarray:
    import cv2

    _check_picture(name, data)
    _keep_memory()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except (cv2.error, MemoryError) as error:
        raise VidaffError(f"{name}: not a readable picture (its header is damaged)") from error
    if image is None:
        raise VidaffError(f"{name}: not a readable picture (empty, truncated or of an unknown format)")
    return image


@functools.cache
def _keep_memory() -> None:
    """Let the allocator keep the memory of a picture that is thrown away, for the next one.

    glibc returns blocks as large as pictures to the system, so that each picture costs hundreds of page faults: a
    seventh of the time to read a frame of UMD. Once it has seen a larger block freed, it keeps those below that size,
    and at most twice as much at the end of its heap. The block is never touched, so it takes no memory. Elsewhere, and
    where the environment sets these limits, this does nothing.

    Source: ``mallopt(3)``, on the dynamic adjustment of ``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD``.
    """
    np.empty(KEPT_BYTES, np.uint8)


def check_pixels(name: str | Path, width: int, height: int) -> None:
    """Raise :class:`VidaffError` when a picture of that size would take more memory than any camera's."""
    if width * height > MAX_IMAGE_PIXELS:
        raise VidaffError(f"{name}: {width}x{height} pixels, more than {MAX_IMAGE_PIXELS} are refused")


def _check_picture(path: str | Path, data: bytes) -> None:
    """Refuse what OpenCV would silently half-decode (truncated PNG and JPEG) or blow up on (huge sizes).

    A JPEG that lost its second half but ends with an end marker passes: neither OpenCV nor Pillow tells of the
    pixels that they make up then, and to count the coded blocks is to decode the file.
    """
    if data.startswith(b"\x89PNG") and b"IEND" not in data[-16:]:
        raise VidaffError(f"{path}: truncated PNG (no end marker)")
    if data.startswith(JPEG) and b"\xff\xd9" not in data[-4096:]:
        raise VidaffError(f"{path}: truncated JPEG (no end marker)")
    check_pixels(path, *_picture_size(path, data))


def _picture_size(path: str | Path, data: bytes) -> tuple[int, int]:
    """Width and height by a picture's header; raise :class:`VidaffError` when there is none that can be read."""
    from PIL import Image

    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's limit, and of damage that the decoder reports
            if data.startswith((b"II*\0", b"MM\0*")):
                return _tiff_size(data)
            return Image.open(io.BytesIO(data), formats=PICTURE_FORMATS).size
    except Image.DecompressionBombError as error:  # which says no size; Pillow's limit is above ours
        raise VidaffError(f"{path}: more than {MAX_IMAGE_PIXELS} pixels are refused") from error
    except Exception as error:  # damaged headers raise almost anything
        raise VidaffError(f"{path}: not a readable picture (empty, truncated or of an unknown format)") from error


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height of a TIFF's first page. Its directory says it for pixel types that Pillow cannot open, too."""
    from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, ImageFileDirectory_v2

    file = io.BytesIO(data)
    directory = ImageFileDirectory_v2(file.read(8))
    file.seek(directory.next)
    directory.load(file)
    return int(directory[IMAGEWIDTH]), int(directory[IMAGELENGTH])


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) RGB uint8, or (H, W) uint8/uint16, atomically; the suffix chooses the format."""
    import cv2

    with atomic_path(path) as temporary:
        data = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
        ok, encoded = cv2.imencode(Path(path).suffix, data)
        if not ok:
            raise VidaffError(f"{path}: the picture could not be encoded")
        temporary.write_bytes(encoded.tobytes())


def prepare_output_dir(path: str | Path, *, overwrite: bool = False, resume: bool = False) -> Path:
    """Create the output folder ``path``; refuse one that already holds files unless told otherwise."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise VidaffError(f"{path}: exists and is not a folder; choose another --out")
    if path.is_dir() and any(path.iterdir()) and not (overwrite or resume):
        raise VidaffError(f"{path}: already holds files; choose another --out, or pass --overwrite")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VidaffError(f"{path}: cannot be created ({error.strerror or error})") from error
    return path
