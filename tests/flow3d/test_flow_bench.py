"""The comparison scores what it says, leaves out what cannot run, and writes its tables; its times are not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vidaff.flow3d import METHODS, Flow, Intrinsics
from vidaff.flow3d.analytic import Pair, make_pair
from vidaff.flow3d.bench import (
    Entry,
    Result,
    accuracy_table,
    choose,
    compare,
    report,
    score,
    speed_table,
    write_picture,
)
from vidaff.flow3d.bench.costs import child, gpu_table
from vidaff.flow3d.bench.entries import entry_of
from vidaff.flow3d.dis import DisFlow
from vidaff.io import read_image

SIZE = (48, 64)
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "flow.py"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair("mid", size=SIZE)


class Absent(DisFlow):
    backends = ("steam",)

    def __init__(self, intrinsics: Intrinsics, backend: str) -> None:
        raise ImportError("no steam\non this machine")


class Batched(DisFlow):
    backends = ("torch",)

    def between_batch(self, frames0: list[Any], frames1: list[Any]) -> list[Flow]:
        assert len(frames0) == len(frames1) == 16
        return [self.between(*frames) for frames in zip(frames0, frames1, strict=True)]


def cells(table: str, row: str) -> list[str]:
    return next([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if f"| {row} |" in line)


def test_scores_of_flows_that_are_known(pair: Pair) -> None:
    moving = pair.moving & pair.valid
    perfect = score(Flow(pair.flow, pair.valid), pair)
    assert (perfect.overall, perfect.moving, perfect.explained, perfect.good, perfect.valid) == (0, 0, 1, 1, 1)
    refused = score(Flow(pair.flow, np.zeros(SIZE, bool)), pair)
    assert refused.explained == refused.valid == refused.good == 0
    assert refused.moving == pytest.approx(1000 * np.linalg.norm(pair.flow, axis=-1)[moving].mean())
    shifted = score(Flow(pair.flow + np.float32([0, 0.003, 0.004]), pair.valid), pair)
    assert shifted.overall == pytest.approx(5, rel=1e-3)
    assert shifted.explained == pytest.approx(1 - 5 / refused.moving, rel=1e-3)
    hidden_wrong = score(Flow(np.where(pair.hidden[..., None], 9, pair.flow), pair.valid), pair)
    assert hidden_wrong.visible == 0 < hidden_wrong.moving


def test_a_still_scene_has_no_share_of_motion() -> None:
    pair = make_pair("still", size=SIZE)
    entry = choose(["zero"])[0]
    table = accuracy_table(compare([pair], entry, 1))
    assert cells(table, "zero")[2:] == ["0.00", "-", "-", "-", "-", "100.0 %"]


def test_the_true_motion_lifts_to_the_truth_where_it_is_seen() -> None:
    clean = make_pair("ball", size=SIZE, noise=False)
    (result,) = compare([clean], choose(["true-2d"])[0], 1)
    # Not quite everywhere: at the ball's rim the lift picks the wall's depth.
    assert result.score.good > 0.9
    assert result.score.explained > 0.75


def test_everything_registered_is_compared_but_what_has_no_depth() -> None:
    names = {entry.method for entry in choose(["dis", "dis-still", "zero"])[0]}
    assert names == {"dis", "dis-still", ""}
    with pytest.raises(ValueError, match=r"methods: unknown dis2d, magic; known: pd-dis, pd, dis, "):
        choose(["magic", "dis2d", "dis"])
    assert choose(["dis"], ["abacus"]) == ([], [])


def test_what_cannot_run_here_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "steam", f"{__name__}:Absent")
    monkeypatch.setitem(METHODS, "gone", "vidaff.no_such_module:Gone")
    monkeypatch.delattr(cv2, "optflow", raising=False)
    entries, notes = choose(["steam", "zero", "opencv-dis", "opencv-tvl1", "opencv-rlof", "opencv-deepflow"])
    assert [entry.name for entry in entries] == ["zero", "opencv-dis"]
    assert notes[0] == "steam, steam left out: no steam"
    assert [note.split()[0] for note in notes[1:]] == ["opencv-tvl1", "opencv-rlof", "opencv-deepflow"]


def test_calls_take_turns_and_slow_ones_are_timed_once_a_pair(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def entry(name: str) -> Entry:
        def run(pair: Pair) -> Flow:
            calls.append(name)
            return Flow(pair.flow, pair.valid)

        return Entry(name, lambda camera: run)

    results = compare([pair, pair], [entry("a"), entry("b")], 3)
    assert calls == ["a", "b"] * 7  # once untimed, then 3 for each of the 2 pairs
    assert [len(result.wall) for result in results] == [6, 6]
    monkeypatch.setattr("vidaff.flow3d.bench.scores.SLOW_S", 0.0)
    assert [len(result.cpu) for result in compare([pair, pair], [entry("a")], 3)] == [2]


def test_tables_divide_by_the_rivals_of_the_same_run(pair: Pair) -> None:
    results = compare([pair], choose(["dis", "opencv-dis", "opencv-farneback"])[0], 1)
    table = accuracy_table(results)
    assert table.splitlines()[0].endswith("| EPE / opencv-dis | EPE / opencv-farneback |")
    assert cells(table, "opencv-dis")[-2] == cells(table, "opencv-farneback")[-1] == "1.00"
    ratio = results[0].score.moving / results[1].score.moving
    assert cells(table, "dis, opencv")[-2] == f"{ratio:.2f}"
    assert "/" not in accuracy_table(results[:1]).splitlines()[0].split("best")[1]

    def timed(name: str, *seconds: float) -> Result:
        return Result(name, lambda pair: Flow(pair.flow, pair.valid), list(seconds), [0.001])

    runs = [
        [timed("dis, opencv", 0.2, 0.1), timed("opencv-dis", 0.1)],
        [timed("dis, opencv", 0.3), timed("opencv-dis", 0.1)],
    ]
    assert cells(speed_table(runs), "dis, opencv") == ["dis, opencv", "200.0", "100.0", "1.0", "1.0", "2.00"]


def test_report_holds_every_part() -> None:
    entries, notes = choose(["dis", "opencv-dis"])
    text = report(entries, scenes=["ball", "still"], size=SIZE, seeds=[1], repeats=1, notes=[*notes, "a note"])
    for title in ("### ball, noisy: ", "### still, clean: nothing moves", "### Time", "### Stream", "### Memory"):
        assert title in text
    assert "a note\n" in text
    assert "No method with a numba backend" in text.split("### First call")[1]
    growth = cells(text.split("### Memory")[1], "dis, opencv")[1]
    assert growth == "-" or 1 < float(growth) < 500


def test_gpu_rows_time_one_pair_and_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**20)
    monkeypatch.setitem(METHODS, "batched", f"{__name__}:Batched")
    table = gpu_table([entry_of("batched, torch"), entry_of("dis, opencv")], 1, SIZE)
    _, alone, memory, each, together = cells(table, "batched, torch")
    assert float(alone) > 0 and float(each) > 0 and memory == together == "3"
    assert cells(table, "dis, opencv")[3:] == ["-", "-"]


def test_a_measurement_in_its_own_process_prints_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    child("first", "dis, opencv")
    assert 0 < float(capsys.readouterr().out) < 60


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scenes": ["moon"]}, "scenes: unknown moon"),
        ({"parts": ["speed"]}, "parts: unknown speed"),
        ({"size": (10, 400)}, "size: must be at least 48"),
        ({"seeds": [-1]}, "seeds"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_measured(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        report([], **{"scenes": ["hand"], **change})  # type: ignore[arg-type]


def test_picture_shows_the_truth_beside_each_method(pair: Pair, tmp_path: Path) -> None:
    write_picture(tmp_path / "flows.png", choose(["dis", "zero"])[0], pair)
    sheet = read_image(tmp_path / "flows.png")
    assert sheet.shape[1] > 4 * SIZE[1]
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--size", "48", "64", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_script_writes_its_tables_and_picture(tmp_path: Path) -> None:
    out, picture = tmp_path / "flow.md", tmp_path / "flow.png"
    options = ["--methods", "dis", "--scenes", "hand", "--seeds", "0", "--repeats", "1", "--parts", "noisy", "gpu"]
    done = run_script(*options, "--device", "cpu", "--threads", "1", "--out", str(out), "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    assert out.read_text() in done.stdout
    assert "OpenCV" in done.stdout and "| dis, opencv |" in done.stdout and "No CUDA device" in done.stdout
    assert read_image(picture).size


def test_the_script_answers_bad_input_in_one_line() -> None:
    done = run_script("--methods", "magic")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "magic" in done.stderr
