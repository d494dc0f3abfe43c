"""The table of a training run, over all the sittings it took."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from vidaff.io import write_text

Row = dict[str, str]


def next_sitting(out: Path) -> str:
    """Name of the log folder of the sitting that begins now: ``sitting001`` and so on."""
    return f"sitting{len(_sittings(out)) + 1:03d}"


def read_history(out: str | Path) -> list[Row]:
    """One row per epoch in order: ``epoch``, ``step`` and every logged value, as text; missing values are absent.

    A sitting that ended within an epoch is followed by one that repeats this epoch, or completes it and tells of the
    rest; the later one counts.
    """
    epochs: dict[int, Row] = {}
    for folder in _sittings(Path(out)):
        table = folder / "metrics.csv"
        if not table.is_file():
            continue
        fresh: dict[int, Row] = {}
        for row in csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))):
            values = {key: value for key, value in row.items() if value}
            fresh.setdefault(int(row["epoch"]), {}).update(values)
        epochs.update(fresh)
    return [epochs[number] for number in sorted(epochs)]


def write_history(out: Path) -> None:
    """Write the merged table to ``OUT/metrics.csv``."""
    rows = read_history(out)
    if not rows:
        return
    names = ["epoch", "step", *sorted({key for row in rows for key in row} - {"epoch", "step"})]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "metrics.csv", text.getvalue())


def _sittings(out: Path) -> list[Path]:
    return sorted(out.glob("logs/sitting*"))
