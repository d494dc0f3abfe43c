"""The progress bar of all verbs: text, bar, count and time left."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(*, shown: bool = True) -> Progress:
    """A bar on standard error, so that results can be piped; it vanishes at its end.

    Tasks without a ``total`` are counted. Outside a terminal, or without ``shown``, the same calls draw nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # Nine characters, the longest name of an action: the bar stays in place while the text beside it changes.
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    seen = shown and (console.is_terminal or console.is_jupyter)
    return Progress(*columns, console=console, transient=True, disable=not seen)
