"""Checkpoints of the authors of WSAG-PLSP, loaded as they are.

Sizes are read off the shapes of the tensors; the numbers of attention heads and the margin leave no trace in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from vidaff.models.image.build import build_grounder
from vidaff.models.image.features import square_side
from vidaff.models.image.grounder import GroundingNet, RefinementNet
from vidaff.models.image.settings import ClipVisionSettings, DecoderSettings, FuserSettings, GrounderSettings
from vidaff.models.image.strict import load_strict

State = Mapping[str, torch.Tensor]


def from_plsp_state_dict(
    state_dict: State, *, encoder_heads: int = 12, fuser_heads: int = 16, decoder_heads: int = 8, margin: float = 0.1
) -> GroundingNet | RefinementNet:
    """The authors' network with their weights, in evaluation mode, in float32 on the CPU.

    Args:
        state_dict: the value of ``state_dict`` in ``bestKLD.ckpt`` (grounding) or of a checkpoint of the refinement
            stage, recognised by its names. It is copied.
        encoder_heads: attention heads of CLIP's vision transformer (12 in ViT-B).
        fuser_heads: attention heads of the cross-modal fuser.
        decoder_heads: attention heads of the mask decoder.
        margin: of the alignment loss; 0.1 in the authors' configuration files.

    Returns:
        ``model(images (B, 3, H, W), text (B, D)) -> logits (B, 1, h, w)``.

    Raises:
        ValueError: names or shapes are not those of such a network; the first that differ are named.
    """
    settings = plsp_settings(
        state_dict, encoder_heads=encoder_heads, fuser_heads=fuser_heads, decoder_heads=decoder_heads, margin=margin
    )
    with torch.device("meta"):
        model = build_grounder(settings)
    load_strict(model, state_dict)
    return model.eval()


def plsp_settings(
    state: State, *, encoder_heads: int, fuser_heads: int, decoder_heads: int, margin: float
) -> GrounderSettings:
    """Settings of the network that a state of the authors belongs to; raise :class:`ValueError` when there is none."""
    refinement = not any(name.startswith("verb_fuser.") for name in state)
    dim = _shape(state, "encoder.proj", 2)[1]
    parts = {} if refinement else _grounding_parts(state, fuser_heads)
    return GrounderSettings(
        task="refinement" if refinement else "grounding",
        dim=dim,
        clip=_encoder(state, encoder_heads),
        decoder=_decoder(state, decoder_heads),
        margin=margin,
        **parts,
    )


def _encoder(state: State, heads: int) -> ClipVisionSettings:
    width, _, patch, _ = _shape(state, "encoder.conv1.weight", 4)
    return ClipVisionSettings(
        width=width,
        layers=_count(state, r"encoder\.transformer\.resblocks\.(\d+)\."),
        heads=heads,
        patch=patch,
        grid=square_side(_shape(state, "encoder.positional_embedding", 2)[0] - 1),
    )


def _grounding_parts(state: State, heads: int) -> dict[str, object]:
    hidden, dim = _shape(state, "verb_fuser.regressor_blocks.0.mlp_cross.fc1.weight", 2)
    fuser = FuserSettings(
        depth=_count(state, r"verb_fuser\.regressor_blocks\.(\d+)\."),
        heads=heads,
        mlp_ratio=hidden // dim,
        grid=square_side(_shape(state, "verb_fuser.rd_pos_embed", 3)[1] - 2),
    )
    exocentric = "exo_cls.0.weight" in state
    exo = {
        "exo_hidden": _shape(state, "exo_cls.0.weight", 2)[0],
        "num_affordances": _shape(state, "exo_cls.2.weight", 2)[0],
    } if exocentric else {}  # fmt: skip
    return {"fuser": fuser, "exocentric": exocentric, "reasoning": "reason.0.weight" in state, **exo}


def _decoder(state: State, heads: int) -> DecoderSettings:
    maps = [tensor for name, tensor in state.items() if name.startswith("pred_decoder.output_upscaling.")]
    kernels = [tensor.shape[-1] for tensor in maps if tensor.ndim == 4]
    return DecoderSettings(
        depth=_count(state, r"pred_decoder\.transformer\.layers\.(\d+)\."),
        heads=heads,
        mlp_dim=_shape(state, "pred_decoder.transformer.layers.0.mlp.lin1.weight", 2)[0],
        up_steps=kernels.count(2),  # type: ignore[arg-type]
        conv_first=3 in kernels,
        learned_token="pred_decoder.add_token.weight" in state,
    )


def _shape(state: State, name: str, axes: int) -> tuple[int, ...]:
    if name not in state:
        raise ValueError(f"not weights of WSAG-PLSP: {name} is missing")
    shape = tuple(state[name].shape)
    if len(shape) != axes:
        raise ValueError(f"not weights of WSAG-PLSP: {name} has shape {shape}, expected {axes} axes")
    if 0 in shape:
        raise ValueError(f"not weights of WSAG-PLSP: {name} of shape {shape} is empty")
    return shape


def _count(state: State, pattern: str) -> int:
    """Number of blocks whose names match ``pattern``."""
    return len({found[1] for name in state if (found := re.match(pattern, name))})
