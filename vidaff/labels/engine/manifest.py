"""The account of a step: one line a shard, from which a rerun knows what is done and what it was done with."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vidaff.errors import VidaffError
from vidaff.io import atomic_path
from vidaff.labels.engine.store import read_lines

Line = dict[str, Any]
FIELDS: Final = {"shard": str, "first": str, "last": str, "items": int, "done": int, "skipped": list, "hashes": dict}


def manifest_path(out: str | Path, step: str) -> Path:
    return Path(out) / "manifest" / f"{step}.jsonl"


def read_manifest(out: str | Path, step: str) -> list[Line]:
    """Lines of a step, sorted by shard; none when it never ran. Raise :class:`VidaffError` for a broken file.

    A line has ``shard``, the keys of its ``first`` and ``last`` item, how many ``items`` it has and how many are
    ``done``, the ``skipped`` ones as [key, reason], and ``hashes``.
    """
    path = manifest_path(out, step)
    lines = {}
    for line in read_lines(path):
        if not isinstance(line, dict) or not all(isinstance(line.get(key), kind) for key, kind in FIELDS.items()):
            raise VidaffError(f"{path}: a line is no account of a shard; pass --overwrite to do the step again")
        lines[line["shard"]] = line
    return sorted(lines.values(), key=shard_order)


def read_records(out: str | Path, step: str) -> Iterator[dict[str, Any]]:
    """Records of all done items of a step, in the order of the items.

    A record has ``view``, ``affordance``, ``object``, ``name``, the ``files`` that were written, and the step's own
    ``record``.
    """
    for line in read_manifest(out, step):
        yield from read_lines(Path(out) / "records" / step / f"{line['shard']}.jsonl")


def write_manifest(out: str | Path, step: str, lines: Sequence[Line]) -> None:
    """Replace a step's lines, sorted by shard; without any the file goes."""
    path = manifest_path(out, step)
    if not lines:
        path.unlink(missing_ok=True)
        return
    text = "".join(_format(line) for line in sorted(lines, key=shard_order))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: Line) -> None:
    """Add a line and sync it; on a full disk leave the file as it was and raise :class:`VidaffError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as file:
            before = file.tell()
            try:
                file.write(_format(line).encode())
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(before)
                raise
    except OSError as error:
        raise VidaffError(f"cannot write {path}: {error.strerror or error}; run the same command again") from error


def shard_order(line: Line) -> tuple[int, str]:
    """By which lines are sorted: shards are numbered, with six digits or, above a million of them, more."""
    return len(line["shard"]), line["shard"]


def differences(line: Line, hashes: Mapping[str, str]) -> list[str]:
    """Names of the hashes in which a line differs, sorted."""
    return sorted(name for name, value in hashes.items() if line["hashes"].get(name) != value)


def _format(line: Line) -> str:
    return json.dumps(line, sort_keys=True) + "\n"
