"""Scores and times of all entries on the same pairs, taking turns, and the tables made of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import numpy as np

from vidaff.flow3d.analytic import Pair
from vidaff.flow3d.bench.entries import Entry, Run
from vidaff.flow3d.types import Flow

GOOD_MM = 10.0
SLOW_S = 0.25
"""An entry whose call takes longer is timed once per pair."""
RIVALS = ("opencv-dis", "opencv-farneback")
"""Rows that others are divided by, where they are in the run."""


class Score(NamedTuple):
    """Mean end-point errors in mm and shares of pixels; nan where no pixel counts.

    Pixels: ``overall`` those with depth in frame 0, ``moving`` of these the moving ones, ``visible`` of these the ones
    that frame 1 shows. ``rest``: error of zero flow on the moving ones; ``good``: share of them under 1 cm;
    ``valid``: share of those with depth that the method calls valid.
    """

    overall: float
    moving: float
    visible: float
    rest: float
    good: float
    valid: float

    @property
    def explained(self) -> float:
        """Share of the motion that is explained: 1 - error / error of zero flow."""
        return 1 - self.moving / self.rest


@dataclass
class Result:
    """What was measured of an entry: seconds of wall clock and of CPU per call, and a score per pair."""

    name: str
    run: Run
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)

    def timed(self, pair: Pair) -> Flow:
        cpu, wall = time.process_time(), time.perf_counter()
        flow = self.run(pair)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return flow

    @property
    def score(self) -> Score:
        return Score(*np.mean(self.scores, axis=0))


def score(result: Flow, pair: Pair) -> Score:
    """Errors of ``result`` against the truth; what it calls invalid counts as zero flow."""
    flow = np.where(result.valid[..., None], result.flow, 0)
    error, length = (1000 * np.linalg.norm(vectors, axis=-1) for vectors in (flow - pair.flow, pair.flow))
    moving = pair.moving & pair.valid
    return Score(
        _mean(error[pair.valid]),
        _mean(error[moving]),
        _mean(error[moving & ~pair.hidden]),
        _mean(length[moving]),
        _mean(error[moving] < GOOD_MM),
        _mean(result.valid[pair.valid]),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def compare(pairs: Sequence[Pair], entries: Sequence[Entry], repeats: int) -> list[Result]:
    """Score and time every entry on every pair, after one call that is not timed."""
    results = [Result(entry.name, entry.make(pairs[0].intrinsics)) for entry in entries]
    for result in results:
        result.run(pairs[0])
    for pair in pairs:
        for result in results:
            result.scores.append(score(result.timed(pair), pair))
        for _ in range(repeats - 1):
            for result in results:
                if result.wall[-1] < SLOW_S:
                    result.timed(pair)
    return results


def accuracy_table(results: Sequence[Result]) -> str:
    """A row per method for one scene."""
    rivals = _rivals(results)
    head = ["method", "ms: median / best", "EPE all", "EPE moving", "EPE visible", "< 1 cm", "explained", "valid"]
    rows = []
    for result in results:
        s = result.score
        row = [result.name, f"{1000 * median(result.wall):.1f} / {1000 * min(result.wall):.1f}"]
        row += [number(value) for value in (s.overall, s.moving, s.visible)]
        row += [percent(value) for value in (s.good, s.explained, s.valid)]
        rows.append(row + [number(s.moving / rival.score.moving) for rival in rivals])
    return markdown([*head, *(f"EPE / {rival.name}" for rival in rivals)], rows)


def speed_table(runs: Sequence[Sequence[Result]]) -> str:
    """A row per method over all scenes: times, and times relative to the rivals in the same run."""
    merged = [
        Result(same[0].name, same[0].run, [s for r in same for s in r.wall], [s for r in same for s in r.cpu])
        for same in zip(*runs, strict=True)
    ]
    rivals = _rivals(merged)
    head = ["method", "ms, median", "ms, best", "CPU ms, median", "CPU ms, best"]
    rows = []
    for result in merged:
        times = [value for values in (result.wall, result.cpu) for value in (median(values), min(values))]
        ratios = [median(result.wall) / median(rival.wall) for rival in rivals]
        rows.append([result.name, *(f"{1000 * value:.1f}" for value in times), *(number(value) for value in ratios)])
    return markdown([*head, *(f"time / {rival.name}" for rival in rivals)], rows)


def _rivals(results: Sequence[Result]) -> list[Result]:
    return [result for name in RIVALS for result in results if result.name == name]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; ends with a line break."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float) -> str:
    return _unless_nan(value, lambda known: f"{known:.2f}")


def percent(value: float) -> str:
    return _unless_nan(value, lambda known: f"{100 * known:.1f} %")


def _unless_nan(value: float, text: Callable[[float], str]) -> str:
    return text(value) if np.isfinite(value) else "-"
