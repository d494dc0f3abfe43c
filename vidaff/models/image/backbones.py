"""Encoders of the paper's Table 11 other than CLIP, through transformers, behind the contract of ``features``.

The paper does not say how their tokens reach the width of the text features: here by one linear layer, which starts
from OWL-ViT's own projection where there is one. Their position tables are interpolated to the picture's grid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.errors import first_line
from vidaff.models.image.pretrained import load_weights

NO_SETTINGS = ("transformers_version", "model_type", "dtype", "architectures")
"""Entries of a stored configuration that say nothing of the network's shape."""
MAX_NUMBER = 1 << 16
MAX_LAYERS = 64
"""Limits of a stored configuration, so that a damaged or hostile file cannot ask for all memory."""


class BackboneEncoder(nn.Module):
    """A transformer of transformers and a linear layer to ``dim``: (B, 3, H, W) -> (B, 1 + N, dim)."""

    BASE: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    """What differs from the configuration class's defaults in the published ViT-B."""

    def __init__(self, backbone: nn.Module, dim: int, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.patch, self.dim = int(self.config.patch_size), dim
        self.proj = nn.Linear(width, dim, bias=False)

    @property
    def config(self) -> Any:
        """Configuration of the backbone."""
        return self.backbone.config

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 1 + N, dim), the class token first, of ``images`` (B, 3, H, W) normalised as the backbone's."""
        return self.proj(self._tokens(images))  # type: ignore[no-any-return]

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    @classmethod
    def build(cls, dim: int, config: dict[str, Any] | None) -> BackboneEncoder:
        """With random weights; ``config`` None for the published ViT-B."""
        raise NotImplementedError

    @classmethod
    def load(cls, source: str | Path, dim: int) -> BackboneEncoder:
        """With the weights of a folder or hub id."""
        raise NotImplementedError


class DinoEncoder(BackboneEncoder):
    """DINO (Caron et al., 2021), a plain vision transformer; its last layer normalisation is kept."""

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.backbone(images, interpolate_pos_encoding=True).last_hidden_state
        return output

    @classmethod
    def build(cls, dim: int, config: dict[str, Any] | None) -> DinoEncoder:
        from transformers import ViTConfig, ViTModel

        made = ViTConfig(**(config or cls.BASE))
        return cls(ViTModel(made, add_pooling_layer=False), dim, made.hidden_size)

    @classmethod
    def load(cls, source: str | Path, dim: int) -> DinoEncoder:
        from transformers import ViTModel

        model = load_weights(_without_pooling(ViTModel), source, "DINO model")
        return cls(model, dim, model.config.hidden_size)


class Dinov2Encoder(BackboneEncoder):
    """DINOv2 (Oquab et al., 2023). Its patches are 14 pixels wide: 224x224 pixels give 16x16 of them."""

    BASE = {"patch_size": 14, "image_size": 518}  # noqa: RUF012

    def __init__(self, backbone: nn.Module, dim: int, width: int) -> None:
        super().__init__(backbone, dim, width)
        mask = backbone.embeddings.mask_token  # type: ignore[union-attr]
        if mask is not None:
            mask.requires_grad_(False)  # for masked pre-training only: it would never get a gradient

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.backbone(images).last_hidden_state
        return output

    @classmethod
    def build(cls, dim: int, config: dict[str, Any] | None) -> Dinov2Encoder:
        from transformers import Dinov2Config, Dinov2Model

        made = Dinov2Config(**(config or cls.BASE))
        return cls(Dinov2Model(made), dim, made.hidden_size)

    @classmethod
    def load(cls, source: str | Path, dim: int) -> Dinov2Encoder:
        from transformers import Dinov2Model

        model = load_weights(Dinov2Model, source, "DINOv2 model")
        return cls(model, dim, model.config.hidden_size)


class OwlVitEncoder(BackboneEncoder):
    """OWL-ViT (Minderer et al., 2022): CLIP tuned for detection; every token is normed as its class token is."""

    BASE = {"patch_size": 16, "image_size": 768}  # noqa: RUF012

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.backbone(images, interpolate_pos_encoding=True).last_hidden_state
        normed: torch.Tensor = self.backbone.post_layernorm(tokens)  # type: ignore[operator]
        return normed

    @classmethod
    def build(cls, dim: int, config: dict[str, Any] | None) -> OwlVitEncoder:
        from transformers import OwlViTVisionConfig, OwlViTVisionModel

        made = OwlViTVisionConfig(**(config or cls.BASE))
        return cls(OwlViTVisionModel(made).vision_model, dim, made.hidden_size)

    @classmethod
    def load(cls, source: str | Path, dim: int) -> OwlVitEncoder:
        from transformers import OwlViTModel

        model = load_weights(OwlViTModel, source, "OWL-ViT model")
        encoder = cls(model.vision_model, dim, model.config.vision_config.hidden_size)
        if model.visual_projection.weight.shape == encoder.proj.weight.shape:
            encoder.proj.load_state_dict(model.visual_projection.state_dict())
        return encoder


class SamEncoder(BackboneEncoder):
    """The image encoder of Segment Anything (Kirillov et al., 2023), which has no class token.

    Ours, since the paper does not say what it put there: the mean of the patches plus a learned vector. The vector
    alone would tell the reasoning module nothing of the picture.
    """

    def __init__(self, backbone: nn.Module, dim: int, width: int) -> None:
        super().__init__(backbone, dim, width)
        self.class_token = nn.Parameter(torch.zeros(width))

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        parts: Any = self.backbone
        # The parts one by one, because the whole insists on the size it was trained with.
        x = parts.patch_embed.projection(images).permute(0, 2, 3, 1)  # (B, h, w, C)
        if parts.pos_embed is not None:
            table = parts.pos_embed.permute(0, 3, 1, 2)  # (1, C, h0, w0)
            if table.shape[-2:] != x.shape[1:3]:
                table = F.interpolate(table, size=x.shape[1:3], mode="bicubic", align_corners=False)
            x = x + table.permute(0, 2, 3, 1)
        for layer in parts.layers:
            x = layer(x)
        patches = parts.neck(x).flatten(2).transpose(1, 2)  # (B, N, width)
        class_token = patches.mean(dim=1, keepdim=True) + self.class_token
        return torch.cat([class_token, patches], dim=1)

    @classmethod
    def build(cls, dim: int, config: dict[str, Any] | None) -> SamEncoder:
        from transformers import SamVisionConfig, SamVisionModel

        made = SamVisionConfig(**(config or cls.BASE))
        return cls(SamVisionModel(made).vision_encoder, dim, made.output_channels)

    @classmethod
    def load(cls, source: str | Path, dim: int) -> SamEncoder:
        from transformers import SamModel

        model = load_weights(SamModel, source, "SAM model")
        return cls(model.vision_encoder, dim, model.config.vision_config.output_channels)


BACKBONES: dict[str, type[BackboneEncoder]] = {
    "dino": DinoEncoder,
    "dinov2": Dinov2Encoder,
    "owlvit": OwlVitEncoder,
    "sam": SamEncoder,
}


def build_backbone(name: str, dim: int, config: dict[str, Any] | None = None) -> BackboneEncoder:
    """Encoder ``name`` with random weights.

    Args:
        name: one of :data:`BACKBONES`.
        dim: width of the tokens.
        config: its configuration as :func:`backbone_config` gives it; None for the published ViT-B.

    Raises:
        ValueError: ``config`` is no configuration of this encoder.
    """
    _check_config(config or {})
    try:
        return BACKBONES[name].build(dim, config)
    except Exception as error:  # wrong numbers fail anywhere within transformers, with errors of many types
        raise ValueError(f"backbone is no configuration of {name} ({first_line(error)})") from error


def backbone_config(encoder: BackboneEncoder) -> dict[str, Any]:
    """What :func:`build_backbone` needs to build ``encoder`` again: the settings that differ from the defaults."""
    return {
        key: value
        for key, value in encoder.config.to_diff_dict().items()
        if isinstance(value, bool | int | float | str | list) and key not in NO_SETTINGS
    }


def _check_config(config: dict[str, Any]) -> None:
    for key, value in config.items():
        limit = MAX_LAYERS if "layers" in key else MAX_NUMBER
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, int | float) and not -1 <= number <= limit for number in numbers):
            raise ValueError(f"backbone.{key} must be at most {limit}, got {value}")


def _without_pooling(model_class: Any) -> Any:
    """``model_class`` whose ``from_pretrained`` leaves out the pooling layer, which nothing here uses."""

    class Plain:
        @staticmethod
        def from_pretrained(source: str, **options: Any) -> Any:
            return model_class.from_pretrained(source, add_pooling_layer=False, **options)

    return Plain
