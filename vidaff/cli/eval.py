"""``vidaff eval``: score a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from vidaff.cli.options import NAME, PATH


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--checkpoint", required=True, type=NAME, help="Folder, .safetensors, .ckpt, or a shipped name (small).")
@click.option("--dataset", default="sor3d-aff", show_default=True, help="Name of the data set.")
@click.option("--data", required=True, type=PATH, help="Its root folder or prepared .h5 file.")
@click.option(
    "--mode",
    help="video: whole clip, last frame scored. static: last frame alone.  [default: video; static for AffordanceNet]",
)
@click.option("--split", default="val", show_default=True, help="train or val.")
@click.option("--zero-flow", is_flag=True, help="Feed zero flow instead of the clip's: what is motion worth?")
@click.option("--any-flow", is_flag=True, help="Accept stored flow of another kind than the model's training data.")
@click.option("--out", type=PATH, help="New folder for tables and pictures.  [default: none]")
@click.option("--overwrite", is_flag=True, help="Write into --out even if it holds files.")
@click.option(
    "--beside", type=PATH, multiple=True, help="Folder of an earlier evaluation to show in the same table; repeatable."
)
@click.option("--limit", type=int, help="Only the first N clips.")
@click.option("--batch-size", type=int, default=8, show_default=True, help="Clips in one forward pass.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
def command(
    checkpoint: str, dataset: str, data: Path, mode: str | None, split: str, zero_flow: bool, any_flow: bool,
    out: Path | None, overwrite: bool, beside: tuple[Path, ...], limit: int | None, batch_size: int, device: str,
) -> None:  # fmt: skip
    """Evaluate a checkpoint: every metric, per class and overall, the paper's numbers beside.

    \b
    Examples:
      vidaff eval --checkpoint small --data clips.h5 --out runs/eval
      vidaff eval --checkpoint runs/mine/best --data clips.h5 --mode static
      vidaff eval --checkpoint small --dataset sor3d-aff --data ROOT --zero-flow
      vidaff eval --checkpoint runs/affordancenet/best --data clips.h5 --beside runs/eval
    """
    from vidaff.evaluate import evaluate
    from vidaff.results import markdown

    result = evaluate(
        checkpoint, data, mode=mode, split=split, dataset=dataset, out=out, overwrite=overwrite, zero_flow=zero_flow,
        any_flow=any_flow, device=device, batch_size=batch_size, limit=limit, beside=beside,
    )  # fmt: skip
    click.echo(markdown(result))
    if out is not None:
        click.echo(f"written to {out}: results.md, results.json, results.csv, confusion.png, best.png, worst.png")
