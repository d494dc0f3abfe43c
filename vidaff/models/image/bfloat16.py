"""A copy of a network of the image branch whose matrix products run in bfloat16; all else stays in float32.

In float32 stay: residual streams, normalisation, the softmax of the fuser, the places of the mask decoder (whose
angles need the digits), and the classifier of pixels, whose products are the logits.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.models.image.clip_vision import ResidualBlock
from vidaff.models.image.mask_decoder import PixelClassifier

LOW = torch.bfloat16
GELU_SLOPE = 1.702
"""Of CLIP's activation: ``x * sigmoid(1.702 x)`` is SiLU of ``1.702 x``, divided by 1.702."""


def to_bfloat16(model: nn.Module) -> nn.Module:
    """A copy of ``model`` for inference on the device that it is on; ``model`` is left as it is.

    Measured in :file:`scripts/bench/ground.py`. Only GPUs and processors with bf16 instructions gain
    by it.
    """
    low = copy.deepcopy(model).requires_grad_(False).eval()
    _lower_children(low)
    return low


def _lower_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        lowered = _lowered(child)
        if lowered is not child:
            setattr(module, name, lowered)
        elif not isinstance(child, PixelClassifier):
            _lower_children(child)


def _lowered(module: nn.Module) -> nn.Module:
    if isinstance(module, ResidualBlock):
        return LowResidualBlock(module)
    if type(module) is nn.Linear:
        return LowLinear(module)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return LowConv(module)
    return module


class LowLinear(nn.Module):
    """A linear layer in bfloat16 within a network in float32: keeps its input's type."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.to(LOW), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.to(LOW), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(LOW), self.weight, self.bias).to(x.dtype)


class LowConv(nn.Module):
    """A convolution, transposed or not, in bfloat16 and channels last; keeps its input's type."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = conv.to(LOW).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def weight(self) -> torch.Tensor:
        """The kernel, whose type encoders bring their pictures to."""
        kernel: torch.Tensor = self.conv.weight
        return kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.conv(x.to(LOW).contiguous(memory_format=torch.channels_last))
        return made.to(x.dtype)


class LowResidualBlock(nn.Module):
    """:class:`vidaff.models.image.clip_vision.ResidualBlock` with attention and MLP in bfloat16."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        attention: Any = block.attn
        first, last = (layer for layer in block.mlp if isinstance(layer, nn.Linear))
        self.heads = attention.heads
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        self.qkv = Product(attention.in_proj_weight, attention.in_proj_bias)
        self.out = Product(attention.out_proj.weight, attention.out_proj.bias)
        self.up = Product(first.weight * GELU_SLOPE, first.bias * GELU_SLOPE, silu=True)
        self.down = Product(last.weight / GELU_SLOPE, last.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(self.ln_1(x))  # (B, N, 3 * C)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, C / heads)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.down(self.up(self.ln_2(x)))


class Product(nn.Module):
    """``x @ weight.T + bias`` in bfloat16, then SiLU where asked for; the result stays in bfloat16.

    On a CPU the weight is kept in the layout of the processor's matrix tiles: otherwise every call brings it there
    again, which costs a third of the time for one picture.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, silu: bool = False) -> None:
        super().__init__()
        self.silu = silu
        self.bias = nn.Parameter(bias.detach().to(LOW), requires_grad=False)
        low = weight.detach().to(LOW).contiguous()
        self._packed = _pack(low)
        self.weight = nn.Parameter(low, requires_grad=False) if self._packed is None else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(LOW)
        if self._packed is not None:
            activation = "swish" if self.silu else "none"
            fused: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, activation, [], "")
            return fused
        assert self.weight is not None  # for the type checker
        made = F.linear(x, self.weight, self.bias)
        return F.silu(made) if self.silu else made


def _pack(weight: torch.Tensor) -> Any:
    """``weight`` in the layout of oneDNN; None where this build of torch has none, or on another device.

    The operators are those that torch's own compiler emits for linear layers on CPUs. They are not public, so that
    their absence must do no harm.
    """
    operators = torch.ops.mkldnn
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    if not hasattr(operators, "_linear_pointwise") or not hasattr(operators, "_reorder_linear_weight"):
        return None
    try:
        packed = operators._reorder_linear_weight(weight, None)
        operators._linear_pointwise(weight.new_zeros(1, weight.shape[1]), packed, None, "swish", [], "")
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    return packed
