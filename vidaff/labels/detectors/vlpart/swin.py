"""The Swin Transformer that feeds VLPart's feature pyramid.

Written apart from the ones in torchvision and transformers: those do not shift windows where the map is smaller than
a window, which the authors' code always does.

Source: Liu et al., "Swin Transformer", ICCV 2021, section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

MASKED = -100.0
"""Added to the attention between tokens that only rolling has made neighbours."""
CPU_TOKENS = 4096
"""At a time on a CPU, whose caches are small. A perceptron takes half as long again for all 54,000, and 220 MB."""


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each relative position.

    Args:
        width: channels.
        heads: attention heads.
        window: side of a window in tokens.
    """

    relative_position_index: torch.Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_positions(window), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def bias(self) -> torch.Tensor:
        """(heads, n, n) bias of the ``n = window ** 2`` tokens on each other."""
        size = self.window**2
        rows = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        return rows.view(size, size, -1).permute(2, 0, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attend within (B * W, n, C) windows; ``mask`` (W, n, n) is added to the attention of every picture."""
        step = max(1, CPU_TOKENS // x.shape[1]) if x.device.type == "cpu" else len(x)
        parts = x.split(step)
        masks: tuple[torch.Tensor | None, ...] = (None,) * len(parts)
        if mask is not None:
            masks = mask.expand(len(x) // len(mask), *mask.shape).flatten(0, 1).split(step)
        return torch.cat([self._attend(part, own) for part, own in zip(parts, masks, strict=True)])

    def _attend(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """The same with a mask for every window, (windows, n, n)."""
        count, tokens, width = x.shape
        q, k, v = self.qkv(x).view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias().to(q.dtype)[None]  # (1, heads, n, n)
        if mask is not None:
            bias = bias + mask.to(q.dtype)[:, None]  # (count, heads, n, n)
        # Four dimensions, or PyTorch leaves its fast attention aside.
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        result: torch.Tensor = self.proj(out.transpose(1, 2).reshape(count, tokens, width))
        return result


def relative_positions(window: int) -> torch.Tensor:
    """(n, n) int64 row of the bias table for each pair of the ``n = window ** 2`` tokens of a window."""
    places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    offsets = (places[:, :, None] - places[:, None, :]) + window - 1  # (2, n, n)
    return offsets[0] * (2 * window - 1) + offsets[1]


class Mlp(nn.Module):
    """Two layers, four times as wide between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) -> the same."""
        tokens = x.flatten(0, -2)
        parts = tokens.split(CPU_TOKENS if x.device.type == "cpu" else len(tokens))
        return torch.cat([self.fc2(F.gelu(self.fc1(part))) for part in parts]).view(x.shape)


class Block(nn.Module):
    """Attention in windows, shifted by ``shift`` tokens, and a perceptron, both with residuals."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> the same; ``mask`` as :func:`shift_mask` gives it, used where the windows are shifted."""
        height, width = x.shape[1:3]
        y = self.norm1(x)
        y = F.pad(y, (0, 0, 0, -width % self.window, 0, -height % self.window))
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        padded = y.shape[1:3]
        y = self.attn(windows_of(y, self.window), mask if self.shift else None)
        y = merge_windows(y, self.window, (padded[0], padded[1]))
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y[:, :height, :width]
        result: torch.Tensor = x + self.mlp(self.norm2(x))
        return result


def windows_of(x: torch.Tensor, window: int) -> torch.Tensor:
    """(B, H, W, C) -> (B * windows, window ** 2, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def merge_windows(x: torch.Tensor, window: int, size: tuple[int, int]) -> torch.Tensor:
    """The inverse of :func:`windows_of` for a map of ``size`` (height, width)."""
    rows, columns = size[0] // window, size[1] // window
    x = x.view(-1, rows, columns, window, window, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, *size, x.shape[-1])


def shift_mask(height: int, width: int, window: int, shift: int, like: torch.Tensor) -> torch.Tensor:
    """(windows, n, n) mask of a map that is rolled by ``shift``: tokens see those of their own region only."""
    rows, columns = height + -height % window, width + -width % window
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    regions = torch.zeros(1, rows, columns, 1, device=like.device)
    for number, (down, across) in enumerate((a, b) for a in cuts for b in cuts):
        regions[:, down, across] = number
    tokens = windows_of(regions, window).squeeze(-1)
    return (tokens[:, None] != tokens[:, :, None]).to(like.dtype) * MASKED


class PatchMerging(nn.Module):
    """Halve the resolution: four neighbours become one token of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C)."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        quarters = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        result: torch.Tensor = self.reduction(self.norm(torch.cat(quarters, -1)))
        return result


class Stage(nn.Module):
    """Blocks at one resolution; every second one shifts its windows by half a window."""

    def __init__(self, width: int, depth: int, heads: int, window: int, *, downsample: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2
        shifts = [0 if i % 2 == 0 else self.shift for i in range(depth)]
        self.blocks = nn.ModuleList(Block(width, heads, window, shift) for shift in shifts)
        self.downsample = PatchMerging(width) if downsample else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = shift_mask(x.shape[1], x.shape[2], self.window, self.shift, x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels to tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, H / 4, W / 4, C)."""
        result: torch.Tensor = self.norm(self.proj(image).permute(0, 2, 3, 1))
        return result


class SwinTransformer(nn.Module):
    """Four maps of strides 4, 8, 16, 32, each with a LayerNorm of its own.

    Args:
        embed: channels of the first map; every further one has twice as many.
        depths: blocks per stage.
        heads: attention heads per stage.
        window: side of a window in tokens.
    """

    def __init__(self, embed: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(embed)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            Stage(embed * 2**i, depth, heads[i], window, downsample=i < last) for i, depth in enumerate(depths)
        )
        for i in range(len(depths)):
            self.add_module(f"norm{i}", nn.LayerNorm(embed * 2**i))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> list of (B, C_i, H / s_i, W / s_i)."""
        x = self.patch_embed(image)
        maps = []
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, Stage)  # for the type checker
            x = stage(x)
            maps.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps
