"""``vidaff infer`` as a user calls it: exit codes, one-line errors, Ctrl-C."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from vidaff.cli import main
from vidaff.cli.infer import command
from vidaff.config import InputSettings, ModelSettings, Recipe
from vidaff.io import write_image
from vidaff.models.video import build_video_model
from vidaff.weights import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    recipe = Recipe(model=ModelSettings(width=0.0625, depth=False), input=InputSettings(size=(32, 32)))
    return str(save_checkpoint(tmp_path_factory.mktemp("model"), build_video_model(recipe.model), recipe, {}))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("frames")
    for number in range(1, 5):
        write_image(folder / f"{number}.png", np.full((36, 48, 3), 40 * number, np.uint8))
    return str(folder)


def vidaff(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> tuple[int, str]:
    """Exit code and standard error of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["vidaff", "infer", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert out == ""
    return int(caught.value.code or 0), err


def test_it_says_what_it_assumed_and_what_it_wrote(tmp_path: Path, frames: str, checkpoint: str) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(
        command, [frames, "--checkpoint", checkpoint, "--out", str(out), "--fps", "0", "--size", "40x48"]
    )
    assert done.exit_code == 0, done.output
    assert "4 frames" in done.output and "30 a second assumed" in done.output and "60-degree" in done.output
    assert sorted(path.name for path in out.iterdir()) == ["labels", "overlay.mp4", "timeline.csv"]


def test_outputs_can_be_left_out(tmp_path: Path, frames: str, checkpoint: str) -> None:
    options = ["--checkpoint", checkpoint, "--out", str(tmp_path / "o"), "--no-video", "--no-labels", "--fps", "0"]
    assert CliRunner().invoke(command, [frames, *options]).exit_code == 0
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["timeline.csv"]


def test_help_shows_examples_and_outputs() -> None:
    done = CliRunner().invoke(command, ["--help"])
    assert done.exit_code == 0
    for word in ("Examples:", "overlay.mp4", "--depth-model", "--confidence", "timeline.csv"):
        assert word in done.output


def test_user_errors_end_with_one_line_and_exit_code_two(
    tmp_path: Path, frames: str, checkpoint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(Hostile()))
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("")
    cases = [
        ([tmp_path / "none.mp4", "--checkpoint", checkpoint, "--out", tmp_path / "o"], "none.mp4: no such file"),
        ([frames, "--checkpoint", tmp_path / "bad.ckpt", "--out", tmp_path / "o"], "bad.ckpt: refused"),
        ([frames, "--checkpoint", checkpoint, "--out", full], "already holds files"),
        ([frames, "--checkpoint", checkpoint, "--out", tmp_path / "o", "--device", "meta"], "cannot be used here"),
        (["99999999999999999999", "--checkpoint", checkpoint, "--out", tmp_path / "o"], "no number of a camera"),
    ]
    for arguments, message in cases:
        code, text = vidaff(capsys, monkeypatch, *arguments)
        assert code == 2 and message in text
        assert len(text.strip().splitlines()) == 1
    for option in ("--fps", "--depth-scale", "--assumed-depth", "--confidence"):
        nan = [frames, "--checkpoint", checkpoint, "--out", tmp_path / "o", option, "nan"]
        assert vidaff(capsys, monkeypatch, *nan)[0] == 2
    assert not (tmp_path / "owned").exists() and not (tmp_path / "o").exists()


def test_ctrl_c_exits_with_130_and_a_playable_video(tmp_path: Path, checkpoint: str) -> None:
    from vidaff.media import VideoWriter, open_frames

    with VideoWriter(tmp_path / "long.mp4", 30, (96, 128)) as video:
        for number in range(1500):
            video.write(np.full((96, 128, 3), number % 255, np.uint8))
    out = tmp_path / "out"
    arguments = [tmp_path / "long.mp4", "--checkpoint", checkpoint, "--out", out, "--fps", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vidaff", "infer", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (out / "labels" / "000005.png").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped after" in stdout and "Traceback" not in stderr
    done = len(list((out / "labels").iterdir()))
    with open_frames(out / "overlay.mp4") as overlay:
        assert 5 <= sum(1 for _ in overlay) == done < 1500
    assert not [path.name for path in out.rglob(".*")]
