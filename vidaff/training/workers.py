"""Errors of loader processes, which torch hands on with a traceback within their message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vidaff.errors import VidaffError

Batch = TypeVar("Batch")


def plain(error: VidaffError) -> VidaffError:
    """The error as it was raised in the loader process: its own message, one line; other errors as they are."""
    text = str(error)
    if not text.startswith(f"Caught {VidaffError.__name__} in DataLoader worker"):
        return error
    return VidaffError(text.strip().rpartition(f"{VidaffError.__name__}: ")[2])


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of loader processes come out :func:`plain`, all others as they were raised."""
    try:
        yield
    except VidaffError as error:
        found = plain(error)
        if found is error:  # raised from itself, it would be its own cause
            raise
        raise found from error


def plainly(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of a loader, whose errors come out :func:`plain`."""
    with plain_errors():
        yield from batches
