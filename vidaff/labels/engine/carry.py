"""What earlier runs have done and still holds, and what a new run would lose of it.

A shard whose items are as they were is left alone. Of the others, the items that are as they were are *carried*: their
records go into the new shards and their files stay, so that a picture that is put in costs no more than itself. Until
the run is through, the records that are carried stand in a file of their own: a run that is killed loses none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from vidaff.errors import VidaffError
from vidaff.io import atomic_path
from vidaff.labels.engine.hashes import UNREADABLE, hash_content, hash_inputs
from vidaff.labels.engine.manifest import Line, differences, read_manifest, write_manifest
from vidaff.labels.engine.shards import Shard
from vidaff.labels.engine.store import Store, key_of, read_lines
from vidaff.labels.engine.types import Item

READERS: Final = 8
"""Pictures that are looked at together: on a network's file system each takes a while."""
SHOWN_KEYS: Final = 2
ADVICE: Final = "pass --overwrite to do it again, or choose another --out"
Found = tuple[Item, str, str]
"""An item of the new run, the hash of its picture, and its basis."""


@dataclass
class Before:
    """What is there of earlier runs.

    Attributes:
        lines: by name, of the shards that are done as they are.
        carried: by key, records (lines of JSON) of done items of other shards.
        unread: keys of carried items whose picture cannot be read now.
        lost: records of what has no place in the new run, by what has become of it.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    carried: dict[str, str] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    lost: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def look_back(
    store: Store, shards: Sequence[Shard], expected: Mapping[str, str], *, basis: str, overwrite: bool
) -> Before:
    """Compare what is there with what is to be done; nothing is changed.

    ``basis`` names what the items' bases are. With ``overwrite``, what was done otherwise counts for nothing.
    Raises :class:`VidaffError` without it when something would be lost, and for an archive that would lose pictures
    that cannot be read now.
    """
    lines = _read_lines(store, overwrite=overwrite)
    journal = _read_carried(store)
    if not overwrite:
        for line in [*lines, *journal[:1]]:
            _check_hashes(store, line, expected)
    lines = [line for line in lines if not differences(line, expected)]
    by_name = {shard.name: shard for shard in shards}
    before, stale = Before(), []
    if journal and differences(journal[0], expected):
        before.lost["made otherwise"], journal = journal[1:], []
    with ThreadPoolExecutor(READERS) as readers:
        for line in lines:
            shard = by_name.get(line["shard"])
            same = shard is not None and line["hashes"].get("inputs") == _inputs(shard, readers)
            if same and not (overwrite and (line["skipped"] or _misses_files(store, line))):
                before.lines[line["shard"]] = line
            else:
                stale.append(line)
        if stale or journal:
            _sort_out(before, store, shards, stale, journal[1:], basis or "settings", readers, overwrite)
    _check_losses(store, before, overwrite=overwrite)
    return before


def take_over(store: Store, shards: Sequence[Shard], before: Before, expected: Mapping[str, str]) -> list[Shard]:
    """Make the folder ready; return the shards that are to be done, with what they carry."""
    # The records first, then the lines that stood for them; files go last: no line stands for files that are not there.
    _write_carried(store, before.carried, expected)
    write_manifest(store.out, store.step, list(before.lines.values()))
    store.clear_work()
    cut_off = sorted(store.recorded() - set(before.lines))
    done = [shard for shard in shards if shard.name in before.lines]
    spare = before.carried.keys() | {item.key for shard in done for item in shard.items}
    for records in before.lost.values():
        for record in records:
            if key_of(record) not in spare:
                store.remove_files(record)
    store.discard(cut_off, spare)
    carried = before.carried
    return [
        shard._replace(kept={item.key: carried[item.key] for item in shard.items if item.key in carried})
        for shard in shards
        if shard.name not in before.lines
    ]


def finish(store: Store, lines: Sequence[Line]) -> None:
    """The run is through: ``lines`` account for everything."""
    write_manifest(store.out, store.step, lines)
    store.carried_path.unlink(missing_ok=True)


def _read_lines(store: Store, *, overwrite: bool) -> list[Line]:
    try:
        return read_manifest(store.out, store.step)
    except VidaffError:
        if not overwrite:
            raise
        return []


def _check_hashes(store: Store, line: Line, expected: Mapping[str, str]) -> None:
    differing = differences(line, expected)
    if differing:
        what = f"the step {store.step} was begun here with a different {' and '.join(differing)}"
        raise VidaffError(f"{store.out}: {what}; {ADVICE}")


def _inputs(shard: Shard, readers: Executor) -> str:
    return hash_inputs(shard.items, _contents(shard.items, readers), shard.bases)


def _contents(items: Sequence[Item], readers: Executor) -> list[str]:
    """Hashes of pictures, some by each reader: threads that change at every picture cost ten times as much."""
    parts = readers.map(_hash_some, [items[start : start + READERS] for start in range(0, len(items), READERS)])
    return [content for part in parts for content in part]


def _hash_some(items: Sequence[Item]) -> list[str]:
    return [hash_content(item) for item in items]


def _misses_files(store: Store, line: Line) -> bool:
    records = list(read_lines(store.record_path(line["shard"])))
    return len(records) != line["done"] or not all(store.has_files(record) for record in records)


def _sort_out(
    before: Before, store: Store, shards: Sequence[Shard], stale: Sequence[Line], journal: Sequence[Any], basis: str,
    readers: Executor, overwrite: bool,
) -> None:  # fmt: skip
    """Find for every record of ``stale`` shards and of the ``journal`` whether it still holds."""
    settled = {item.key for shard in shards if shard.name in before.lines for item in shard.items}
    others = [shard for shard in shards if shard.name not in before.lines]
    now = {
        item.key: (item, content, why)
        for shard in others
        for item, content, why in zip(shard.items, _contents(shard.items, readers), shard.bases, strict=True)
    }
    contents = {key: content for key, (_, content, _) in now.items()}
    for record in (*_records(store, stale), *journal):
        key = key_of(record)
        if key in settled or key in before.carried or not store.has_files(record):
            continue
        trouble = _trouble(record, now.get(key), basis)
        if trouble:
            before.lost.setdefault(trouble, []).append(record)
        else:
            before.carried[key] = json.dumps(record, sort_keys=True) + "\n"
            if contents[key] == UNREADABLE:
                before.unread.add(key)
            contents[key] = str(record.get("content"))
    _leave_alone(
        before, others, {line["shard"]: line for line in stale if not (overwrite and line["skipped"])}, contents
    )


def _leave_alone(
    before: Before, shards: Sequence[Shard], lines: Mapping[str, Line], contents: Mapping[str, str]
) -> None:
    """Take shards as done in which nothing has changed but that pictures cannot be read now."""
    for shard in shards:
        line, seen = lines.get(shard.name), [contents[item.key] for item in shard.items]
        if line is None or line["hashes"].get("inputs") != hash_inputs(shard.items, seen, shard.bases):
            continue
        carried = [item.key for item in shard.items if item.key in before.carried]
        if len(carried) == line["done"]:
            before.lines[shard.name] = line
            for key in carried:
                del before.carried[key]


def _records(store: Store, lines: Sequence[Line]) -> Iterator[dict[str, Any]]:
    for line in lines:
        yield from read_lines(store.record_path(line["shard"]))


def _trouble(record: Mapping[str, Any], found: Found | None, basis: str) -> str:
    """Why what was done of an item does not hold any more; empty when it does."""
    if found is None:
        return "not among them now"
    item, content, why = found
    if item.problem:
        return "unusable now"
    # One that cannot be read now, on a disk that is not there, say, could only be lost.
    if content not in (record.get("content"), UNREADABLE):
        return "changed since"
    return "" if record.get("basis") == why else f"with other {basis} now"


def _check_losses(store: Store, before: Before, *, overwrite: bool) -> None:
    if before.lost and not overwrite:
        losses = ", ".join(
            f"{len(records)} {what} ({', '.join(key_of(one) for one in records[:SHOWN_KEYS])}"
            f"{', ...' if len(records) > SHOWN_KEYS else ''})"
            for what, records in before.lost.items()
        )
        raise VidaffError(
            f"{store.out}: the step {store.step} was done here for other pictures, {losses}; pass --overwrite to give "
            "up what was made of them, or choose another --out"
        )
    if not store.archive:
        return
    unread = sorted(before.unread & before.carried.keys())
    if unread:
        raise VidaffError(
            f"{store.out}: archives have to be made anew, and {len(unread)} of the pictures in them cannot be read now "
            f"({', '.join(unread[:SHOWN_KEYS])}); mend that and run the same command again"
        )
    before.carried.clear()  # an archive is written as a whole


def _read_carried(store: Store) -> list[dict[str, Any]]:
    """What was made of them, and the records; empty where no run was broken off while it carried some."""
    return list(read_lines(store.carried_path))


def _write_carried(store: Store, carried: Mapping[str, str], expected: Mapping[str, str]) -> None:
    if not carried:
        store.carried_path.unlink(missing_ok=True)
        return
    head = json.dumps({"hashes": dict(expected)}, sort_keys=True) + "\n"
    with atomic_path(store.carried_path) as temporary:
        temporary.write_text(head + "".join(carried.values()), encoding="utf-8")
