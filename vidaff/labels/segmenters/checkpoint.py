"""SAM's checkpoints (``sam_vit_h_4b8939.pth``, ``sam_vit_l_0b3195.pth``, ``sam_vit_b_01ec64.pth``), read safely.

All sizes are read off the shapes of the weights, so that nobody has to say which of the three it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidaff.errors import VidaffError
from vidaff.models.image.strict import load_strict
from vidaff.weights import load_torch_file

DECODER_HEADS = 8
"""Attention heads of the mask decoder in every SAM; weights do not say it."""
State = Mapping[str, torch.Tensor]


def read_sam(path: str | Path) -> nn.Module:
    """segment-anything's ``Sam`` with the weights of a file, on the CPU, in evaluation mode.

    The package's own builders know three sizes only, and fill them with random numbers first.

    Raises:
        VidaffError: no such file, one that would run code, or no SAM.
    """
    path = Path(path)
    if not path.is_file():
        raise VidaffError(f"{path}: no such file; SAM's checkpoint is expected (.pth)")
    state = load_torch_file(path)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise VidaffError(f"{path}: not a checkpoint of SAM (a dictionary of tensors)")
    try:
        with torch.device("meta"):
            net = _build(state)
        load_strict(net, state)
    except (ValueError, IndexError, KeyError, ZeroDivisionError, AssertionError) as error:
        raise VidaffError(f"{path}: not a checkpoint of SAM ({error})") from error
    # Constants of the network that no checkpoint holds.
    net.pixel_mean, net.pixel_std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    return net.eval()


def _build(state: State) -> Any:
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    encoder, side, grid = _image_encoder(state)
    width = _shape(state, "prompt_encoder.no_mask_embed.weight")[1]
    layers = "mask_decoder.transformer.layers"
    transformer = TwoWayTransformer(
        depth=_count(state, rf"{re.escape(layers)}\.(\d+)\."),
        embedding_dim=width,
        num_heads=DECODER_HEADS,
        mlp_dim=_shape(state, f"{layers}.0.mlp.lin1.weight")[0],
    )
    quality = "mask_decoder.iou_prediction_head.layers"
    return Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(side, side),
            mask_in_chans=_shape(state, "prompt_encoder.mask_downscaling.3.weight")[0],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=_shape(state, "mask_decoder.mask_tokens.weight")[0] - 1,
            transformer=transformer,
            transformer_dim=width,
            iou_head_depth=_count(state, rf"{re.escape(quality)}\.(\d+)\."),
            iou_head_hidden_dim=_shape(state, f"{quality}.0.weight")[0],
        ),
    )


def _image_encoder(state: State) -> tuple[nn.Module, int, int]:
    """The image encoder, the side of its input, and that of its features."""
    from segment_anything.modeling import ImageEncoderViT

    _, grid, _, width = _shape(state, "image_encoder.pos_embed")
    patch = _shape(state, "image_encoder.patch_embed.proj.weight")[-1]
    depth = _count(state, r"image_encoder\.blocks\.(\d+)\.")
    tables = [_shape(state, f"image_encoder.blocks.{block}.attn.rel_pos_h") for block in range(depth)]
    # A table of relative positions has 2 n - 1 rows; n is the side of what a block attends to.
    seen = [(rows + 1) // 2 for rows, _ in tables]
    encoder = ImageEncoderViT(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // tables[0][1],
        mlp_ratio=_shape(state, "image_encoder.blocks.0.mlp.lin1.weight")[0] / width,
        out_chans=_shape(state, "image_encoder.neck.0.weight")[0],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=min(seen) if min(seen) < grid else 0,
        global_attn_indexes=tuple(block for block, side in enumerate(seen) if side == grid),
    )
    return encoder, grid * patch, grid


def _shape(state: State, name: str) -> tuple[int, ...]:
    if name not in state:
        raise ValueError(f"{name} is missing")
    return tuple(state[name].shape)


def _count(state: State, pattern: str) -> int:
    """How many numbers the names of a list of layers bear."""
    found = {int(match[1]) for name in state if (match := re.match(pattern, name))}
    if found != set(range(len(found))) or not found:
        raise ValueError(f"the layers {pattern} are missing")
    return len(found)
