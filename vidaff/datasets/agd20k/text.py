"""Text features of affordances, objects and parts: read from our file or the authors', as tables by id.

Ours, ``text.safetensors``: tensors ``verb/<affordance>``, ``noun/<object>`` and ``part/<affordance>/<object>``, each
(D,) float32. The authors': ``sentenceFeatVerbAGD.pth``, ``...Noun...`` and ``...Part...``, dictionaries by name; parts
are called ``"affordance object"``. The vectors are not normalised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vidaff.datasets.agd20k.classes import Classes
from vidaff.datasets.agd20k.places import LabelPlaces
from vidaff.datasets.agd20k.tree import Agd20kTree
from vidaff.errors import VidaffError, first_line
from vidaff.io import atomic_path
from vidaff.unpickle import load_tree

FILE = "text.safetensors"
AUTHORS = {
    "verbs": "sentenceFeatVerbAGD.pth", "nouns": "sentenceFeatNounAGD.pth", "parts": "sentenceFeatPartAGD.pth",
}  # fmt: skip
Pair = tuple[str, str]


class TextFeatures(NamedTuple):
    """(D,) float32 by affordance, by object, and by (affordance, object)."""

    verbs: dict[str, np.ndarray]
    nouns: dict[str, np.ndarray]
    parts: dict[Pair, np.ndarray]

    def verb_table(self, classes: Classes, pairs: Iterable[Pair]) -> np.ndarray:
        """(affordances, D) float32 by id; rows of affordances that ``pairs`` do not name are zero.

        Raises :class:`VidaffError` listing those that are needed and missing, as the other tables do.
        """
        return _table("affordances", self.verbs, classes.affordances, {verb for verb, _ in pairs})

    def noun_table(self, classes: Classes, pairs: Iterable[Pair]) -> np.ndarray:
        """(objects, D) float32 by id; rows of objects that ``pairs`` do not name are zero."""
        return _table("objects", self.nouns, classes.objects, {noun for _, noun in pairs})

    def part_table(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(pairs, D) float32, in the order of ``pairs``."""
        return _table("parts", self.parts, pairs, set(pairs))


def _table(what: str, features: Mapping[Any, np.ndarray], names: Sequence[Any], needed: set[Any]) -> np.ndarray:
    missing = sorted(needed - set(features))
    if missing:
        shown = ", ".join(name if isinstance(name, str) else " ".join(name) for name in missing[:5])
        raise VidaffError(f"text features of {len(missing)} {what} are missing: {shown}{', ...' * (len(missing) > 5)}")
    table = np.zeros((len(names), len(next(iter(features.values())))), np.float32)
    for row, name in enumerate(names):
        if name in needed:
            table[row] = features[name]
    return table


def read_text_features(
    root: str | Path, split: str = "seen", *, labels: str | Path | None = None
) -> TextFeatures | None:
    """Text features of a tree: of the label folder, the folder above it, or ROOT; ours first. None: there are none.

    Raises :class:`VidaffError` for files that cannot be used; ``labels`` is that of
    :class:`vidaff.datasets.agd20k.places.LabelPlaces`.
    """
    tree = Agd20kTree(root, split)
    places = LabelPlaces(tree, labels)
    for folder in (places.ours.folder, places.ours.folder.parent, tree.root):
        if (folder / FILE).is_file():
            return read_features_file(folder / FILE)
        if all((folder / name).is_file() for name in AUTHORS.values()):
            return _read_authors(folder)
    return None


def write_text_features(path: str | Path, features: TextFeatures, metadata: Mapping[str, str] | None = None) -> Path:
    """Write ``text.safetensors``; ``metadata`` says how the features were made."""
    from safetensors.numpy import save_file

    path = Path(path)
    named = {f"verb/{name}": vector for name, vector in features.verbs.items()}
    named |= {f"noun/{name}": vector for name, vector in features.nouns.items()}
    named |= {f"part/{verb}/{noun}": vector for (verb, noun), vector in features.parts.items()}
    _check_lengths(named, path)
    with atomic_path(path) as temporary:
        arrays = {name: np.ascontiguousarray(vector, np.float32) for name, vector in named.items()}
        save_file(arrays, temporary, metadata=dict(metadata or {}))
    return path


def read_features_file(path: Path) -> TextFeatures:
    """Read ``text.safetensors``; raise :class:`VidaffError` when it is no such file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        named = load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise VidaffError(f"{path}: not readable as text features ({first_line(error)})") from error
    found = TextFeatures({}, {}, {})
    for name, vector in named.items():
        match name.split("/"):
            case ["verb", verb]:
                found.verbs[verb] = vector
            case ["noun", noun]:
                found.nouns[noun] = vector
            case ["part", verb, noun]:
                found.parts[verb, noun] = vector
            case _:
                raise VidaffError(f"{path}: {name!r} is none of verb/..., noun/..., part/.../...")
    _check_lengths(named, path)
    return found


def _read_authors(folder: Path) -> TextFeatures:
    tables = {}
    for kind, name in AUTHORS.items():
        tables[kind] = load_tree(folder / name)
        if not isinstance(tables[kind], dict) or not all(isinstance(key, str) for key in tables[kind]):
            raise VidaffError(f"{folder / name}: a dictionary from names to vectors is expected")
        _check_lengths(tables[kind], folder / name)
    parts = {_pair(key, folder / AUTHORS["parts"]): vector for key, vector in tables["parts"].items()}
    return TextFeatures(tables["verbs"], tables["nouns"], parts)


def _pair(key: str, path: Path) -> Pair:
    verb, _, noun = key.partition(" ")
    if not verb or not noun:
        raise VidaffError(f"{path}: parts are named 'affordance object', got {key!r}")
    return verb, noun


def _check_lengths(named: Mapping[str, Any], path: Path) -> None:
    shapes = {vector.shape if isinstance(vector, np.ndarray) else None for vector in named.values()}
    if len(shapes) != 1 or None in shapes or len(shapes.pop() or ()) != 1:
        raise VidaffError(f"{path}: vectors of one length are expected")
