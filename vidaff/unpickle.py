"""Arrays out of pickles of others, without running anything that a pickle may ask for.

A pickle is a program. Here it may name NumPy's array and type, and nothing else; even those names stand for our own
builders, so that NumPy's code for restoring arrays sees no byte of the file. :func:`load_tree` also lets it name
tensors, which become arrays, and gives the dictionaries and lists that hold them.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vidaff.errors import VidaffError

MAX_BYTES = 64 * 2**20
"""Largest file. The arrays in it are no larger, since pickles do not compress."""
MAX_TREE_BYTES = 512 * 2**20
MAX_NODES = 5_000_000
MAX_DEPTH = 32
"""Limits of :func:`load_tree`: bytes of a file, things in it, and how deep they lie in one another."""
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


class _Storage(NamedTuple):
    """Numbers of a tensor, in an entry of the archive, that are not read yet."""

    entry: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.storage.dtype.itemsize


class _TreeArray(_Array):
    """An array of a tree; one of objects, as ``numpy.save`` writes a dictionary, is the list of them."""

    __slots__ = ("items",)

    def __init__(self, *values: Any) -> None:
        super().__init__(*values)
        self.items: list[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        kind, content = state[-3], state[-1]
        if isinstance(kind, _Type) and kind.code in ("O", "O8") and isinstance(content, list):
            self.items = content
        else:
            super().__setstate__(state)


def _scalar(kind: Any, data: Any) -> Any:
    array = _Array()
    array.__setstate__((1, (), kind, False, data))
    return None if array.array is None else array.array.item()


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    numbers = [offset, *shape, *stride]
    if not isinstance(storage, _Storage) or len(shape) != len(stride):
        raise _Refused("a tensor without numbers")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _Refused("a tensor of impossible shape")
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if prod(shape) and last >= storage.length:
        raise _Refused("a tensor beyond its numbers")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


_STORAGES = {
    "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "b1",
}  # fmt: skip
_TREE_NAMES: dict[tuple[str, str], Any] = {
    **_NAMES,
    **dict.fromkeys(
        [("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")], _Name(_TreeArray)
    ),
    **dict.fromkeys([("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")], _Name(_scalar)),
    ("numpy", "ndarray"): _Name(_TreeArray),
    ("collections", "OrderedDict"): _Name(dict),
    ("torch._utils", "_rebuild_tensor_v2"): _Name(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Name(lambda tensor, *_: tensor),
    ("torch", "Size"): _Name(tuple),
    **{("torch", name): _Name(lambda *_, kind=kind: np.dtype(kind)) for name, kind in _STORAGES.items()},
}


class _TreeUnpickler(_Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _TREE_NAMES:
            raise _Refused(f"{module}.{name}")
        return _TREE_NAMES[module, name]

    def persistent_load(self, key: Any) -> Any:
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage" or not isinstance(key[1], _Name):
            raise _Refused("an unknown object")
        _, kind, entry, _, count = key
        return _Storage(str(entry), kind(), int(count))


def load_tree(path: str | Path, *, max_bytes: int = MAX_TREE_BYTES) -> Any:
    """Dictionaries, lists, texts, numbers and arrays that ``numpy.save`` or ``torch.save`` wrote; tensors are arrays.

    A dictionary saved by ``numpy.save`` is returned as that dictionary. Raises :class:`VidaffError` when the file is
    missing, larger than ``max_bytes``, damaged, of a PyTorch before 1.6, or names anything else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > max_bytes:
            raise VidaffError(f"{path}: larger than {max_bytes >> 20} MiB, refused as a pickle")
        with open(path, "rb") as file:
            return _load_npy(file) if file.read(6) == b"\x93NUMPY" else _load_archive(path)
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _Refused as error:
        raise VidaffError(f"{path}: refused, because this pickle asks for {error}") from error
    except VidaffError:
        raise
    except zipfile.BadZipFile as error:
        raise VidaffError(f"{path}: neither an .npy nor a .pth file of PyTorch 1.6 or newer") from error
    except Exception as error:  # damaged pickles raise almost anything
        raise VidaffError(f"{path}: damaged pickle ({type(error).__name__})") from error


def _load_npy(file: io.BufferedReader) -> Any:
    file.seek(0)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype != np.dtype(object):
        data = file.read()
        if len(data) != prod(shape) * dtype.itemsize:
            raise ValueError("cut short")
        return np.frombuffer(data, dtype).reshape(shape)
    found = _plain(_TreeUnpickler(file, encoding="latin-1").load(), None)
    return found[0] if shape == () and isinstance(found, list) and len(found) == 1 else found


def _load_archive(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it has no data.pkl")
        tree = _TreeUnpickler(io.BytesIO(_stored(archive, pickles[0])), encoding="utf-8").load()
        return _plain(tree, _Numbers(archive, pickles[0].removesuffix("data.pkl"), path.stat().st_size))


class _Numbers:
    """Reads tensors out of an archive. They may share numbers, but not blow up a small file into a large one."""

    def __init__(self, archive: zipfile.ZipFile, root: str, size: int) -> None:
        self._archive, self._root, self._left = archive, root, 4 * size
        names = archive.namelist()
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder")[:8] != b"little":
            raise _Refused("numbers in big-endian order")

    def __call__(self, tensor: _Tensor) -> np.ndarray:
        self._left -= tensor.bytes
        if self._left < 0:
            raise _Refused("more numbers than it holds")
        storage = tensor.storage
        flat = np.frombuffer(_stored(self._archive, f"{self._root}data/{storage.entry}"), storage.dtype, storage.length)
        strides = [step * storage.dtype.itemsize for step in tensor.stride]
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
        return np.array(view)


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """Content of an entry, which must be stored as it is: compressed ones could be far larger than the file."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise _Refused(f"compressed content ({name})")
    return archive.read(entry)


def _plain(tree: Any, numbers: Callable[[_Tensor], np.ndarray] | None) -> Any:
    """``tree`` with arrays and tensors in place of what stands for them; it is counted, as it may contain itself."""
    budget = iter(range(MAX_NODES))
    return _plain_node(tree, numbers, budget, 0)


def _plain_node(node: Any, numbers: Callable[[_Tensor], np.ndarray] | None, budget: Iterator[int], depth: int) -> Any:
    if next(budget, None) is None or depth > MAX_DEPTH:
        raise _Refused("a tree without end")
    if isinstance(node, _Tensor):
        if numbers is None:
            raise _Refused("a tensor outside of an archive")
        return numbers(node)
    if isinstance(node, _TreeArray):
        return node.array if node.items is None else _plain_node(node.items, numbers, budget, depth + 1)
    if isinstance(node, dict):
        return {key: _plain_node(value, numbers, budget, depth + 1) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(_plain_node(value, numbers, budget, depth + 1) for value in node)
    if isinstance(node, (str, bytes, int, float, bool, type(None))):
        return node
    raise _Refused(f"a {type(node).__name__}")
