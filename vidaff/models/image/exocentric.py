"""The exocentric branch: pictures of the object in use say what the affordance looks like. Training only."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

Pooling = Literal["sum", "mean"]


class ExoClassifier(nn.Sequential):
    """Logits of the affordance that is seen in use: (..., D) -> (..., classes).

    Source: Xu et al., ICLR 2025, section 3.4.
    """

    def __init__(self, dim: int, hidden: int, classes: int) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, classes))


def pool_object(tokens: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """Feature (B, n, D) of the object in each exocentric picture.

    Deviation from the paper, which averages: the authors' code sums, and its classifier expects that scale.

    Args:
        tokens: (B, n, N, D) patch tokens.
        mask: (B, n, N), 1 where a patch touches the object's box.
        how: ``sum`` (the authors' code) or ``mean`` (paper; an empty mask gives zeros).
    """
    weights = mask.to(tokens.dtype).unsqueeze(-1)  # (B, n, N, 1)
    total = (tokens * weights).sum(dim=2)
    return total / weights.sum(dim=2).clamp(min=1) if how == "mean" else total


def misalignment(affordance: torch.Tensor, exo: torch.Tensor, margin: float) -> torch.Tensor:
    """How far the affordance token is from each exocentric feature, beyond ``margin``: (B, n) in 0..2.

    The exocentric side is the target and gets no gradient.

    Args:
        affordance: (B, 1, D).
        exo: (B, n, D).
        margin: cosine distance that costs nothing.
    """
    distance = 1 - F.cosine_similarity(affordance, exo.detach(), dim=-1)
    return (distance - margin).clamp(min=0)
