"""Box heads in a row: each pools the boxes of the one before, compares them with the names, and moves them.

Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018, with VLPart's comparison of regions and texts.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import batched_nms, clip_boxes_to_image, roi_align

from vidaff.labels.detectors.vlpart.proposals import apply_deltas
from vidaff.labels.detectors.vlpart.settings import VLPartSettings

CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4
"""A region of this many pixels a side is pooled from the level of this number."""


class Boxes(NamedTuple):
    """Final boxes of a picture on its padded input grid: (N, 4), (N,), (N,) index of the name; best first."""

    boxes: torch.Tensor
    scores: torch.Tensor
    names: torch.Tensor


class BoxHead(nn.Module):
    """Pooled features of a region to one vector."""

    def __init__(self, channels: int, pooled: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * pooled**2, hidden)
        self.fc2 = nn.Linear(hidden, hidden)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return F.relu(self.fc2(F.relu(self.fc1(pooled.flatten(1)))))


class NameScores(nn.Module):
    """Cosine of regions and text features, times a fixed temperature."""

    def __init__(self, hidden: int, text_dim: int, temperature: float) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, text_dim)
        self.temperature = temperature

    def forward(self, x: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """(N, hidden), normalised texts (D, K) -> logits (N, K) float32, under autocast, too.

        bf16 has 8 bits: scores near 1 would differ by 0.004 or not at all, and many boxes would tie.
        """
        regions = self.linear(x).float()
        with torch.autocast(x.device.type, enabled=False):
            return self.temperature * F.normalize(regions, dim=1) @ texts.float()


class BoxPredictor(nn.Module):
    """Scores of the names, and offsets that do not depend on the name."""

    def __init__(self, settings: VLPartSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.bbox_pred = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 4))
        self.cls_score = NameScores(hidden, settings.text_dim, settings.temperature)


class RegionHeads(nn.Module):
    """All box heads.

    Args:
        settings: sizes, thresholds and counts.
    """

    def __init__(self, settings: VLPartSettings) -> None:
        super().__init__()
        self.settings = settings
        self.box_head = nn.ModuleList(
            BoxHead(settings.pyramid, settings.pooled, settings.hidden) for _ in range(settings.stages)
        )
        self.box_predictor = nn.ModuleList(BoxPredictor(settings) for _ in range(settings.stages))

    def forward(
        self, levels: list[torch.Tensor], strides: list[int], proposals: list[torch.Tensor],
        texts: list[torch.Tensor], sizes: list[tuple[int, int]],
    ) -> list[Boxes]:  # fmt: skip
        """Final boxes of every picture.

        Args:
            levels: (B, C, h, w) maps, finest first.
            strides: of the levels, in pixels.
            proposals: (P_b, 4) boxes per picture.
            texts: (D, K_b) normalised text features per picture.
            sizes: (height, width) of the pictures without padding.
        """
        boxes = proposals
        # RoIAlign computes so, and would copy the maps anew for every stage and thread.
        levels = [level.float().contiguous() for level in levels]
        counts = [len(found) for found in boxes]
        scores = [boxes[b].new_zeros(counts[b], texts[b].shape[1]) for b in range(len(boxes))]
        for number, (head, predictor) in enumerate(zip(self.box_head, self.box_predictor, strict=True)):
            assert isinstance(predictor, BoxPredictor)  # for the type checker
            x = head(pool_regions(levels, strides, boxes, self.settings.pooled))
            deltas = predictor.bbox_pred(x).float()
            weight = self.settings.box_weights[number]
            moved = apply_deltas(torch.cat(boxes), deltas, (weight, weight / 2)).split(counts)
            boxes = [clip_boxes_to_image(part, size) for part, size in zip(moved, sizes, strict=True)]
            for b, part in enumerate(x.split(counts)):
                scores[b] = scores[b] + predictor.cls_score(part, texts[b]).sigmoid()
        found = zip(boxes, scores, strict=True)
        return [self._best(part, score / self.settings.stages) for part, score in found]

    def _best(self, boxes: torch.Tensor, scores: torch.Tensor) -> Boxes:
        finite = torch.isfinite(boxes).all(1) & torch.isfinite(scores).all(1)
        boxes, scores = boxes[finite], scores[finite]
        region, name = (scores > self.settings.score).nonzero().unbind(1)
        boxes, scores = boxes[region], scores[region, name]
        best = batched_nms(boxes, scores, name, self.settings.nms)[: self.settings.detections]
        return Boxes(boxes[best], scores[best], name[best])


def pool_regions(
    levels: list[torch.Tensor], strides: list[int], boxes: list[torch.Tensor], pooled: int
) -> torch.Tensor:
    """Features (sum of P_b, C, pooled, pooled) of the boxes of every picture, each from the level of its size."""
    every = torch.cat(boxes)
    picture = torch.repeat_interleave(
        torch.arange(len(boxes), device=every.device), torch.tensor([len(b) for b in boxes], device=every.device)
    )
    rois = torch.cat([picture[:, None].to(every), every], 1)
    level = _level_of(every, len(levels), strides[0])
    result = levels[0].new_empty(len(every), levels[0].shape[1], pooled, pooled)
    for number, (features, stride) in enumerate(zip(levels, strides, strict=True)):
        index = (level == number).nonzero().squeeze(1)
        if len(index):
            result[index] = _align(features, rois[index], pooled, stride)
    return result


def _level_of(boxes: torch.Tensor, levels: int, finest: int) -> torch.Tensor:
    """(N,) number of the level that a box is pooled from.

    Source: Lin et al., "Feature Pyramid Networks", CVPR 2017, equation 1.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    first = finest.bit_length() - 1
    wanted = torch.floor(CANONICAL_LEVEL + torch.log2(areas.clamp(min=0).sqrt() / CANONICAL_SIZE + 1e-8))
    return (wanted.clamp(first, first + levels - 1) - first).long()


def _align(features: torch.Tensor, rois: torch.Tensor, pooled: int, stride: int) -> torch.Tensor:
    """Torchvision's RoIAlign; on a CPU, where it uses one core, in as many threads as torch has."""

    def part(chunk: torch.Tensor) -> torch.Tensor:
        return roi_align(features, chunk, pooled, 1 / stride, sampling_ratio=0, aligned=True)

    threads = torch.get_num_threads()
    if features.device.type != "cpu" or threads == 1 or len(rois) < 4 * threads:
        return part(rois)
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode(torch.is_inference_mode_enabled()):
        return torch.cat(list(pool.map(part, rois.chunk(threads))))
