"""Settings of detectors and segmenters: which one, its weights, and the numbers that decide what it gives."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vidaff.config import Settings

DetectorKind = Literal["vlpart", "grounding-dino", "owlv2", "sam3", "file"]
SegmenterKind = Literal["sam", "sam-hf", "sam2", "sam3", "file"]

_LIMITS = {"score", "nms", "detections"}
_DETECTOR_FIELDS: dict[str, set[str]] = {
    "vlpart": {"text", "names", "tokenizer", "precision", "options", *_LIMITS},
    "grounding-dino": {"template", *_LIMITS},
    "owlv2": {"template", *_LIMITS},
    "sam3": {"template", "precision", *_LIMITS},
    "file": set(),
}
_SEGMENTER_FIELDS: dict[str, set[str]] = {
    **{kind: {"batch", "precision", "regions"} for kind in ("sam", "sam-hf", "sam2")},
    "sam3": {"batch", "precision"},
    "file": set(),
}
"""Which fields mean something to a kind, besides ``kind`` and ``weights``."""


class DetectorSettings(Settings):
    """A part detector. A field that its kind knows nothing of must keep its default."""

    kind: DetectorKind = Field("vlpart", description="which detector")
    weights: str | None = Field(
        None,
        description="vlpart: checkpoint; grounding-dino, owlv2, sam3: folder or hub id; file: boxes, or their folder",
    )
    text: str | None = Field(
        None,
        description="vlpart: where text features come from: 'checkpoint' (the tower in it, the default), class vectors "
        "(.npy), or a CLIP (archive of CLIP RN50, folder or hub id)",
    )
    names: str | None = Field(None, description="vlpart: the names of the class vectors, a text file, one a line")
    tokenizer: str | None = Field(None, description="vlpart: CLIP's tokenizer, folder or hub id, where text has none")
    template: str | None = Field(None, description="prompt with one {} for the query; None: the usual one of the kind")
    score: float = Field(0.0, ge=0, lt=1, description="lowest score that is kept, exclusive")
    nms: float = Field(0.5, gt=0, le=1, description="overlap above which the lesser box of a query goes; 1: none goes")
    detections: int = Field(100, ge=1, le=10_000, description="boxes of a picture at most")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="vlpart, and sam3's image encoder; auto: bf16 where the device multiplies it faster"
    )
    options: dict[str, Any] = Field({}, description="vlpart: further settings of VLPartSettings, e.g. short_side")

    @model_validator(mode="after")
    def _fits(self) -> DetectorSettings:
        _check_fields(self, _DETECTOR_FIELDS[self.kind])
        if self.template is not None and self.template.count("{}") != 1:
            raise ValueError(f"template must hold '{{}}' once, for the query, got {self.template!r}")
        if (self.names is not None) != (self.text is not None and self.text.endswith(".npy")):
            raise ValueError("names and class vectors (text: a .npy file) go together")
        return self


class RegionSettings(Settings):
    """Automatic masks: a grid of points, and which of the masks under them are kept.

    Source: the clean-up of WSAG-PLSP (8 x 8 points, 100 pixels) on segment-anything's defaults.
    """

    points_per_side: int = Field(8, ge=1, le=128, description="points of a row and of a column of the grid")
    min_area: int = Field(100, ge=0, description="smaller islands and holes of a mask go, in pixels")
    quality: float = Field(0.88, ge=0, le=1, description="lowest overlap with the truth that SAM expects of a mask")
    stability: float = Field(0.95, ge=0, le=1, description="lowest overlap of a mask cut at two levels around 0")
    nms: float = Field(0.7, gt=0, le=1, description="overlap of boxes above which the lesser mask goes")


class SegmenterSettings(Settings):
    """A segmenter of boxes, which also proposes regions (all kinds but sam3)."""

    kind: SegmenterKind = Field("sam", description="which segmenter")
    weights: str | None = Field(
        None, description="sam: checkpoint file (.pth); sam-hf, sam2, sam3: folder or hub id; file: folder of masks"
    )
    batch: int = Field(16, ge=1, le=4096, description="boxes or points at once; fewer in large pictures")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32", description="of the image encoder; auto: bf16 where the device multiplies it faster"
    )
    regions: RegionSettings = Field(RegionSettings(), description="automatic masks")

    @model_validator(mode="after")
    def _fits(self) -> SegmenterSettings:
        _check_fields(self, _SEGMENTER_FIELDS[self.kind])
        return self


def _check_fields(settings: DetectorSettings | SegmenterSettings, known: set[str]) -> None:
    """Raise :class:`ValueError` for a changed field that means nothing to the kind."""
    for name, field in type(settings).model_fields.items():
        changed = getattr(settings, name) != field.get_default()
        if name not in ("kind", "weights") and name not in known and changed:
            raise ValueError(f"{name} means nothing to {settings.kind}")
