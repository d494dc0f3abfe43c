"""The ablations of the image branch: the three modules of WSAG-PLSP, and what each of them consists of.

Source: Xu and Mu, ICLR 2025, Tables 2, 8, 9 and 10.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vidaff.ablation.study import Comparison, Evaluation, Metric, Study, Variant
from vidaff.errors import VidaffError
from vidaff.models.image.recipe import load_grounder_recipe
from vidaff.published_grounding import ABLATION

METRICS: Final = (
    Metric("kld", "KLD", "test", ("overall", "kld_plsp"), higher=False),
    Metric("sim", "SIM", "test", ("overall", "sim_plsp")),
    Metric("nss", "NSS", "test", ("overall", "nss_plsp")),
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
SOURCE: Final = (
    'P. Xu, Y. Mu, "Weakly-Supervised Affordance Grounding Guided by Part-Level Semantic Priors", ICLR 2025, '
    "Tables 2, 8, 9 and 10"
)


def grounding_study(
    recipe: str, overrides: tuple[str, ...], *, group: str, data: Path, split: str = "seen", labels: Path | None = None
) -> Study:
    """The study of the image branch.

    Args:
        recipe: name or file of the recipe that all variants share but the CAM baseline, which has its own.
        overrides: changes to it.
        group: one of :data:`GROUPS`.
        data: root of AGD20K.
        split: ``seen``, ``unseen`` or ``hard``.
        labels: folder of pseudo-labels, if they are not within ``data``.

    Raises:
        VidaffError: unknown group, unusable recipe or data, or no refined labels for rows that need them.
    """
    if group not in GROUPS:
        raise VidaffError(f"group {group!r} is not one of agd20k: {', '.join(GROUPS)}")
    base = load_grounder_recipe(recipe, overrides)
    names = GROUPS[group]
    _check_labels(data, split, labels, names)
    rows = tuple(grounding_row(name, split, f"{base.train.stitch:g}") for name in names)
    return Study(
        title=f"Ablation of the image branch, {split}",
        dataset="agd20k",
        variants=rows,
        evaluations=(Evaluation("test", ("--split", split)),),
        metrics=METRICS,
        comparisons=tuple(
            Comparison(claim, (a, "kld"), (b, "kld")) for claim, a, b in CLAIMS if a in names and b in names
        ),
        data=lambda variant: data,
        source=SOURCE,
        arguments=("--split", split, *(("--labels", str(labels.resolve())) if labels else ())),
    )


def grounding_row(name: str, split: str, stitch: str) -> Variant:
    """A row by its name, with the published numbers of ``split``; ``stitch`` is the recipe's own share."""
    published = ABLATION.get(split, {}).get(name)
    paper = {} if published is None else published._asdict()
    if name == CAM:
        return Variant(CAM, "CAM baseline", model=CAM, recipe=CAM)
    if name == "full":
        return Variant("full", "all", paper=paper)
    title, switches = ROWS[name]
    values = {**OFF, **switches}
    changes = tuple(f"{key}={value.format(stitch=stitch)}" for key, value in values.items())
    return Variant(name, title, changes, paper)


def _check_labels(data: Path, split: str, labels: Path | None, names: tuple[str, ...]) -> None:
    """Refuse rows that would train on initial labels under the name of refined ones."""
    from vidaff.datasets.agd20k import Agd20kTrain

    for kind, rows in (("refined", {"refinement", "full"}), ("raw", {"refinement-raw"})):
        wanted = sorted(rows & set(names))
        if wanted and not Agd20kTrain(data, split, labels=labels, label=kind).label_counts.get(kind):
            raise VidaffError(
                f"{labels or data}: holds no {kind} labels for {', '.join(wanted)}; make them with 'vidaff label', "
                "or choose --group table8 or table10"
            )
