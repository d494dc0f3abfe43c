"""The measurements run and give sensible rows; their numbers are not tested."""

from __future__ import annotations

from tests.models.image_models import tiny_settings
from vidaff.bench import table
from vidaff.bench_ground import interleaved, run


def test_every_variant_has_its_row() -> None:
    rows = run(repeats=1, settings=tiny_settings())
    text = table(rows)
    for words in ("fp32, contiguous", "times as fast as fp32", "times one query", "peaked map", "times the mean"):
        assert words in text
    shifts = [float(row.value) for row in rows if row.what.startswith("KLD")]
    assert len(shifts) == 2 and all(0 <= abs(shift) < 1e-2 for shift in shifts)


def test_variants_take_turns() -> None:
    calls: list[str] = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert "".join(calls) == "ababababab" and set(seconds) == {"a", "b"}
