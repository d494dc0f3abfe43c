"""The cross-modal fuser: text queries gather what the image says of them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.models.image.features import ImageFeatures, resize_positions

LAYER_SCALE = 0.1


class DropPath(nn.Module):
    """Drops a residual branch of whole queries with probability ``rate`` in training, and rescales those kept."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(*x.shape[:-1], 1, device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class QueryAttention(nn.Module):
    """Each query attends to all image tokens and to itself, not to the other queries.

    Keys have no bias. Image keys and values do not depend on the queries, so many queries share them.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        query: torch.Tensor,
        image_keys: torch.Tensor,
        image_values: torch.Tensor,
        own_key: torch.Tensor,
        own_value: torch.Tensor,
    ) -> torch.Tensor:
        """Update (B, Q, D) of ``query`` (B, Q, D), from (B, N, D) of the image and (B, Q, D) of the queries."""
        q = self._split(self.q(query) + self.q_bias)  # (B, heads, Q, d)
        keys, own_key = self._split(self.k(image_keys)), self._split(self.k(own_key))
        values = self._split(self.v(image_values) + self.v_bias)  # (B, heads, N, d)
        own_value = self._split(self.v(own_value) + self.v_bias)
        q = q * q.shape[-1] ** -0.5
        scores = torch.cat([q @ keys.transpose(-2, -1), (q * own_key).sum(-1, keepdim=True)], dim=-1)
        weights = scores.softmax(dim=-1)  # (B, heads, Q, N + 1)
        mixed = weights[..., :-1] @ values + weights[..., -1:] * own_value
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Linear, GELU, Linear; keeps the last axis."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class RegressorBlock(nn.Module):
    """One block of the fuser: attention to image and self, then an MLP; both scaled by channel.

    The normed value replaces the query before the MLP, so that it is also what the MLP's output is added to.
    """

    def __init__(self, dim: int, *, heads: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1_q = nn.LayerNorm(dim, eps=1e-6)
        self.norm1_k = nn.LayerNorm(dim, eps=1e-6)
        self.norm1_v = nn.LayerNorm(dim, eps=1e-6)
        self.norm2_cross = nn.LayerNorm(dim, eps=1e-6)
        self.cross_attn = QueryAttention(dim, heads)
        self.mlp_cross = Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)
        self.gamma_1_cross = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.gamma_2_cross = nn.Parameter(torch.full((dim,), LAYER_SCALE))

    def forward(
        self, query: torch.Tensor, tokens: torch.Tensor, query_place: torch.Tensor, token_places: torch.Tensor
    ) -> torch.Tensor:
        """New ``query`` (B, Q, D) from ``tokens`` (B, 1 + N, D); places are (1, 1, D) and (1, 1 + N, D)."""
        update = self.cross_attn(
            self.norm1_q(query + query_place),
            self.norm1_k(tokens + token_places),
            self.norm1_v(tokens),
            self.norm1_k(query + query_place),
            self.norm1_v(query),
        )
        query = self.norm2_cross(query + self.drop_path(self.gamma_1_cross * update))
        return query + self.drop_path(self.gamma_2_cross * self.mlp_cross(query))


class CrossModalFuser(nn.Module):
    """Affordance tokens from text queries and image tokens: (B, Q, D) -> (B, Q, D).

    Source: Xu et al., ICLR 2025, section 3.1; the blocks are the regressor of Chen et al., Context Autoencoder, 2022.

    Args:
        dim: D, a multiple of 4 and of ``heads``.
        depth: number of blocks; ``drop_path`` rises linearly over them from 0 in training.
        grid: side of the square grid for which the fixed table of positions is made.
    """

    def __init__(self, dim: int, *, depth: int, heads: int, mlp_ratio: int, drop_path: float, grid: int) -> None:
        super().__init__()
        # Saved with the weights, as in the authors' checkpoints, but never trained.
        self.rd_pos_embed = nn.Parameter(position_table(dim, grid), requires_grad=False)
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.regressor_blocks = nn.ModuleList(
            RegressorBlock(dim, heads=heads, mlp_ratio=mlp_ratio, drop_path=rate) for rate in rates
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._initialise()

    def forward(self, query: torch.Tensor, features: ImageFeatures) -> torch.Tensor:
        """Affordance tokens (B, Q, D), normed, of ``query`` (B, Q, D)."""
        query_place, class_place, cells = self.rd_pos_embed.split([1, 1, self.rd_pos_embed.shape[1] - 2], dim=1)
        places = torch.cat([class_place, resize_positions(cells[0], features.grid)[None]], dim=1)
        for block in self.regressor_blocks:
            query = block(query, features.tokens, query_place, places)
        return self.norm(query)  # type: ignore[no-any-return]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-2, b=2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            for number, block in enumerate(self.regressor_blocks, start=1):
                block.cross_attn.proj.weight /= math.sqrt(2 * number)  # type: ignore[union-attr, operator]
                block.mlp_cross.fc2.weight /= math.sqrt(2 * number)  # type: ignore[union-attr, operator]


def position_table(dim: int, grid: int) -> torch.Tensor:
    """Fixed positions (1, 2 + grid * grid, dim): zeros for query and class token, then sines and cosines.

    A cell in row r and column q has ``[sin(r w), cos(r w), sin(q w), cos(q w)]`` with ``dim / 4`` frequencies w.
    """
    frequencies = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies  # (grid, dim / 4)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, dim / 2)
    rows, columns = line.repeat_interleave(grid, dim=0), line.repeat(grid, 1)
    cells = torch.cat([rows, columns], dim=1).float()  # (grid * grid, dim)
    return torch.cat([torch.zeros(2, dim), cells])[None]
