"""The measurements run and give sensible rows; their numbers are not tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.still_trees import write_umd
from vidaff import bench_stills
from vidaff.bench import table


def test_every_measurement_has_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_stills, "BATCH", 2)
    rows = bench_stills.run(data=write_umd(tmp_path / "umd"), processes=1, repeats=1)
    text = table(rows)
    for words in (
        "UMD, size 96: 1 loader processes",
        "UMD, centre_crop 300: this process",
        "1024x1024",
        "a part of 5 %",
    ):
        assert words in text
    assert all(float(row.value.split()[0]) >= 0 for row in rows)
