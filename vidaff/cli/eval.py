"""``vidaff eval``: score a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidaff.cli.data import parse_options
from vidaff.cli.options import NAME, PATH
from vidaff.errors import VidaffError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--checkpoint", required=True, type=NAME, help="Folder, .safetensors, .ckpt, or a shipped name (small).")
@click.option("--dataset", default="sor3d-aff", show_default=True, help="Name of the data set.")
@click.option("--data", required=True, type=PATH, help="Its root folder or prepared .h5 file.")
@click.option(
    "--mode",
    help="video: whole clip, last frame scored. static: last frame alone.  [default: video; static for AffordanceNet]",
)
@click.option("--split", help="train or val; for agd20k seen, unseen or hard.  [default: val; seen]")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(["plsp", "locate"]),
    help="agd20k: whose KLD and NSS.  [default: both]",
)
@click.option("--manifest", type=PATH, help="agd20k: JSON that says what trains and tests in the split hard.")
@click.option(
    "--text-model", type=NAME, help="agd20k: CLIP (folder, hub id or archive) for a converted checkpoint's text."
)
@click.option("--tokenizer", type=NAME, help="agd20k: its tokenizer (folder or hub id), if --text-model has none.")
@click.option("--template", help="agd20k: prompt for --text-model, '{}' stands for the affordance.")
@click.option(
    "--option", "options", metavar="KEY=VALUE", multiple=True, callback=parse_options,
    help="Of a folder of still pictures: umd: protocol=category|novel, frames=all|manual. iit-aff: "
    "protocol=official|holdout.  [default: the protocol of the training, if known; all frames]",
)  # fmt: skip
@click.option("--zero-flow", is_flag=True, help="Feed zero flow instead of the clip's: what is motion worth?")
@click.option("--any-flow", is_flag=True, help="Accept stored flow of another kind than the model's training data.")
@click.option("--out", type=PATH, help="New folder for tables and pictures.  [default: none]")
@click.option("--overwrite", is_flag=True, help="Write into --out even if it holds files.")
@click.option(
    "--beside", type=PATH, multiple=True, help="Folder of an earlier evaluation to show in the same table; repeatable."
)
@click.option("--limit", type=int, help="Only the first N clips or pictures.")
@click.option("--batch-size", type=int, default=8, show_default=True, help="Clips or pictures in one forward pass.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
def command(
    checkpoint: str, dataset: str, data: Path, mode: str | None, split: str | None, protocols: tuple[str, ...],
    manifest: Path | None, text_model: str | None, tokenizer: str | None, template: str | None, zero_flow: bool,
    any_flow: bool, options: dict[str, str], out: Path | None, overwrite: bool, beside: tuple[Path, ...],
    limit: int | None, batch_size: int, device: str,
) -> None:  # fmt: skip
    """Evaluate a checkpoint: every metric, per class and overall, the paper's numbers beside.

    \b
    Examples:
      vidaff eval --checkpoint small --data clips.h5 --out runs/eval
      vidaff eval --checkpoint runs/mine/best --data clips.h5 --mode static
      vidaff eval --checkpoint small --dataset sor3d-aff --data ROOT --zero-flow
      vidaff eval --checkpoint runs/affordancenet/best --data clips.h5 --beside runs/eval
      vidaff eval --checkpoint runs/umd-novel/best --dataset umd --data ROOT --option protocol=novel
      vidaff eval --checkpoint runs/encoder/best --dataset utkinect --data ROOT
      vidaff eval --checkpoint runs/plsp/best --dataset agd20k --data AGD20K --split unseen --out runs/plsp/eval
      vidaff eval --checkpoint runs/cam/best --dataset agd20k --data AGD20K --beside runs/plsp/eval

    On utkinect: accuracy and confusion of actions over the clips that the encoder was not trained on.
    On agd20k: KLD, SIM and NSS. Folders of heat maps that another program made: 'vidaff metrics --dataset agd20k'.
    """
    if options and dataset in ("agd20k", "utkinect"):
        raise VidaffError(f"--option: for folders of umd and iit-aff, not for {dataset}")
    if dataset == "agd20k":
        if mode is not None or zero_flow or any_flow:
            raise VidaffError("--mode, --zero-flow and --any-flow are for clips, not for agd20k")
        _eval_agd20k(
            checkpoint, data, text_model, tokenizer, template, split=split or "seen", manifest=manifest, out=out,
            overwrite=overwrite, device=device, batch_size=batch_size, limit=limit, beside=beside,
            **({"protocols": protocols} if protocols else {}),
        )  # fmt: skip
        return
    given = {
        "--protocol": protocols,
        "--manifest": manifest,
        "--text-model": text_model,
        "--tokenizer": tokenizer,
        "--template": template,
    }
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise VidaffError(f"{', '.join(wrong)}: for --dataset agd20k only")
    if dataset == "utkinect":
        if mode is not None or zero_flow or any_flow or beside:
            raise VidaffError("--mode, --zero-flow, --any-flow and --beside are for affordances, not for utkinect")
        _eval_actions(
            checkpoint, data, split=split or "val", out=out, overwrite=overwrite, device=device, batch_size=batch_size,
            limit=limit,
        )  # fmt: skip
        return
    from vidaff.evaluate import evaluate
    from vidaff.results import markdown

    result = evaluate(
        checkpoint, data, mode=mode, split=split or "val", dataset=dataset, options=options, out=out,
        overwrite=overwrite, zero_flow=zero_flow, any_flow=any_flow, device=device, batch_size=batch_size,
        limit=limit, beside=beside,
    )  # fmt: skip
    click.echo(markdown(result))
    if out is not None:
        click.echo(f"written to {out}: results.md, results.json, results.csv, confusion.png, best.png, worst.png")


def _eval_actions(checkpoint: str, data: Path, **options: Any) -> None:
    from vidaff.evaluate_actions import action_markdown, evaluate_actions

    result = evaluate_actions(checkpoint, data, **options)
    click.echo(action_markdown(result))
    if options["out"] is not None:
        click.echo(f"written to {options['out']}: results.md, results.json, results.csv, confusion.png")


def _eval_agd20k(
    checkpoint: str, data: Path, text_model: str | None, tokenizer: str | None, template: str | None, **options: Any
) -> None:
    from vidaff.evaluate_grounder import TextModel, evaluate_grounder
    from vidaff.results_grounder import markdown

    if (tokenizer or template) and not text_model:
        raise VidaffError("--tokenizer, --template: each goes with --text-model")
    text = TextModel(text_model, tokenizer, template) if text_model else None
    result = evaluate_grounder(checkpoint, data, text=text, **options)
    click.echo(markdown(result))
    if options["out"] is not None:
        click.echo(f"written to {options['out']}: results.md, results.json, results.csv, best.png, worst.png")
