"""Raw refined labels: what the refinement network says of a whole picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from vidaff.datasets.agd20k.pixels import Triple
from vidaff.labels.refine_pixels import canvas_of, network_view


def whole_view(rgb: np.ndarray, size: int, mean: Triple, std: Triple) -> np.ndarray:
    """(3, size, size) float32 of a whole picture, padded to a square with zeros and normalised."""
    return network_view(rgb, canvas_of((rgb.shape[0], rgb.shape[1])), size, mean, std)


def picture_probabilities(logits: torch.Tensor, picture: tuple[int, int]) -> np.ndarray:
    """Probabilities (H, W) float32 on the picture's pixels of ``logits`` (h, h) on its square canvas.

    The padding is cut off in whole cells, the rest is resized before the sigmoid.
    """
    side, long = logits.shape[-1], max(picture)
    # Counted from the padding before the picture, on both sides, as in the authors' code.
    top, left = ((long - length) // 2 / long * side for length in picture)
    kept = logits[int(top) : int(side - top), int(left) : int(side - left)]
    resized = F.interpolate(kept[None, None].float(), size=picture, mode="bilinear", align_corners=False)
    probabilities: np.ndarray = torch.sigmoid(resized)[0, 0].numpy()
    return probabilities


class Refiner:
    """A trained refinement network that marks the named part of an object.

    Args:
        model: in evaluation mode, on ``device``; ``model(images (B, 3, S, S), text (B, D)) -> logits (B, 1, h, w)``.
        size: S; mean, std: of RGB in 0..1.
    """

    def __init__(self, model: Any, *, size: int, mean: Triple, std: Triple, device: str) -> None:
        self.model, self.size, self.mean, self.std, self.device = model, size, mean, std, device

    @torch.no_grad()
    def probabilities(self, rgb: np.ndarray, text: torch.Tensor) -> np.ndarray:
        """Probability (H, W) float32 of every pixel of ``rgb`` (H, W, 3) uint8 to be the part ``text`` (D,)."""
        image = torch.from_numpy(whole_view(rgb, self.size, self.mean, self.std)).to(self.device)
        logits = self.model(image[None], text[None].to(self.device))[0, 0].cpu()
        return picture_probabilities(logits, (rgb.shape[0], rgb.shape[1]))
