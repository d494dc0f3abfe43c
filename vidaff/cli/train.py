"""``vidaff train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidaff.cli.options import NAME, PATH
from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.config import Recipe


@click.command()
@click.option("--dataset", default="sor3d-aff", show_default=True, help="Data set: sor3d-aff or own-clips.")
@click.option("--data", type=PATH, help="Prepared file or folder; else clips are rendered.")
@click.option("--recipe", default="small", type=NAME, show_default=True, help="Shipped recipe or a YAML file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: train.epochs=20.")
@click.option("--out", type=PATH, default=Path("runs/train"), show_default=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--overwrite", is_flag=True, help="Write into --out although it holds files.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU when there is one.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    dataset: str,
    data: Path | None,
    recipe: str,
    overrides: tuple[str, ...],
    out: Path,
    resume: bool,
    overwrite: bool,
    device: str,
    quiet: bool,
) -> None:
    """Train the video model.

    \b
    Examples:
      vidaff train --dataset sor3d-aff --data clips.h5 --out runs/mine
      vidaff train --data clips.h5 --recipe paper --set train.precision=bf16
      vidaff train --data clips.h5 --out runs/mine --resume
      torchrun --nproc-per-node 2 -m vidaff train --data clips.h5 --out runs/ddp

    Without --data the embedded default is used: synthetic clips are rendered and prepared next to --out first.
    """
    from vidaff.config import load_recipe

    settings = load_recipe(recipe, overrides)
    if data is None:
        data = _render(settings, out, resume=resume, overwrite=overwrite, progress=not quiet)
        click.echo(f"no --data given: using the embedded synthetic clips in {data}")
    from vidaff.train import train

    best = train(
        settings,
        data,
        out,
        dataset=dataset,
        resume=resume,
        overwrite=overwrite,
        device=device,
        progress=not quiet,
    )
    click.echo(f"checkpoint: {best}")


def _render(recipe: Recipe, out: Path, *, resume: bool, overwrite: bool, progress: bool) -> Path:
    """The embedded default with the flow that the recipe needs; an unusable ``out`` is refused before the work."""
    from vidaff.default_data import default_data
    from vidaff.io import prepare_output_dir
    from vidaff.weights import flow_method

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise VidaffError("training by several processes needs --data: make it first, see 'vidaff synth --help'")
    prepare_output_dir(out, resume=resume, overwrite=overwrite)
    folder = out.parent / "synthetic"
    return default_data(folder, size=recipe.input.size, flow=flow_method(recipe, {}), progress=progress)
