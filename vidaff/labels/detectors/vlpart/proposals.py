"""Region proposals: anchors, their scores and offsets, and the best of them.

Source: Ren et al., "Faster R-CNN", NeurIPS 2015, section 3, on a feature pyramid as in Lin et al., CVPR 2017.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from vidaff.labels.detectors.vlpart.settings import VLPartSettings

MAX_LOG_SCALE = math.log(1000 / 16)
"""Largest logarithm by which a side of a box may grow."""


def apply_deltas(boxes: torch.Tensor, deltas: torch.Tensor, weights: tuple[float, float]) -> torch.Tensor:
    """Move and scale boxes.

    Args:
        boxes: (N, 4) left, top, right, bottom.
        deltas: (N, 4) offsets of the centre in units of the sides, then logarithms of their scales.
        weights: what offsets and logarithms are divided by.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + 0.5 * sides
    centres = centres + deltas[:, :2] / weights[0] * sides
    sides = sides * (deltas[:, 2:] / weights[1]).clamp(max=MAX_LOG_SCALE).exp()
    return torch.cat([centres - 0.5 * sides, centres + 0.5 * sides], 1)


class ProposalHead(nn.Module):
    """One convolution shared by all levels, then scores and offsets of the anchors of each cell."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness_logits = nn.Conv2d(channels, anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, 4 * anchors, 1)

    def forward(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, h, w) -> scores (B, h * w * A), offsets (B, h * w * A, 4)."""
        x = F.relu(self.conv(level))
        scores, deltas = self.objectness_logits(x), self.anchor_deltas(x)
        batch, anchors, height, width = scores.shape
        deltas = deltas.view(batch, anchors, 4, height, width).permute(0, 3, 4, 1, 2)
        return scores.permute(0, 2, 3, 1).flatten(1), deltas.reshape(batch, -1, 4)


class ProposalGenerator(nn.Module):
    """The most object-like regions of every picture.

    Args:
        settings: anchors, thresholds and counts.
    """

    def __init__(self, settings: VLPartSettings) -> None:
        super().__init__()
        self.settings = settings
        self.rpn_head = ProposalHead(settings.pyramid, len(settings.anchor_ratios))

    def forward(
        self, levels: list[torch.Tensor], strides: list[int], sizes: list[tuple[int, int]]
    ) -> list[torch.Tensor]:
        """Boxes (P_b, 4) of each picture, best first; ``sizes`` (height, width) without padding clip them."""
        chosen: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in sizes]
        for level, stride, size in zip(levels, strides, self.settings.anchor_sizes, strict=True):
            scores, deltas = (part.float() for part in self.rpn_head(level))
            anchors = cell_anchors(level.shape[-2:], stride, size, self.settings.anchor_ratios, level.device)
            count = min(self.settings.pre_nms, scores.shape[1])
            top, order = scores.sort(dim=1, descending=True)
            for picture in range(len(sizes)):
                index = order[picture, :count]
                boxes = apply_deltas(anchors[index], deltas[picture, index], (1.0, 1.0))
                chosen[picture].append((boxes, top[picture, :count]))
        return [self._best(found, size) for found, size in zip(chosen, sizes, strict=True)]

    def _best(self, found: list[tuple[torch.Tensor, torch.Tensor]], size: tuple[int, int]) -> torch.Tensor:
        boxes = torch.cat([boxes for boxes, _ in found])
        scores = torch.cat([scores for _, scores in found])
        level = torch.repeat_interleave(
            torch.arange(len(found), device=boxes.device), torch.tensor([len(b) for b, _ in found], device=boxes.device)
        )
        finite = torch.isfinite(boxes).all(1) & torch.isfinite(scores)
        boxes = clip_boxes_to_image(boxes, size)
        kept = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, scores, level = boxes[kept], scores[kept], level[kept]
        best = batched_nms(boxes, scores, level, self.settings.proposal_nms)
        return boxes[best[: self.settings.post_nms]]


def cell_anchors(
    grid: tuple[int, int] | torch.Size, stride: int, size: float, ratios: tuple[float, ...], device: torch.device
) -> torch.Tensor:
    """(h * w * A, 4) anchors of area ``size ** 2`` around the corner of every cell, ``ratios`` height by width."""
    shapes = []
    for ratio in ratios:
        width = math.sqrt(size**2 / ratio)
        shapes.append((-width / 2, -ratio * width / 2, width / 2, ratio * width / 2))
    base = torch.tensor(shapes, device=device)  # (A, 4)
    ys = torch.arange(0, grid[0] * stride, stride, dtype=torch.float32, device=device)
    xs = torch.arange(0, grid[1] * stride, stride, dtype=torch.float32, device=device)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    corners = torch.stack([x, y, x, y], -1).view(-1, 1, 4)
    return (corners + base).view(-1, 4)
