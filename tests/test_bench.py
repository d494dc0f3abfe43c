"""The measurements run and give sensible rows; their numbers are not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vidaff import bench
from vidaff.config import InputSettings, ModelSettings, Recipe
from vidaff.models.video import build_video_model

TINY = Recipe(name="tiny", model=ModelSettings(width=0.0625), input=InputSettings(size=(32, 32)))


def test_streaming_compares_precisions_in_one_run() -> None:
    rows = bench.streaming(TINY, build_video_model(TINY.model), "cpu", 2, name="tiny")
    assert len(rows) == 2 and "times faster" in rows[1].remark and "of labels agree" in rows[1].remark


def test_training_predictor_and_loader_give_rates() -> None:
    found = bench.training(TINY, "cpu", 1, batch=1, frames=2, bf16=False)
    assert found["seconds"] > 0 and found["peak_mib"] > 10
    rows = bench.predictor(TINY, build_video_model(TINY.model), "cpu", 2, name="tiny")
    assert all("frames/s" in row.value for row in rows)
    assert "times what" in bench.loader(None, (16, 16), 3, consumed=10.0).remark


def test_table_is_markdown_under_the_machine() -> None:
    text = bench.table([bench.Row("a", "cpu", "1 ms", "b")])
    assert "threads" in text.splitlines()[0] and text.splitlines()[-1] == "| a | cpu | 1 ms | b |"


@pytest.mark.slow
def test_the_script_writes_its_table(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "video.py"
    command = [sys.executable, str(script), "--skip", "full", "--repeats", "1", "--out", str(tmp_path / "t.md")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and (tmp_path / "t.md").read_text() in done.stdout
