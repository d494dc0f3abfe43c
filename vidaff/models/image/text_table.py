"""Text features of class names: where they come from, and the file in which a checkpoint keeps them.

Three kinds of features: ``clip``, CLIP's frozen text tower; ``files``, what the data set brings; ``spelling``, vectors
made of a phrase's letters, for training without any published weights.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidaff.config import Settings
from vidaff.errors import VidaffError, first_line
from vidaff.io import atomic_path
from vidaff.models.image.text import TEMPLATE, TextEncoder, readable

FILE = "text.safetensors"
GROUPS = ("verbs", "nouns", "parts")
MAX_NAMES = 100_000
"""Limit of names in a file, so that a damaged one cannot ask for all memory."""


class TextSettings(Settings):
    """Where the text features come from."""

    kind: Literal["clip", "files", "spelling"] = Field(
        "clip", description="CLIP's text tower, the data set's own files, or vectors of letters (no meaning)"
    )
    source: str | None = Field(None, description="clip: folder or hub id of a CLIPModel, or OpenAI's archive")
    tokenizer: str | None = Field(None, description="clip: folder or hub id of the tokenizer, if not that of source")
    template: str = Field(TEMPLATE, description="prompt, '{}' stands for the phrase")
    join: str = Field(" and ", max_length=40, description="what stands between several parts of a pair")
    parts: str | None = Field(None, description="file of part texts as vidaff/mappings/agd20k-parts.yaml; default: it")

    @field_validator("template")
    @classmethod
    def _one_place(cls, value: str) -> str:
        if value.count("{}") != 1:
            raise ValueError("must hold '{}' once, for the phrase")
        return value


class PhraseEncoder(Protocol):
    """Phrases to text features (n, ``dim``) float32."""

    @property
    def dim(self) -> int:
        """Length of a text feature."""

    def __call__(self, phrases: Sequence[str]) -> torch.Tensor:
        """Text features (n, ``dim``); raise :class:`ValueError` for a phrase without a word."""


class SpellingEncoder:
    """Deterministic text features of what a phrase looks like, for networks that are trained from nothing.

    A word is the sum of fixed random vectors, one for itself and one for each three letters of it; a phrase is the
    mean of its words, scaled to the length ``sqrt(dim) / 2``. Phrases that share words or word stems are near each
    other (``cut`` and ``cutting``); synonyms are not: nothing here knows what a word means.
    """

    def __init__(self, dim: int, *, template: str = TEMPLATE) -> None:
        self.dim = dim
        self.template = template

    def __call__(self, phrases: Sequence[str]) -> torch.Tensor:
        """Text features (n, ``dim``) float32 of ``phrases``; raise :class:`ValueError` for one without a word."""
        if not phrases:
            return torch.zeros(0, self.dim)
        texts = [self.template.replace("{}", readable(phrase)) for phrase in phrases]
        return torch.stack([torch.from_numpy(self._phrase(text)) for text in texts])

    def _phrase(self, text: str) -> np.ndarray:
        vector = np.mean([self._word(word) for word in text.lower().split()], axis=0)
        scaled: np.ndarray = (vector / np.linalg.norm(vector) * np.sqrt(self.dim) / 2).astype(np.float32)
        return scaled

    def _word(self, word: str) -> np.ndarray:
        framed = f"<{word}>"
        pieces = [word, *(framed[start : start + 3] for start in range(len(framed) - 2))]
        # RandomState, because its numbers are promised to stay the same in every release of NumPy.
        vectors = [np.random.RandomState(zlib.crc32(piece.encode())).standard_normal(self.dim) for piece in pieces]
        whole, stems = vectors[0], np.mean(vectors[1:], axis=0) * np.sqrt(len(vectors) - 1)
        joined: np.ndarray = whole + stems
        return joined


def make_text_encoder(settings: TextSettings, dim: int) -> PhraseEncoder:
    """The encoder of ``settings`` for networks of width ``dim``.

    Raises:
        VidaffError: the tower cannot be had or has another width; ``files`` have no encoder.
    """
    if settings.kind == "spelling":
        return SpellingEncoder(dim, template=settings.template)
    if settings.kind == "files":
        raise VidaffError(
            "the text features came from files, without the tower that made them: only the names in them can be used"
        )
    if settings.source is None:
        raise VidaffError("the text tower is not named: give the folder or hub id of a CLIPModel")
    encoder = TextEncoder.from_pretrained(settings.source, tokenizer=settings.tokenizer, template=settings.template)
    if encoder.dim != dim:
        raise VidaffError(f"{settings.source}: its text features have {encoder.dim} numbers, the network needs {dim}")
    return encoder


@dataclass(frozen=True)
class TextTable:
    """Text features (D,) float32 by name.

    verbs: by affordance; nouns: by object; parts: by ``"verb noun"``, the part of the object that affords the action.
    """

    verbs: dict[str, torch.Tensor]
    nouns: dict[str, torch.Tensor]
    parts: dict[str, torch.Tensor]

    @property
    def dim(self) -> int:
        """Length of a text feature."""
        return len(next(iter(self.verbs.values())))

    def save(self, folder: str | Path, settings: TextSettings) -> Path:
        """Write ``text.safetensors`` into ``folder``, atomically."""
        path = Path(folder) / FILE
        tensors = {group: torch.stack(list(getattr(self, group).values())).contiguous() for group in GROUPS}
        names = {group: list(getattr(self, group)) for group in GROUPS}
        # One entry: several would be written in an order that changes from run to run.
        config = json.dumps({"names": names, "text": settings.model_dump(mode="json")})
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"config": config})
        return path

    @classmethod
    def load(cls, path: str | Path) -> tuple[TextTable, TextSettings]:
        """Read the file, or the one in a folder; raise :class:`VidaffError` unless :meth:`save` wrote it."""
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise VidaffError(f"{path}: no such file; the checkpoint has no text features of its own")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {group: file.get_tensor(group) for group in GROUPS}
            config = json.loads(metadata["config"])
            names, settings = config["names"], TextSettings.model_validate(config["text"])
            table = cls(**{group: _named(names[group], tensors[group]) for group in GROUPS})
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            raise VidaffError(f"{path}: not the text features of a checkpoint ({first_line(error)})") from error
        if not table.verbs or len({tensor.shape[1] for tensor in tensors.values()}) != 1:
            raise VidaffError(f"{path}: not the text features of a checkpoint (empty, or of several widths)")
        return table, settings


def _named(names: list[str], rows: torch.Tensor) -> dict[str, torch.Tensor]:
    if rows.ndim != 2 or not rows.is_floating_point() or not torch.isfinite(rows).all():
        raise ValueError("features must be rows of finite numbers")
    if not isinstance(names, list) or len(names) != len(rows) or len(names) > MAX_NAMES:
        raise ValueError(f"{len(rows)} features, and other names than that")
    return {str(name): row.float().clone() for name, row in zip(names, rows, strict=True)}
