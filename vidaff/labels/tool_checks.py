"""What can be said of the tools of all steps before the first one runs: no run of days ends over a typing error."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.labels.label_recipe import LabelRecipe
    from vidaff.labels.settings import DetectorSettings, SegmenterSettings
    from vidaff.models.image.text_table import TextSettings

LOCAL: Final = ("vlpart", "sam", "file")
"""Kinds whose weights are a file or a folder, never a hub id."""


def check_tools(recipe: LabelRecipe, steps: Collection[str], place: Callable[[Any], Any]) -> None:
    """Raise :class:`VidaffError` for a tool of ``steps`` that is not named, is not there, or cannot do what it should.

    Nothing is loaded but the configurations of hub ids. ``place`` completes the names of files in a tool's settings.
    """
    part, objects, clean = recipe.part, recipe.objects, recipe.clean
    if "init" in steps:
        _check_tool("init", "detector", place(part.detector))
        _check_tool("init", "segmenter", place(part.segmenter))
    if "objects" in steps:
        _check_tool("objects", "detector", place(objects.detector))
        _check_tool("objects", "segmenter", place(objects.segmenter))
    if "similarity" in steps and recipe.encoder.weights:
        _check_source(recipe.encoder.weights, "similarity: encoder.weights", local=False)
    if "text" in steps:
        _check_text(recipe.text)
    if "refine-train" in steps:
        for key in ("encoder_weights", "features"):
            if source := getattr(recipe.refine.train, key):
                _check_source(source, f"refine-train: refine.train.{key}", local=False)
    if "clean" in steps and clean.regions == "proposer":
        proposer = clean.proposer or part.segmenter
        if proposer.kind == "sam3":
            raise VidaffError(
                "clean: SAM 3 proposes no unnamed regions; set clean.proposer.kind to sam, sam-hf, sam2 or file (and "
                "clean.proposer.weights), or clean.regions=felzenszwalb"
            )
        _check_tool("clean", "proposer", place(proposer))


def _check_tool(step: str, role: str, tool: DetectorSettings | SegmenterSettings) -> None:
    from vidaff.labels.loading import required

    weights = required(tool.weights, f"{step}: the weights of the {role} {tool.kind}")
    _check_source(weights, f"{step}: {role} {tool.kind}", local=tool.kind in LOCAL)


def _check_text(text: TextSettings) -> None:
    if text.parts is not None:
        raise VidaffError("text: text.parts means nothing here; name files of part names in 'parts', or by --parts")
    if text.kind == "files":
        raise VidaffError("text: text.kind is clip or spelling; 'files' have no tower that could be asked")
    if text.kind == "clip":
        from vidaff.labels.loading import required

        _check_source(required(text.source, "text: the text tower (text.source)"), "text: CLIP", local=False)


def _check_source(source: str, what: str, *, local: bool) -> None:
    if Path(source).exists():
        return
    if local:
        raise VidaffError(f"{what}: {source}: no such file or folder")
    from transformers import AutoConfig

    from vidaff.models.image.pretrained import load_pretrained

    load_pretrained(AutoConfig.from_pretrained, source, what)
