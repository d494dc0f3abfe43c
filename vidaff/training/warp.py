"""Geometric augmentation of single frames: zoom, shift and turn pictures, depth and labels alike."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from vidaff.config import TrainSettings
from vidaff.datasets.taxonomy import IGNORE
from vidaff.training.batches import Batch


def warp(batch: Batch, settings: TrainSettings, generator: torch.Generator) -> Batch:
    """A changed copy of a batch of single frames (tensors as :class:`vidaff.training.batches.ClipStore` gives them).

    Pictures and depth are mirrored at their rims; labels from beyond them are ignored. Depth keeps its values, so that
    an enlarged object is a larger one at the same distance. The draws come from the CPU's ``generator`` alone.
    """
    batch = dict(batch)
    rgb = batch["rgb"]
    if rgb.shape[1] != 1:
        raise ValueError(f"batch: single frames are needed, got clips of {rgb.shape[1]}")
    height, width = rgb.shape[2:4]
    theta = draw_maps(len(rgb), (height, width), settings, generator).to(rgb.device)
    grid = F.affine_grid(theta, [len(rgb), 1, height, width], align_corners=False)  # (B, H, W, 2)
    colours = _sample(rgb[:, 0].movedim(-1, 1), grid, "bilinear")  # (B, 3, H, W)
    batch["rgb"] = colours.round().clamp(0, 255).byte().movedim(1, -1)[:, None]
    if "depth" in batch:
        batch["depth"] = _sample(batch["depth"], grid, "nearest").to(batch["depth"].dtype)
    inside = (grid.abs() <= 1).all(dim=-1)  # (B, H, W)
    for key, outside in (("mask", IGNORE), ("affordances", 0)):
        if key in batch:
            moved = _sample(batch[key][:, None], grid, "nearest")[:, 0].to(batch[key].dtype)
            batch[key] = torch.where(inside, moved, torch.full_like(moved, outside))
    return batch


def draw_maps(count: int, size: tuple[int, int], settings: TrainSettings, generator: torch.Generator) -> torch.Tensor:
    """Maps (B, 2, 3) from places in the new picture to places in the old one, both in -1..1."""
    draws = torch.rand(4, count, generator=generator) * 2 - 1
    scale = torch.exp(-draws[0] * math.log(settings.zoom))
    angle = draws[1] * math.radians(settings.rotate)
    shift = draws[2:] * 2 * settings.shift
    cos, sin, aspect = scale * angle.cos(), scale * angle.sin(), size[1] / size[0]
    rows = [torch.stack([cos, -sin / aspect, shift[0]], dim=1), torch.stack([sin * aspect, cos, shift[1]], dim=1)]
    return torch.stack(rows, dim=1)


def _sample(pictures: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """(B, C, H, W) of any type -> float32; floats hold all values of 24 bits, so ids and millimetres stay exact."""
    return F.grid_sample(pictures.float(), grid, mode=mode, padding_mode="reflection", align_corners=False)
