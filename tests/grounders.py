"""Tiny checkpoints of the grounding network on disk, made of a tiny random CLIP in its real format."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.models.image_models import save_tokenizer, tiny_clip, tiny_settings
from vidaff.models.image import pretrained_grounder, save_grounder
from vidaff.models.image.text_table import TextSettings, TextTable, make_text_encoder

VERBS = ("cut_with", "hold", "pour")


def save_clip(folder: Path) -> Path:
    """A CLIPModel with its tokenizer, as ``save_pretrained`` of transformers writes them."""
    tiny_clip().save_pretrained(folder)
    return save_tokenizer(folder)


def save_tiny_grounder(
    folder: Path, clip: Path, *, kind: str | None = "clip", source: str | None = None, **changes
) -> Path:
    """A checkpoint as ``vidaff train`` writes it; ``kind=None``: one without text features, as after converting."""
    model, settings = pretrained_grounder(clip, tiny_settings(**changes))
    torch.manual_seed(3)
    for weight in model.pred_decoder.parameters():  # random weights alone give nearly flat maps
        weight.data.add_(0.2 * torch.randn_like(weight))
    info = {"input": {"size": [32, 32]}}
    if kind is not None:
        text = TextSettings(kind=kind, source=source or str(clip))
        table = table_of(make_text_encoder(text, settings.dim) if kind != "files" else make_encoder(clip), settings.dim)
        table.save(folder, text)
        info |= {"affordances": [*VERBS], "trained": {"affordances": ["cut_with", "hold"]}}
    return save_grounder(folder, model, settings, info)


def make_encoder(clip: Path):
    return make_text_encoder(TextSettings(source=str(clip)), 32)


def table_of(encoder, dim: int) -> TextTable:
    nouns = encoder(["knife"])
    return TextTable(dict(zip(VERBS, encoder(VERBS), strict=True)), {"knife": nouns[0]}, {"hold knife": nouns[0]})
