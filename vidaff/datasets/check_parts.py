"""What the checks of the other data sets share: findings of one part of a tree, and which files a quick look opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from vidaff.datasets.check import Problem, Report
from vidaff.errors import VidaffError

Value = TypeVar("Value")


class Findings:
    """Problems of one recording, tool or list of pictures; every check goes on after a finding."""

    def __init__(self, recording: str) -> None:
        self.recording = recording
        self.problems: list[Problem] = []

    def add(self, file: str | Path, message: str, *, note: bool = False) -> None:
        name = file.name if isinstance(file, Path) else file
        self.problems.append(Problem(self.recording, name, message, note))

    def attempt(self, path: Path, action: Callable[[], Value]) -> Value | None:
        """Result of ``action``; what it refuses is a problem of ``path``, and gives ``None``."""
        try:
            return action()
        except VidaffError as error:
            self.add(path, str(error).removeprefix(f"{path}: "))
            return None


def chosen(items: Sequence[Value], quick: bool) -> Iterator[Value]:
    """All items, or with ``quick`` the first and the last."""
    yield from items if not quick or len(items) < 3 else (items[0], items[-1])


def shorten(items: Sequence[object], limit: int = 5) -> str:
    """The first items, separated by commas, with dots when there are more."""
    return ", ".join(map(str, items[:limit])) + (" ..." if len(items) > limit else "")


def compare_counts(report: Report, what: str, found: dict[str, int], official: dict[str, int]) -> None:
    """A problem for every split where ``found`` is not the ``official`` number of ``what``."""
    for split, number in official.items():
        if found.get(split, 0) != number:
            report.problems.append(Problem(split, "", f"{found.get(split, 0)} {what}, {number} were published"))


def text(shape: tuple[int, ...]) -> str:
    """Width x height of a picture's shape."""
    return f"{shape[1]}x{shape[0]}"
