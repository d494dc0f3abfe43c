"""The ablation of the video branch (the paper's Table 3), and the choices that the paper does not compare.

Source: Thermos et al., ICASSP 2020, section 4.3, Table 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from vidaff.ablation.study import Comparison, Evaluation, Metric, Study, Variant
from vidaff.config import Recipe, load_recipe
from vidaff.errors import VidaffError
from vidaff.published import ABLATION, OVERALL, SOURCE

METRICS: Final = (
    Metric("video_iou", "video IoU", "video", ("overall", "mean_iou")),
    Metric("video_f", "video F", "video", ("overall", "mean_f1")),
    Metric("action", "action accuracy", "video", ("overall", "action_accuracy")),
    Metric("static_iou", "static IoU", "static", ("overall", "mean_iou")),
    Metric("static_f", "static F", "static", ("overall", "mean_f1")),
)
EVALUATIONS: Final = (Evaluation("video", ("--mode", "video")), Evaluation("static", ("--mode", "static")))
GROUPS: Final = ("table3", "attention", "colour", "all")


def _published(title: str) -> dict[str, float]:
    """The paper's numbers of a row, by metric key."""
    rows = {**OVERALL, **ABLATION}
    found: dict[str, float] = {}
    for mode, row in (("video", f"{title}, video"), ("static", f"{title}, static image")):
        found |= {f"{mode}_{key}": rows[row][key] for key in ("iou", "f") if row in rows}
    return found


def _variant(title: str, *, attention: str) -> Variant:
    """A row of the table from its title, such as ``RGB-D + attention + 3D flow``."""
    words = title.split(" + ")
    stream = {"2D flow": "flow2d", "3D flow": "flow3d"}.get(words[-1], "none")
    changes = (
        f"model.depth={str(words[0] == 'RGB-D').lower()}",
        f"model.attention={attention if 'attention' in words else 'none'}",
        f"model.second_stream={stream}",
    )
    short = {"RGB-D": "rgbd", "2D flow": "flow2d", "3D flow": "flow3d"}
    name = "-".join(short.get(word, word.lower()) for word in words)
    return Variant(name, title, changes, _published(title))


FULL: Final = "RGB-D + attention + 3D flow"
PAPER_ROWS: Final = ("RGB", "RGB + attention", "RGB + attention + 2D flow", "RGB-D", "RGB-D + attention", FULL)


def variants(group: str, recipe: Recipe) -> tuple[Variant, ...]:
    """The rows of a group; what the recipe itself says bears the full model's name, so that groups share its runs.

    Args:
        group: ``table3``: the six rows of the paper; ``attention``: the full model with softmax, sigmoid and no mask;
            ``colour``: the full model with signed and absolute flow colours; ``all``: every one of them once.
        recipe: says which mask the rows of the paper have, softmax if none, and which colours.
    """
    mask = _mask_of(recipe)
    masks = (
        *(_mask_variant(kind, mask) for kind in ("softmax", "sigmoid")),
        _variant("RGB-D + 3D flow", attention=mask),
    )
    colours = tuple(_colour_variant(kind, recipe) for kind in ("signed", "abs"))
    groups = {
        "table3": tuple(_variant(title, attention=mask) for title in PAPER_ROWS), "attention": masks, "colour": colours,
    }  # fmt: skip
    if group != "all":
        return groups[group]
    return tuple({row.name: row for rows in groups.values() for row in reversed(rows)}.values())


def _mask_of(recipe: Recipe) -> str:
    return "softmax" if recipe.model.attention == "none" else recipe.model.attention


def _mask_variant(kind: str, usual: str) -> Variant:
    full = _variant(FULL, attention=kind)
    return full if kind == usual else replace(full, name=f"attention-{kind}", title=f"{FULL} ({kind})", paper={})


def _colour_variant(kind: str, recipe: Recipe) -> Variant:
    full = _variant(FULL, attention=_mask_of(recipe))
    if kind == recipe.input.flow_coding:
        return full
    changes = (*full.changes, f"input.flow_coding={kind}")
    return Variant(f"colour-{kind}", f"{FULL} ({kind} colours)", changes)


def _claims(rows: tuple[Variant, ...], recipe: Recipe) -> tuple[Comparison, ...]:
    """The paper's order, and what the other groups ask; only claims about rows that are there."""
    full = "rgbd-attention-flow3d"
    masks = [_mask_variant(kind, _mask_of(recipe)).name for kind in ("softmax", "sigmoid")]
    colours = [_colour_variant(kind, recipe).name for kind in ("signed", "abs")]
    pairs = (
        ("attention helps RGB", "rgb-attention", "rgb"),
        ("attention helps RGB-D", "rgbd-attention", "rgbd"),
        ("depth helps", "rgbd", "rgb"),
        ("depth helps with attention", "rgbd-attention", "rgb-attention"),
        ("2D flow helps RGB", "rgb-attention-flow2d", "rgb-attention"),
        ("3D flow helps RGB-D", full, "rgbd-attention"),
        ("the full model beats RGB", full, "rgb"),
        ("a softmax mask beats none", masks[0], "rgbd-flow3d"),
        ("a sigmoid mask beats none", masks[1], "rgbd-flow3d"),
        ("signed colours beat absolute ones", *colours),
    )
    names = {row.name for row in rows}
    found = [Comparison(claim, (a, "video_iou"), (b, "video_iou")) for claim, a, b in pairs if {a, b} <= names]
    found += [
        Comparison(f"video beats static, {row.title}", (row.name, "video_iou"), (row.name, "static_iou"))
        for row in rows
    ]
    return tuple(found)


def video_study(
    recipe: str, overrides: tuple[str, ...], *, group: str, data: Callable[[str], Path], dataset: str = "sor3d-aff"
) -> Study:
    """The study of the video branch.

    Args:
        recipe: name or file of the recipe that all variants share.
        overrides: changes to it.
        group: one of :data:`GROUPS`.
        data: gives the prepared file for a second stream, ``none``, ``flow2d`` or ``flow3d``.
        dataset: ``sor3d-aff`` or ``own-clips``.

    Raises:
        VidaffError: unknown group or unusable recipe.
    """
    if group not in GROUPS:
        raise VidaffError(f"unknown group {group!r}; known: {', '.join(GROUPS)}")
    base = load_recipe(recipe, overrides)
    rows = variants(group, base)
    return Study(
        title="Ablation of the video branch",
        dataset=dataset,
        variants=rows,
        evaluations=EVALUATIONS,
        metrics=METRICS,
        comparisons=_claims(rows, base),
        data=lambda variant: data(stream_of(variant)),
        source=f"{SOURCE}, Table 3",
    )


def stream_of(variant: Variant) -> str:
    """The second stream that a variant sets."""
    return next(c.partition("=")[2] for c in variant.changes if c.startswith("model.second_stream="))
