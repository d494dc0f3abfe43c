"""What the callbacks of a training must know of the network that is trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightning as L


class ExportableModule(L.LightningModule):
    """A module around one network that can be written as a checkpoint of its own.

    ``recipe``: all settings; ``recipe.train`` has ``lr``, ``clip_grad`` and ``select``.
    ``info``: facts that go into every checkpoint.
    ``SCORES``: what validation logs under ``val/``; the first chooses the best epoch. ``LOWEST``: its best is lowest.
    """

    SCORES: ClassVar[tuple[str, ...]] = ("iou", "f", "action")
    LOWEST: ClassVar[bool] = False

    recipe: Any
    info: dict[str, Any]

    def begin(self, out: Path) -> None:
        """Write what the training has made by now and its checkpoints do not hold into the folder of the run."""

    @abstractmethod
    def export(self, folder: Path, info: Mapping[str, Any]) -> None:
        """Write the network with its settings and ``info`` into ``folder``."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the network alone: what else a module holds restarts with every validation."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key.startswith("model.")}
