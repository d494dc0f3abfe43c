"""``vidaff transfer``: a model of SOR3D-AFF on the unseen objects of UMD and IIT-AFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidaff.cli.data import parse_options
from vidaff.cli.options import NAME, PATH, FiniteRange
from vidaff.datasets import STILLS

EPILOG = """
\b
Examples:
  vidaff transfer --checkpoint small --dataset umd --data part-affordance-dataset --out runs/umd
  vidaff transfer --checkpoint small --dataset umd --data umd.h5 --limit 170 --out runs/umd
  vidaff transfer --checkpoint runs/rgb/best --dataset iit-aff --data IIT --view tiled --out runs/iit
  vidaff transfer --checkpoint small --dataset iit-aff --data IIT --depth-model MODEL --out runs/iit
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--checkpoint", required=True, type=NAME, help="Folder, .safetensors, .ckpt, or a shipped name (small).")
@click.option("--dataset", required=True, type=click.Choice(STILLS), help="The set of unseen objects.")
@click.option("--data", required=True, type=PATH, help="Its root folder or prepared .h5 file.")
@click.option("--out", required=True, type=PATH, help="Folder for the results.")
@click.option("--split", default="val", show_default=True, help="train or val (the official test set).")
@click.option(
    "--option", "options", metavar="KEY=VALUE", multiple=True, callback=parse_options,
    help="umd: protocol=category|novel, frames=all|manual. iit-aff: protocol=official|holdout.",
)  # fmt: skip
@click.option(
    "--view", type=click.Choice(["centre", "whole", "tiled"]), default="centre", show_default=True,
    help="The centre square, as in the paper; the whole picture in one go; or overlapping squares that cover it.",
)  # fmt: skip
@click.option(
    "--crop", type=click.IntRange(min=8), default=300, show_default=True,
    help="Side of the squares in pixels of the picture; what the model sees at its own input size.",
)  # fmt: skip
@click.option("--mapping", type=PATH, help="YAML file: what the classes mean there.  [default: the one that ships]")
@click.option(
    "--unmapped", type=click.Choice(["wrong", "ignore"]), default="wrong", show_default=True,
    help="Predictions on true pixels of classes without counterpart are wrong, or those pixels do not count.",
)  # fmt: skip
@click.option(
    "--confidence", type=FiniteRange(min=0, max=1, max_open=True), default=0.75, show_default=True,
    help="Threshold of the grid's predictions and of the second table.",
)  # fmt: skip
@click.option(
    "--pictures", type=click.IntRange(min=0), default=12, show_default=True,
    help="Pictures in the grid, chosen evenly over categories.",
)  # fmt: skip
@click.option("--save-labels", "labels", is_flag=True, help="Also write label pictures: ids of SOR3D-AFF, argmax.")
@click.option(
    "--depth-model", type=NAME, help="Transformers depth model (folder or hub id) instead of the set's depth."
)
@click.option(
    "--assumed-depth", type=FiniteRange(min=0.05, max=20), default=0.6, show_default=True,
    help="Metres to the middle of the scene, for depth models that tell relative depth only.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="So many pictures, chosen evenly over categories.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Squares in one pass.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run in --out.")
def command(out: Path, **options: Any) -> None:
    """Run a model of SOR3D-AFF on objects that it never saw: pictures, and numbers where the label sets meet.

    Static inference: each picture is a clip of one frame with zero flow. IIT-AFF brings no depth that can be used:
    take a checkpoint for RGB, or name a depth estimator. What the numbers mean is in docs/transfer.md.

    \b
    Written to OUT:
      grid-1.png ...   picture, prediction above the confidence, truth
      results.md, .csv, .json   IoU, F and Margolin F (b2=1 and 0.3) of mapped classes, with 95 % intervals
      labels/          with --save-labels
    """
    from vidaff.transfer.job import TransferSettings, transfer
    from vidaff.transfer.tables import markdown

    result = transfer(TransferSettings(out=out, **options))
    click.echo(markdown(result))
    click.echo(f"written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}", err=True)
