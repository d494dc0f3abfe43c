"""CLIP's weights from both of their homes: folders of transformers, and OpenAI's archives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vidaff.errors import VidaffError
from vidaff.models.image.features import square_side
from vidaff.models.image.pretrained import load_pretrained, load_weights
from vidaff.models.image.settings import ClipVisionSettings
from vidaff.models.image.strict import check_state
from vidaff.models.image.torchscript import is_zip, read_torchscript

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection

State = dict[str, torch.Tensor]
HEAD_WIDTH = 64
"""Channels of an attention head in every CLIP of OpenAI; archives do not say the number of heads."""
_BLOCK_NAMES = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""Part of a block in transformers -> the same in OpenAI's archive."""


def clip_vision(source: str | Path, *, heads: int | None = None) -> tuple[ClipVisionSettings, State]:
    """Sizes and weights of CLIP's visual tower, named as in :class:`..clip_vision.ClipVisionEncoder`, float32.

    Args:
        source: OpenAI's archive (``ViT-B-16.pt``), or folder or hub id of a ``CLIPModel`` with safetensors.
        heads: attention heads, if the archive is of a model whose heads are not 64 channels wide.

    Raises:
        VidaffError: no such model, a refused archive, or another kind of model.
    """
    if is_zip(source):
        state = _under(_archive(source), "visual.", source)
        width = _get(state, "class_embedding", source).shape[0]
        heads = heads or max(1, width // HEAD_WIDTH)
    else:
        from transformers import CLIPVisionModelWithProjection

        model = load_weights(CLIPVisionModelWithProjection, source, "CLIP model", _part_config(source, "vision_config"))
        state, heads = _vision_names(model.state_dict()), model.config.num_attention_heads
        if model.config.hidden_act != "quick_gelu":
            raise VidaffError(f"{source}: a CLIP with activation {model.config.hidden_act!r}, only quick_gelu is known")
    return _vision_settings(state, heads, source), state


def clip_text(source: str | Path, *, heads: int | None = None) -> CLIPTextModelWithProjection:
    """CLIP's text tower of transformers, with the weights of ``source`` (see :func:`clip_vision`), float32."""
    from transformers import CLIPTextModelWithProjection

    if not is_zip(source):
        config = _part_config(source, "text_config")
        return load_weights(CLIPTextModelWithProjection, source, "CLIP model", config)  # type: ignore[no-any-return]
    state = {name: tensor for name, tensor in _archive(source).items() if not name.startswith("visual.")}
    return text_tower(state, source, heads)


def text_tower(state: Mapping[str, torch.Tensor], source: str | Path, heads: int | None) -> CLIPTextModelWithProjection:
    """The text tower from weights with OpenAI's names, float32; ``source`` names their origin in errors.

    The tower shares the memory of ``state`` where it can: copies, and random weights before them, would take 500 MB.

    ``heads``: attention heads, None for the 64 channels of a head that all of OpenAI's have.
    """
    from transformers import CLIPTextModelWithProjection

    names = _text_names({name: tensor.detach().float() for name, tensor in state.items()}, source)
    with torch.device("meta"):
        model = CLIPTextModelWithProjection(_text_config(names, heads))
    try:
        check_state(model, names)
    except ValueError as error:
        raise VidaffError(f"{source}: not CLIP's text tower ({error})") from error
    model.load_state_dict(names, assign=True)
    embeddings = model.text_model.embeddings
    embeddings.position_ids = torch.arange(model.config.max_position_embeddings)[None]  # it is no weight
    return model.eval()


def _archive(source: str | Path) -> State:
    floating = {n: t for n, t in read_torchscript(source).items() if t.is_floating_point()}
    return {name: tensor.float() for name, tensor in floating.items()}


def _part_config(source: str | Path, part: str) -> Any:
    """The configuration of one tower, with the width of the common space that older folders say of both only."""
    from transformers import CLIPConfig

    config = load_pretrained(CLIPConfig.from_pretrained, source, "CLIP model")
    tower = getattr(config, part)
    tower.projection_dim = config.projection_dim
    return tower


def _under(state: State, prefix: str, source: str | Path) -> State:
    found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not found:
        raise VidaffError(f"{source}: holds no weights of CLIP (none under {prefix!r})")
    return found


def _get(state: Mapping[str, torch.Tensor], name: str, source: str | Path) -> torch.Tensor:
    if name not in state:
        raise VidaffError(f"{source}: not a vision transformer of CLIP, {name} is missing")
    return state[name]


def _vision_settings(state: State, heads: int, source: str | Path) -> ClipVisionSettings:
    convolution = _get(state, "conv1.weight", source)
    positions = _get(state, "positional_embedding", source)
    try:
        return ClipVisionSettings(
            width=convolution.shape[0],
            layers=len({found[1] for name in state if (found := re.match(r"transformer\.resblocks\.(\d+)\.", name))}),
            heads=heads,
            patch=convolution.shape[-1],
            grid=square_side(len(positions) - 1),
        )
    except ValueError as error:
        raise VidaffError(f"{source}: not a vision transformer of CLIP ({error})") from error


def _vision_names(state: Mapping[str, torch.Tensor]) -> State:
    """Names of transformers' visual tower to OpenAI's."""
    vision = {name.removeprefix("vision_model."): tensor for name, tensor in state.items()}
    named = {
        "class_embedding": vision["embeddings.class_embedding"],
        "positional_embedding": vision["embeddings.position_embedding.weight"],
        "conv1.weight": vision["embeddings.patch_embedding.weight"],
        "proj": state["visual_projection.weight"].T.contiguous(),
    }
    for ours, theirs in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        named |= {f"{ours}.{kind}": vision[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    layers = {found[1] for name in vision if (found := re.match(r"encoder\.layers\.(\d+)\.", name))}
    for layer in sorted(layers, key=int):
        theirs, ours = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            packed = [vision[f"{theirs}self_attn.{x}_proj.{kind}"] for x in "qkv"]
            named[f"{ours}attn.in_proj_{kind}"] = torch.cat(packed)
            named |= {f"{ours}{b}.{kind}": vision[f"{theirs}{a}.{kind}"] for a, b in _BLOCK_NAMES.items()}
    return named


def _text_names(state: State, source: str | Path) -> State:
    """Names of OpenAI's text tower to transformers'."""
    fixed = {
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final.weight": "text_model.final_layer_norm.weight",
        "ln_final.bias": "text_model.final_layer_norm.bias",
    }
    named = {theirs: _get(state, ours, source) for ours, theirs in fixed.items()}
    named["text_projection.weight"] = _get(state, "text_projection", source).T.contiguous()
    renamed = {b: a for a, b in _BLOCK_NAMES.items()}
    for name, tensor in state.items():
        found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)", name)
        if found is None:
            continue
        layer, part, kind = found.groups()
        prefix = f"text_model.encoder.layers.{layer}."
        if part == "attn.in_proj":
            thirds = zip("qkv", tensor.chunk(3), strict=True)
            named |= {f"{prefix}self_attn.{x}_proj.{kind}": third.clone() for x, third in thirds}
        else:
            named[f"{prefix}{renamed.get(part, part)}.{kind}"] = tensor
    return named


def _text_config(named: State, heads: int | None) -> Any:
    from transformers import CLIPTextConfig

    vocabulary, width = named["text_model.embeddings.token_embedding.weight"].shape
    layers = {name.split(".")[3] for name in named if name.startswith("text_model.encoder.layers.")}
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=named["text_projection.weight"].shape[0],
        num_hidden_layers=len(layers),
        num_attention_heads=heads or max(1, width // HEAD_WIDTH),
        max_position_embeddings=named["text_model.embeddings.position_embedding.weight"].shape[0],
        hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,  # CLIP's vocabulary ends with the start and the end of a text
        pad_token_id=vocabulary - 1,
    )
