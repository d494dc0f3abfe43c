"""The progress bar: on standard error, in terminals, and loaded when it is drawn."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vidaff.progress import progress_bar


@pytest.mark.parametrize(
    ("terminal", "shown", "drawn"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_bars_are_drawn_for_people(
    terminal: bool, shown: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    with progress_bar(shown=shown) as bar:
        assert list(bar.track(range(3), description="reading")) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert out == "" and ("reading" in err) is drawn and bool(err) is drawn


def test_the_library_is_loaded_when_a_bar_is_made() -> None:
    code = "import sys, vidaff.progress; assert not {'rich', 'rich.progress'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
