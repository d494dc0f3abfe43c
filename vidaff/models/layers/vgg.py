"""The VGG-style encoder of both streams.

Contract: ``encoder(x)`` returns the map at 1/8 size; ``encoder(x, skips=True)`` returns also the three activations
just before each pooling, finest first. One worked example at full width, 300x300 input of ``C`` channels::

    x      (B, C, 300, 300)
    skips  (B, 64, 300, 300), (B, 128, 150, 150), (B, 256, 75, 75)
    map    (B, 512, 37, 37)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

VGG_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512, 512))
"""VGG-16's conv1_1 .. conv4_3 and conv5_1 (without pool4), so every layer has an ImageNet weight."""


class VGGEncoder(nn.Module):
    """Eleven 3x3 CONV+ReLU with three 2x2 max-poolings between the stages.

    Source: Thermos et al., ICASSP 2020, section 2.2. The paper prints H/6 for the output; three poolings give H/8,
    which is what its text and the authors' code do.

    Args:
        in_channels: 4 for RGB-D, 3 for RGB or flow.
        stages: output channels of the convolutions of each stage.
    """

    def __init__(self, in_channels: int, stages: Sequence[Sequence[int]] = VGG_STAGES) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for widths in stages:
            convs = nn.ModuleList()
            for width in widths:
                convs.append(nn.Conv2d(in_channels, width, 3, padding=1))
                in_channels = width
            self.stages.append(convs)

    def forward(self, x: torch.Tensor, *, skips: bool = False) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Encode ``x`` (N, C, H, W).

        Returns:
            The map (N, C4, H // 8, W // 8) and, when ``skips``, the three activations before the poolings
            (else an empty list).
        """
        kept: list[torch.Tensor] = []
        last = len(self.stages) - 1
        for number, convs in enumerate(self.stages):
            assert isinstance(convs, nn.ModuleList)  # for the type checker
            for conv in convs:
                x = F.relu(conv(x), inplace=True)
            if number < last:
                if skips:
                    kept.append(x)
                x = F.max_pool2d(x, 2)
        return x, kept
