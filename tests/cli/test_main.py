"""What the program says at its end when no verb has said it: one line, and an exit code."""

from __future__ import annotations

import errno
import sys
import threading

import pytest

import vidaff.cli
from vidaff.cli import main
from vidaff.errors import VidaffError


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
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code and capsys.readouterr().err.strip() == text


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
