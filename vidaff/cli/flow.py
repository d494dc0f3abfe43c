"""``vidaff flow``: RGB-D scene flow of a clip or a pair."""

from __future__ import annotations

from typing import Any

import click

from vidaff.cli.options import NAME, PATH, FiniteRange


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", required=False, type=NAME)
@click.option("--out", required=True, type=PATH, help="Folder for the results.")
@click.option("--pair", nargs=4, type=NAME, metavar="RGB0 DEPTH0 RGB1 DEPTH1", help="Two frames instead of SOURCE.")
@click.option(
    "--method", default="pd-dis", show_default=True,
    help="pd-dis, pd (the published schedule), dis or dis-still (need depth), dis2d (pictures only) or none.",
)  # fmt: skip
@click.option("--backend", default="auto", show_default=True, help="For pd and pd-dis: numba (auto) or torch.")
@click.option("--linear-lift", is_flag=True, help="Lift to metres linearised, as the published program does.")
@click.option("--clip", help="Name of the clip in a prepared file (.h5).")
@click.option("--depth", type=NAME, help="Depth beside plain frames: folder of 16-bit pictures, .npy or .h5.")
@click.option("--depth-scale", type=FiniteRange(min=0, min_open=True), default=1000, show_default=True,
              help="Units of integer depth per metre.")  # fmt: skip
@click.option("--intrinsics", type=NAME, help='"fx,fy,cx,cy" in pixels of the frames, or a YAML file.')
@click.option("--fps", type=FiniteRange(min=0), default=0, show_default=True, help="Sampling; 0 = every frame.")
@click.option(
    "--coding", default="signed", show_default=True, help="Colours: signed (grey = rest) or abs (black = rest)."
)
@click.option("--scale", help='Metres that saturate the colours; for abs also "clip" or "frame".  [0.1; abs: clip]')
@click.option("--ply", is_flag=True, help="Also write coloured point clouds with motion vectors (needs depth).")
@click.option("--overwrite", is_flag=True, help="Write into --out even if it holds files.")
def command(**options: Any) -> None:
    """Compute dense scene flow: how far every point moved between two frames, in metres.

    SOURCE is an own clip or recording (rgb/ and depth/), a folder with color/ and depth/, a prepared file with
    --clip, or a video or folder of frames with --depth. Flow lives on each frame's pixels and tells how a point moved
    to get there from the frame before; with --pair it lives on the first picture and points to the second.

    \b
    Written to OUT:
      flow/     per frame an npz: flow (H, W, 3) int16 in 0.1 mm, X right, Y down, Z away; -32768 = not known
      colour/   colour pictures; red: vertical, green: horizontal, blue: depth
      flow.mp4  picture, depth and flow side by side (flow.png for a pair)
      ply/      point clouds (_cloud) and motion vectors (_motion), where asked for
      flow.json method, camera, units, colour scale

    \b
    Examples:
      vidaff flow set/val/Subject1_cut_1_knife --out runs/flow
      vidaff flow clips.h5 --clip Subject1_cut_1_knife --out runs/flow --coding abs
      vidaff flow room/ --intrinsics 518,519,325.5,253.5 --out runs/flow --ply
      vidaff flow --pair a.png a_depth.png b.png b_depth.png --intrinsics cam.yaml --out runs/pair
    """
    from vidaff.flow3d.job import FlowJob, FlowSettings

    options["pair"] = options["pair"] or None
    job = FlowJob(FlowSettings(**options))
    for note in job.notes:
        click.echo(note, err=True)
    click.echo(f"{_run(job)} frames in {job.out}")


def _run(job: Any) -> int:
    from vidaff.progress import progress_bar

    with progress_bar() as progress:
        task = progress.add_task("flow", total=None if job.count is None else 2 * job.count)
        done: int = job.run(lambda number: progress.update(task, completed=number))
    return done
