"""Pictures in WebDataset tar archives: ``KEY.jpg`` beside ``KEY.json`` with ``object`` and ``affordance``.

An archive is listed once, by its headers. Pictures are read from their place in it later, by any worker, so nothing is
ever unpacked and no name in it can lead out of a folder.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from vidaff.datasets.agd20k.tree import SUFFIXES
from vidaff.errors import VidaffError, first_line
from vidaff.labels.engine.pictures import read_source
from vidaff.labels.engine.types import Item, Source, check_name, check_view, mark_twins

MAX_HEADER_BYTES = 2**20
"""Of one extended header; a hostile one may claim any size, and would be read into memory."""
MAX_SIDECAR_BYTES = 2**20
DAMAGE = (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError)
"""What tarfile raises for damaged headers."""
Sample = dict[str, Source]
"""Parts of a sample by suffix."""


def tar_items(paths: Iterable[str | Path]) -> list[Item]:
    """Items of WebDataset archives (plain ``.tar``), sorted by archive and name.

    An item's file is ``<archive's stem>__<key>.<suffix>``, folders in the key becoming ``__``. What is no usable sample
    (no JSON, no picture, a hostile name, an archive that breaks off) becomes an item with a problem. Raises
    :class:`VidaffError` for a file that is no tar archive and for two archives of one name.
    """
    items: list[Item] = []
    stems: dict[str, Path] = {}
    for path in sorted(map(Path, paths), key=lambda path: (path.name, path)):
        if path.stem in stems:
            raise VidaffError(f"{path} and {stems[path.stem]}: two archives of one name; rename one")
        stems[path.stem] = path
        items += sorted(_archive_items(path), key=lambda item: item.key)
    return mark_twins(items)


def _archive_items(path: Path) -> Iterator[Item]:
    samples, broken = _list_samples(path)
    for key, sample in samples.items():
        yield _sample_item(path, key, sample)
    if broken:
        yield Item("", "", path.name, problem=f"the archive breaks off ({broken})")


def _list_samples(path: Path) -> tuple[dict[str, Sample], str]:
    """Samples by key, and why the archive could not be read to its end."""
    samples: dict[str, Sample] = {}
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=_Headers(file), mode="r:") as archive:  # type: ignore[call-overload]
            for member in archive:
                archive.members = []  # tarfile keeps them all otherwise
                if member.size < 0:
                    raise tarfile.ReadError(f"{member.name[:60]!r} is {member.size} bytes long")
                if member.isreg() and not member.issparse():
                    key, suffix = _split_key(member.name)
                    samples.setdefault(key, {})[suffix] = Source(str(path), member.offset_data, member.size)
    except DAMAGE as error:
        if not samples:
            raise VidaffError(f"{path}: not readable as a plain tar archive ({first_line(error)})") from error
        return samples, first_line(error)
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read ({error.strerror or error})") from error
    return samples, ""


class _Headers:
    """A file of which tarfile may read headers, and nothing as large as a member."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _split_key(name: str) -> tuple[str, str]:
    """``a/b.seg.png`` -> ``a/b`` and ``seg.png``: WebDataset splits at the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return folder + slash + stem, suffix.lower()


def _sample_item(path: Path, key: str, sample: Sample) -> Item:
    pictures = [suffix for suffix in sorted(sample) if f".{suffix}" in SUFFIXES]
    file = f"{path.stem}__{key.replace('/', '__')}.{pictures[0] if pictures else 'jpg'}"
    try:
        parts = key.split("/")
        for part in parts:
            check_name(part, "key")
        check_name(file, "file")
        labels = _read_sidecar(sample.get("json"))
        if not pictures:
            raise ValueError("no picture beside its JSON")
        return Item(
            sys.intern(check_name(labels["affordance"], "affordance")),
            sys.intern(check_name(labels["object"], "object")),
            file,
            check_view(labels["view"]),
            sample[pictures[0]],
        )
    except (ValueError, VidaffError) as error:
        # Listed under the archive's name: nothing that the sample says can be relied on.
        return Item("", "", ascii(file)[1:-1].replace("/", "__")[:200], problem=str(error))


def _read_sidecar(source: Source | None) -> dict[str, str]:
    if source is None:
        raise ValueError("no JSON beside its picture")
    try:
        value: Any = json.loads(read_source(source, limit=MAX_SIDECAR_BYTES))
    except (ValueError, RecursionError) as error:
        raise ValueError("its JSON is not readable") from error
    found = {name: value.get(name, "") for name in ("affordance", "object", "view")} if isinstance(value, dict) else {}
    if not found or not all(isinstance(text, str) for text in found.values()):
        raise ValueError('its JSON is not {"object": text, "affordance": text}')
    return found
