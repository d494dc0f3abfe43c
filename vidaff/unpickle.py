"""Arrays out of pickles of others, without running anything that a pickle may ask for.

A pickle is a program. Here it may name NumPy's array and type, and nothing else; even those names stand for our own
builders, so that NumPy's code for restoring arrays sees no byte of the file.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.errors import VidaffError

MAX_BYTES = 64 * 2**20
"""Largest file. The arrays in it are no larger, since pickles do not compress."""
_KINDS = ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


class _Refused(Exception):
    """What the pickle asks for is not allowed."""


class _Name:
    """What a permitted name stands for; nothing can be set on it."""

    __slots__ = ("_build",)
    _build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "_build", build)

    def __call__(self, *values: Any) -> Any:
        return self._build(*values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused("changing a builder")

    def __setstate__(self, state: Any) -> None:
        raise _Refused("changing a builder")


class _Type:
    """NumPy type as a pickle restores it: a code such as ``u1``, then its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = _text(code), "|"

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype:
        if self.code not in _KINDS or self.order not in ("|", "<", ">", "="):
            raise _Refused(f"an array of type {self.order + self.code!r}")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """NumPy array as a pickle restores it: empty, then filled by its state."""

    __slots__ = ("array",)

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, data = state[-4:]
        shape = tuple(int(length) for length in shape)
        content = data.encode("latin-1") if isinstance(data, str) else data
        if not isinstance(kind, _Type) or not isinstance(content, bytes) or min(shape, default=0) < 0:
            raise _Refused("an array of anything but numbers")
        dtype = kind.dtype()
        if len(content) != prod(shape) * dtype.itemsize:
            raise _Refused(f"an array of shape {shape} with {len(content)} bytes")
        self.array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """Python 3 writes bytes in this way into pickles for Python 2."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise _Refused(f"the encoding {encoding!r}")
    return text.encode("latin-1")


_NAMES = {
    **dict.fromkeys(
        [("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")], _Name(_Array)
    ),
    ("numpy", "ndarray"): _Name(_Array),
    ("numpy", "dtype"): _Name(_Type),
    ("_codecs", "encode"): _Name(_latin1),
}


# The unpickler written in Python: the one in C can be made to allocate memory without end by a few bytes.
class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _Refused(f"{module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, key: Any) -> Any:
        raise _Refused("a persistent object")


def load_array(path: str | Path, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The one NumPy array of numbers in a pickle, Python 2's included; it is read-only.

    Raises :class:`VidaffError` when the file is missing, larger than ``max_bytes``, damaged, holds anything else, or
    names anything but NumPy's array and type.
    """
    path = Path(path)
    try:
        if path.stat().st_size > max_bytes:
            raise VidaffError(f"{path}: larger than {max_bytes >> 20} MiB, refused as a pickled array")
        data = path.read_bytes()
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        found = _Unpickler(io.BytesIO(data), encoding="latin-1").load()
    except _Refused as error:
        raise VidaffError(f"{path}: refused, because this pickle asks for {error}") from error
    except Exception as error:  # damaged pickles raise almost anything
        raise VidaffError(f"{path}: damaged pickle ({type(error).__name__})") from error
    if not isinstance(found, _Array) or found.array is None:
        raise VidaffError(f"{path}: holds no array but {type(found).__name__}")
    return found.array


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
