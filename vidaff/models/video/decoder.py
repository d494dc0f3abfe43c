"""The mirrored decoder with skips and multi-layer masking."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class ConvReLU(nn.Module):
    """CONV, optional group normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        self.norm = nn.GroupNorm(8, out_channels) if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class DecoderLevel(nn.Module):
    """Two 3x3 CONV, upsampling and 3x3 CONV, masking, concatenation with the skip, 1x1 CONV."""

    def __init__(self, in_channels: int, mid: int, skip: int, out_channels: int, *, norm: bool) -> None:
        super().__init__()
        self.conv1 = ConvReLU(in_channels, mid, 3, norm=norm)
        self.conv2 = ConvReLU(mid, mid, 3, norm=norm)
        self.up = ConvReLU(mid, out_channels, 3, norm=norm)
        self.merge = ConvReLU(out_channels + skip, out_channels, 1, norm=norm)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None, skip: torch.Tensor) -> torch.Tensor:
        """``x`` (N, C, h, w) to the size of ``skip`` (N, S, H, W); the exact size, for 37 -> 75 is not x2."""
        size = skip.shape[-2:]
        x = F.interpolate(self.conv2(self.conv1(x)), size=size, mode="nearest")
        x = self.up(x)  # (N, out, H, W)
        if mask is not None:
            x = x * F.interpolate(mask, size=size, mode="bilinear", align_corners=False).to(x.dtype)
        return self.merge(torch.cat([x, skip], dim=1))


class Decoder(nn.Module):
    """Fourteen CONV+ReLU from 1/8 size to full size, and the prediction CONV.

    Source: Thermos et al., ICASSP 2020, section 2.3.

    Args:
        in_channels: channels of the latent map.
        widths: channels after each of the three levels, coarse to fine (paper: 256, 128, 64).
        skips: channels of the encoder's skips, finest first.
        num_classes: affordances plus background.
        norm: group normalisation after every CONV and of the skips (paper: none). The encoder has none, so its skips
            grow in training until they drown what comes up from the latent map, and with it the memory.
    """

    def __init__(
        self, in_channels: int, *, widths: Sequence[int], skips: Sequence[int], num_classes: int, norm: bool
    ) -> None:
        super().__init__()
        inputs = (in_channels, *widths[:-1])
        self.levels = nn.ModuleList(
            DecoderLevel(before, before, skip, after, norm=norm)
            for before, after, skip in zip(inputs, widths, reversed(skips), strict=True)
        )
        self.skip_norms = nn.ModuleList(nn.GroupNorm(1, skip) if norm else nn.Identity() for skip in reversed(skips))
        self.final = nn.Sequential(
            ConvReLU(widths[-1], widths[-1], 3, norm=norm), ConvReLU(widths[-1], widths[-1], 3, norm=norm)
        )
        self.predict = nn.Conv2d(widths[-1], num_classes, 3, padding=1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None, skips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (N, num_classes, H, W) from the latent map (N, C, h, w), mask (N, 1, h, w) and the three skips."""
        if mask is not None:
            x = x * mask.to(x.dtype)
        for level, skip_norm, skip in zip(self.levels, self.skip_norms, reversed(skips), strict=True):
            x = level(x, mask, skip_norm(skip))
        features = self.final(x)
        # In full precision, whatever the rest runs in: of two classes that rounding makes equal the wrong one may win.
        with torch.autocast(features.device.type, enabled=False):
            logits: torch.Tensor = self.predict(features.to(self.predict.weight.dtype))
        return logits.float()
