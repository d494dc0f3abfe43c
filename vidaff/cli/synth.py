"""``vidaff synth``: render synthetic data sets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vidaff.cli.options import PATH


@click.group(name="synth", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Render synthetic data sets (the embedded default).

    \b
    Examples:
      vidaff synth sor3d-aff data/synthetic
      vidaff synth sor3d-aff data/small --clips-train 300 --clips-val 45 --size 96
      vidaff synth sor3d-aff data/synthetic --clips-train 6000 --resume
      vidaff synth agd20k data/agd20k --images-train 600 --images-test 200 --size 128
      vidaff synth umd data/umd --pictures-train 1200 --pictures-val 300
      vidaff synth iit-aff data/iit-aff --objects 6
    """


@command.command(name="sor3d-aff")
@click.argument("out", type=PATH)
@click.option("--clips-train", type=int, default=3000, show_default=True, help="Training clips.")
@click.option("--clips-val", type=int, default=270, show_default=True, help="Validation clips, of new instances.")
@click.option("--size", type=int, default=128, show_default=True, help="Side of the square pictures in pixels.")
@click.option("--frames", type=int, default=10, show_default=True, help="Frames a clip, at 10 a second.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another set.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes.")
@click.option("--no-extras", is_flag=True, help="Leave out the exact scene flow.")
@click.option("--resume", is_flag=True, help="Keep complete clips of a stopped run, or add clips to a set.")
@click.option("--overwrite", is_flag=True, help="Replace a set rendered before.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def sor3d_aff(
    out: Path, clips_train: int, clips_val: int, size: int, frames: int, seed: int, workers: int, no_extras: bool,
    resume: bool, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Render RGB-D interaction clips into the folder OUT, in the layout of SOR3D-AFF.

    OUT/contact_sheet.png shows what was made. A clip depends on the seed and its number only.
    """
    # Imported here, so that --help stays fast.
    from vidaff.datasets.synthetic import SynthSettings, render_sor3d_aff

    settings = SynthSettings(clips_train, clips_val, size, frames, seed, extras=not no_extras)
    root = render_sor3d_aff(out, settings, workers=workers, resume=resume, overwrite=overwrite, progress=not quiet)
    click.echo(f"{clips_train} training and {clips_val} validation clips in {root}")


@command.command(name="agd20k")
@click.argument("out", type=PATH)
@click.option("--images-train", type=int, default=1200, show_default=True, help="Egocentric pictures a training set.")
@click.option("--exo-per-ego", type=int, default=1, show_default=True, help="Exocentric pictures for each of them.")
@click.option("--images-test", type=int, default=300, show_default=True, help="Pictures a test set, of new instances.")
@click.option("--size", type=int, default=256, show_default=True, help="Side of the square pictures in pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another set.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes.")
@click.option("--resume", is_flag=True, help="Keep the pictures of a stopped run, or add pictures to a set.")
@click.option("--overwrite", is_flag=True, help="Replace a set rendered before.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def agd20k(
    out: Path, images_train: int, exo_per_ego: int, images_test: int, size: int, seed: int, workers: int,
    resume: bool, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Render pictures of things and of their use into the folder OUT, in the layout of AGD20K (Seen and Unseen).

    Pseudo-labels, faulty on purpose, are in trainset/labels, the true masks in trainset/truth. OUT/contact_sheet.png
    shows what was made. A picture depends on the seed, its pair and its number only.
    """
    from vidaff.datasets.synthetic import Agd20kSettings, render_agd20k

    settings = Agd20kSettings(images_train, exo_per_ego, images_test, size, seed)
    root = render_agd20k(out, settings, workers=workers, resume=resume, overwrite=overwrite, progress=not quiet)
    click.echo(f"{images_train} training and {images_test} test pictures a split in {root}")


def _still_options(body: Callable[..., None]) -> Callable[..., None]:
    """Options of the sets of still pictures; those of how to run go into one mapping, ``run``."""
    options = (
        click.option("--pictures-train", type=int, default=1200, show_default=True, help="Training pictures."),
        click.option("--pictures-val", type=int, default=300, show_default=True, help="Test pictures, new instances."),
        click.option("--size", type=int, default=480, show_default=True, help="Height in pixels; the width is 4/3."),
        click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another set."),
        click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes."),
        click.option("--resume", is_flag=True, help="Keep the pictures of a stopped run, or add pictures to a set."),
        click.option("--overwrite", is_flag=True, help="Replace a set rendered before."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )

    @functools.wraps(body)
    def wrapped(*, workers: int, resume: bool, overwrite: bool, quiet: bool, **others: Any) -> None:
        run = {"workers": workers, "resume": resume, "overwrite": overwrite, "progress": not quiet}
        body(run=run, **others)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@command.command(name="umd")
@click.argument("out", type=PATH)
@_still_options
@click.option("--frames", type=int, default=10, show_default=True, help="Frames of each tool.")
def umd(out: Path, run: dict[str, Any], **settings: int) -> None:
    """Render tools of the 17 categories of UMD into the folder OUT, in its layout: colour, depth, labels, ranks.

    OUT/contact_sheet.png shows what was made. A picture depends on the seed and its number only. No shape is one of
    the sor3d-aff set. Frames of 480 lines have the nominal camera of UMD.
    """
    from vidaff.datasets.synthetic import UmdSettings, render_umd

    made = render_umd(out, UmdSettings(**settings), **run)
    click.echo(f"{made.pictures_train} training and {made.pictures_val} test pictures in {out}")


@command.command(name="iit-aff")
@click.argument("out", type=PATH)
@_still_options
@click.option("--objects", type=int, default=4, show_default=True, help="Most objects of a picture.")
def iit_aff(out: Path, run: dict[str, Any], **settings: int) -> None:
    """Render tables with objects of the ten kinds of IIT-AFF into the folder OUT, in its layout of text labels.

    OUT/contact_sheet.png shows what was made. A picture depends on the seed and its number only. No shape is one of
    the sor3d-aff set. Every eighth training picture is listed in val.txt, too, and shows instances of its own.
    """
    from vidaff.datasets.synthetic import IitAffSettings, render_iit_aff

    made = render_iit_aff(out, IitAffSettings(**settings), **run)
    click.echo(f"{made.pictures_train} training and {made.pictures_val} test pictures in {out}")
