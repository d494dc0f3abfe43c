"""AffordanceNet behind the interface by which :mod:`vidaff.evaluate` runs a network on clips."""

from __future__ import annotations

import numpy as np
import torch

from vidaff.datasets.base import Clip
from vidaff.models.baselines.checkpoint import DetectorCheckpoint
from vidaff.predict import pick_device


class DetectorRunner:
    """Labels of single last frames. The network sees RGB only and tells no actions."""

    static = True

    def __init__(self, checkpoint: DetectorCheckpoint, *, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.model = checkpoint.model.to(self.device).eval()

    def flow(self, clip: Clip, stored_method: str | None) -> np.ndarray | None:
        """No flow is wanted."""
        return None

    def run(self, clips: list[Clip], flows: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
        """Clips of one shape -> labels (B, H, W) uint8 of their last frames, and -1 for every action (B,)."""
        pictures = [torch.from_numpy(np.ascontiguousarray(clip.rgb[-1])).movedim(-1, 0) for clip in clips]
        probs = self.model.segment([picture.to(self.device).float() / 255 for picture in pictures])
        labels = torch.stack([part.argmax(0) for part in probs]).to(torch.uint8).cpu().numpy()
        return labels, np.full(len(clips), -1)
