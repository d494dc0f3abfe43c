"""The text encoder: CLIP's frozen text tower, phrases to feature vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vidaff.errors import VidaffError
from vidaff.models.image.clip_weights import clip_text
from vidaff.models.image.pretrained import load_pretrained
from vidaff.models.image.torchscript import is_zip

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

TEMPLATE = "{}"
"""The phrase alone. The authors' prompts are unknown: their features were made elsewhere and are not published."""


class TextEncoder(nn.Module):
    """Phrases to text features: the projected end-of-text token, not normalised, as the networks expect it.

    Args:
        tower: CLIP's text tower; it is frozen.
        tokenizer: of the same CLIP.
        template: text with one ``{}`` for the phrase, for instance ``"a photo of {}"``.

    Raises:
        ValueError: ``template`` has no place, or more than one, for the phrase.
    """

    def __init__(
        self, tower: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, *, template: str = TEMPLATE
    ) -> None:
        super().__init__()
        if template.count("{}") != 1:
            raise ValueError(f"template must hold '{{}}' once, for the phrase, got {template!r}")
        self.tower = tower.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.template = template

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        tokenizer: str | Path | None = None,
        template: str = TEMPLATE,
        heads: int | None = None,
    ) -> TextEncoder:
        """Load the tower from a folder or hub id of a ``CLIPModel``, or from OpenAI's archive.

        Args:
            source: see :func:`vidaff.models.image.clip_weights.clip_text`.
            tokenizer: folder or hub id of CLIP's tokenizer; needed with an archive, which has none.
            template: see the class.
            heads: attention heads, for an archive whose heads are not 64 channels wide.

        Raises:
            VidaffError: no such model or tokenizer, or another kind of model.
        """
        from transformers import CLIPTokenizer

        if tokenizer is None and is_zip(source):
            raise VidaffError(f"{source}: has no vocabulary; name a folder or hub id of CLIP's tokenizer, too")
        tower = clip_text(source, heads=heads)
        loaded = load_pretrained(CLIPTokenizer.from_pretrained, tokenizer or source, "CLIP tokenizer")
        if len(loaded) != tower.config.vocab_size:
            raise VidaffError(
                f"{tokenizer or source}: a tokenizer of {len(loaded)} tokens, the text tower knows "
                f"{tower.config.vocab_size}; is it of another model?"
            )
        return cls(tower, loaded, template=template)

    @property
    def dim(self) -> int:
        """Length of a text feature."""
        return int(self.tower.config.projection_dim)

    @torch.no_grad()
    def forward(self, phrases: Sequence[str]) -> torch.Tensor:
        """Text features (n, D) float32 of ``phrases``; raise :class:`ValueError` for an empty one.

        ``_`` stands for a space, so that class names (``cut_with``) can be given as they are.
        """
        texts = [self.template.replace("{}", readable(phrase)) for phrase in phrases]
        inputs: Any = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self._context, return_tensors="pt"
        ).to(self.tower.device)
        embeds: torch.Tensor = self.tower(**inputs).text_embeds
        return embeds.float()

    @property
    def _context(self) -> int:
        return int(self.tower.config.max_position_embeddings)

    def train(self, mode: bool = True) -> TextEncoder:
        """Stay in evaluation mode: the tower is frozen."""
        return super().train(False)


def readable(phrase: str) -> str:
    """``cut_with`` -> ``cut with``; raise :class:`ValueError` when no letter or digit is left."""
    words = " ".join(phrase.replace("_", " ").split())
    if not any(character.isalnum() for character in words):
        raise ValueError(f"a query must hold a word, got {phrase!r}")
    return words


def parts_phrase(parts: str, join: str = " and ") -> str:
    """The part texts of a mapping, several of them separated by dots, as one phrase: ``a.b`` -> ``a and b``.

    How the authors joined them is unknown.
    """
    return join.join(readable(part) for part in parts.split(".") if part.strip())
