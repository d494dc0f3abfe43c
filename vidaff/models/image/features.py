"""What every visual encoder hands on, and the rules for its input.

The contract, for 224x224 pixels and patches of 16: ``encoder(images (B, 3, 224, 224)) -> tokens (B, 197, 512)``, the
class token first, then the 14x14 patches row by row. An encoder also says its ``patch`` (pixels) and its ``dim``.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F


class ImageFeatures(NamedTuple):
    """Tokens (B, 1 + h * w, D) of a batch of pictures, the class token first, and the patches' ``grid`` (h, w)."""

    tokens: torch.Tensor
    grid: tuple[int, int]


class VisualEncoder(Protocol):
    """An :class:`torch.nn.Module` that turns pictures into tokens; see the module's text."""

    patch: int
    dim: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 1 + h * w, dim) of normalised ``images`` (B, 3, H, W)."""


def encode(encoder: VisualEncoder, images: torch.Tensor) -> ImageFeatures:
    """Tokens and grid of ``images`` (B, 3, H, W); raise :class:`ValueError` when they do not fit the patches."""
    check_images(images, encoder.patch)
    height, width = images.shape[-2:]
    return ImageFeatures(encoder(images), (height // encoder.patch, width // encoder.patch))


def check_images(images: torch.Tensor, patch: int) -> None:
    """Raise :class:`ValueError` unless ``images`` is (B, 3, H, W) with H and W positive multiples of ``patch``."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
    height, width = images.shape[-2:]
    if min(height, width) < patch or height % patch or width % patch:
        raise ValueError(f"images must have sides that are multiples of {patch} pixels, got {height}x{width}")


def resize_positions(table: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """A square position table (N, D), row by row, interpolated (bicubic) to ``grid`` (h, w): (h * w, D).

    Ours: the authors' tables are fixed to 14x14. At its own size a table is returned as it is.
    """
    side = square_side(len(table))
    if grid == (side, side):
        return table
    square = table.T.reshape(1, -1, side, side)  # (1, D, side, side)
    resized = F.interpolate(square.float(), size=grid, mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T.to(table.dtype)  # (h * w, D)


def square_side(count: int) -> int:
    """Side of a square of ``count`` cells; raise :class:`ValueError` when ``count`` is no square."""
    side = round(max(count, 0) ** 0.5)
    if count < 1 or side * side != count:
        raise ValueError(f"a position table must be of a square grid, got {count} cells")
    return side
