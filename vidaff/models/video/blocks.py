"""The boxes between encoder and decoder: residual block, soft attention, action head."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

Attention = Literal["softmax", "sigmoid", "none"]


class ResidualBlock(nn.Module):
    """Pre-activation residual block: ReLU-CONV-ReLU-CONV plus identity; keeps the shape (N, C, h, w).

    Source: Thermos et al., ICASSP 2020, section 2.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class SoftAttention(nn.Module):
    """One mask over all positions from the latent maps before and after the ConvLSTMs.

    Source: Thermos et al., ICASSP 2020, section 2.3.
    Deviation: a plain softmax over 37x37 positions averages 7e-4 and, applied at four places, kills the signal. It is
    scaled to peak 1, ``exp(z - max z)``: the same softmax up to a constant, in [0, 1].
    """

    def __init__(self, channels: int, kind: Attention) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(2 * channels, 1, 1)

    def forward(self, x: torch.Tensor, x_bar: torch.Tensor) -> torch.Tensor:
        """Mask (N, 1, h, w) in [0, 1] from ``x`` and ``x_bar``, both (N, C, h, w)."""
        z = self.conv(torch.cat([x, x_bar], dim=1)).float()  # (N, 1, h, w)
        if self.kind == "sigmoid":
            return torch.sigmoid(z)
        return torch.exp(z - z.amax(dim=(2, 3), keepdim=True))


class ActionHead(nn.Module):
    """Global average pool and three fully connected layers: (N, C, h, w) -> logits (N, num_actions).

    Source: Thermos et al., ICASSP 2020, section 2.3. The hidden sizes (C and C / 2) are ours, the paper gives none.
    """

    def __init__(self, channels: int, num_actions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels // 2),
            nn.ReLU(),
            nn.Linear(channels // 2, num_actions),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x.mean(dim=(2, 3)))
        return logits.float()


class NoActions(nn.Module):
    """Stands for the action head of models of still pictures: (N, C, h, w) -> (N, 0)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), 0, dtype=torch.float32)
