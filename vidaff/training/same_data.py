"""Whether a run is resumed on the data that it began with: facts in its checkpoint beside those of now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from vidaff.datasets.base import ClipDataset
from vidaff.errors import VidaffError

PRINTS: Final = "prints"
"""Key of a checkpoint's ``info`` that holds fingerprints of the data, each by one of the names below."""
MEANT: Final = {
    "train": "names of the training clips",
    "val": "names of the validation clips",
    "prepared": "settings of the prepared file",
    "pictures": "names or sizes of the pictures",
    "exocentric": "names of the exocentric pictures",
    "labels": "pseudo-labels",
    "text": "names or part texts of the text features",
}
SHOWN: Final = 40
"""Longest value, as text, that is named in the error."""


class Before(NamedTuple):
    """What a run goes on from: its last checkpoint, None where there is none, and the ``info`` in it."""

    last: str | None = None
    info: Mapping[str, Any] = {}


def fingerprint(lines: Iterable[str]) -> str:
    """A short name of ``lines`` in their order."""
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def clip_prints(**splits: ClipDataset) -> dict[str, str]:
    """Fingerprints of names, actions and objects of some splits, and of the settings of a prepared file, if any."""
    prints = {}
    for split, dataset in splits.items():
        infos = (dataset.info(index) for index in range(len(dataset)))
        prints[split] = fingerprint(f"{info.name}\t{info.action}\t{info.object}" for info in infos)
        prints["prepared"] = fingerprint([json.dumps(getattr(dataset, "settings", None), sort_keys=True)])
    return prints


def check_same_data(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to resume a run on other data.

    Args:
        out: folder of the run.
        before: ``info`` of its checkpoint; facts that an older version did not store are not compared.
        now: facts of the data, by the same names.

    Raises:
        VidaffError: a fact has changed; names those that have.
    """
    old, new = (json.loads(json.dumps(dict(facts))) for facts in (before, now))
    changed = [_said(key, old[key], new[key]) for key in new if key in old and key != PRINTS and old[key] != new[key]]
    prints, others = new.get(PRINTS, {}), old.get(PRINTS, {})
    changed += [MEANT.get(key, key) for key in prints if key in others and others[key] != prints[key]]
    if changed:
        raise VidaffError(
            f"{out}: was trained on other data ({', '.join(changed)}); resume with the same, or pass --overwrite to "
            "begin anew"
        )


def _said(key: str, old: Any, new: Any) -> str:
    values = f"{old!r} then, {new!r} now"
    return f"{key} {values}" if len(values) <= 2 * SHOWN else key
