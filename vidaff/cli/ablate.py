"""``vidaff ablate``: train and compare the variants of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidaff.cli.options import NAME, PATH
from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.ablation import Study

VIDEO_GROUPS = ("table3", "attention", "colour", "all")
GROUNDING_GROUPS = ("main", "table2", "table8", "table9", "table10", "all")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--dataset", default="sor3d-aff", show_default=True, help="sor3d-aff or own-clips; agd20k for the image branch."
)
@click.option("--data", type=PATH, help="Folder in the data set's layout, or a prepared file; else clips are rendered.")
@click.option("--data-2d", type=PATH, help="Prepared file with --flow dis2d, where --data is a prepared file.")
@click.option("--out", type=PATH, required=True, help="Folder of the study.")
@click.option("--recipe", type=NAME, help="Shipped recipe or a YAML file.  [default: small; grounder-small for agd20k]")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of all: train.epochs=20."
)
@click.option(
    "--group",
    type=click.Choice([*dict.fromkeys((*VIDEO_GROUPS[:-1], *GROUNDING_GROUPS))]),
    help="Clips: the paper's six rows (table3), kinds of mask (attention), of flow colours (colour). agd20k: "
    "baseline, full method and CAM (main), the paper's tables 2, 8, 9, 10. Or all of them.  "
    "[default: table3; table2 for agd20k]",
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Trainings per variant.")
@click.option("--flow", show_default="pd-dis", help="3D flow to prepare from a folder of clips.")
@click.option("--split", type=click.Choice(["seen", "unseen", "hard"]), help="Split of agd20k.  [default: seen]")
@click.option("--labels", type=PATH, help="agd20k: folder of pseudo-labels, if they are not within --data.")
@click.option("--manifest", type=PATH, help="agd20k: JSON that says what trains and tests in the split hard.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Trainings beside each other.")
@click.option("--workers", type=click.IntRange(1, 256), show_default="2", help="Processes that prepare clips.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
@click.option("--resume", is_flag=True, help="Go on with a study that was stopped.")
@click.option("--overwrite", is_flag=True, help="Begin anew in --out: an earlier study in it is removed.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def command(
    dataset: str, data: Path | None, data_2d: Path | None, out: Path, recipe: str | None, overrides: tuple[str, ...],
    group: str | None, seeds: int, flow: str | None, split: str | None, labels: Path | None, manifest: Path | None,
    jobs: int, workers: int | None, device: str, resume: bool, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train the variants of a paper's ablation with several seeds and tabulate them beside its numbers.

    OUT/ablation.md is renewed after every training. A stopped study goes on with --resume; nothing that is finished
    is trained again. Every training takes what 'vidaff train' takes with the same recipe.

    \b
    Examples:
      vidaff ablate --data ROOT --out runs/ablation
      vidaff ablate --data clips.h5 --data-2d clips-2d.h5 --out runs/ablation --jobs 2
      vidaff ablate --out runs/quick --recipe tiny --seeds 1
      vidaff ablate --data ROOT --out runs/ablation --resume
      vidaff ablate --dataset agd20k --data AGD20K --recipe plsp --group all --seeds 5 --out runs/plsp-ablation
    """
    from vidaff.ablation import RunSettings, run_study

    of_clips = {"--data-2d": data_2d, "--flow": flow, "--workers": workers}
    of_pictures = {"--split": split, "--labels": labels, "--manifest": manifest}
    if dataset == "agd20k":
        _refuse(of_clips, "for clips only, agd20k has no flow and is not prepared")
        recipe = recipe or "grounder-small"
        where = {"split": split or "seen", "labels": labels, "manifest": manifest}
        study, numbers = _grounding(recipe, overrides, group or "table2", data, where, seeds)
    else:
        _refuse(of_pictures, "for --dataset agd20k only")
        recipe, numbers = recipe or "small", tuple(range(seeds))
        source: dict[str, Any] = {
            "dataset": dataset, "data": data, "data_2d": data_2d, "folder": out / "data",
            "flow": flow or "pd-dis", "workers": workers or 2, "progress": not quiet,
            "overwrite": overwrite and not resume,
        }  # fmt: skip
        study = _video(recipe, overrides, group or "table3", source)
    settings = RunSettings(recipe, overrides, numbers, jobs, device)
    options: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "progress": not quiet, "say": click.echo}
    table = run_study(study, out, settings, **options)
    click.echo(table.read_text(encoding="utf-8"))
    click.echo(f"written to {out}: ablation.md, ablation.json, ablation.csv, ablation.svg")


def _refuse(options: dict[str, Any], why: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise VidaffError(f"{', '.join(given)}: {why}")


def _video(recipe: str, overrides: tuple[str, ...], group: str, source: dict[str, Any]) -> Study:
    from vidaff.ablation.sources import ClipSource
    from vidaff.ablation.video import video_study

    data = ClipSource(recipe=recipe, overrides=overrides, **source)
    return video_study(recipe, overrides, group=group, data=data, dataset=source["dataset"])


def _grounding(
    recipe: str, overrides: tuple[str, ...], group: str, data: Path | None, where: dict[str, Any], seeds: int
) -> tuple[Study, tuple[int, ...]]:
    """The study and the seeds, which are the paper's where it has that many."""
    from vidaff.ablation.grounding import grounding_study
    from vidaff.models.image.recipe import SEEDS

    if data is None:
        raise VidaffError("agd20k needs --data; make a rendered set with 'vidaff synth agd20k'")
    study = grounding_study(recipe, overrides, group=group, data=data, **where)
    return study, SEEDS[:seeds] if seeds <= len(SEEDS) else tuple(range(1, seeds + 1))
