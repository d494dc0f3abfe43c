"""Files of a shard: written under a temporary name, synced, renamed; and removed when they are to be made again.

A shard's record names its files and is in place before them, and the manifest's line comes after them. So a record
without a line marks a shard that was cut off, and tells what it may have left behind.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vidaff.errors import VidaffError
from vidaff.labels.engine.types import check_name

RESERVED = ("manifest", "records", "timings", "shards")
"""Folders of the output folder that are the engine's own."""
SYNC_THREADS = 8
"""Syncs that run at a time share one entry in the disk's journal: 128 small files take 0.1 s instead of 1 s."""
File = tuple[str, bytes]


class Store(NamedTuple):
    """Where a step writes: ``out`` is a label folder; with ``archive`` every shard becomes one tar archive."""

    out: Path
    step: str
    archive: bool = False

    def record_path(self, shard: str) -> Path:
        return self.out / "records" / self.step / f"{shard}.jsonl"

    def archive_path(self, shard: str) -> str:
        return f"shards/{self.step}/{shard}.tar"

    @property
    def work(self) -> Path:
        """Folder of temporary files."""
        return self.out / ".work" / self.step

    def publish(self, shard: str, files: Sequence[File], records: Sequence[str]) -> None:
        """Put a shard's files and its records, lines of JSON, in place.

        Raises :class:`VidaffError` when the disk is full or not writable, and for a path that leads out of the folder
        or comes twice; then no file has a final name that is not whole.
        """
        _check_paths(files)
        if self.archive:
            files = [(self.archive_path(shard), pack(files))] if files else []
        record_path = self.record_path(shard).relative_to(self.out).as_posix()
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=f"{shard}.", suffix=".tmp", dir=self.work))
            try:
                _move_in(staged, self.out, [(record_path, "".join(records).encode()), *files])
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        except OSError as error:
            raise VidaffError(
                f"cannot write {self.out} ({error.strerror or error}); shard {shard} of {self.step} is not kept: "
                "mend that and run the same command again"
            ) from error

    def discard(self, shards: Iterable[str], spare: Container[str] = ()) -> None:
        """Remove what shards have written, by their records; the records last.

        ``spare``: keys of items whose files stay, because other records have them, too.
        """
        for shard in shards:
            path = self.record_path(shard)
            for record in read_lines(path):
                if key_of(record) not in spare:
                    self.remove_files(record)
            _unlink(self.out, self.archive_path(shard))
            path.unlink(missing_ok=True)

    def remove_files(self, record: Mapping[str, Any]) -> None:
        """Remove the files that a record names."""
        for name in record.get("files", []):
            _unlink(self.out, name)

    def has_files(self, record: Mapping[str, Any]) -> bool:
        """Whether all files that a record names are there; of archives it is not asked."""
        return self.archive or all((self.out / name).is_file() for name in record.get("files", []))

    @property
    def carried_path(self) -> Path:
        """Records of done items whose shards are being made anew around them; see :mod:`vidaff.labels.engine.carry`."""
        return self.record_path("").parent / ".carried.jsonl"

    def recorded(self) -> set[str]:
        """Shards that have a record."""
        return {path.stem for path in self.record_path("").parent.glob("*.jsonl") if not path.name.startswith(".")}

    def clear_work(self) -> None:
        """Remove temporary files, those of runs that were killed as well."""
        shutil.rmtree(self.work, ignore_errors=True)
        with contextlib.suppress(OSError):  # another step's are there
            self.work.parent.rmdir()


def key_of(record: Mapping[str, Any]) -> str:
    """Key of the item that a record is of."""
    return f"{record.get('view')}/{record.get('name')}"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines; nothing when it is missing. A last line without an end is left out."""
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise VidaffError(f"{path}: not readable as JSON lines ({error})") from error


def pack(files: Sequence[File]) -> bytes:
    """Tar archive of ``files``: the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)  # of no user, and of the year 1970
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _check_paths(files: Sequence[File]) -> None:
    seen = set()
    for name, _ in files:
        parts = PurePosixPath(name).parts
        try:
            for part in parts:
                check_name(part, "part of a path")
        except ValueError as error:
            raise VidaffError(f"a label cannot be written to {name!r}: {error}") from error
        if not parts or parts[0] in RESERVED or name in seen:
            raise VidaffError(f"a label cannot be written to {name!r}: the place is taken")
        seen.add(name)


def _move_in(staged: Path, out: Path, files: Sequence[File]) -> None:
    """Write all, sync all, then rename all in their order."""
    for number, (_, data) in enumerate(files):
        (staged / str(number)).write_bytes(data)
    with ThreadPoolExecutor(SYNC_THREADS) as pool:
        list(pool.map(sync, [staged / str(number) for number in range(len(files))]))
    folders = dict.fromkeys((out / name).parent for name, _ in files)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for number, (name, _) in enumerate(files):
        os.replace(staged / str(number), out / name)
    for folder in folders:
        sync(folder)


def sync(path: Path) -> None:
    """Have a file or a folder written through to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unlink(out: Path, name: str) -> None:
    """Remove a file below ``out``, and folders that it leaves empty. Records could have been edited: look where."""
    path = out / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise VidaffError(f"{out}: its records name {name!r}, which is not in it")
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == out:
            return
        try:
            folder.rmdir()
        except OSError:
            return
