"""``vidaff convert``: checkpoints of others to safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidaff.cli.options import PATH, FiniteRange
from vidaff.errors import VidaffError, first_line

HEADS = click.IntRange(1, 64)


@click.group(name="convert", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Convert checkpoints of others to safetensors.

    \b
    Example:
      vidaff convert plsp work_dir/ckpt/bestKLD.ckpt --out models/plsp
    """


@command.command(name="plsp")
@click.argument("file", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder to write; it must be empty.")
@click.option("--encoder-heads", type=HEADS, default=12, show_default=True, help="Attention heads of the encoder.")
@click.option("--fuser-heads", type=HEADS, default=16, show_default=True, help="Attention heads of the fuser.")
@click.option("--decoder-heads", type=HEADS, default=8, show_default=True, help="Attention heads of the mask decoder.")
@click.option("--margin", type=FiniteRange(0, 2), default=0.1, show_default=True, help="Margin of the alignment loss.")
@click.option("--overwrite", is_flag=True, help="Write into a folder that holds files.")
def plsp(
    file: Path, out: Path, encoder_heads: int, fuser_heads: int, decoder_heads: int, margin: float, overwrite: bool
) -> None:
    """Convert FILE, a checkpoint of the authors of WSAG-PLSP, of the grounding or of the refinement network.

    The file is a pickle; one that would run code is refused. Heads and margin leave no trace in it: the defaults are
    those of the published configuration.
    """
    # Imported here, so that --help stays fast.
    from vidaff.io import prepare_output_dir
    from vidaff.models.image import GroundingNet, save_grounder
    from vidaff.models.image.plsp import from_plsp_state_dict, plsp_settings

    heads = {"encoder_heads": encoder_heads, "fuser_heads": fuser_heads, "decoder_heads": decoder_heads}
    state = _state_dict(file)
    try:
        settings = plsp_settings(state, margin=margin, **heads)
        model = from_plsp_state_dict(state, margin=margin, **heads)
    except ValueError as error:
        raise VidaffError(f"{file}: {_reason(error)}") from error
    prepare_output_dir(out, overwrite=overwrite)
    info = {"source": file.name, "origin": "WSAG-PLSP checkpoint of the authors"}
    kind = "grounding" if isinstance(model, GroundingNet) else "refinement"
    if kind == "grounding":
        info["select"] = "test-kld"  # the authors' only rule: the file is that of the lowest KLD on the test split
    save_grounder(out, model, settings, info)
    count = sum(weight.numel() for weight in model.parameters())
    # Wrong heads give a network that runs and is wrong, so what was assumed is said.
    assumed = f"{encoder_heads} heads in the encoder, {fuser_heads} in the fuser, {decoder_heads} in the decoder"
    click.echo(f"{kind} network of {count:,} parameters in {out} ({assumed})")


def _state_dict(file: Path) -> dict[str, Any]:
    """Tensors of the checkpoint by name; the optimiser's state beside them is left out."""
    import torch

    from vidaff.weights import load_torch_file

    if not file.is_file():
        raise VidaffError(f"{file}: no such file")
    content = load_torch_file(file)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise VidaffError(f"{file}: holds no state_dict of tensors; is it a checkpoint of WSAG-PLSP?")
    # A tensor may repeat one stored number without end, and copies of it would take all memory.
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > file.stat().st_size:
        raise VidaffError(f"{file}: refused, its tensors claim more numbers than the file holds")
    return {str(name): tensor for name, tensor in state.items()}


def _reason(error: ValueError) -> str:
    """What is wrong, in one line; the settings' own errors come as a list."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return f"{'.'.join(map(str, found['loc'])) or 'sizes'}: {found['msg']}"
    return first_line(error)
