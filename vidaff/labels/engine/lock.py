"""One run at a time on an output folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vidaff.errors import VidaffError

_held: set[Path] = set()


@contextlib.contextmanager
def lock_folder(out: str | Path) -> Iterator[None]:
    """Keep other processes from working on the folder ``out``, which is made if need be.

    Within one process it may be taken again while it is held. The system frees it when the process ends, however that
    happens. Raises :class:`VidaffError` when another process has it.
    """
    folder = Path(out).resolve()
    if folder in _held:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise VidaffError(f"{out}: cannot be written to ({error.strerror or error})") from error
    try:
        _take(file, out)
        _held.add(folder)
        yield
    finally:
        if folder in _held:
            os.ftruncate(file, 0)
        _held.discard(folder)
        os.close(file)


def _take(file: int, out: str | Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(file, 32, 0).decode("ascii", "replace").strip()
        who = f"process {owner}" if owner else "another process"
        raise VidaffError(f"{out}: {who} is writing here; wait for it to end, or choose another --out") from error
    except OSError as error:
        raise VidaffError(f"{out}: its file system cannot lock files ({error.strerror}); use a local folder") from error
    with contextlib.suppress(OSError):  # on a full disk the lock still holds, without the number of its process
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
