"""Reading a few named variables from MATLAB level 5 files, without trusting their sizes.

Variables that nobody asked for are not inflated, so that one word beside a large picture costs next to nothing.

Source: MathWorks, *MAT-File Format*, level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vidaff.errors import VidaffError

MAX_BYTES = 256 * 2**20
"""Largest file, and largest variable after inflating."""
_HEAD = 128
_PEEK = 4096
"""Bytes inflated to learn a variable's name."""
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
"""Element types that hold numbers; 16 is UTF-8 text."""
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_CHAR_CLASS, _NUMBER_CLASSES = 4, range(6, 16)

Value = np.ndarray | str


class _Element(NamedTuple):
    kind: int
    start: int
    size: int
    next: int


class _Damaged(Exception):
    """Something that the format does not allow."""


def read_mat(path: str | Path, names: Collection[str], *, max_bytes: int = MAX_BYTES) -> dict[str, Value]:
    """The variables of ``names`` that the file has: numbers as arrays of the stored type, text as ``str``.

    Reading ends when all are found. Raises :class:`VidaffError` for a file that is missing, empty, truncated, of
    another version (4, or 7.3, which is HDF5), larger than ``max_bytes``, or whose variable is no plain array.
    """
    path = Path(path)
    try:
        if path.stat().st_size > max_bytes:
            raise VidaffError(f"{path}: larger than {max_bytes >> 20} MiB, refused")
        data = path.read_bytes()
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error
    order = _byte_order(data, path)
    try:
        return _Reader(data, order, max_bytes).variables(set(names))
    except (_Damaged, struct.error, zlib.error, ValueError, UnicodeDecodeError, MemoryError) as error:
        raise VidaffError(f"{path}: damaged or truncated MAT file ({error})") from error


def _byte_order(data: bytes, path: Path) -> str:
    """``<`` or ``>``; refuse what is no level 5 file."""
    if data.startswith(b"MATLAB 7.3"):
        raise VidaffError(f"{path}: a MAT file of version 7.3; save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise VidaffError(f"{path}: not a MAT file of level 5 (empty, truncated or of another version)")
    return order


class _Reader:
    def __init__(self, data: bytes, order: str, max_bytes: int) -> None:
        self.data, self.order, self.max_bytes = data, order, max_bytes

    def variables(self, wanted: set[str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        position = _HEAD
        while position < len(self.data) and wanted - set(found):
            element = self.element(self.data, position)
            position = element.next
            matrix = self.matrix(element, wanted)
            if matrix is not None:
                found.update([self.value(matrix)])
        return found

    def element(self, data: bytes, position: int) -> _Element:
        """Type, place and size of the element at ``position``; small ones hold their data in their tag."""
        kind, size = struct.unpack_from(f"{self.order}II", data, position)
        if kind >> 16:
            if (size := kind >> 16) > 4:
                raise _Damaged("a small element of more than 4 bytes")
            return _Element(kind & 0xFFFF, position + 4, size, position + 8)
        end = position + 8 + size
        return _Element(kind, position + 8, size, end if kind == _COMPRESSED else end + -size % 8)

    def matrix(self, element: _Element, wanted: set[str]) -> bytes | None:
        """Content of a wanted variable, inflated if need be; ``None`` for anything else."""
        content = self.data[element.start : element.start + element.size]
        if len(content) < element.size:
            raise _Damaged("it ends within a variable")
        if element.kind == _MATRIX:
            return content if self.head(content)[1] in wanted else None
        if element.kind != _COMPRESSED:
            return None
        inflate = zlib.decompressobj()
        begin = inflate.decompress(content, _PEEK)
        kind, _, size, _ = self.element(begin, 0)
        if kind != _MATRIX or self.head(begin[8:])[1] not in wanted:
            return None
        if size > self.max_bytes:
            raise _Damaged(f"a variable of {size >> 20} MiB")
        whole = begin[8:] + inflate.decompress(inflate.unconsumed_tail, max(size - len(begin) + 8, 1))
        if len(whole) < size:
            raise _Damaged("it ends within a variable")
        return whole

    def head(self, matrix: bytes) -> tuple[int, str, tuple[int, ...], int]:
        """Class, name and shape of a variable, and where its numbers begin."""
        flags = self.element(matrix, 0)
        (word,) = struct.unpack_from(f"{self.order}I", matrix, flags.start)
        dims = self.element(matrix, flags.next)
        shape = struct.unpack_from(f"{self.order}{dims.size // 4}i", matrix, dims.start)
        name = self.element(matrix, dims.next)
        text = matrix[name.start : name.start + name.size].decode("latin-1")
        return word & 0xFF, text, shape, name.next

    def value(self, matrix: bytes) -> tuple[str, Value]:
        kind, name, shape, position = self.head(matrix)
        if min(shape, default=0) < 0 or prod(shape) > self.max_bytes:
            raise _Damaged(f"{name} of shape {shape}")
        part = self.element(matrix, position)
        content = matrix[part.start : part.start + part.size]
        if len(content) < part.size:
            raise _Damaged(f"it ends within {name}")
        if kind == _CHAR_CLASS and part.kind in _TEXTS:
            big = "-be" if self.order == ">" else "-le"
            encoding = _TEXTS[part.kind]
            return name, content.decode(encoding + big if encoding == "utf-16" else encoding)
        if kind not in _NUMBER_CLASSES or part.kind not in _NUMBERS:
            raise _Damaged(f"{name} is no array of numbers and no text")
        values = np.frombuffer(content, np.dtype(self.order + _NUMBERS[part.kind]))
        if values.size != prod(shape):
            raise _Damaged(f"{name} holds {values.size} numbers, its shape is {shape}")
        return name, values.reshape(shape, order="F")
