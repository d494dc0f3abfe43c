"""Short texts that change when a model, a setting, the code or the input does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidaff.errors import VidaffError
from vidaff.labels.engine.types import Item

LENGTH = 16
"""Hexadecimal digits kept: 64 bits, to tell runs apart, not to withstand forgery."""
BLOCK = 2**22


def hash_value(value: Any) -> str:
    """Hash of a JSON-able value; the order of keys does not count."""
    return _digest([json.dumps(value, sort_keys=True).encode()])


def hash_files(paths: Iterable[str | Path]) -> str:
    """Hash of the content of files, in the order given; raise :class:`VidaffError` for one that cannot be read."""
    return _digest(block for path in paths for block in _blocks(Path(path)))


def hash_code(*modules: str) -> str:
    """Hash of the source text of modules, by their dotted names; of a package, all modules in it."""
    files = [file for name in modules for file in _sources(name)]
    return _digest(path.read_bytes() for path in files)


def hash_inputs(items: Sequence[Item]) -> str:
    """Hash of names and sizes, not of pixels, which would cost as much time as to read them all."""
    rows = [[*item[:4], _size(item), item.problem] for item in items]
    return hash_value(rows)


def _size(item: Item) -> int:
    if item.source is None or item.source.size >= 0:
        return 0 if item.source is None else item.source.size
    try:
        return os.stat(item.source.path).st_size
    except OSError:
        return -1


def _blocks(path: Path) -> Iterable[bytes]:
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error


def _sources(name: str) -> list[Path]:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"modules: {name!r} has no source")
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:LENGTH]
