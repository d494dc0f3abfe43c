"""From a network's logits to heat maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def to_heatmaps(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Heat maps (B, Q, H, W) float32 of ``logits`` (B, Q, h, w): enlarged (bilinear) to ``size``, then softmax.

    Every map sums to 1.
    """
    logits = logits.float()
    if tuple(logits.shape[-2:]) != tuple(size):
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    return logits.flatten(-2).softmax(dim=-1).unflatten(-1, size)
