"""VLPart by its settings: the checkpoint, and one of the three sources of text features."""

from __future__ import annotations

from pathlib import Path

import torch

from vidaff.config import validate_settings
from vidaff.errors import VidaffError
from vidaff.labels.detectors.vlpart.detector import VLPart
from vidaff.labels.detectors.vlpart.settings import VLPartSettings
from vidaff.labels.detectors.vlpart.texts import Texts, TowerTexts, VectorTexts
from vidaff.labels.loading import required
from vidaff.labels.settings import DetectorSettings

CHECKPOINT = "checkpoint"


def load_vlpart(settings: DetectorSettings, device: torch.device) -> VLPart:
    """VLPart with text features; raise :class:`VidaffError` for what cannot be read or is not named."""
    limits = {"score": settings.score, "nms": settings.nms, "detections": settings.detections}
    config = validate_settings(VLPartSettings, {**limits, **settings.options}, where="options of vlpart")
    weights = required(settings.weights, "weights of VLPart (swinbase_part_0a0000.pth or another)")
    if not Path(weights).is_file():
        raise VidaffError(f"{weights}: no such file; VLPart's checkpoint is expected")
    texts, tokenizer = load_texts(settings, heads=config.text_heads), None
    if texts is None:
        tokenizer = required(settings.tokenizer, "CLIP's tokenizer (part.detector.tokenizer: a folder or hub id)")
    return VLPart.from_checkpoint(
        weights, config=config, texts=texts, tokenizer=tokenizer, device=str(device), precision=settings.precision
    )


def load_texts(settings: DetectorSettings, *, heads: int | None = None) -> Texts | None:
    """Class vectors or a text tower of its own, of so many attention heads; None for the one in the checkpoint."""
    from vidaff.models.image.text import TextEncoder

    if settings.text in (None, CHECKPOINT):
        return None
    if settings.names is not None:
        return VectorTexts.from_files(str(settings.text), settings.names)
    return TowerTexts(TextEncoder.from_pretrained(str(settings.text), tokenizer=settings.tokenizer, heads=heads))
