"""``vidaff metrics``: prints a table or JSON, writes three files, says in one line what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from vidaff.cli import main
from vidaff.io import write_image


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["vidaff", "metrics", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def maps(tmp_path: Path) -> tuple[Path, Path]:
    """Two maps of IIT-AFF's ids; the first is right, the second half right."""
    truth = np.zeros((12, 16), np.uint8)
    truth[2:10, 2:8], truth[2:10, 8:14] = 5, 2
    half = truth.copy()
    half[6:] = 0
    for name, second in (("pred", half), ("gt", truth)):
        write_image(tmp_path / name / "1.png", truth)
        write_image(tmp_path / name / "sub" / "2.png", second)
    return tmp_path / "pred", tmp_path / "gt"


def test_prints_a_table(
    maps: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *maps, "--dataset", "iit-aff") == 0
    printed = capsys.readouterr().out
    assert "| grasp | 2 | 0.7500 | 0.8571 |" in printed and "| hit | 0 | n/a |" in printed
    assert "legacy" not in printed.lower()


def test_json_and_files_hold_the_same(
    maps: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, *maps, "--dataset", "iit-aff", "--legacy", "--json", "--out", out) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "metrics.json").read_text())
    assert printed["overall"]["iou"] == pytest.approx(0.75)
    assert printed["per_class"]["margolin"]["hit"] is None
    assert printed["per_class"]["margolin_legacy"]["hit"] == printed["per_class"]["margolin_legacy"]["grasp"]
    assert sorted(path.name for path in out.iterdir()) == ["metrics.csv", "metrics.json", "metrics.md"]
    assert run(monkeypatch, *maps, "--dataset", "iit-aff", "--out", out) == 2
    assert "already holds files" in capsys.readouterr().err
    assert run(monkeypatch, *maps, "--dataset", "iit-aff", "--out", out, "--overwrite") == 0


def test_partial(maps: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (maps[0] / "sub" / "2.png").unlink()
    assert run(monkeypatch, *maps, "--dataset", "iit-aff", "--partial") == 0
    assert "left out: 1." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "spoil", "said"),
    [
        ([], lambda pred, gt: (pred / "1.png").unlink(), "lacks 1 of the 2 maps"),
        ([], lambda pred, gt: (gt / "1.png").unlink(), "holds 1 that"),
        ([], lambda pred, gt: write_image(pred / "1.png", np.zeros((3, 3), np.uint8)), "3x3 pixels, the truth 16x12"),
        ([], lambda pred, gt: (pred / "1.png").write_bytes(b"no picture"), "1.png: not a readable picture"),
        (["--soft"], lambda pred, gt: None, "no probabilities"),
        (["--dataset", "agd20k", "--legacy"], lambda pred, gt: None, "are for labels"),
        (["--dataset", "coco"], lambda pred, gt: None, "'coco' is not one of"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    arguments: list[str], spoil: object, said: str, maps: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    spoil(*maps)  # type: ignore[operator]
    assert run(monkeypatch, *maps, "--dataset", "iit-aff", *arguments) == 2
    output = capsys.readouterr()
    assert said in output.err and "Traceback" not in output.err and output.out == ""
