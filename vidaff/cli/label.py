"""``vidaff label``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vidaff.cli.options import NAME, PATH
from vidaff.errors import VidaffError, first_line

STEPS = ("init", "objects", "similarity", "text", "refine-train", "refine", "clean")
"""As :data:`vidaff.labels.chain.STEPS`, which is not imported for ``--help``."""
DETECTORS = ("vlpart", "grounding-dino", "owlv2", "sam3", "file")
SEGMENTERS = ("sam", "sam-hf", "sam2", "sam3", "file")


class _StepGroup(click.Group):
    """``vidaff label DATA`` means ``vidaff label all DATA``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["all", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The step of a name; what is no step is DATA."""
        return super().get_command(ctx, cmd_name) or self.commands["all"]


@click.group(name="label", cls=_StepGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make pseudo-labels of pictures that have none: which part of an object affords an action.

    \b
    Examples:
      vidaff label AGD20K --out labels --recipe mine.yaml
      vidaff label init AGD20K --out new --detector vlpart=FILE --segmenter sam=FILE --set part.detector.tokenizer=D
      vidaff label pictures --csv pictures.csv --out labels --only init --detector owlv2=FOLDER --segmenter sam2=FOLDER
      vidaff label init AGD20K --out labels --detector file=boxes.json --segmenter file=masks
      vidaff label objects AGD20K --out labels --recipe mine.yaml --engine processes --workers 4
      vidaff label similarity AGD20K --out labels
      vidaff label text AGD20K --out labels
      vidaff label refine AGD20K --out labels --recipe mine.yaml --set refine.train.pairs=all
      vidaff label all synth --out labels --recipe labels-small
      vidaff label parts --from pictures.csv --prompt prompt.txt
      vidaff label report labels
      vidaff train --dataset agd20k --data AGD20K --labels labels

    mine.yaml names the weights, which nobody fetches for you; docs/labels.md says which, and where they are.

    DATA is a tree of AGD20K's layout, a CSV file (image, object, affordance), a folder whose CSV file --csv names, or
    tar archives. 'vidaff label DATA' runs all steps; a run that was stopped goes on where it was.
    """


def _options(body: Callable[..., None]) -> Callable[..., None]:
    """What all steps take; it arrives as one mapping, ``common``."""
    options = (
        click.argument("data", type=PATH),
        click.option("--out", type=PATH, required=True, help="Label folder."),
        click.option("--csv", type=PATH, help="Table of the pictures in the folder DATA."),
        click.option("--split", type=click.Choice(["seen", "unseen", "hard"]), default="seen", show_default=True,
                     help="Split of AGD20K."),
        click.option("--recipe", type=NAME, default="labels", show_default=True,
                     help="Shipped recipe (labels, labels-small) or a YAML file."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
                     help="Change a setting: part.threshold=0.4."),
        click.option("--detector", metavar="KIND[=WEIGHTS]",
                     help=f"Who finds parts and objects: {', '.join(DETECTORS)}; WEIGHTS is a file, folder or hub id."),
        click.option("--segmenter", metavar="KIND[=WEIGHTS]",
                     help=f"Who cuts out what is in a box: {', '.join(SEGMENTERS)}."),
        click.option("--parts", type=PATH, multiple=True, help="YAML file of part names, besides the shipped ones."),
        click.option("--engine", type=click.Choice(["local", "processes", "ray"]), default="local", show_default=True,
                     help="This process, several of this machine, or a Ray cluster."),
        click.option("--workers", type=click.IntRange(1, 4096), default=1, show_default=True,
                     help="Processes or actors, each with its own models."),
        click.option("--threads", type=click.IntRange(1, 1024), help="Threads of each.  [default: 1; local: all]"),
        click.option("--address", type=NAME, help="Ray cluster to join.  [default: one on this machine]"),
        click.option("--gpus", type=click.FloatRange(0, 64), default=0.0, show_default=True, help="Ray: of an actor."),
        click.option("--shard-size", type=click.IntRange(1, 1_000_000), default=64, show_default=True,
                     help="Pictures of a shard, the unit of resuming."),
        click.option("--batch", type=click.IntRange(1, 1024), default=1, show_default=True,
                     help="Pictures given to a detector at once; it takes those of one size together."),
        click.option("--max-skipped", type=click.IntRange(min=0), default=0, show_default=True,
                     help="Pictures that may be unusable before the run counts as failed."),
        click.option("--device", type=NAME, default="auto", show_default=True, help="auto, cpu, cuda."),
        click.option("--overwrite", is_flag=True, help="Make anew what was made of other pictures or settings."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )  # fmt: skip

    @functools.wraps(body)
    def wrapped(**given: Any) -> None:
        own = {name: given.pop(name) for name in ("only", "no_report") if name in given}
        body(common=given, **own)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@command.command(name="all")
@_options
@click.option("--only", type=click.Choice(STEPS), multiple=True, help="Run this step alone; repeatable.")
@click.option("--no-report", is_flag=True, help="Write no report.html at the end.")
def everything(common: dict[str, Any], only: tuple[str, ...], no_report: bool) -> None:
    """All steps, or those of --only, and a report; 'all' may be left out."""
    _run(only or STEPS, common, report=not no_report)


@command.command()
@_options
def init(common: dict[str, Any]) -> None:
    """Initial labels: the part that an affordance concerns, in egocentric pictures."""
    _run(("init",), common)


@command.command()
@_options
def objects(common: dict[str, Any]) -> None:
    """Boxes and masks of whole objects, in egocentric and exocentric pictures."""
    _run(("objects",), common)


@command.command()
@_options
def similarity(common: dict[str, Any]) -> None:
    """How alike egocentric and exocentric objects look; needs objects."""
    _run(("similarity",), common)


@command.command()
@_options
def text(common: dict[str, Any]) -> None:
    """Text features of affordances, objects and parts."""
    _run(("text",), common)


@command.command()
@_options
def refine(common: dict[str, Any]) -> None:
    """Train the refinement network, mark the parts, clean up; needs the other steps."""
    _run(("refine-train", "refine", "clean"), common)


def _run(steps: tuple[str, ...], common: dict[str, Any], *, report: bool = False) -> None:
    # Imported here, so that --help stays fast.
    from vidaff.labels.chain import Labelling
    from vidaff.labels.engine import Engine
    from vidaff.labels.label_recipe import load_label_recipe

    overrides = [
        *_tool("--detector", "detector", common["detector"], DETECTORS),
        *_tool("--segmenter", "segmenter", common["segmenter"], SEGMENTERS),
        *common["overrides"],
    ]
    recipe = load_label_recipe(common["recipe"], overrides)
    if common["parts"]:
        recipe = recipe.model_copy(update={"parts": (*recipe.parts, *map(str, common["parts"]))})
    engine = Engine(common["engine"], common["workers"], common["threads"], common["address"], gpus=common["gpus"])
    job = Labelling(
        common["data"], common["out"], recipe, csv=common["csv"], split=common["split"], engine=engine,
        shard_size=common["shard_size"], max_skipped=common["max_skipped"], overwrite=common["overwrite"],
        device=common["device"], batch=common["batch"], progress=not common["quiet"], say=click.echo,
    )  # fmt: skip
    try:
        job.run(steps)
    except VidaffError:
        if report and job.ended:  # what is there shows best what went wrong
            _report_of(common)
        raise
    if report:
        _report_of(common)


def _report_of(common: dict[str, Any]) -> None:
    """The report of a run; its failure is no failure of the run."""
    from vidaff.labels.report import write_label_report

    where = {name: common[name] for name in ("data", "csv", "split")}
    try:
        page, _ = write_label_report(common["out"], **where, progress=not common["quiet"])
    except Exception as error:  # whatever it is, the labels are made
        click.echo(f"report: not written ({first_line(error)})", err=True)
    else:
        click.echo(f"report: {page}")


def _tool(option: str, block: str, value: str | None, kinds: tuple[str, ...]) -> list[str]:
    """``KIND=WEIGHTS`` as overrides of the recipe, for parts; objects follow them unless the recipe says otherwise."""
    if value is None:
        return []
    kind, _, weights = value.partition("=")
    if kind not in kinds:
        raise VidaffError(f"{option} {value}: KIND is one of {', '.join(kinds)}")
    chosen = [f"part.{block}.kind={kind}"]
    return [*chosen, f"part.{block}.weights={json.dumps(weights, ensure_ascii=False)}"] if weights else chosen


@command.command()
@click.argument("out", type=PATH)
@click.option("--data", type=PATH, help="The pictures.  [default: those that were labelled]")
@click.option("--csv", type=PATH, help="Table of the pictures in the folder --data.")
@click.option("--split", type=click.Choice(["seen", "unseen", "hard"]), help="Split of AGD20K.  [default: as labelled]")
@click.option(
    "--truth",
    type=PATH,
    help="Label folder with true labels (in initial/).  [default: trainset/truth of a rendered set]",
)
@click.option("--to", type=PATH, help="Folder to write in.  [default: OUT]")
@click.option("--max-rows", type=click.IntRange(1, 1000), default=6, show_default=True, help="Pictures shown a pair.")
@click.option(
    "--max-mb", type=click.IntRange(1, 1024), default=16, show_default=True, help="MiB of pictures in the page."
)
@click.option(
    "--max-compared",
    type=click.IntRange(1, 100_000_000),
    default=20_000,
    show_default=True,
    help="Pictures whose masks are read; of more, evenly spaced ones.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def report(out: Path, max_rows: int, max_mb: int, max_compared: int, as_json: bool, quiet: bool, **where: Any) -> None:
    """Write report.html and report.json of the label folder OUT, in whatever state it is.

    The page needs no network: counts, what was not found, scores and areas, and pictures of every pair of affordance
    and object, worst first. With true labels also the agreement (IoU) of initial, raw and refined labels.

    \b
    Examples:
      vidaff label report labels
      vidaff label report labels --data AGD20K --split unseen --to report
      vidaff label report labels --data synth --truth synth/Seen/trainset/truth --json
    """
    from vidaff.labels.report import Limits, write_label_report

    limits = Limits(max_rows, max_compared, max_mb << 20)
    page, numbers = write_label_report(out, **where, limits=limits, progress=not quiet)
    click.echo(json.dumps(numbers, indent=2) if as_json else f"report: {page}")


@command.command()
@click.option("--from", "table", type=PATH, required=True, help="CSV file with the columns object and affordance.")
@click.option("--parts", type=PATH, multiple=True, help="YAML file of part names, besides the shipped ones.")
@click.option("--prompt", type=PATH, help="Write a text that a language model answers with the missing names.")
@click.option("--answer", type=PATH, help="The answer: a JSON array, or JSON objects, one a line.")
@click.option("--out", type=PATH, help="YAML file for the names of the answer, checked; --parts takes it then.")
def parts(table: Path, parts: tuple[Path, ...], prompt: Path | None, answer: Path | None, out: Path | None) -> None:
    """List pairs of affordance and object that have no part name, and get names for them.

    \b
    Examples:
      vidaff label parts --from pictures.csv
      vidaff label parts --from pictures.csv --prompt prompt.txt
      vidaff label parts --from pictures.csv --answer answer.json --out parts.yaml
    """
    from vidaff.io import write_text
    from vidaff.labels.part_names import (
        missing_pairs,
        prompt_text,
        read_answer,
        read_pairs,
        read_part_names,
        write_part_names,
    )

    if (answer is None) != (out is None):
        raise VidaffError("--answer and --out go together")
    pairs, names = read_pairs(table), read_part_names(parts)
    missing = missing_pairs(pairs, names)
    if answer is not None and out is not None:
        named = read_answer(answer, missing or None)
        click.echo(f"{len(named)} part names in {write_part_names(out, named)}")
        return
    for affordance, thing in missing:
        click.echo(f"{affordance} {thing}")
    click.echo(f"{len(missing)} of {len(pairs)} pairs have no part name")
    if prompt is not None and missing:
        write_text(prompt, prompt_text(missing))
        click.echo(f"prompt for a language model: {prompt}")
