"""The ablations of the image branch: the three modules of WSAG-PLSP, and what each of them consists of.

Source: Xu and Mu, ICLR 2025, Tables 2, 8, 9 and 10.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from vidaff.ablation.study import Comparison, Evaluation, Metric, Study, Variant
from vidaff.errors import VidaffError
from vidaff.models.image.recipe import GrounderRecipe, load_grounder_recipe
from vidaff.published_grounding import ABLATION

METRICS: Final = (
    Metric("kld", "KLD", "test", ("overall", "kld_plsp"), higher=False, digits=3),
    Metric("sim", "SIM", "test", ("overall", "sim_plsp"), digits=3),
    Metric("nss", "NSS", "test", ("overall", "nss_plsp"), digits=3),
)
OFF: Final = {"train.labels": "initial", "train.alignment": "none", "train.reasoning": "none", "train.stitch": "0"}
"""The baseline: initial labels, none of the modules."""
ROWS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "base": ("baseline", {}),
    "refinement": ("+ refinement", {"train.labels": "refined"}),
    "refinement-raw": ("+ refinement without clean-up", {"train.labels": "raw"}),
    "alignment": ("+ alignment", {"train.alignment": "box"}),
    "alignment-picture": ("+ alignment without object mask", {"train.alignment": "picture"}),
    "reasoning-part": ("+ reasoning, part", {"train.reasoning": "part"}),
    "reasoning-object": ("+ reasoning, part and object", {"train.reasoning": "object"}),
    "reasoning": ("+ reasoning, part, object, stitching", {"train.reasoning": "object", "train.stitch": "{stitch}"}),
}
"""Row -> its title, and what it switches on."""
GROUPS: Final = {
    "main": ("base", "full", "cam"),
    "table2": ("base", "refinement", "alignment", "reasoning", "full", "cam"),
    "table8": ("base", "alignment-picture", "alignment"),
    "table9": ("base", "refinement-raw", "refinement"),
    "table10": ("base", "reasoning-part", "reasoning-object", "reasoning"),
    "all": (*ROWS, "full", "cam"),
}
CLAIMS: Final = (
    ("refinement helps", "refinement", "base"),
    ("the clean-up helps", "refinement", "refinement-raw"),
    ("alignment helps", "alignment", "base"),
    ("the object mask helps alignment", "alignment", "alignment-picture"),
    ("reasoning helps", "reasoning", "base"),
    ("the full method beats the baseline", "full", "base"),
    ("the full method beats CAM", "full", "cam"),
    ("pseudo-labels beat CAM", "base", "cam"),
)
CAM: Final = "cam"
CAM_TAKES: Final[dict[str, tuple[str, ...]]] = {
    "model": ("dim", "encoder", "clip", "backbone"),
    "input": ("size", "mean", "std"),
    "train": (
        "epochs", "batch_size", "micro_batch", "lr", "encoder_lr", "weight_decay", "schedule", "min_lr", "warmup_steps",
        "clip_grad", "encoder_weights", "num_exo", "precision", "val_every", "workers", "max_minutes",
    ),
}  # fmt: skip
"""Settings of the study's recipe that the CAM baseline shares: size, pictures and optimisation, but no module."""
SOURCE: Final = (
    'P. Xu, Y. Mu, "Weakly-Supervised Affordance Grounding Guided by Part-Level Semantic Priors", ICLR 2025, '
    "Tables 2, 8, 9 and 10"
)


def grounding_study(
    recipe: str,
    overrides: tuple[str, ...],
    *,
    group: str,
    data: Path,
    split: str = "seen",
    labels: Path | None = None,
    manifest: Path | None = None,
) -> Study:
    """The study of the image branch.

    Args:
        recipe: name or file of the recipe that all variants share; the CAM baseline has its own, as large as this one
            and trained as long.
        overrides: changes to it.
        group: one of :data:`GROUPS`.
        data: root of AGD20K.
        split: ``seen``, ``unseen`` or ``hard``.
        labels: folder of pseudo-labels, if they are not within ``data``.
        manifest: which objects train and which test, for ``hard``.

    Raises:
        VidaffError: unknown group, unusable recipe or data, or no refined labels for rows that need them.
    """
    if group not in GROUPS:
        raise VidaffError(f"group {group!r} is not one of agd20k: {', '.join(GROUPS)}")
    base = load_grounder_recipe(recipe, overrides)
    names = GROUPS[group]
    _check_labels(data, split, labels, manifest, names)
    rows = tuple(grounding_row(name, split, f"{base.train.stitch:g}", base) for name in names)
    divided = ("--manifest", str(manifest.resolve())) if manifest else ()
    return Study(
        title=f"Ablation of the image branch, {split}",
        dataset="agd20k",
        variants=rows,
        evaluations=(Evaluation("test", ("--split", split, *divided)),),
        metrics=METRICS,
        comparisons=tuple(
            Comparison(claim, (a, "kld"), (b, "kld")) for claim, a, b in CLAIMS if a in names and b in names
        ),
        data=lambda variant: data,
        source=SOURCE,
        arguments=("--split", split, *(("--labels", str(labels.resolve())) if labels else ()), *divided),
    )


def grounding_row(name: str, split: str, stitch: str, base: GrounderRecipe | None = None) -> Variant:
    """A row by its name, with the published numbers of ``split``; ``stitch`` is the recipe's own share.

    The CAM baseline takes size and optimisation from ``base``, the study's recipe; without, it is its own recipe.
    """
    published = ABLATION.get(split, {}).get(name)
    paper = {} if published is None else published._asdict()
    if name == CAM:
        return Variant(CAM, "CAM baseline", cam_changes(base) if base else (), model=CAM, recipe=CAM)
    if name == "full":
        return Variant("full", "all", paper=paper)
    title, switches = ROWS[name]
    values = {**OFF, **switches}
    changes = tuple(f"{key}={value.format(stitch=stitch)}" for key, value in values.items())
    return Variant(name, title, changes, paper)


def cam_changes(base: GrounderRecipe) -> tuple[str, ...]:
    """Changes to the CAM baseline's recipe that make it as large as ``base`` and train it in the same way."""
    from vidaff.models.baselines.cam import load_cam_recipe

    own = load_cam_recipe(CAM)
    changes: list[str] = []
    for block, keys in CAM_TAKES.items():
        has, wanted = getattr(own, block).model_dump(mode="json"), getattr(base, block).model_dump(mode="json")
        if block == "train":  # no micro-batch is one of the whole batch
            has["micro_batch"] = has["micro_batch"] or wanted["batch_size"]
            wanted["micro_batch"] = wanted["micro_batch"] or wanted["batch_size"]
        changes += (line for key in keys for line in _changed(f"{block}.{key}", has[key], wanted[key]))
    return tuple(changes)


def _changed(key: str, has: Any, wanted: Any) -> Iterator[str]:
    """Overrides that make ``wanted`` of ``has``, leaf by leaf where both are blocks."""
    if isinstance(has, dict) and isinstance(wanted, dict):
        for name in wanted:
            yield from _changed(f"{key}.{name}", has.get(name), wanted[name])
    elif has != wanted:
        yield f"{key}={json.dumps(wanted)}"


def _check_labels(data: Path, split: str, labels: Path | None, manifest: Path | None, names: tuple[str, ...]) -> None:
    """Refuse rows that would train on initial labels under the name of refined ones."""
    from vidaff.datasets.agd20k import Agd20kTrain

    for kind, rows in (("refined", {"refinement", "full"}), ("raw", {"refinement-raw"})):
        wanted = sorted(rows & set(names))
        if not wanted:
            continue
        if not Agd20kTrain(data, split, labels=labels, label=kind, manifest=manifest).label_counts.get(kind):
            raise VidaffError(
                f"{labels or data}: holds no {kind} labels for {', '.join(wanted)}; make them with 'vidaff label', "
                "or choose --group table8 or table10"
            )
