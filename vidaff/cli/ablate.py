"""``vidaff ablate``: train and compare the variants of a model."""

from __future__ import annotations

from pathlib import Path

import click

from vidaff.cli.options import NAME, PATH


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dataset", default="sor3d-aff", show_default=True, help="Data set: sor3d-aff or own-clips.")
@click.option("--data", type=PATH, help="Folder in the data set's layout, or a prepared file; else clips are rendered.")
@click.option("--data-2d", type=PATH, help="Prepared file with --flow dis2d, where --data is a prepared file.")
@click.option("--out", type=PATH, required=True, help="Folder of the study.")
@click.option("--recipe", type=NAME, default="small", show_default=True, help="Shipped recipe or a YAML file.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of all: train.epochs=20."
)
@click.option(
    "--group",
    type=click.Choice(["table3", "attention", "colour", "all"]),
    default="table3",
    show_default=True,
    help="The paper's six rows; kinds of mask; kinds of flow colours; everything.",
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Trainings per variant.")
@click.option("--flow", default="pd-dis", show_default=True, help="3D flow to prepare from a folder.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Trainings beside each other.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes that prepare.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
@click.option("--resume", is_flag=True, help="Go on with a study that was stopped.")
@click.option("--overwrite", is_flag=True, help="Begin anew in --out although it holds files.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def command(
    dataset: str, data: Path | None, data_2d: Path | None, out: Path, recipe: str, overrides: tuple[str, ...],
    group: str, seeds: int, flow: str, jobs: int, workers: int, device: str, resume: bool, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train the variants of the paper's Table 3 with several seeds and tabulate them beside its numbers.

    OUT/ablation.md is renewed after every training. A stopped study goes on with --resume; nothing that is finished
    is trained again. Every training takes what 'vidaff train' takes with the same recipe.

    \b
    Examples:
      vidaff ablate --data ROOT --out runs/ablation
      vidaff ablate --data clips.h5 --data-2d clips-2d.h5 --out runs/ablation --jobs 2
      vidaff ablate --out runs/quick --recipe tiny --seeds 1
      vidaff ablate --data ROOT --out runs/ablation --resume
    """
    from vidaff.ablation import RunSettings, run_study
    from vidaff.ablation.sources import ClipSource
    from vidaff.ablation.video import video_study

    source = ClipSource(
        dataset, data, data_2d, out / "data", recipe, overrides, flow=flow, workers=workers, progress=not quiet
    )
    study = video_study(recipe, overrides, group=group, data=source, dataset=dataset)
    settings = RunSettings(recipe, overrides, tuple(range(seeds)), jobs, device)
    table = run_study(
        study, out, settings, resume=resume, overwrite=overwrite, progress=not quiet, say=click.echo
    )  # fmt: skip
    click.echo(table.read_text(encoding="utf-8"))
    click.echo(f"written to {out}: ablation.md, ablation.json, ablation.csv, ablation.svg")
