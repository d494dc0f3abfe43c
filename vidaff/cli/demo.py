"""``vidaff demo``: the whole chain with a report."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vidaff.cli.options import NAME, PATH, FiniteRange


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out",
    type=PATH,
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for everything.",
)
@click.option(
    "--clips-train", type=click.IntRange(min=32), default=240, show_default=True, help="Rendered clips to train on."
)
@click.option(
    "--clips-val", type=click.IntRange(min=1), default=60, show_default=True, help="Rendered clips to evaluate on."
)
@click.option(
    "--size",
    type=click.IntRange(min=32, max=1024),
    help="Side of the prepared clips in pixels.  [what --checkpoint takes]",
)
@click.option(
    "--train-minutes",
    type=FiniteRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Time for the tiny model that is trained from scratch.",
)
@click.option(
    "--checkpoint", default="small", type=NAME, show_default=True, help="Trained model to show: shipped name or path."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of clips and training.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes that render.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--resume", is_flag=True, help="Go on with a demo that was stopped.")
@click.option("--overwrite", is_flag=True, help="Remove what an earlier demo left in --out, and start anew.")
@click.option("--quiet", is_flag=True, help="No progress bars (there are none outside a terminal).")
def command(
    out: Path, clips_train: int, clips_val: int, size: int | None, train_minutes: float, checkpoint: str, seed: int,
    workers: int, device: str, resume: bool, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Render, train, evaluate and infer, and write OUT/report.html. Takes up to ten minutes on two cores.

    The report shows the trained model that ships with vidaff on clips rendered just now, and beside it a tiny model
    trained from scratch in a few minutes, so that one sees the curves move. Nothing is downloaded.

    \b
    Examples:
      vidaff demo
      vidaff demo --out runs/demo --resume
      vidaff demo --out runs/quick --clips-train 64 --clips-val 16 --train-minutes 1
    """
    from vidaff.demo import DemoSettings, run_demo

    settings = DemoSettings(clips_train, clips_val, size, train_minutes, checkpoint, seed)
    run_demo(
        out, settings, resume=resume, overwrite=overwrite, workers=workers, device=device,
        progress=not quiet and sys.stderr.isatty(), say=click.echo,
    )  # fmt: skip
