"""From stored frames to network inputs: the one place where RGB, depth and flow are normalised.

Training, evaluation and inference all use :class:`InputCoder`, so that they cannot drift apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.config import InputSettings, ModelSettings
from vidaff.flow3d.store import INVALID, STEP_M

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FLOW_SPREAD = 0.25
"""Divides the colour code (in units of its full range), which brings moving pixels to about unit size."""


class InputCoder(nn.Module):
    """Normalise stored frames into the network's inputs. Has no parameters.

    Args:
        inputs: sizes and scales.
        model: decides whether depth and flow are used.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, inputs: InputSettings, model: ModelSettings) -> None:
        super().__init__()
        self.inputs = inputs
        self.use_depth = model.depth
        self.use_flow = model.second_stream != "none"
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255, persistent=False)

    def forward(
        self,
        rgb: torch.Tensor,
        depth: torch.Tensor | None,
        flow: torch.Tensor | None,
        *,
        size: tuple[int, int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Code a batch of clips.

        Args:
            rgb: (B, T, H, W, 3) uint8.
            depth: (B, T, H, W) millimetres (any integer type), 0 = missing; None = missing everywhere.
            flow: (B, T, H, W, 3) packed int16, or float metres with NaN where invalid; None = no motion.
            size: output height and width, default ``inputs.size``.

        Returns:
            ``rgbd`` (B, T, 4 or 3, h, w) float32 and ``flow`` (B, T, 3, h, w) float32, None for single-stream models.
            Missing depth is 0 after normalisation, like the mean depth, and flow without motion is 0.
        """
        size = size or self.inputs.size
        channels = [self._rgb(rgb, size)]
        if self.use_depth:
            channels.append(self._depth(depth, rgb, size))
        rgbd = torch.cat(channels, dim=2)
        if not self.use_flow:
            return rgbd, None
        if flow is None:
            return rgbd, rgbd.new_zeros(*rgbd.shape[:2], 3, *size)
        return rgbd, self._flow(flow, size)

    def _rgb(self, rgb: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        x = rgb.movedim(-1, 2).float()  # (B, T, 3, H, W)
        x = (x - self.mean) / self.std
        return _resize(x, size, "bilinear")

    def _depth(self, depth: torch.Tensor | None, rgb: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        if depth is None:
            return self.mean.new_zeros(*rgb.shape[:2], 1, *size)
        # Nearest, so that missing zeros are never averaged into valid pixels.
        x = _resize(depth.unsqueeze(2).float() * 1e-3, size, "nearest-exact")  # (B, T, 1, h, w), metres
        coded = (x - self.inputs.depth_mean) / self.inputs.depth_std
        return torch.where(x > 0, coded, torch.zeros_like(coded))

    def _flow(self, flow: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        x = flow.movedim(-1, 2)  # (B, T, 3, H, W)
        if x.dtype == torch.int16:
            x = torch.where(x == INVALID, torch.zeros_like(x), x).float() * STEP_M
        else:
            x = torch.nan_to_num(x.float())
        x = _resize(x, size, "nearest-exact") / self.inputs.flow_scale
        x = x.abs().clamp(max=1) if self.inputs.flow_coding == "abs" else x.clamp(-1, 1)
        return _eight_bits(x) / FLOW_SPREAD


def _eight_bits(code: torch.Tensor) -> torch.Tensor:
    """Quantise to the steps of an 8-bit colour picture: stored pictures and live flow then look the same."""
    return torch.round(code * 127) / 127


def _resize(x: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """Resize (B, T, C, H, W) to ``size``; unchanged, and not copied, when it fits already."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    antialias = mode == "bilinear" and min(x.shape[-2:]) > min(size)
    options = {"align_corners": False, "antialias": antialias} if mode == "bilinear" else {}
    flat = F.interpolate(x.flatten(0, 1), size=size, mode=mode, **options)  # type: ignore[arg-type]
    return flat.unflatten(0, x.shape[:2])
