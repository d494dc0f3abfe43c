"""``vidaff data``: check, prepare and inspect data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidaff.cli.options import PATH
from vidaff.datasets import DATASETS, GROUNDING, STILLS

if TYPE_CHECKING:
    from vidaff.datasets.check import Report

_NAME = click.Choice(sorted(DATASETS))
_CHECKED = click.Choice(sorted({**DATASETS, **GROUNDING}))
_SHOWN = 100
"""Findings in the table; a set with one fault in every recording would hide the counts below it."""


def parse_options(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``("protocol=novel",)`` -> ``{"protocol": "novel"}``; the last of several values for one key counts."""
    pairs = [text.partition("=") for text in values]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise click.BadParameter(f"{key + sign!r}: write KEY=VALUE, such as protocol=novel", ctx, param)
    return {key: value for key, _, value in pairs}


@click.group(name="data", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check, prepare and inspect data sets.

    \b
    Examples:
      vidaff data check sor3d-aff ROOT
      vidaff data prepare sor3d-aff ROOT clips.h5 --size 300
      vidaff data prepare sor3d-aff ROOT clips.h5 --geometry aligned --calibration kinect.yaml
      vidaff data prepare own-clips MY_CLIPS clips.h5 --flow dis2d
      vidaff data check umd ROOT --quick
      vidaff data check agd20k ROOT
      vidaff data prepare umd ROOT umd.h5 --size 300 --centre-crop 300 --option protocol=novel
      vidaff data info clips.h5
    """


@command.command()
@click.argument("dataset", type=_NAME)
@click.argument("root", type=PATH)
@click.argument("out", type=PATH)
@click.option("--size", default="96", show_default=True, help="Stored size: 96, or 240x320 (height x width).")
@click.option("--fps", type=float, default=10.0, show_default=True, help="Frames a second; 0 keeps all frames.")
@click.option(
    "--geometry", type=click.Choice(["resize", "crop", "aligned"]), default="resize", show_default=True,
    help="Whole picture, the authors' window, or colour mapped to the depth grid (needs --calibration).",
)  # fmt: skip
@click.option("--calibration", type=PATH, help="YAML file with the colour and depth cameras, for 'aligned'.")
@click.option(
    "--centre-crop", type=int,
    help="Side of the centre square, e.g. 300: of the depth grid with 'aligned', of the picture for still pictures.",
)  # fmt: skip
@click.option(
    "--flow", show_default="pd-dis, none for still pictures", metavar="METHOD",
    help="Scene flow to store: pd-dis, pd, dis, dis-still (need depth), dis2d, exact (truth of rendered clips), none.",
)  # fmt: skip
@click.option("--clip-length", type=int, help="Keep this many last frames.  [default: all]")
@click.option(
    "--frame-rule", type=click.Choice(["fps", "authors"]), default="fps", show_default=True,
    help="Sample by --fps, or choose frames by the authors' 20-slot rule.",
)  # fmt: skip
@click.option("--all-labels", is_flag=True, help="Keep labels of other classes than the recording's action.")
@click.option(
    "--black-is-ignore", is_flag=True, help="Black mask pixels (no colour mapped) are ignored, not background."
)
@click.option(
    "--option", "dataset_options", metavar="KEY=VALUE", multiple=True, callback=parse_options,
    help="umd: protocol=category|novel, frames=all|manual, labels=top|ranked. iit-aff: protocol=official|holdout.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes.")
@click.option("--resume", is_flag=True, help="Continue a run that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def prepare(
    dataset: str, root: Path, out: Path, size: str, fps: float, geometry: str, calibration: Path | None,
    centre_crop: int | None, flow: str | None, clip_length: int | None, frame_rule: str, all_labels: bool,
    black_is_ignore: bool, dataset_options: dict[str, str], workers: int, resume: bool, overwrite: bool,
) -> None:  # fmt: skip
    """Write the clips of DATASET under ROOT to the HDF5 file OUT, ready for training."""
    from vidaff.datasets.geometry import parse_size
    from vidaff.datasets.prepare import PrepareSettings, prepare_clips

    settings = PrepareSettings(
        size=parse_size(size), fps=fps or None, geometry=geometry,
        flow=flow if flow is not None else "none" if dataset in STILLS else "pd-dis",
        calibration=str(calibration) if calibration else None, centre_crop=centre_crop, clip_length=clip_length,
        frame_rule=frame_rule, all_labels=all_labels, black_is_ignore=black_is_ignore,
        dataset_options=dataset_options,
    )  # fmt: skip
    path = prepare_clips(dataset, root, out, settings, workers=workers, resume=resume, overwrite=overwrite)
    click.echo(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


@command.command()
@click.argument("dataset", type=_CHECKED)
@click.argument("root", type=PATH)
@click.option("--quick", is_flag=True, help="Decode only the first and the last frame of each recording.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def check(ctx: click.Context, dataset: str, root: Path, quick: bool, workers: int, as_json: bool) -> None:
    """List what is wrong with DATASET under ROOT; exit code 1 when something is."""
    from vidaff.datasets.check import check_dataset
    from vidaff.progress import progress_bar

    with progress_bar(shown=not as_json) as bar:
        task = bar.add_task("checking", total=None)
        report = check_dataset(
            dataset, root, workers=workers, quick=quick, tick=lambda total: bar.update(task, advance=1, total=total)
        )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print_report(report)
    ctx.exit(0 if report.ok else 1)


def _print_report(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if report.problems:
        table = Table(title=f"{report.dataset} in {report.root}")
        for title in ("Recording", "File", "Finding"):
            table.add_column(title, overflow="fold")
        for problem in report.problems[:_SHOWN]:
            text = escape(problem.message)
            table.add_row(escape(problem.recording), escape(problem.file), f"note: {text}" if problem.note else text)
        console.print(table)
    if len(report.problems) > _SHOWN:
        console.print(f"{len(report.problems) - _SHOWN} more; --json lists all")
    counts = ", ".join(f"{count} in {split}" for split, count in report.recordings.items())
    faults = sum(not problem.note for problem in report.problems)
    console.print(f"{counts}; {report.frames} frames; {faults or 'no'} problem{'' if faults == 1 else 's'}")


@command.command()
@click.argument("path", type=PATH)
@click.option("--dataset", type=_NAME, default="sor3d-aff", show_default=True, help="Layout, when PATH is a folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def info(path: Path, dataset: str, as_json: bool) -> None:
    """Count clips per split, action and object of the prepared file or data set PATH."""
    from vidaff.datasets.summary import summarize

    summary = summarize(path, dataset)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for kind in ("actions", "objects"):
        table = Table(kind[:-1].capitalize(), *summary["splits"])
        names = sorted({name for split in summary["splits"].values() for name in split[kind]})
        for name in names:
            table.add_row(name, *(str(split[kind].get(name, 0)) for split in summary["splits"].values()))
        table.add_section()
        table.add_row("all", *(str(split["clips"]) for split in summary["splits"].values()))
        console.print(table)
    for key, value in summary["settings"].items():
        console.print(f"{key}: {value}", markup=False, highlight=False)
