"""Short texts that change when a model, a setting, the code or the input does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from vidaff.errors import VidaffError
from vidaff.labels.engine.types import Item

LENGTH = 16
"""Hexadecimal digits kept: 64 bits, to tell runs apart, not to withstand forgery."""
BLOCK = 2**22
SAMPLE = 4096
"""Bytes at both ends of a file that stand for it."""
UNREADABLE = "-"
"""What stands for a picture that cannot be read now."""


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


def hash_inputs(items: Sequence[Item], contents: Iterable[str], bases: Iterable[str]) -> str:
    """Hash of what a shard is made of: names, contents (:func:`hash_content`), and what else each item depends on."""
    rows = [
        [*item[:4], content, basis, item.problem] for item, content, basis in zip(items, contents, bases, strict=True)
    ]
    return hash_value(rows)


def hash_content(item: Item) -> str:
    """Hash of a picture's size, first and last 4 KiB; :data:`UNREADABLE` where it cannot be read, empty without one.

    All of it would cost as much time as to read every picture twice; the date is not in it, so that a copy is equal.
    """
    if item.source is None:
        return ""
    path, offset, size = item.source
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size if size < 0 else size
            return hash_sample(file, offset, size) or UNREADABLE
    except (OSError, ValueError):
        return UNREADABLE


def hash_sample(file: BinaryIO | FileIO, offset: int, size: int) -> str:
    """Hash of ``size`` and of both ends of so many bytes from ``offset``; empty when they are not there."""
    file.seek(offset)
    head = file.read(min(size, SAMPLE)) or b""
    tail = b""
    if size > SAMPLE:
        file.seek(offset + max(SAMPLE, size - SAMPLE))
        tail = file.read(min(SAMPLE, size - SAMPLE)) or b""
    if not size or len(head) + len(tail) < min(size, 2 * SAMPLE):
        return ""
    return hashlib.blake2b(b"%d:" % size + head + tail, digest_size=LENGTH // 2).hexdigest()


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
