"""``vidaff ground``: where in a picture an action is done, and which grasp fits it."""

from __future__ import annotations

from typing import Any

import click

from vidaff.cli.options import NAME, PATH, FiniteRange

EPILOG = """
\b
Examples:
  vidaff ground cup.jpg --query hold --query "drink with" --checkpoint runs/agd20k/best --out runs/cup
  vidaff ground pictures/ --query grasp --checkpoint models/plsp --text-model clip/ --out runs/grasp
  vidaff ground rgb.png --query hold --checkpoint runs/agd20k/best --out runs/choice \\
      --depth depth.png --intrinsics 615,615,320,240 --grasps candidates.npy
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("images", type=NAME, nargs=-1, required=True)
@click.option("--query", "queries", type=str, multiple=True, required=True, help="An action in words; may be repeated.")
@click.option("--checkpoint", required=True, type=NAME, help="Folder of a grounding network, or Hugging Face hub id.")
@click.option("--out", required=True, type=PATH, help="Folder for the results.")
@click.option(
    "--text-model", type=NAME,
    help="CLIP (folder, hub id or OpenAI archive) for words that the checkpoint does not hold.",
)  # fmt: skip
@click.option("--tokenizer", type=NAME, help="CLIP's tokenizer (folder or hub id), if the text model is an archive.")
@click.option("--template", help="Prompt for the text model, '{}' stands for the word.  [default: the checkpoint's]")
@click.option(
    "--level", type=FiniteRange(min=0, max=1), default=0.5, show_default=True,
    help="The mask holds pixels of at least this share of the highest heat.",
)  # fmt: skip
@click.option("--points", type=click.IntRange(0, 1000), default=5, show_default=True, help="Number of top points.")
@click.option(
    "--raw", type=click.Choice(["npy", "png", "none"]), default="npy", show_default=True,
    help="Raw heat map: float32 that sums to 1, or 16-bit picture whose 65535 is the peak.",
)  # fmt: skip
@click.option("--grasps", type=NAME, help="Grasp candidates (.npy or .json), to be ranked.")
@click.option("--pose", type=NAME, help="Rigid motion (4x4, .npy or .json) from the grasps' frame to the camera's.")
@click.option(
    "--approach", type=click.Choice(["x", "y", "z"]), default="x", show_default=True,
    help="Axis along which the gripper approaches: x in GraspNet, z in a Panda hand's frame.",
)  # fmt: skip
@click.option(
    "--reach", type=FiniteRange(min=-1, max=1), default=0.0, show_default=True,
    help="Metres from a grasp's position to the contact, along the approach.",
)  # fmt: skip
@click.option("--depth", type=NAME, help="Depth of the picture (16-bit picture or .npy); adds a point cloud.")
@click.option("--depth-scale", type=FiniteRange(min=0, min_open=True), help="Stored depth units per metre [1000].")
@click.option("--intrinsics", type=NAME, help='"fx,fy,cx,cy" in pixels, or a YAML file. [60 degrees across]')
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
    help="Of the network; auto takes bf16 where the hardware gains by it.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Write into --out even if it holds files.")
def command(**options: Any) -> None:
    """Find where in IMAGES an action is done.

    IMAGES are picture files, or folders of them. Known affordances are answered from the checkpoint alone; any other
    word is answered through a CLIP text tower, and the nearest known affordance is named.

    \b
    Written to OUT/<picture>/:
      <query>.png        heat on the picture, outline of the mask, top points, grasps
      <query>.npy        raw heat map (H, W), sums to 1
      <query>_mask.png   8-bit picture, 255 where the heat is at least --level of the peak
      <query>.json       nearest known affordance, top points, grasps best first
      <query>.ply        point cloud with the heat and the grasps (with --depth)
    """
    from vidaff.grounding_job import GroundJob, GroundSettings

    job = GroundJob(GroundSettings(**options))
    for note in job.notes:
        click.echo(note, err=True)
    for record in job.run():
        click.echo(_line(record))
    click.echo(f"in {job.out}")


def _line(record: dict[str, Any]) -> str:
    """One line for an answer."""
    text = f"{record['image']}: {record['query']}"
    if not record["known"]:
        nearest = record["nearest"]
        text += " (unknown word" + (
            f", nearest known affordance {nearest}, cosine {record['similarity']:.2f})" if nearest else ")"
        )
    if record["points"]:
        text += f": peak at {record['points'][0]['x']},{record['points'][0]['y']}"
    return text + _grasp_text(record["grasps"]) if "grasps" in record else text


def _grasp_text(grasps: list[dict[str, Any]]) -> str:
    """The best grasp, and how many cannot be judged and why."""
    problems = [grasp["problem"] for grasp in grasps if grasp["problem"]]
    counted = ", ".join(f"{problems.count(kind)} {kind}" for kind in sorted(set(problems)))
    best = grasps[0]["index"] if grasps and grasps[0]["heat"] > 0 else "none"
    return f"; best grasp {best} of {len(grasps)}" + (f" ({counted})" if counted else "")
