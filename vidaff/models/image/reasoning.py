"""The reasoning module: from the picture to the object, from object and action to the part."""

from __future__ import annotations

import torch
from torch import nn


class ObjectPredictor(nn.Sequential):
    """Guesses the text feature of the object's name from the class token.

    Source: Xu et al., ICLR 2025, section 3.5.
    Deviation from the paper, after the authors' code: the class token is detached, so that this loss does not reach
    the encoder.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, class_token: torch.Tensor) -> torch.Tensor:
        """(B, 1, D) of ``class_token`` (B, 1, D)."""
        guess: torch.Tensor = super().forward(class_token.detach())
        return guess


class PartPredictor(nn.Sequential):
    """Guesses the text feature of the part that affords the action, from the guessed object and the action.

    Source: Xu et al., ICLR 2025, section 3.5.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, noun: torch.Tensor, verb: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """(B, Q, D) of ``noun`` (B, 1, D) and ``verb`` (B, Q, D)."""
        guess: torch.Tensor = super().forward(torch.cat([noun.expand_as(verb), verb], dim=-1))
        return guess
