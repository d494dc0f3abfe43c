"""Text features of affordances, objects and parts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vidaff.datasets.agd20k.text import TextFeatures, write_text_features
from vidaff.errors import VidaffError, first_line
from vidaff.labels.engine import hash_value
from vidaff.labels.loading import weights_identity
from vidaff.labels.part_names import Pair
from vidaff.models.image.text import TextEncoder, parts_phrase
from vidaff.models.image.text_table import PhraseEncoder, TextSettings
from vidaff.part_texts import PartTexts, part_words


def make_text_features(
    settings: TextSettings, encoder: PhraseEncoder, pairs: Iterable[Pair], names: PartTexts
) -> TextFeatures:
    """Text features of everything in ``pairs``; parts without a name are called as their object."""
    pairs = sorted(set(pairs))
    return TextFeatures(
        _named(encoder, sorted({verb for verb, _ in pairs})),
        _named(encoder, sorted({thing for _, thing in pairs})),
        dict(zip(pairs, np.asarray(encoder(_phrases(settings, pairs, names)), np.float32), strict=True)),
    )


def _phrases(settings: TextSettings, pairs: Iterable[Pair], names: PartTexts) -> list[str]:
    return [parts_phrase(".".join(part_words(names, *pair)), settings.join) for pair in pairs]


def _named(encoder: PhraseEncoder, names: list[str]) -> dict[str, np.ndarray]:
    return dict(zip(names, np.asarray(encoder(names), np.float32), strict=True))


def text_inputs(settings: TextSettings, encoder: PhraseEncoder, pairs: Iterable[Pair], names: PartTexts) -> str:
    """All that text features are made of, as JSON: settings, the tower's weights, pairs with their parts and tokens."""
    asked = {}
    for pair in sorted(set(pairs)):
        words = [*pair, *_phrases(settings, [pair], names)]
        asked["/".join(pair)] = hash_value([words, tokens_of(encoder, words)])
    made = {**settings.model_dump(mode="json"), "dim": encoder.dim, "tower": tower_identity(encoder), "pairs": asked}
    return json.dumps(made, sort_keys=True)


def tower_identity(encoder: PhraseEncoder) -> str:
    """Hash of samples of the weights of a text tower; empty for an encoder without one."""
    return weights_identity(encoder.tower.state_dict()) if isinstance(encoder, TextEncoder) else ""


def tokens_of(encoder: PhraseEncoder, phrases: list[str]) -> Any:
    """Numbers of the tokens of each phrase, by which tokenizers differ; empty for an encoder without one."""
    return encoder.tokenizer(phrases)["input_ids"] if isinstance(encoder, TextEncoder) else []


def adds_pairs(before: str | None, made: str) -> bool:
    """Whether ``made`` has all that text features were made of ``before``, and nothing but pairs besides."""
    try:
        old, new = json.loads(before or ""), json.loads(made)
        old_pairs, new_pairs = old.pop("pairs"), new.pop("pairs")
        return bool(old == new and old_pairs.items() <= new_pairs.items())
    except (ValueError, KeyError, AttributeError):
        return False


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
