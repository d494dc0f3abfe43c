"""Names to text features: CLIP's RN50 text tower, or a file of ready vectors.

Source: VLPart's prompt, "a <name>", in lower case, with a colon as a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.models.image.text import TextEncoder

MAX_VECTOR_BYTES = 256 * 2**20


def prompt(name: str) -> str:
    """What the text tower reads for a name: ``Bottle:Cap`` -> ``a bottle cap``.

    Raises:
        ValueError: no letter or digit in it.
    """
    words = " ".join(name.lower().replace(":", " ").replace("_", " ").split())
    if not any(character.isalnum() for character in words):
        raise ValueError(f"a query must hold a word, got {name!r}")
    return f"a {words}"


class Texts(Protocol):
    """Gives features of names."""

    def __call__(self, names: Sequence[str]) -> torch.Tensor:
        """Features (n, D) float32, not normalised."""
        ...

    def fingerprint(self) -> str:
        """Short text that changes when the features do."""
        ...


class TowerTexts:
    """Features from CLIP's text tower; every name is computed once."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self._known: dict[str, torch.Tensor] = {}

    def __call__(self, names: Sequence[str]) -> torch.Tensor:
        wanted = [prompt(name) for name in names]
        missing = sorted({text for text in wanted if text not in self._known})
        # One by one: what a name is padded to, and with it its last bits, must not depend on what was asked before.
        self._known |= {text: self.encoder([text])[0] for text in missing}
        return torch.stack([self._known[text] for text in wanted])

    def fingerprint(self) -> str:
        """Hash of samples of the tower's weights, and of the tokenizer's vocabulary."""
        from vidaff.labels.engine.hashes import hash_value
        from vidaff.labels.loading import weights_identity

        vocabulary = hash_value(self.encoder.tokenizer.get_vocab())
        return f"tower-{weights_identity(self.encoder.tower.state_dict())}-{vocabulary}"


class VectorTexts:
    """Features out of a table, for the names that it holds.

    Args:
        names: what the rows stand for.
        vectors: (n, D) features.
    """

    def __init__(self, names: Sequence[str], vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or len(vectors) != len(names):
            raise ValueError(f"vectors of shape {vectors.shape} do not go with {len(names)} names")
        self._rows = {prompt(name): row for name, row in zip(names, torch.from_numpy(vectors).float(), strict=True)}

    @classmethod
    def from_files(cls, vectors: str | Path, names: str | Path) -> VectorTexts:
        """Read ``vectors`` (.npy, one row per name) and ``names`` (text, one a line).

        Raises:
            VidaffError: files that cannot be read, are too large, or do not go together.
        """
        path = Path(vectors)
        try:
            if path.stat().st_size > MAX_VECTOR_BYTES:
                raise VidaffError(f"{path}: larger than {MAX_VECTOR_BYTES >> 20} MiB, refused as class vectors")
            array = np.load(path, allow_pickle=False)
            lines = Path(names).read_text(encoding="utf-8").splitlines()
            return cls([line.strip() for line in lines if line.strip()], np.asarray(array, np.float32))
        except (OSError, ValueError, EOFError) as error:
            raise VidaffError(f"{path}, {names}: not usable as class vectors ({error})") from error

    def __call__(self, names: Sequence[str]) -> torch.Tensor:
        missing = [name for name in names if prompt(name) not in self._rows]
        if missing:
            raise VidaffError(
                f"no class vector for {', '.join(map(repr, missing[:5]))}: the table holds {len(self._rows)} names; "
                "name a text tower instead"
            )
        return torch.stack([self._rows[prompt(name)] for name in names])

    def fingerprint(self) -> str:
        """Hash of samples of the table."""
        from vidaff.labels.loading import weights_identity

        return f"vectors-{weights_identity(self._rows)}"


def classifier(features: torch.Tensor) -> torch.Tensor:
    """(n, D) features -> (D, n) normalised columns."""
    return F.normalize(features.float(), dim=1).T.contiguous()


def tower_from_state(state: dict[str, torch.Tensor], tokenizer: Any, heads: int | None) -> TowerTexts:
    """The text tower that a VLPart checkpoint carries."""
    from vidaff.models.image.clip_weights import text_tower
    from vidaff.models.image.text import TextEncoder

    return TowerTexts(TextEncoder(text_tower(state, "the checkpoint's text encoder", heads), tokenizer))
