"""The mask decoder of Segment Anything, adapted: a learned token becomes the classifier of every pixel."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.models.image.features import ImageFeatures

UpSteps = Literal[0, 1, 2, 3]
"""How often the map is doubled: the logits have 1, 2, 4 or 8 cells a patch side."""


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than the tokens'."""

    def __init__(self, dim: int, *, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(B, M, D) of queries (B, M, D), keys and values (B, N, D)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, inner / heads)
            for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class ReluMlp(nn.Module):
    """Linear, ReLU, Linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin2(F.relu(self.lin1(x)))  # type: ignore[no-any-return]


class TwoWayBlock(nn.Module):
    """Tokens look at each other and at the image, then the image looks at the tokens.

    Source: Kirillov et al., Segment Anything, 2023, appendix A. In the first block the tokens are replaced by their
    self-attention, without places and without a residual, as in that work.
    """

    def __init__(self, dim: int, *, heads: int, mlp_dim: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, inner=dim, heads=heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, inner=dim // 2, heads=heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = ReluMlp(dim, mlp_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, inner=dim // 2, heads=heads)

    def forward(
        self, tokens: torch.Tensor, image: torch.Tensor, token_places: torch.Tensor, image_places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``tokens`` (B, M, D) and ``image`` (B, N, D) after one exchange; each has places of its own shape."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_places
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        keys = image + image_places
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_places, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(keys, tokens + token_places, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Blocks of :class:`TwoWayBlock`, and a last look of the tokens at the image."""

    def __init__(self, dim: int, *, depth: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, heads=heads, mlp_dim=mlp_dim, first=number == 0) for number in range(depth)
        )
        self.final_attn_token_to_image = Attention(dim, inner=dim // 2, heads=heads)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, tokens: torch.Tensor, image: torch.Tensor, image_places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``tokens`` (B, M, D), whose first state serves as their places, and ``image`` (B, N, D)."""
        places = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, places, image_places)
        look = self.final_attn_token_to_image(tokens + places, image + image_places, image)
        return self.norm_final_attn(tokens + look), image


class RandomPlaces(nn.Module):
    """Places of image cells as random Fourier features, drawn once and saved with the weights."""

    positional_encoding_gaussian_matrix: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, grid: tuple[int, int]) -> torch.Tensor:
        """(1, h * w, D) for the cells' centres, row by row."""
        matrix = self.positional_encoding_gaussian_matrix
        y, x = (
            torch.linspace(-1 + 1 / side, 1 - 1 / side, side, device=matrix.device, dtype=torch.float32)
            for side in grid
        )
        centres = torch.stack([x.repeat(len(y)), y.repeat_interleave(len(x))], dim=-1)  # (h * w, 2), -1..1
        with torch.autocast(matrix.device.type, enabled=False):  # bf16 has too few digits for angles of many turns
            angles = 2 * math.pi * (centres @ matrix.float())
        return torch.cat([angles.sin(), angles.cos()], dim=-1)[None].to(matrix.dtype)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return last.permute(0, 3, 1, 2)


class PixelClassifier(nn.Module):
    """Linear layers with ReLU between them: from a token to the weights of a linear classifier of pixels."""

    def __init__(self, dim: int, out: int, depth: int) -> None:
        super().__init__()
        sizes = [dim] * depth + [out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


def upscaling(dim: int, *, steps: UpSteps, conv_first: bool) -> tuple[nn.Module, int]:
    """Layers that double a map (B, dim, h, w) ``steps`` times, and the channels that they leave.

    ``dim / 4`` channels after the first step, half as many after each further one.
    """
    first: nn.Module = nn.Conv2d(dim, dim, 3, padding=1) if conv_first else nn.Identity()
    if steps == 0:
        return first, dim
    layers = [first, ChannelNorm(dim), nn.GELU()] if conv_first else []
    channels = [dim, *(dim // 2 ** (step + 2) for step in range(steps))]
    for number, (before, after) in enumerate(itertools.pairwise(channels), start=1):
        layers.append(nn.ConvTranspose2d(before, after, 2, stride=2))
        layers += [ChannelNorm(after), nn.GELU()] if number < steps else [nn.GELU()]
    return nn.Sequential(*layers), channels[-1]


class MaskDecoder(nn.Module):
    """One heat map a query: the tokens [learned, query, class] talk with the patches, the first one classifies pixels.

    Source: Xu et al., ICLR 2025, section 3.1; Kirillov et al., Segment Anything, 2023.

    Args:
        dim: D, a multiple of 16 and of twice the ``heads``.
        depth: two-way blocks.
        steps: how often the patch grid is doubled.
        conv_first: a 3x3 convolution before the first doubling.
        learned_token: without it, the query's own token classifies the pixels.
    """

    def __init__(
        self, dim: int, *, depth: int, heads: int, mlp_dim: int, steps: UpSteps, conv_first: bool, learned_token: bool
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(dim, depth=depth, heads=heads, mlp_dim=mlp_dim)
        self.add_token = nn.Embedding(1, dim) if learned_token else None
        self.output_upscaling, channels = upscaling(dim, steps=steps, conv_first=conv_first)
        self.output_hypernetworks_mlp = PixelClassifier(dim, channels, depth=3 if steps else 2)
        self.pe_layer = RandomPlaces(dim)

    def forward(self, query: torch.Tensor, features: ImageFeatures) -> torch.Tensor:
        """Logits (B, Q, h', w') of queries (B, Q, D), ``2 ** steps`` cells a patch side."""
        count = query.shape[1]
        tokens = self._tokens(query, features.tokens[:, :1])  # (B * Q, M, D)
        image = features.tokens[:, 1:].repeat_interleave(count, dim=0)  # (B * Q, N, D)
        tokens, image = self.transformer(tokens, image, self.pe_layer(features.grid))
        maps = self.output_upscaling(image.transpose(1, 2).unflatten(2, features.grid))  # (B * Q, C, h', w')
        weights = self.output_hypernetworks_mlp(tokens[:, :1])  # (B * Q, 1, C)
        with torch.autocast(maps.device.type, enabled=False):  # logits keep their digits, as in bf16 inference
            logits = (weights.float() @ maps.flatten(2).float()).unflatten(2, maps.shape[-2:])  # (B * Q, 1, h', w')
        return logits.unflatten(0, (-1, count)).squeeze(2)

    def _tokens(self, query: torch.Tensor, class_token: torch.Tensor) -> torch.Tensor:
        parts = [query, class_token.expand_as(query)]
        if self.add_token is not None:
            parts.insert(0, self.add_token.weight.to(query.dtype).expand_as(query))
        return torch.stack(parts, dim=2).flatten(0, 1)
