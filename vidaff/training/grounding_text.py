"""The text features of a training on AGD20K: computed or read once, and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vidaff.datasets.agd20k import Classes, TextFeatures, read_text_features
from vidaff.errors import VidaffError
from vidaff.models.image.text import parts_phrase
from vidaff.models.image.text_table import FILE, TextSettings, TextTable, make_text_encoder
from vidaff.part_texts import part_words, read_part_texts
from vidaff.training.same_data import fingerprint

Pair = tuple[str, str]
"""Affordance and object."""


def text_table(
    settings: TextSettings,
    dim: int,
    *,
    classes: Classes,
    pairs: Sequence[Pair],
    data: str | Path,
    split: str,
    labels: str | Path | None = None,
    cache: str | Path | None = None,
) -> TextTable:
    """Text features of width ``dim`` of all ``classes`` and of the parts of ``pairs``.

    Args:
        settings: where they come from.
        dim: the network's width.
        classes: affordances and objects that need a feature.
        pairs: affordance and object of the parts that need one.
        data: root of the data set, where its own features are looked for (kind ``files``).
        split: its split, for the same.
        labels: its label folder, for the same.
        cache: folder whose ``text.safetensors`` is used if it holds them all; :func:`text_print` tells the caller
            whether it was made of the same names and words.

    Raises:
        VidaffError: the features, or the tower that makes them, cannot be had or have another width.
    """
    if cache is not None:
        kept = _cached(Path(cache), settings, pairs)
        if kept is not None and kept.dim == dim:
            return kept
    if settings.kind == "files":
        return _from_files(dim, data, split, labels)
    return _encoded(settings, dim, classes, pairs)


def text_print(
    settings: TextSettings,
    *,
    classes: Classes,
    pairs: Sequence[Pair],
    data: str | Path,
    split: str,
    labels: str | Path | None = None,
) -> str:
    """Fingerprint of what decides on the text features beside ``settings``: names and words, or the files' numbers.

    Arguments and errors as of :func:`text_table`.
    """
    if settings.kind == "files":
        found = _read_files(data, split, labels)
        groups = (found.verbs, found.nouns, found.parts)
        return fingerprint(f"{name} {vector.tolist()}" for group in groups for name, vector in sorted(group.items()))
    texts = read_part_texts(settings.parts)
    words = (f"{' '.join(pair)}: {'.'.join(part_words(texts, *pair))}" for pair in pairs)
    return fingerprint([*classes.affordances, "", *classes.objects, "", *words])


def _cached(folder: Path, settings: TextSettings, pairs: Sequence[Pair]) -> TextTable | None:
    if not (folder / FILE).is_file():
        return None
    table, made = TextTable.load(folder)
    complete = all(" ".join(pair) in table.parts for pair in pairs)
    return table if made == settings and complete else None


def _from_files(dim: int, data: str | Path, split: str, labels: str | Path | None) -> TextTable:
    found = _read_files(data, split, labels)
    parts = {" ".join(pair): vector for pair, vector in found.parts.items()}
    groups = [
        {name: torch.as_tensor(vector, dtype=torch.float32) for name, vector in group.items()}
        for group in (found.verbs, found.nouns, parts)
    ]
    widths = {len(vector) for group in groups for vector in group.values()}
    if widths != {dim}:
        raise VidaffError(f"{data}: its text features have {sorted(widths)} numbers, model.dim is {dim}")
    return TextTable(*groups)


def _read_files(data: str | Path, split: str, labels: str | Path | None) -> TextFeatures:
    found = read_text_features(data, split, labels=labels)
    if found is None:
        raise VidaffError(f"{data}: holds no text features; set input.text.kind=clip or spelling")
    return found


def _encoded(settings: TextSettings, dim: int, classes: Classes, pairs: Sequence[Pair]) -> TextTable:
    encoder = make_text_encoder(settings, dim)
    texts = read_part_texts(settings.parts)
    phrases = {" ".join(pair): parts_phrase(".".join(part_words(texts, *pair)), settings.join) for pair in pairs}
    return TextTable(
        dict(zip(classes.affordances, encoder(classes.affordances), strict=True)),
        dict(zip(classes.objects, encoder(classes.objects), strict=True)),
        dict(zip(phrases, encoder(list(phrases.values())), strict=True)),
    )


def stacked(table: dict[str, torch.Tensor], names: Sequence[str], needed: Sequence[str], what: str) -> torch.Tensor:
    """Features (n, D) of ``names`` in order, zeros for those that nothing needs.

    Raises:
        VidaffError: ``needed`` names have no feature.
    """
    missing = [name for name in needed if name not in table]
    if missing:
        raise VidaffError(f"no text feature of the {what} {', '.join(missing[:3])} ({len(missing)} are missing)")
    zero = torch.zeros_like(next(iter(table.values())))
    return torch.stack([table.get(name, zero) for name in names])
