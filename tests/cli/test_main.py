"""What the program says at its end when no verb has said it: one line, and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import vidaff.cli
from tests.trees import write_recording
from vidaff.cli import main
from vidaff.errors import VidaffError
from vidaff.io import write_json


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (VidaffError("clip.mp4: no such file"), 2, "Error: clip.mp4: no such file"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "Error: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "Error: out: Permission denied"),
        (MemoryError(), 2, "Error: not enough memory; take smaller inputs or batches"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_the_last_word_is_one_line(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: object) -> None:
        raise error

    monkeypatch.setattr(vidaff.cli.cli, "main", fail)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code and capsys.readouterr().err.strip() == text


INTERRUPTED_IMPORT = """
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error
"""
INTERRUPTED_DESTRUCTOR = """
    class Dying:
        def __del__(self):
            raise KeyboardInterrupt
    Dying()
    for _ in range(500):
        time.sleep(0.01)
"""


@pytest.mark.parametrize("work", [INTERRUPTED_IMPORT, INTERRUPTED_DESTRUCTOR], ids=["import", "destructor"])
def test_ctrl_c_is_not_lost_where_python_loses_it(work: str) -> None:
    code = f"import signal, time\nimport vidaff.cli\ndef work(**options):{work}\nvidaff.cli.cli.main = work\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\nvidaff.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_an_error_that_leads_back_to_itself_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ValueError("no such library"), ImportError("import failed")
    first.__cause__, second.__cause__ = second, first

    def fail(**options: object) -> None:
        raise first

    monkeypatch.setattr(vidaff.cli.cli, "main", fail)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(ValueError, match="no such library"):
        main()


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: object) -> None:
        raise ImportError("no such library")

    monkeypatch.setattr(vidaff.cli.cli, "main", fail)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(ImportError, match="no such library"):
        main()


STARTED = """
import signal
from vidaff.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
print("started", flush=True)
main()
"""
VERBS = {
    "prepare": ["data", "prepare", "sor3d-aff", "tree", "clips.h5", "--size", "16"],
    "check": ["data", "check", "sor3d-aff", "tree"],
    "synth": ["synth", "sor3d-aff", "set", "--clips-train", "20", "--clips-val", "2", "--size", "32"],
}


def press_ctrl_c(verb: str, folder: Path, after: float) -> tuple[int, str]:
    """Exit code and standard error of a verb that gets SIGINT, as do its processes, so many seconds after its start."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, *VERBS[verb]], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c_at_any_moment_ends_in_one_line(verb: str, tmp_path: Path) -> None:
    """While modules are loaded, workers start and work. A run may be over sooner, or be killed in its last moment."""
    for number in range(8):
        write_recording(tmp_path / "tree" / "train", f"Subject{number + 1}_cut_a_knife", frames=8)
    write_json(tmp_path / "tree" / "synth.json", {})
    ends = []
    for step in range(16):
        code, errors = press_ctrl_c(verb, tmp_path, 0.05 * 1.25**step)
        assert errors.strip() == ("interrupted" if code == 130 else ""), errors
        ends.append(code)
        for leftover in [*tmp_path.glob("clips.h5*"), tmp_path / "set"]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    assert ends.count(130) >= 3 and set(ends) <= {130, 0, 1, -signal.SIGINT}


def test_ctrl_c_while_workers_start_ends_in_one_line(tmp_path: Path) -> None:
    for number in range(8):
        write_recording(tmp_path / "tree" / "train", f"Subject{number + 1}_cut_a_knife", frames=8)
    code, errors = press_ctrl_c("prepare", tmp_path, 0.4)
    assert (code, errors.strip()) in ((130, "interrupted"), (0, ""))


def test_a_thread_on_a_full_disk_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "argv", ["vidaff", "--version"])
    with pytest.raises(SystemExit):
        main()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert not capsys.readouterr().err
