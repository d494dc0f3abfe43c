"""Text features of affordances, objects and parts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vidaff.datasets.agd20k.text import FILE, TextFeatures, write_text_features
from vidaff.labels.part_names import Pair
from vidaff.models.image.text import parts_phrase
from vidaff.models.image.text_table import PhraseEncoder, TextSettings, make_text_encoder
from vidaff.part_texts import PartTexts, part_words


def make_text_features(settings: TextSettings, dim: int, pairs: Iterable[Pair], names: PartTexts) -> TextFeatures:
    """Text features of width ``dim`` of everything in ``pairs``; parts without a name are called as their object.

    Raises:
        VidaffError: the text tower cannot be had or has another width.
    """
    pairs = sorted(set(pairs))
    encoder = make_text_encoder(settings, dim)
    parts = [parts_phrase(".".join(part_words(names, *pair))) for pair in pairs]
    return TextFeatures(
        _named(encoder, sorted({verb for verb, _ in pairs})),
        _named(encoder, sorted({thing for _, thing in pairs})),
        dict(zip(pairs, np.asarray(encoder(parts), np.float32), strict=True)),
    )


def _named(encoder: PhraseEncoder, names: list[str]) -> dict[str, np.ndarray]:
    return dict(zip(names, np.asarray(encoder(names), np.float32), strict=True))


def write_features(out: Path, features: TextFeatures, settings: TextSettings) -> Path:
    """Write ``OUT/text.safetensors``, which says how the features were made."""
    # One entry: several would be written in an order that changes from run to run.
    made = {"text": json.dumps(settings.model_dump(mode="json"), sort_keys=True)}
    return write_text_features(out / FILE, features, made)
