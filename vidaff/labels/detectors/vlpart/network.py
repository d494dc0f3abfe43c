"""The whole network, with the parameter names of the authors' checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.labels.detectors.vlpart.cascade import Boxes, RegionHeads
from vidaff.labels.detectors.vlpart.proposals import ProposalGenerator
from vidaff.labels.detectors.vlpart.settings import VLPartSettings
from vidaff.labels.detectors.vlpart.swin import SwinTransformer

STRIDES = (4, 8, 16, 32, 64)
MULTIPLE = 32
"""Pictures are padded to multiples of this many pixels."""


class Pyramid(nn.Module):
    """Swin Transformer and feature pyramid: maps of strides 4 to 64.

    Source: Lin et al., "Feature Pyramid Networks", CVPR 2017, section 3; the coarsest map is a subsampled one.
    """

    def __init__(self, settings: VLPartSettings) -> None:
        super().__init__()
        self.bottom_up = SwinTransformer(settings.embed, settings.depths, settings.heads, settings.window)
        for i in range(len(settings.depths)):
            self.add_module(f"fpn_lateral{i + 2}", nn.Conv2d(settings.embed * 2**i, settings.pyramid, 1))
            self.add_module(f"fpn_output{i + 2}", nn.Conv2d(settings.pyramid, settings.pyramid, 3, padding=1))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> five (B, C, h, w) maps, finest first."""
        maps = self.bottom_up(image)
        levels: list[torch.Tensor] = []
        above = None
        for i in reversed(range(len(maps))):
            lateral = getattr(self, f"fpn_lateral{i + 2}")(maps[i])
            above = lateral if above is None else lateral + F.interpolate(above, scale_factor=2.0, mode="nearest")
            levels.insert(0, getattr(self, f"fpn_output{i + 2}")(above))
        return [*levels, levels[-1][:, :, ::2, ::2]]


class VLPartNet(nn.Module):
    """Pictures and text features to boxes. Holds no text tower: see :class:`..detector.VLPart`.

    Args:
        settings: sizes, thresholds and counts.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: VLPartSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = Pyramid(settings)
        self.proposal_generator = ProposalGenerator(settings)
        self.roi_heads = RegionHeads(settings)
        self.register_buffer("mean", torch.tensor(settings.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.pixel_std).view(3, 1, 1), persistent=False)

    def forward(self, images: list[torch.Tensor], texts: list[torch.Tensor]) -> list[Boxes]:
        """Boxes of every picture, in its own pixels.

        Args:
            images: (3, H_b, W_b) uint8 RGB, resized as VLPart wants them, all of one :func:`padded_shape`.
            texts: (D, K_b) normalised text features of the names asked for.
        """
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        levels = self.backbone(self.batch(images))
        strides = list(STRIDES[: len(levels)])
        proposals = self.proposal_generator(levels, strides, sizes)
        # The coarsest map serves proposals only.
        result: list[Boxes] = self.roi_heads(levels[:-1], strides[:-1], proposals, texts, sizes)
        return result

    def batch(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Normalise, and pad with zeros to the next multiples of 32.

        A deviation from detectron2, which pads to the largest picture of a batch: attention sees the padding, so that
        boxes of a picture would depend on which others are there.

        Raises:
            ValueError: pictures of several padded sizes.
        """
        shapes = {padded_shape(image.shape[1], image.shape[2]) for image in images}
        if len(shapes) != 1:
            raise ValueError(f"pictures of a batch must have one padded size, got {sorted(shapes)}")
        result = self.mean.new_zeros(len(images), 3, *shapes.pop())
        for row, image in zip(result, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = (image.to(self.mean) - self.mean) / self.std
        return result


def padded_shape(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the zero-padded input that the network sees of a picture."""
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE
