"""``labels.json``: where the pictures are, and with which settings, models and code each step was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidaff.datasets.agd20k.labels import LabelFolder
from vidaff.errors import VidaffError
from vidaff.io import read_json
from vidaff.labels.engine import read_manifest
from vidaff.labels.label_recipe import LabelRecipe

FILE = "labels.json"


def settings_of(recipe: LabelRecipe, step: str) -> dict[str, Any]:
    """The blocks of a recipe that decide what ``step`` gives."""
    whole = recipe.model_dump(mode="json")
    refine = whole["refine"]
    blocks: dict[str, dict[str, Any]] = {
        "init": {"parts": whole["parts"], "part": whole["part"]},
        "objects": {"object": recipe.objects.model_dump(mode="json")},
        "similarity": {"encoder": whole["encoder"]},
        "text": {"parts": whole["parts"], "text": whole["text"]},
        "refine-train": {"refine": {name: value for name, value in refine.items() if name != "use"}},
        "refine": {"refine": {"use": refine["use"], "input": refine["input"]}},
        "clean": {"clean": whole["clean"]},
    }
    return blocks[step]


def write_labels_record(
    out: LabelFolder, recipe: LabelRecipe, where: Mapping[str, str | None], steps: tuple[str, ...], step: str
) -> None:
    """Write ``labels.json`` when ``step`` has begun with ``recipe``, or is done.

    ``settings`` has what each step was made with. ``recipe`` is put together of that, with the settings of this run for
    steps that were never run. ``steps`` has the hashes of the first shard of each.
    """
    settings = {**_read_settings(out), step: settings_of(recipe, step)}
    whole = recipe.model_dump(mode="json")
    for name in steps:
        for block, value in settings.get(name, {}).items():
            whole[block] = {**whole[block], **value} if block == "refine" else value
    hashes = {name: lines[0]["hashes"] for name in steps if (lines := read_manifest(out.folder, name))}
    out.write_record({"made_by": "vidaff label", **where, "recipe": whole, "settings": settings, "steps": hashes})


def _read_settings(out: LabelFolder) -> dict[str, Any]:
    """Settings by step as they were; none where the file is missing or not ours."""
    try:
        value = read_json(out.folder / FILE)
    except VidaffError:
        return {}
    found = value.get("settings") if isinstance(value, dict) else None
    found = found if isinstance(found, dict) else {}
    return {step: blocks for step, blocks in found.items() if isinstance(blocks, dict)}
