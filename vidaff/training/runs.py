"""What all trainings have in common around Lightning's trainer: how a run begins and how it ends."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidaff.errors import VidaffError
from vidaff.training.history import write_history
from vidaff.training.workers import plain_errors

if TYPE_CHECKING:
    import lightning as L

LEFT = ("checkpoints", "best", "last", "logs", "metrics.csv", "recipe.yaml", "text.safetensors")
"""What a training leaves in its folder. The checkpoints go first: what else is old then counts for nothing."""
TERMINATED = 128 + signal.SIGTERM
"""Exit code of a training that was asked to end, as shells count it."""


def clear_run(folder: Path, *, first: Iterable[str] = (), more: Iterable[str] = ()) -> None:
    """Remove what an earlier training left in ``folder``, or a run that is cut off early would go on from it.

    To be called when nothing is left that could keep the new training from its first step.

    Args:
        folder: of the run; it need not exist.
        first: names of files that are to go before all others.
        more: names, or patterns such as ``pictures/epoch_*.png``, of what only some trainings write.

    Raises:
        VidaffError: something cannot be removed.
    """
    remove(folder, (*first, *LEFT, *more))


def remove(folder: Path, patterns: Iterable[str]) -> None:
    """Remove files and folders below ``folder`` in the order of ``patterns``; :class:`VidaffError` when one stays."""
    for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise VidaffError(f"{path}: cannot be removed ({error.strerror or error})") from error


def fit(trainer: L.Trainer, module: L.LightningModule, data: Any, *, out: Path, last: str | None, first: bool) -> None:
    """Train, and write the table of the run into ``out`` however the training ends.

    Args:
        trainer: Lightning's.
        module: what is trained.
        data: its loaders.
        out: folder of the run.
        last: checkpoint to go on from.
        first: whether this is the process that writes.

    Raises:
        VidaffError: what a loader process or the network could not use, in one line.
        KeyboardInterrupt: Ctrl-C; the checkpoints of whole epochs are kept, so that the run can be resumed.
        SystemExit: with code 143 after SIGTERM. Lightning ends with 0, as if the training were complete.
    """
    try:
        with plain_errors(), _ctrl_c_stays_on():
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    except SystemExit as error:
        # Lightning's answer to signals: without a word, and with a code that says nothing of them.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        if trainer.received_sigterm:
            raise SystemExit(TERMINATED) from error
        raise
    finally:
        if first:
            write_history(out)


@contextmanager
def _ctrl_c_stays_on() -> Iterator[None]:
    """Lightning switches Ctrl-C off while it ends a training, and leaves it so for the calling program."""
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None:  # not set by Python
            signal.signal(signal.SIGINT, before)
