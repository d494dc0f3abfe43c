"""What to ask a part detector for: the part of an object that an affordance concerns, in words.

The 124 pairs of AGD20K are shipped. For others a user writes YAML of the same form, or has a language model write it:
:func:`prompt_text` asks, :func:`read_answer` checks what came back, :func:`write_part_names` keeps it.

Source: Xu et al., ICLR 2025, section 3.2 (the authors asked a language model, too; their words for AGD20K are shipped).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, field_validator

from vidaff.config import MAX_RECIPE_BYTES, Settings
from vidaff.errors import VidaffError, first_line
from vidaff.io import write_text
from vidaff.part_texts import PartTexts, read_part_texts

Pair = tuple[str, str]
"""Affordance and object."""
MAX_CSV_BYTES = 1 << 30
MAX_WORDS = 6
MAX_PARTS = 4
_WORDS = re.compile(r"[^\W_]+(?:[ '’-][^\W_]+)*")
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)


class _Row(Settings):
    """The answer for one pair."""

    affordance: str = Field(min_length=1, max_length=100)
    object: str = Field(min_length=1, max_length=100)
    parts: tuple[str, ...] = Field(min_length=1, max_length=MAX_PARTS)

    @field_validator("parts")
    @classmethod
    def _clean(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = tuple(" ".join(part.lower().split()) for part in parts)
        for part in cleaned:
            if not _WORDS.fullmatch(part) or len(part.split()) > MAX_WORDS or len(part) > 60:
                raise ValueError(f"{part!r} is no name of 1 to {MAX_WORDS} words")
        if len(set(cleaned)) != len(cleaned):
            raise ValueError(f"{', '.join(cleaned)}: a part twice")
        return cleaned


class _Answer(Settings):
    rows: tuple[_Row, ...] = Field(min_length=1, max_length=100_000)


def read_part_names(files: Iterable[str | Path] = ()) -> PartTexts:
    """The shipped pairs and those of the user's YAML ``files``, which override pair by pair, the last one foremost.

    Raises:
        VidaffError: a file that cannot be read or has another form.
    """
    names = dict(read_part_texts())
    for file in files:
        names |= read_part_texts(file)
    return names


def part_queries(names: PartTexts, affordance: str, thing: str) -> tuple[str, ...]:
    """What to ask the detector for; raise :class:`VidaffError` for a pair that has no part name."""
    if (affordance, thing) not in names:
        raise VidaffError(
            f"no part name for {affordance!r} of {thing!r}; list what is missing with `vidaff label parts`, "
            "and name a YAML file that holds it"
        )
    return names[affordance, thing]


def object_query(thing: str) -> str:
    """What to ask the detector for to find the whole object: ``soccer_ball`` -> ``soccer ball``."""
    return " ".join(thing.replace("_", " ").split())


def read_pairs(file: str | Path) -> list[Pair]:
    """The pairs of a CSV with the columns ``object`` and ``affordance``, each once, sorted.

    Raises:
        VidaffError: no readable CSV, no such columns, or a row without one of the two.
    """
    path = Path(file)
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise VidaffError(f"{path}: larger than {MAX_CSV_BYTES >> 20} MiB, refused as a CSV")
        with open(path, encoding="utf-8-sig", newline="") as lines:
            return sorted(_pairs(csv.DictReader(lines), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VidaffError(f"{path}: not readable as CSV ({first_line(error)})") from error


def _pairs(reader: csv.DictReader[str], path: Path) -> set[Pair]:
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]  # as the labelling reads them
    missing = {"object", "affordance"} - set(reader.fieldnames)
    if missing:
        raise VidaffError(f"{path}: the column {min(missing)!r} is missing; its first line must name the columns")
    found = set()
    for row in reader:
        pair = (row["affordance"] or "").strip(), (row["object"] or "").strip()
        if not all(pair):
            raise VidaffError(f"{path}: line {reader.line_num} lacks an affordance or an object")
        found.add(pair)
    return found


def missing_pairs(pairs: Iterable[Pair], names: PartTexts) -> list[Pair]:
    """Those of ``pairs`` that ``names`` do not hold, sorted."""
    return sorted(set(pairs) - set(names))


def prompt_text(pairs: Sequence[Pair]) -> str:
    """A text that a language model answers with the part names of ``pairs``, as :func:`read_answer` reads them."""
    listed = "\n".join(json.dumps({"affordance": verb, "object": thing}, ensure_ascii=False) for verb, thing in pairs)
    return _PROMPT.replace("MAX_PARTS", str(MAX_PARTS)).replace("MAX_WORDS", str(MAX_WORDS)).replace("PAIRS", listed)


_PROMPT = """\
Below is a list of actions and objects. For each of them name the part of the object that a person touches, holds or
uses when carrying out the action. An object detector will look for this name in photographs.

Rules:
- Begin the name with the object's name and add the part: "knife handle", not "handle".
- Where the action concerns the whole object, or no part of it can be seen apart, give the object's name alone.
- Give several parts, at most MAX_PARTS, only where the action needs all of them, as riding a bicycle needs its seat,
  handlebars and pedals.
- Use common English nouns, lower case, at most MAX_WORDS words, no punctuation.
- Copy "affordance" and "object" as they are. Answer every pair once.

Examples of answers:
{"affordance": "cut_with", "object": "knife", "parts": ["knife blade"]}
{"affordance": "hold", "object": "knife", "parts": ["knife handle"]}
{"affordance": "ride", "object": "bicycle", "parts": ["bicycle handlebars", "bicycle pedal", "bicycle seat"]}
{"affordance": "throw", "object": "basketball", "parts": ["basketball"]}

Answer with one JSON array of such objects and nothing else.

PAIRS
"""


def read_answer(file: str | Path, wanted: Iterable[Pair] | None = None) -> PartTexts:
    """Part names out of a language model's answer: a JSON array, or JSON objects, one a line; a code fence is dropped.

    Args:
        file: text file with the answer.
        wanted: the pairs that were asked for; None: any.

    Raises:
        VidaffError: no JSON of that form, a name that is no name, a pair twice, one that was not asked for, or one
            that was not answered.
    """
    path = Path(file)
    rows = _checked(_parsed(_read(path), path), path)
    found: PartTexts = {}
    for row in rows:
        if (row.affordance, row.object) in found:
            raise VidaffError(f"{path}: {row.affordance!r} of {row.object!r} is answered twice")
        found[row.affordance, row.object] = row.parts
    if wanted is not None:
        asked = set(wanted)
        for pairs, what in ((set(found) - asked, "was not asked for"), (asked - set(found), "is not answered")):
            if pairs:
                first, more = min(pairs), f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
                raise VidaffError(f"{path}: {first[0]!r} of {first[1]!r} {what}{more}")
    return found


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > 16 * MAX_RECIPE_BYTES:
            raise VidaffError(f"{path}: larger than {16 * MAX_RECIPE_BYTES >> 20} MiB, refused as an answer")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VidaffError(f"{path}: cannot be read ({first_line(error)})") from error
    fenced = _FENCE.search(text)
    return (fenced[1] if fenced else text).strip()


def _parsed(text: str, path: Path) -> object:
    try:
        if text.startswith("["):
            return json.loads(text)
        return [json.loads(line.rstrip(",")) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise VidaffError(f"{path}: a JSON array of answers is expected, nothing else ({first_line(error)})") from error


def _checked(rows: object, path: Path) -> tuple[_Row, ...]:
    try:
        return _Answer.model_validate({"rows": rows}).rows
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise VidaffError(f"{path}: answer {where or '(all)'}: {first['msg']}") from error


def write_part_names(file: str | Path, names: PartTexts) -> Path:
    """Write ``names`` as YAML that :func:`read_part_names` reads, objects and parts in alphabetical order.

    Whole objects are spelled out as parts of that name; reading gives the same names again.
    """
    parts: dict[str, dict[str, list[str]]] = {}
    for (affordance, thing), words in sorted(names.items(), key=lambda item: (item[0][1], item[0][0])):
        for word in words:
            parts.setdefault(thing, {}).setdefault(word, []).append(affordance)
    path = Path(file)
    write_text(path, yaml.safe_dump({"parts": parts}, sort_keys=True, allow_unicode=True, default_flow_style=None))
    return path
