"""``vidaff infer``: affordances in a video, a folder, a camera or a picture."""

from __future__ import annotations

from typing import Any

import click

from vidaff.cli.options import NAME, PATH, FiniteRange

EPILOG = """
\b
Examples:
  vidaff infer clip.mp4 --checkpoint small --out runs/clip
  vidaff infer frames/ --depth depth/ --intrinsics 518,519,325.5,253.5 --checkpoint small --out runs/room
  vidaff infer set/val/Subject1_cut_1_knife --checkpoint runs/mine/best --out runs/knife --ply
  vidaff infer clips.h5 --clip Subject1_cut_1_knife --checkpoint small --out runs/knife
  vidaff infer 0 --checkpoint small --out runs/camera --max-frames 300
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=NAME)
@click.option(
    "--checkpoint", required=True, type=NAME, help="Folder, file, shipped name (small) or Hugging Face hub id."
)
@click.option("--out", required=True, type=PATH, help="Folder for the results.")
@click.option("--clip", help="Name of the clip in a prepared file (.h5).")
@click.option("--depth", type=NAME, help="Depth beside plain frames: folder of 16-bit pictures, .npy or .h5.")
@click.option("--depth-scale", type=FiniteRange(min=0, min_open=True), help="Stored depth units per metre [1000].")
@click.option("--depth-model", type=NAME, help="Transformers depth model (folder or hub id) for sources without depth.")
@click.option(
    "--assumed-depth",
    type=FiniteRange(min=0.05, max=20),
    default=0.6,
    show_default=True,
    help="Metres to the scene when a model made for depth gets none; scales its motion only.",
)
@click.option(
    "--intrinsics", type=NAME, help='"fx,fy,cx,cy" in pixels of the source, or a YAML file. [60 degrees across]'
)
@click.option(
    "--calibration", type=NAME, help="YAML that maps a Kinect's colours to its depth grid (recording folders)."
)
@click.option("--fps", type=FiniteRange(min=0), default=10, show_default=True, help="Sampling; 0 = every frame.")
@click.option("--max-frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--size", help="Model input, 96 or 240x320 (height x width), other than the recipe's.")
@click.option(
    "--confidence",
    type=FiniteRange(min=0, max=1),
    default=0.75,
    show_default=True,
    help="Paint only pixels above it; 0 = all. Label pictures always hold every pixel.",
)
@click.option("--probs", is_flag=True, help="Also write class probabilities (npz).")
@click.option("--ply", is_flag=True, help="Also write labelled point clouds (needs depth).")
@click.option("--no-video", is_flag=True, help="Write no overlay video.")
@click.option("--no-labels", is_flag=True, help="Write no label pictures.")
@click.option(
    "--backend", type=click.Choice(["pyav", "decord"]), default="pyav", show_default=True, help="Video decoder."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
    help="Of the network; auto takes bf16 where the hardware gains by it.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run in --out.")
def command(**options: Any) -> None:
    """Find affordances in SOURCE, frame by frame.

    SOURCE is a video file, a folder of frames, an own clip or a SOR3D-AFF recording (a folder with rgb/ and depth/),
    a prepared file with --clip, a camera number, or a single picture (static inference).

    \b
    Written to OUT:
      overlay.mp4    the painted picture, legend, action bar and attention (overlay.png for a picture)
      labels/        8-bit PNGs of class ids: 0..8 affordances, 9 background; with a model of UMD or IIT-AFF
                     as these sets have it, 0 background, affordances from 1
      timeline.csv   per frame: action, its probability, share of pixels per class, milliseconds
      probs/, ply/   where asked for
    """
    from vidaff.infer import InferJob

    job = InferJob(_settings(**options))
    for note in job.notes:
        click.echo(note, err=True)
    summary = _run(job)
    rate = f"{summary.frames} frames, {summary.frames_per_second:.1f} a second, in {summary.out}"
    click.echo(rate if not summary.interrupted else f"stopped after {rate}")
    if summary.interrupted and not job.source.is_live:
        raise KeyboardInterrupt


def _settings(**options: Any) -> Any:
    from vidaff.datasets.geometry import parse_size
    from vidaff.infer import InferSettings
    from vidaff.sources import SourceSettings

    keys = ("source", "clip", "depth", "depth_scale", "calibration", "fps", "max_frames", "backend")
    source = SourceSettings(**{key: options.pop(key) for key in keys})
    size = options.pop("size")
    video, labels = not options.pop("no_video"), not options.pop("no_labels")
    return InferSettings(source=source, size=parse_size(size) if size else None, video=video, labels=labels, **options)


def _run(job: Any) -> Any:
    """Run with a progress bar; for a source of unknown length the frames are counted."""
    from vidaff.progress import progress_bar

    with progress_bar() as progress:
        task = progress.add_task("", total=job.source.count)
        return job.run(lambda frame: progress.update(task, completed=frame.number, description=frame.result.action))
