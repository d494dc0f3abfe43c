"""``vidaff train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidaff.cli.options import NAME, PATH
from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.config import Recipe


@click.command()
@click.option(
    "--model",
    type=click.Choice(["video", "affordancenet"]),
    default="video",
    show_default=True,
    help="The spatio-temporal autoencoder, or AffordanceNet on last frames and still pictures.",
)
@click.option(
    "--dataset",
    default="sor3d-aff",
    show_default=True,
    help="Data set: sor3d-aff or own-clips; for affordancenet also umd or iit-aff.",
)
@click.option("--data", type=PATH, help="Prepared file or folder; else clips are rendered.")
@click.option(
    "--recipe", type=NAME, help="Shipped recipe or a YAML file.  [default: small; affordancenet for that model]"
)
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
    model: str,
    dataset: str,
    data: Path | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    out: Path,
    resume: bool,
    overwrite: bool,
    device: str,
    quiet: bool,
) -> None:
    """Train the video model, or the AffordanceNet baseline.

    \b
    Examples:
      vidaff train --dataset sor3d-aff --data clips.h5 --out runs/mine
      vidaff train --data clips.h5 --recipe paper --set train.precision=bf16
      vidaff train --data clips.h5 --out runs/mine --resume
      torchrun --nproc-per-node 2 -m vidaff train --data clips.h5 --out runs/ddp
      vidaff train --model affordancenet --recipe affordancenet-tiny --data clips.h5 --out runs/affordancenet

    Without --data the embedded default is used: synthetic clips are rendered and prepared next to --out first.
    """
    same: dict[str, Any] = {
        "dataset": dataset, "resume": resume, "overwrite": overwrite, "device": device, "progress": not quiet,
    }  # fmt: skip
    if model == "affordancenet":
        best = _train_affordancenet(recipe or "affordancenet", overrides, data, out, same)
    else:
        best = _train_video(recipe or "small", overrides, data, out, same)
    click.echo(f"checkpoint: {best}")


def _train_video(
    recipe: str, overrides: tuple[str, ...], data: Path | None, out: Path, options: dict[str, Any]
) -> Path:
    from vidaff.config import load_recipe

    settings = load_recipe(recipe, overrides)
    if data is None:
        data = _render(settings.input.size, settings, out, options)
    from vidaff.train import train

    return train(settings, data, out, **options)


def _train_affordancenet(
    recipe: str, overrides: tuple[str, ...], data: Path | None, out: Path, options: dict[str, Any]
) -> Path:
    from vidaff.models.baselines.settings import load_detector_recipe

    settings = load_detector_recipe(recipe, overrides)
    if data is None:
        data = _render(settings.input.size, None, out, options)
    from vidaff.training.affordancenet import train_affordancenet

    return train_affordancenet(settings, data, out, **options)


def _render(size: tuple[int, int], recipe: Recipe | None, out: Path, options: dict[str, Any]) -> Path:
    """The embedded default with the flow that the recipe needs; an unusable ``out`` is refused before the work."""
    from vidaff.default_data import default_data
    from vidaff.io import prepare_output_dir
    from vidaff.weights import flow_method

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise VidaffError("training by several processes needs --data: make it first, see 'vidaff synth --help'")
    prepare_output_dir(out, resume=options["resume"], overwrite=options["overwrite"])
    flow = "none" if recipe is None else flow_method(recipe, {})
    data = default_data(out.parent / "synthetic", size=size, flow=flow, progress=options["progress"])
    click.echo(f"no --data given: using the embedded synthetic clips in {data}")
    return data
