"""The visual encoder of CLIP, all of whose tokens are projected."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.models.image.features import resize_positions


class LayerNorm32(nn.LayerNorm):
    """Layer normalisation that is computed in float32 whatever the rest runs in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """Multi-head self-attention with queries, keys and values projected by one matrix; keeps (B, N, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, N, 3 * C)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, C / heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Pre-norm transformer block; keeps (B, N, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.ln_1 = LayerNorm32(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_2 = LayerNorm32(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ClipVisionEncoder(nn.Module):
    """Vision transformer of CLIP: ``ln_post`` and the projection are applied to every token, not the class token alone.

    Parameters carry the names of OpenAI's archives, which the authors' checkpoints share.

    Source: Radford et al., ICML 2021, section 2.4; Xu et al., ICLR 2025, section 3.1.
    """

    def __init__(self, dim: int, *, width: int, layers: int, heads: int, patch: int, grid: int) -> None:
        super().__init__()
        self.patch, self.dim = patch, dim
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + grid * grid, width))
        self.ln_pre = LayerNorm32(width)
        blocks = nn.Sequential(*(ResidualBlock(width, heads) for _ in range(layers)))
        self.transformer = nn.Sequential(OrderedDict(resblocks=blocks))
        self.ln_post = LayerNorm32(width)
        self.proj = nn.Parameter(torch.empty(width, dim))
        self._initialise(width, layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 1 + h * w, dim) of ``images`` (B, 3, h * patch, w * patch), normalised by CLIP's mean and std."""
        patches = self.conv1(images.to(self.conv1.weight.dtype))  # (B, C, h, w)
        class_token = self.class_embedding.expand(len(images), 1, -1)
        x = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)  # (B, 1 + N, C)
        x = self.ln_pre(x + self._positions(patches.shape[-2:]))
        return self.ln_post(self.transformer(x)) @ self.proj  # type: ignore[no-any-return]

    def _positions(self, grid: torch.Size) -> torch.Tensor:
        cells = resize_positions(self.positional_embedding[1:], (grid[0], grid[1]))
        return torch.cat([self.positional_embedding[:1], cells])

    def _initialise(self, width: int, layers: int) -> None:
        """CLIP's own start; it matters only where no trained weights are loaded."""
        scale = width**-0.5
        for table in (self.class_embedding, self.positional_embedding, self.proj):
            nn.init.normal_(table, std=scale)
        for block in self.transformer.resblocks:  # type: ignore[union-attr]
            nn.init.normal_(block.attn.in_proj_weight, std=scale)
            nn.init.normal_(block.attn.out_proj.weight, std=scale * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=scale * (2 * layers) ** -0.5)
            for linear in (block.attn.out_proj, block.mlp.c_fc, block.mlp.c_proj):
                nn.init.zeros_(linear.bias)
