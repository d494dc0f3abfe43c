"""Which part of an object an affordance concerns, in words: for text features and for part detectors.

Source: Xu et al., ICLR 2025, section 3.2; the words are those of the authors' queries.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import yaml

from vidaff.config import MAX_RECIPE_BYTES
from vidaff.errors import VidaffError, first_line

PartTexts = dict[tuple[str, str], tuple[str, ...]]
"""(affordance, object) -> the words for its parts, one or more."""


def read_part_texts(path: str | Path | None = None) -> PartTexts:
    """Read a mapping; None for the shipped one of AGD20K.

    Raises:
        VidaffError: no readable file of the form ``parts: {object: {words: [affordances]}}``, and ``whole: {object:
            [affordances]}`` for affordances of the whole object, by its name.
    """
    where = "part texts" if path is None else str(path)
    try:
        content = yaml.safe_load(_text(path))
        found: dict[tuple[str, str], list[str]] = {}
        for name, parts in content["parts"].items():
            for words, affordances in parts.items():
                for affordance in affordances:
                    found.setdefault((str(affordance), str(name)), []).append(str(words))
        for name, affordances in (content.get("whole") or {}).items():
            for affordance in affordances:
                found.setdefault((str(affordance), str(name)), []).append(str(name).replace("_", " "))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise VidaffError(f"{where}: cannot be read ({first_line(error)})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise VidaffError(f"{where}: 'parts: {{object: {{words: [affordances]}}}}' is expected") from error
    return {pair: tuple(words) for pair, words in found.items()}


def _text(path: str | Path | None) -> str:
    if path is None:
        resource = importlib.resources.files("vidaff") / "mappings" / "agd20k-parts.yaml"
        return resource.read_text(encoding="utf-8")
    if Path(path).stat().st_size > MAX_RECIPE_BYTES:
        raise ValueError(f"larger than {MAX_RECIPE_BYTES >> 20} MiB")
    return Path(path).read_text(encoding="utf-8")


def part_words(texts: PartTexts, affordance: str, name: str) -> tuple[str, ...]:
    """Words for the parts of the object ``name`` that ``affordance`` concerns; its own name where nothing is said."""
    return texts.get((affordance, name), (name.replace("_", " "),))
