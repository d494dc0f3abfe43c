"""``vidaff metrics``: score folders of maps without a model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vidaff.cli.options import PATH
from vidaff.metrics.maps import KINDS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("pred", type=PATH)
@click.argument("gt", type=PATH)
@click.option("--dataset", required=True, type=click.Choice(list(KINDS)), help="Whose classes, ids and kinds of files.")
@click.option("--legacy", is_flag=True, help="Also average F^w as the published evaluators do, with their fault.")
@click.option("--soft", is_flag=True, help="F^w of probabilities (npz) instead of the most probable class.")
@click.option("--ignore", type=int, help="Id of true pixels that do not count.  [default: 255]")
@click.option(
    "--partial", is_flag=True, help="Score what PRED holds, even if GT holds more (UMD's and IIT-AFF's trees)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a Markdown table.")
@click.option("--out", type=PATH, help="New folder for metrics.md, .csv and .json.  [default: none]")
@click.option("--overwrite", is_flag=True, help="Write into --out even if it holds files.")
def command(
    pred: Path, gt: Path, dataset: str, legacy: bool, soft: bool, ignore: int | None, partial: bool, as_json: bool,
    out: Path | None, overwrite: bool,
) -> None:  # fmt: skip
    """Score the maps in folder PRED against the true maps in folder GT; no model is needed.

    Maps are matched by their path inside the folders, without suffix. Missing maps, maps without truth and maps of
    another size are errors.

    \b
    Labels (umd, iit-aff, sor3d-aff): dataset-level IoU and F; Margolin's weighted F for beta squared 1 and 0.3.
    Class ids are those of the set's own files.
      PNG of class ids; npy (H, W); npz with probs (classes + 1, H, W) by class id
      umd: also _label.mat, and R^w if _label_rank.mat is beside it; ids 0 background, 1..7
      iit-aff: also text maps; ids 0 background, 1..9
      sor3d-aff: also PNG in the colours of its masks; ids 0..8, 9 background
    Heat maps (agd20k): KLD, SIM and NSS at 224x224; grey PNG or JPG, or npy (H, W); <affordance>/<object>/<picture>.

    \b
    Examples:
      vidaff metrics predicted IIT/affordances_labels --dataset iit-aff --partial
      vidaff metrics predicted part-affordance-dataset/tools --dataset umd --partial --out runs/umd
      vidaff metrics predicted truth --dataset sor3d-aff --json
      vidaff metrics heatmaps AGD20K/Seen/testset/GT --dataset agd20k
    """
    from vidaff.io import prepare_output_dir
    from vidaff.metrics.folders import score_maps
    from vidaff.metrics.tables import markdown, write_tables

    folder = None if out is None else prepare_output_dir(out, overwrite=overwrite)
    scores = score_maps(pred, gt, dataset, legacy=legacy, soft=soft, ignore=ignore, partial=partial)
    click.echo(json.dumps(scores.to_dict(), indent=2) if as_json else markdown(scores))
    if folder is not None:
        write_tables(scores, folder)
        click.echo(f"written to {folder}: metrics.md, metrics.csv, metrics.json", err=True)
