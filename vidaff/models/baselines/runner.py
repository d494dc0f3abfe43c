"""AffordanceNet behind the interface by which :mod:`vidaff.evaluate` runs a network on clips."""

from __future__ import annotations

import numpy as np
import torch

from vidaff.datasets import STILLS
from vidaff.datasets.base import Clip, ClipDataset
from vidaff.models.baselines.checkpoint import DetectorCheckpoint
from vidaff.picture_runner import input_sizes
from vidaff.predict import pick_device


class DetectorRunner:
    """Labels of single last frames, or of still pictures. The network sees RGB only and tells no actions.

    ``clips`` are what will be shown: still pictures are seen at the scale of the training, see
    :func:`vidaff.picture_runner.input_sizes`, which raises :class:`VidaffError` where that cannot be.
    """

    static = True

    def __init__(self, checkpoint: DetectorCheckpoint, clips: ClipDataset, *, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.model = checkpoint.model.to(self.device).eval()
        trained = checkpoint.recipe.input.size
        stills = checkpoint.info.get("dataset") in STILLS
        self._input_size = input_sizes(trained, checkpoint.info.get("view"), clips) if stills else lambda size: trained

    def flow(self, clip: Clip, stored_method: str | None) -> np.ndarray | None:
        """No flow is wanted."""
        return None

    def run(self, clips: list[Clip], flows: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
        """Clips of one shape -> labels (B, H, W) uint8 of their last frames, and -1 for every action (B,)."""
        pictures = [torch.from_numpy(np.ascontiguousarray(clip.rgb[-1])).movedim(-1, 0) for clip in clips]
        size = self._input_size((clips[0].rgb.shape[1], clips[0].rgb.shape[2]))
        probs = self.model.segment([picture.to(self.device).float() / 255 for picture in pictures], input_size=size)
        labels = torch.stack([part.argmax(0) for part in probs]).to(torch.uint8).cpu().numpy()
        return labels, np.full(len(clips), -1)
