"""``vidaff train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidaff.cli.data import parse_options
from vidaff.cli.options import NAME, PATH
from vidaff.datasets import check_options
from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.config import Recipe


@click.command()
@click.option(
    "--model",
    type=click.Choice(["video", "affordancenet", "encoder", "grounder", "cam"]),
    help="The spatio-temporal autoencoder; AffordanceNet on last frames and still pictures; the autoencoder's RGB-D "
    "encoder alone, on actions; on agd20k the grounding network or the CAM baseline.  [default: video; grounder for "
    "agd20k; encoder for utkinect]",
)
@click.option(
    "--dataset",
    default="sor3d-aff",
    show_default=True,
    help="Data set: sor3d-aff or own-clips, or still pictures, umd or iit-aff; utkinect for encoder; agd20k for "
    "grounder and cam.",
)
@click.option("--data", type=PATH, help="Prepared file or folder; else clips are rendered.")
@click.option(
    "--recipe",
    type=NAME,
    help="Shipped recipe or a YAML file.  [default: small for video, on umd static, on iit-aff static-rgb; plsp for "
    "grounder; else the model's name]",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: train.epochs=20.")
@click.option("--split", type=click.Choice(["seen", "unseen", "hard"]), help="Split of agd20k.  [default: seen]")
@click.option("--labels", type=PATH, help="agd20k: folder of pseudo-labels, if they are not within --data.")
@click.option("--manifest", type=PATH, help="agd20k: JSON that says what trains and tests in the split hard.")
@click.option(
    "--select",
    type=click.Choice(["heldout", "last", "test-kld"]),
    help="agd20k: which epoch becomes the checkpoint; the same as --set train.select=.  [default: the recipe's]",
)
@click.option(
    "--init",
    multiple=True,
    metavar="STREAM=PATH",
    help="Weights to begin with, rgbd=PATH or flow=PATH: a checkpoint of the encoder or of the video model, or a local "
    "torchvision file of VGG-16; repeatable.",
)
@click.option(
    "--protocol",
    type=click.Choice(["half", "loso"]),
    help="utkinect: subjects 1 to 5 train, or each sequence is left out in turn.  [default: half]",
)
@click.option("--fold", metavar="SEQUENCE", help="utkinect: leave out this sequence alone, such as s03_e01.")
@click.option(
    "--option", "dataset_options", metavar="KEY=VALUE", multiple=True, callback=parse_options,
    help="Of a folder of still pictures: umd: protocol=category|novel, frames=all|manual, labels=top|ranked "
    "(affordancenet). iit-aff: protocol=official|holdout.",
)  # fmt: skip
@click.option("--out", type=PATH, default=Path("runs/train"), show_default=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option(
    "--overwrite", is_flag=True, help="Write into --out although it holds files; an earlier run in it is removed."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU when there is one.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    model: str | None,
    dataset: str,
    data: Path | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    split: str | None,
    labels: Path | None,
    manifest: Path | None,
    select: str | None,
    init: tuple[str, ...],
    protocol: str | None,
    fold: str | None,
    dataset_options: dict[str, str],
    out: Path,
    resume: bool,
    overwrite: bool,
    device: str,
    quiet: bool,
) -> None:
    """Train the video model, its RGB-D encoder alone, the grounding network of the image branch, or a baseline.

    \b
    Examples:
      vidaff train --dataset sor3d-aff --data clips.h5 --out runs/mine
      vidaff train --data clips.h5 --recipe paper --set train.precision=bf16
      vidaff train --data clips.h5 --out runs/mine --resume
      vidaff train --dataset umd --data part-affordance-dataset --out runs/umd
      vidaff train --dataset umd --data part-affordance-dataset --option protocol=novel --out runs/umd-novel
      vidaff train --dataset iit-aff --data iit.h5 --out runs/iit
      torchrun --nproc-per-node 2 -m vidaff train --data clips.h5 --out runs/ddp
      vidaff train --model affordancenet --recipe affordancenet-tiny --data clips.h5 --out runs/affordancenet
      vidaff train --model encoder --dataset utkinect --data ROOT --out runs/encoder
      vidaff train --data clips.h5 --recipe paper --init rgbd=runs/encoder/best --init flow=vgg16.pth --out runs/paper
      vidaff train --dataset agd20k --data AGD20K --split unseen --out runs/plsp
      vidaff train --dataset agd20k --data synth --recipe grounder-small --out runs/grounder
      vidaff train --dataset agd20k --data synth --model cam --out runs/cam

    Without --data the embedded default is used: synthetic clips are rendered and prepared next to --out first (not
    for agd20k: see 'vidaff synth agd20k'; not for utkinect, umd and iit-aff).
    """
    model = model or {"agd20k": "grounder", "utkinect": "encoder"}.get(dataset, "video")
    _check_for_encoder(model, init, protocol, fold)
    if dataset_options:
        if model not in ("video", "affordancenet"):
            raise VidaffError(f"--option: for --model video and affordancenet only, not for {model}")
        if model == "video" and "labels" in dataset_options:
            raise VidaffError(
                "--option labels: for --model affordancenet only; the autoencoder learns one label a pixel"
            )
        check_options(dataset, data or "", dataset_options)
    if (dataset == "agd20k") != (model in ("grounder", "cam")):
        raise VidaffError(f"--model {model} does not train on {dataset}; grounder and cam train on agd20k, alone")
    grounding = {"split": split, "labels": labels, "manifest": manifest, "select": select}
    if model in ("grounder", "cam"):
        options = {"resume": resume, "overwrite": overwrite, "device": device, "progress": not quiet}
        best = _train_on_agd20k(model, recipe, overrides, data, out, grounding, options)
        click.echo(f"checkpoint: {best}")
        return
    given = [f"--{name}" for name, value in grounding.items() if value is not None]
    if given:
        raise VidaffError(f"{', '.join(given)}: for --dataset agd20k only")
    same: dict[str, Any] = {
        "dataset": dataset, "resume": resume, "overwrite": overwrite, "device": device, "progress": not quiet,
    }  # fmt: skip
    if model == "affordancenet":
        same["options"] = dataset_options
        best = _train_affordancenet(recipe or "affordancenet", overrides, data, out, same)
    elif model == "encoder":
        best = _train_encoder(recipe or "encoder", overrides, data, out, protocol, fold, init, same)
        if best == out:  # each sequence was held out in turn
            click.echo(f"checkpoints: {out}/SEQUENCE/best")
            return
    else:
        same["options"] = dataset_options
        best = _train_video(recipe, overrides, data, out, init, same)
    click.echo(f"checkpoint: {best}")


def _check_for_encoder(model: str, init: tuple[str, ...], protocol: str | None, fold: str | None) -> None:
    if init and model not in ("video", "encoder"):
        raise VidaffError(f"--init: for --model video and encoder only, not for {model}")
    if (protocol or fold) and model != "encoder":
        raise VidaffError("--protocol, --fold: for --model encoder only")


def _train_video(
    recipe: str | None, overrides: tuple[str, ...], data: Path | None, out: Path, init: tuple[str, ...],
    options: dict[str, Any],
) -> Path:  # fmt: skip
    from vidaff.config import load_recipe
    from vidaff.training.stills import RECIPES

    settings = load_recipe(recipe or RECIPES.get(options["dataset"], "small"), overrides)
    if data is None:
        data = _render(settings.input.size, settings, out, options)
    from vidaff.models.video.initial import parse_init
    from vidaff.train import train

    return train(settings, data, out, init=parse_init(init), say=click.echo, **options)


def _train_encoder(
    recipe: str, overrides: tuple[str, ...], data: Path | None, out: Path, protocol: str | None, fold: str | None,
    init: tuple[str, ...], options: dict[str, Any],
) -> Path:  # fmt: skip
    from vidaff.models.video.encoder_settings import load_encoder_recipe

    settings = load_encoder_recipe(recipe, overrides)
    if data is None:
        raise VidaffError("--model encoder needs --data, a copy of UTKinect-Action3D: nothing is rendered for it")
    from vidaff.models.video.initial import parse_init
    from vidaff.training.encoder import train_encoder

    return train_encoder(
        settings, data, out, protocol=protocol, fold=fold, init=parse_init(init), say=click.echo, **options
    )


def _train_affordancenet(
    recipe: str, overrides: tuple[str, ...], data: Path | None, out: Path, options: dict[str, Any]
) -> Path:
    from vidaff.models.baselines.settings import load_detector_recipe

    settings = load_detector_recipe(recipe, overrides)
    if data is None:
        data = _render(settings.input.size, None, out, options)
    from vidaff.training.affordancenet import train_affordancenet

    return train_affordancenet(settings, data, out, **options)


def _train_on_agd20k(
    model: str,
    recipe: str | None,
    overrides: tuple[str, ...],
    data: Path | None,
    out: Path,
    grounding: dict[str, Any],
    options: dict[str, Any],
) -> Path:
    from vidaff.models.image.recipe import PAPER, SELECTIONS, load_grounder_recipe

    if data is None:
        raise VidaffError("agd20k needs --data: the root of the data set, or of one by 'vidaff synth agd20k'")
    select = grounding.pop("select")
    chosen = (*overrides, *([f"train.select={select}"] if select else []))
    where = {**grounding, "split": grounding["split"] or "seen"}
    if model == "cam":
        from vidaff.models.baselines.cam import load_cam_recipe
        from vidaff.training.cam import train_cam

        cam = load_cam_recipe(recipe or "cam", chosen)
        click.echo(f"the epoch is chosen by {cam.train.select}: {SELECTIONS[cam.train.select]}")
        return train_cam(cam, data, out, say=click.echo, **where, **options)
    settings = load_grounder_recipe(recipe or PAPER, chosen)
    click.echo(f"the epoch is chosen by {settings.train.select}: {SELECTIONS[settings.train.select]}")
    from vidaff.training.grounder import train_grounder

    return train_grounder(settings, data, out, say=click.echo, **where, **options)


def _render(size: tuple[int, int], recipe: Recipe | None, out: Path, options: dict[str, Any]) -> Path:
    """The embedded default with the flow that the recipe needs; an unusable ``out`` is refused before the work."""
    from vidaff.datasets import STILLS
    from vidaff.default_data import default_data
    from vidaff.io import prepare_output_dir
    from vidaff.weights import flow_method

    if options["dataset"] in STILLS:
        raise VidaffError(f"--dataset {options['dataset']} needs --data: the embedded default is clips of sor3d-aff")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise VidaffError("training by several processes needs --data: make it first, see 'vidaff synth --help'")
    prepare_output_dir(out, resume=options["resume"], overwrite=options["overwrite"])
    flow = "none" if recipe is None else flow_method(recipe, {})
    data = default_data(out.parent / "synthetic", size=size, flow=flow, progress=options["progress"])
    click.echo(f"no --data given: using the embedded synthetic clips in {data}")
    return data
