"""What the steps with models have in common."""

from __future__ import annotations

from typing import Any


class ModelWork:
    """A work that loads its models once, and is sent to other processes without them.

    Whatever :meth:`load` makes has a name that begins with ``_``; the rest are settings, which are sent.
    """

    _ready = False
    device = "auto"

    def setup(self) -> None:
        """Load the models, unless they are there."""
        if not self._ready:
            self.load()
            self._ready = True

    def load(self) -> None:
        """Load the models; raise :class:`vidaff.errors.VidaffError` when they cannot be had."""
        raise NotImplementedError

    def take_place(self, number: int) -> None:
        """Be the worker ``number``, from 0 on, of several on this machine: they take its GPUs in turn."""
        if self.device not in ("auto", "cuda"):
            return
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count > 1:
            self.device = f"cuda:{number % count}"

    def unload(self) -> None:
        """Forget the models."""
        self.__dict__ = self.__getstate__()

    def fingerprint(self) -> str:
        """Short text that changes when weights or settings of the loaded models do."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
