"""Settings of the image branch's networks: typed, bounded, stored in every checkpoint."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from vidaff.config import Settings

EncoderName = Literal["clip", "dino", "dinov2", "owlvit", "sam"]
ENCODERS: tuple[str, ...] = get_args(EncoderName)
"""Encoders of the paper's Table 11."""


class ClipVisionSettings(Settings):
    """CLIP's vision transformer; the defaults are ViT-B/16."""

    width: int = Field(768, ge=8, le=4096, description="channels within the transformer")
    layers: int = Field(12, ge=1, le=64, description="transformer blocks")
    heads: int = Field(12, ge=1, le=64, description="attention heads")
    patch: int = Field(16, ge=1, le=64, description="side of a patch in pixels")
    grid: int = Field(14, ge=1, le=256, description="side of the learned position table in patches")

    @model_validator(mode="after")
    def _divides(self) -> ClipVisionSettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class FuserSettings(Settings):
    """The cross-modal fuser."""

    depth: int = Field(4, ge=1, le=64, description="blocks")
    heads: int = Field(16, ge=1, le=64, description="attention heads")
    mlp_ratio: int = Field(4, ge=1, le=16, description="hidden width of the MLPs over dim")
    drop_path: float = Field(0.1, ge=0, lt=1, description="rate of dropped residual branches in the last block")
    grid: int = Field(14, ge=1, le=256, description="side of the fixed position table in patches")


class DecoderSettings(Settings):
    """The mask decoder. The paper's configuration files say 2048 where the authors' constructor says 1024."""

    depth: int = Field(2, ge=1, le=64, description="two-way blocks")
    heads: int = Field(8, ge=1, le=64, description="attention heads")
    mlp_dim: int = Field(2048, ge=1, le=65536, description="hidden width of the MLPs")
    up_steps: Literal[0, 1, 2, 3] = Field(2, description="doublings of the patch grid: 2 gives 4 cells a patch side")
    conv_first: bool = Field(True, description="a 3x3 convolution before the first doubling")
    learned_token: bool = Field(True, description="a learned token classifies the pixels; else the query's own does")


class GrounderSettings(Settings):
    """The grounding network, or the refinement network; defaults are the paper's (Xu et al., ICLR 2025)."""

    task: Literal["grounding", "refinement"] = Field("grounding", description="which of the two networks")
    dim: int = Field(512, ge=16, le=4096, description="width of tokens and text features")
    encoder: EncoderName = Field("clip", description="visual encoder")
    clip: ClipVisionSettings = ClipVisionSettings()
    backbone: dict[str, Any] | None = Field(
        None, description="configuration of an encoder other than CLIP, in transformers' words; default: its ViT-B"
    )
    fuser: FuserSettings = FuserSettings()
    decoder: DecoderSettings = DecoderSettings()
    reasoning: bool = Field(True, description="query = guessed part + action; without: the action alone")
    exocentric: bool = Field(True, description="the exocentric branch, which is used in training only")
    exo_pooling: Literal["sum", "mean"] = Field("sum", description="sum: the authors' code; mean: the paper")
    exo_hidden: int = Field(256, ge=1, le=65536, description="hidden width of the exocentric classifier")
    num_affordances: int = Field(36, ge=1, le=1000, description="classes of the exocentric classifier")
    margin: float = Field(0.1, ge=0, le=2, description="cosine distance to exocentric features that costs nothing")

    @model_validator(mode="after")
    def _divides(self) -> GrounderSettings:
        if self.dim % 16 or self.dim % (2 * self.decoder.heads) or self.dim % self.fuser.heads:
            raise ValueError(
                f"dim {self.dim} must be a multiple of 16, of the fuser's {self.fuser.heads} heads and of twice the "
                f"decoder's {self.decoder.heads} heads"
            )
        if self.encoder == "clip" and self.backbone is not None:
            raise ValueError("backbone is for encoders other than clip, whose settings are under 'clip'")
        return self

    @property
    def patch(self) -> int:
        """Side of a patch of the visual encoder in pixels."""
        if self.encoder == "clip":
            return self.clip.patch
        default = 14 if self.encoder == "dinov2" else 16
        patch = (self.backbone or {}).get("patch_size", default)
        if not isinstance(patch, int) or patch < 1:
            raise ValueError(f"backbone.patch_size must be a positive whole number, got {patch!r}")
        return patch


GROUNDERS: dict[str, GrounderSettings] = {"wsag-plsp": GrounderSettings()}
"""Name of a published network -> its settings; each has a card in ``models/``."""
