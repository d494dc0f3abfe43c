"""From the words of a query to the text feature that a network asks with, and the known affordance nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from vidaff.errors import VidaffError
from vidaff.models.image.text import readable
from vidaff.models.image.text_table import PhraseEncoder, TextSettings, TextTable, make_text_encoder

SAME_TOWER = 0.95
"""Mean cosine of a tower's features to the stored ones below which it is taken for another tower."""


@dataclass(frozen=True)
class Word:
    """A query as the network asks it.

    text: the phrase. feature: (D,) float32. origin: ``stored`` with the checkpoint, or made by ``clip`` or by
    ``spelling``. known: whether the network learned the affordance of this name. nearest: the known affordance whose
    feature is nearest, None where none is known. similarity: their cosine, -1..1.
    """

    text: str
    feature: torch.Tensor
    origin: str
    known: bool
    nearest: str | None
    similarity: float | None


class Vocabulary:
    """Features of the affordances that a checkpoint knows, and a way to those of other words.

    Args:
        table: features stored with the checkpoint; None where it has none.
        settings: how its features were made; decides how other words get theirs.
        dim: width of the network's text features.
        affordances: names that the network learned; default: all of ``table``.
        by_user: the user named the tower. One that only a checkpoint names is never downloaded.
    """

    def __init__(
        self,
        table: TextTable | None,
        settings: TextSettings | None,
        dim: int,
        *,
        affordances: Sequence[str] = (),
        by_user: bool = False,
    ) -> None:
        if table is not None and table.dim != dim:
            raise VidaffError(f"the checkpoint's text features have {table.dim} numbers, its network {dim}")
        self.settings, self.dim, self.by_user = settings, dim, by_user
        self._stored = {} if table is None else {key(name): feature for name, feature in table.verbs.items()}
        self._names = tuple(affordances) or (() if table is None else tuple(table.verbs))
        self._encoder: PhraseEncoder | None = None
        self._known: torch.Tensor | None = None

    @property
    def affordances(self) -> tuple[str, ...]:
        """Names of the affordances that the network learned."""
        return self._names

    def look_up(self, phrases: Sequence[str]) -> list[Word]:
        """One :class:`Word` a phrase; stored features come first, so that known affordances need no text tower.

        Raises:
            ValueError: a phrase without a word.
            VidaffError: a word that is not stored, and nothing to make its feature with.
        """
        texts = [readable(phrase) for phrase in phrases]
        missing = [text for text in dict.fromkeys(texts) if key(text) not in self._stored]
        made = dict(zip(missing, self._encode(missing), strict=True)) if missing else {}
        return [self._word(text, made.get(text)) for text in texts]

    def check_tower(self) -> str | None:
        """A warning when the user's tower does not make the stored features, so that it is probably another one."""
        if not self._stored or not self.by_user:
            return None
        names = list(self._stored)
        stored = torch.stack([self._stored[name] for name in names])
        cosine = float(F.cosine_similarity(stored, self._encode(names), dim=1).mean())
        if cosine >= SAME_TOWER:
            return None
        return (
            f"WARNING: the text model's features of the known affordances differ from those that the network was "
            f"trained with (mean cosine {cosine:.2f}); is it the same CLIP, with the same template?"
        )

    def _word(self, text: str, made: torch.Tensor | None) -> Word:
        feature = self._stored[key(text)] if made is None else made
        kind = "stored" if made is None or self.settings is None else self.settings.kind
        names = {key(name): name for name in self._names}
        word = Word(text, feature, kind, key(text) in names, None, None)
        if word.known:
            return replace(word, nearest=names[key(text)], similarity=1.0)
        if not names:
            return word
        cosines = F.cosine_similarity(feature[None], self._known_features(), dim=1)
        best = int(cosines.argmax())
        return replace(word, nearest=self._names[best], similarity=float(cosines[best]))

    def _known_features(self) -> torch.Tensor:
        """(K, D) of the known affordances."""
        if self._known is None:
            missing = [name for name in self._names if key(name) not in self._stored]
            made = dict(zip(missing, self._encode(missing), strict=True)) if missing else {}
            rows = [made[name] if name in made else self._stored[key(name)] for name in self._names]
            self._known = torch.stack(rows)
        return self._known

    def _encode(self, phrases: Sequence[str]) -> torch.Tensor:
        if self._encoder is None:
            self._encoder = self._make_encoder(phrases)
        return self._encoder(phrases)

    def _make_encoder(self, phrases: Sequence[str]) -> PhraseEncoder:
        settings = self.settings
        words, known = ", ".join(map(repr, phrases[:3])), ", ".join(self._names) or "none"
        cure = f"name the CLIP whose text features it was trained with (text model); known affordances: {known}"
        if settings is None or settings.kind == "files":
            raise VidaffError(f"{words}: the checkpoint has no text feature of this and no text tower; {cure}")
        if settings.kind == "clip" and not self.by_user and (away := missing_here(settings)):
            raise VidaffError(
                f"{words}: the checkpoint was trained with the text tower {away!r}, which is not here and "
                f"is not downloaded unasked; {cure}"
            )
        return make_text_encoder(settings, self.dim)


def key(name: str) -> str:
    """What names are compared by: ``Cut_with`` and ``cut with`` are the same."""
    return readable(name).lower()


WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
VOCABULARY = ("tokenizer.json", "vocab.json")


def missing_here(settings: TextSettings) -> str | None:
    """Which of a text tower and its tokenizer would have to be downloaded; None when both are here."""
    if not is_local(settings.source, WEIGHTS):
        return settings.source or "(none)"
    if settings.tokenizer is not None and not is_local(settings.tokenizer, VOCABULARY):
        return settings.tokenizer
    return None


def is_local(source: str | None, files: Sequence[str]) -> bool:
    """Whether a model is a file or folder here, or a hub id with one of ``files`` in the local cache."""
    if source is None:
        return False
    if Path(source).exists():
        return True
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return any(isinstance(try_to_load_from_cache(source, file), str) for file in files)
    except HFValidationError:
        return False


def vocabulary(
    table: TextTable | None,
    stored: TextSettings | None,
    info: dict[str, Any],
    dim: int,
    *,
    text_model: str | None = None,
    tokenizer: str | None = None,
    template: str | None = None,
    folder: Path | None = None,
    default_affordances: Sequence[str] = (),
) -> Vocabulary:
    """The vocabulary of a checkpoint.

    Args:
        table: the features it keeps.
        stored: how they were made.
        info: what it says of itself; ``trained.affordances`` and ``affordances`` are read.
        dim: width of its text features.
        text_model: the user's text tower, for words of which no feature is stored.
        tokenizer: of that tower, if it is an archive without one.
        template: prompt for that tower, '{}' stands for the word; default: the checkpoint's, else the word alone.
        folder: of the checkpoint; a tower named by a relative path is looked for there first.
        default_affordances: names of a checkpoint that says none.

    Raises:
        VidaffError: a tower for a network that was not trained with one.
    """
    names = _names(info, table) or tuple(default_affordances)
    if text_model is None:
        if tokenizer is not None or template is not None:
            raise VidaffError("a tokenizer and a template belong to a text model, which is not named")
        settings = stored
        if stored is not None and stored.source and folder is not None and (folder / stored.source).exists():
            settings = stored.model_copy(update={"source": str(folder / stored.source)})
        return Vocabulary(table, settings, dim, affordances=names)
    settings = tower_settings(stored, text_model, tokenizer, template)
    return Vocabulary(table, settings, dim, affordances=names, by_user=True)


def tower_settings(
    stored: TextSettings | None, text_model: str, tokenizer: str | None = None, template: str | None = None
) -> TextSettings:
    """The user's text tower, asked as the checkpoint's features (``stored``) were made; arguments of `vocabulary`.

    Raises:
        VidaffError: a network that was trained without a tower, or a template without a place for the word.
    """
    if stored is not None and stored.kind == "spelling":
        raise VidaffError(
            "the network was trained with features of spelling, which no text model makes; leave the text model out"
        )
    changes = {"kind": "clip", "source": text_model, "tokenizer": tokenizer}
    if template is not None:
        if template.count("{}") != 1:
            raise VidaffError(f"template {template!r}: must hold '{{}}' once, for the word")
        changes["template"] = template
    return (stored or TextSettings()).model_copy(update=changes)


def _names(info: dict[str, Any], table: TextTable | None) -> tuple[str, ...]:
    """Names that the training split held, else those of the data set, if they are lists of names."""
    trained = info.get("trained")
    lists = (trained.get("affordances") if isinstance(trained, dict) else None, info.get("affordances"))
    for names in lists:
        if isinstance(names, list) and names and all(isinstance(n, str) and any(map(str.isalnum, n)) for n in names):
            return tuple(names)
    return () if table is None else tuple(table.verbs)
