"""Text features of affordances, objects and parts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from vidaff.datasets.agd20k.text import TextFeatures, write_text_features
from vidaff.errors import VidaffError, first_line
from vidaff.labels.engine import hash_value
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
    parts = [parts_phrase(".".join(part_words(names, *pair)), settings.join) for pair in pairs]
    return TextFeatures(
        _named(encoder, sorted({verb for verb, _ in pairs})),
        _named(encoder, sorted({thing for _, thing in pairs})),
        dict(zip(pairs, np.asarray(encoder(parts), np.float32), strict=True)),
    )


def _named(encoder: PhraseEncoder, names: list[str]) -> dict[str, np.ndarray]:
    return dict(zip(names, np.asarray(encoder(names), np.float32), strict=True))


def text_inputs(settings: TextSettings, dim: int, pairs: Iterable[Pair], names: PartTexts) -> str:
    """All that text features are made of, but for the weights of the text tower, as JSON."""
    parts = ["/".join([*pair, *part_words(names, *pair)]) for pair in sorted(set(pairs))]
    return json.dumps({**settings.model_dump(mode="json"), "dim": dim, "pairs": hash_value(parts)}, sort_keys=True)


def write_features(path: Path, features: TextFeatures, inputs: str) -> Path:
    """Write a file of text features, which says of what they were made."""
    # One entry: several would be written in an order that changes from run to run.
    return write_text_features(path, features, {"text": inputs})


def features_of(path: Path) -> str | None:
    """What a file of text features was made of; None when it does not say. Raises :class:`VidaffError` for others."""
    try:
        with safe_open(path, "np") as file:
            made: str | None = (file.metadata() or {}).get("text")
    except (SafetensorError, OSError) as error:
        raise VidaffError(f"{path}: not readable as text features ({first_line(error)})") from error
    return made
