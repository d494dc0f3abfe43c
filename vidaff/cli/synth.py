"""``vidaff synth``: render synthetic data sets."""

from __future__ import annotations

from pathlib import Path

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
