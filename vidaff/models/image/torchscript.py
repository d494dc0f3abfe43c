"""Weights out of a TorchScript archive, such as OpenAI's of CLIP, without running anything in it.

Such an archive is a zip file with the program (never read here), a pickle of the module tree, and one uncompressed
entry for each tensor's numbers. A pickle is a program, too: here it may build modules, which are plain name tables,
and name tensors; all other names are refused, and even the permitted ones stand for our own builders.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vidaff.errors import VidaffError, first_line

MAX_BYTES = 8 * 2**30
MAX_PICKLE_BYTES = 32 * 2**20
MAX_MODULES = 200_000
"""Limits far above any model of this kind; a damaged or hostile file cannot ask for more."""
_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Refused(Exception):
    """What the archive asks for is not allowed."""


class _Storage(NamedTuple):
    entry: str
    dtype: torch.dtype
    length: int


class _Tensor(NamedTuple):
    """A tensor that is not read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.storage.dtype.itemsize


class _Module:
    """Any class of the archive: a table of its attributes."""

    __slots__ = ("attributes",)

    def __init__(self, *_: Any) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise _Refused("a module whose state is no table")
        self.attributes = state


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


_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
_NAMES: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _Name(_tensor),
    ("collections", "OrderedDict"): _Name(dict),
    **{("torch.jit._pickle", name): _Name(lambda value, *_: value) for name in _LISTS},
    **{("torch", name): _Name(lambda *_, dtype=dtype: dtype) for name, dtype in _DTYPES.items()},
}


# The unpickler written in Python: the one in C can be made to allocate memory without end by a few bytes.
class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) not in _NAMES:
            raise _Refused(f"{module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, key: Any) -> Any:
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage" or not isinstance(key[1], _Name):
            raise _Refused("an unknown object")
        _, kind, entry, _, count = key
        return _Storage(str(entry), kind(), int(count))


def is_zip(path: str | Path) -> bool:
    """Whether ``path`` is a file that could be such an archive."""
    return Path(path).is_file() and zipfile.is_zipfile(path)


def read_torchscript(path: str | Path) -> dict[str, torch.Tensor]:
    """Every tensor of the archive by its dotted name, as stored; raise :class:`VidaffError` for what is refused."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path.stat().st_size)
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _Refused as error:
        raise VidaffError(f"{path}: refused, because this archive asks for {error}") from error
    except Exception as error:  # damaged archives and pickles raise almost anything
        raise VidaffError(f"{path}: not readable as a TorchScript archive ({first_line(error)})") from error


def _read(archive: zipfile.ZipFile, size: int) -> dict[str, torch.Tensor]:
    if size > MAX_BYTES:
        raise _Refused(f"more than {MAX_BYTES >> 30} GiB")
    pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("it has no data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    byte_order = archive.read(f"{root}byteorder")[:8] if f"{root}byteorder" in archive.namelist() else b"little"
    if byte_order != b"little":
        raise _Refused("numbers in big-endian order")
    content = _stored(archive, pickles[0], MAX_PICKLE_BYTES)
    tree = _Unpickler(io.BytesIO(content), encoding="utf-8").load()
    tensors = dict(_tensors(tree))
    if sum(tensor.bytes for tensor in tensors.values()) > size:
        raise _Refused("more numbers than it holds")
    return {name: _numbers(archive, root, tensor) for name, tensor in tensors.items()}


def _tensors(tree: Any) -> Iterator[tuple[str, _Tensor]]:
    """Names and tensors below a module, depth first. The count of modules is limited: a tree may contain itself."""
    pending, seen = [("", tree)], 0
    while pending:
        prefix, module = pending.pop()
        seen += 1
        if seen > MAX_MODULES or prefix.count(".") > 64:
            raise _Refused("too many modules")
        attributes: Mapping[str, Any] = module.attributes if isinstance(module, _Module) else {}
        for name, value in attributes.items():
            if isinstance(value, _Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, _Module):
                pending.append((f"{prefix}{name}.", value))


def _numbers(archive: zipfile.ZipFile, root: str, tensor: _Tensor) -> torch.Tensor:
    storage = tensor.storage
    data = _stored(archive, f"{root}data/{storage.entry}", MAX_BYTES)
    if len(data) < storage.length * storage.dtype.itemsize:
        raise ValueError(f"the numbers {storage.entry} are cut short")
    if not prod(tensor.shape):
        return torch.empty(tensor.shape, dtype=storage.dtype)
    flat = torch.frombuffer(bytearray(data), dtype=storage.dtype, count=storage.length)
    return flat.as_strided(tensor.shape, tensor.stride, tensor.offset).clone(memory_format=torch.contiguous_format)


def _stored(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Content of an entry, which must be stored as it is: compressed ones could be far larger than the file."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > limit:
        raise _Refused(f"compressed or oversized content ({name})")
    return archive.read(entry)
