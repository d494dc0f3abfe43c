"""Sizes and thresholds of VLPart. Sizes are read off a checkpoint; the rest are the numbers of the release."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from pydantic import Field

from vidaff.config import Settings

Shapes = Mapping[str, tuple[int, ...]]


class VLPartSettings(Settings):
    """Everything that decides what the network computes.

    Source: grounded-segment-any-parts' settings on top of detectron2's defaults; see the specification's section 1.
    """

    embed: int = Field(128, ge=1, le=1024, description="channels after the patch embedding")
    depths: tuple[int, ...] = Field((2, 2, 18, 2), description="blocks of each stage of the Swin Transformer")
    heads: tuple[int, ...] = Field((4, 8, 16, 32), description="attention heads of each stage")
    window: int = Field(7, ge=1, le=64, description="side of an attention window in tokens")
    pyramid: int = Field(256, ge=1, le=4096, description="channels of the feature pyramid")
    hidden: int = Field(1024, ge=1, le=8192, description="width of the box heads")
    text_dim: int = Field(1024, ge=1, le=8192, description="length of a text feature")
    stages: int = Field(3, ge=1, le=8, description="box heads, one after the other")
    anchor_sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    pre_nms: int = Field(6000, ge=1, description="proposals of a level before non-maximum suppression")
    post_nms: int = Field(1000, ge=1, description="proposals of a picture")
    proposal_nms: float = Field(0.7, gt=0, le=1)
    pooled: int = Field(7, ge=1, le=32, description="side of the pooled features of a region")
    box_weights: tuple[float, ...] = Field((10.0, 20.0, 30.0), description="divides x and y offsets; sizes: half of it")
    temperature: float = Field(50.0, gt=0, description="multiplies the cosine of region and text")
    score: float = Field(0.0, ge=0, description="lowest score that is kept, exclusive")
    nms: float = Field(0.5, gt=0, le=1, description="of the final boxes, name by name")
    detections: int = Field(100, ge=1, description="boxes of a picture")
    short_side: int = Field(800, ge=32, le=8192)
    long_side: int = Field(1333, ge=32, le=8192)
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    text_heads: int | None = Field(None, ge=1, description="heads of the text tower; None: 64 channels each")

    @classmethod
    def from_shapes(cls, shapes: Shapes, **others: Any) -> VLPartSettings:
        """Sizes read off the shapes of a checkpoint; raise :class:`ValueError` naming what is missing."""
        blocks: dict[int, int] = {}
        for name in shapes:
            found = re.match(r"backbone\.bottom_up\.layers\.(\d+)\.blocks\.(\d+)\.", name)
            if found:
                stage, block = map(int, found.groups())
                blocks[stage] = max(blocks.get(stage, 0), block + 1)
        if sorted(blocks) != list(range(len(blocks))) or not blocks:
            raise ValueError("no Swin Transformer (backbone.bottom_up.layers.*) in it")
        tables = [_shape(shapes, f"backbone.bottom_up.layers.{i}.blocks.0.attn.relative_position_bias_table")
                  for i in blocks]  # fmt: skip
        sizes = {
            "embed": _shape(shapes, "backbone.bottom_up.patch_embed.proj.weight")[0],
            "depths": tuple(blocks[i] for i in sorted(blocks)),
            "heads": tuple(table[-1] for table in tables),
            "window": (isqrt(tables[0][0]) + 1) // 2,
            "pyramid": _shape(shapes, "backbone.fpn_lateral2.weight")[0],
            "hidden": _shape(shapes, "roi_heads.box_head.0.fc1.weight")[0],
            "text_dim": _shape(shapes, "roi_heads.box_predictor.0.cls_score.linear.weight")[0],
            "stages": sum(re.fullmatch(r"roi_heads\.box_head\.\d+\.fc1\.weight", name) is not None for name in shapes),
        }
        return cls(**{**sizes, **others})


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise ValueError(f"{name} is missing")
    return shapes[name]
