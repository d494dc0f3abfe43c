"""One builder that shows the whole network with its numbers."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from vidaff.errors import VidaffError
from vidaff.models.image.clip_vision import ClipVisionEncoder
from vidaff.models.image.exocentric import ExoClassifier
from vidaff.models.image.fuser import CrossModalFuser
from vidaff.models.image.grounder import GroundingNet, RefinementNet
from vidaff.models.image.mask_decoder import MaskDecoder
from vidaff.models.image.reasoning import ObjectPredictor, PartPredictor
from vidaff.models.image.settings import GrounderSettings
from vidaff.models.image.strict import load_strict


def build_grounder(settings: GrounderSettings | None = None) -> GroundingNet | RefinementNet:
    """Build a network with random weights; the defaults are the paper's (112,520,740 parameters).

    Args:
        settings: see :class:`vidaff.models.image.settings.GrounderSettings`. ``task="refinement"`` gives encoder and
            mask decoder alone (98,345,216 parameters).

    Raises:
        ValueError: ``settings.backbone`` does not describe the encoder.
    """
    settings = settings or GrounderSettings()
    dim, fuser, decoder = settings.dim, settings.fuser, settings.decoder
    encoder = build_encoder(settings)
    pred_decoder = MaskDecoder(
        dim,
        depth=decoder.depth,
        heads=decoder.heads,
        mlp_dim=decoder.mlp_dim,
        steps=decoder.up_steps,
        conv_first=decoder.conv_first,
        learned_token=decoder.learned_token,
    )
    if settings.task == "refinement":
        return RefinementNet(encoder=encoder, pred_decoder=pred_decoder)
    return GroundingNet(
        encoder=encoder,
        verb_fuser=CrossModalFuser(
            dim,
            depth=fuser.depth,
            heads=fuser.heads,
            mlp_ratio=fuser.mlp_ratio,
            drop_path=fuser.drop_path,
            grid=fuser.grid,
        ),
        pred_decoder=pred_decoder,
        noun_transform=ObjectPredictor(dim) if settings.reasoning else None,
        reason=PartPredictor(dim) if settings.reasoning else None,
        exo_cls=ExoClassifier(dim, settings.exo_hidden, settings.num_affordances) if settings.exocentric else None,
        margin=settings.margin,
        exo_pooling=settings.exo_pooling,
    )


def build_encoder(settings: GrounderSettings) -> nn.Module:
    """The visual encoder alone, with random weights."""
    if settings.encoder == "clip":
        clip = settings.clip
        return ClipVisionEncoder(
            settings.dim, width=clip.width, layers=clip.layers, heads=clip.heads, patch=clip.patch, grid=clip.grid
        )
    # Imported here: transformers takes seconds, and CLIP's tower does not need it.
    from vidaff.models.image.backbones import build_backbone

    return build_backbone(settings.encoder, settings.dim, settings.backbone)


def pretrained_grounder(
    source: str | Path, settings: GrounderSettings | None = None, *, heads: int | None = None
) -> tuple[GroundingNet | RefinementNet, GrounderSettings]:
    """A network whose visual encoder starts from published weights, and its settings with that encoder's sizes.

    Args:
        source: folder or hub id of a transformers model with safetensors, of the kind ``settings.encoder``; for CLIP
            OpenAI's archive (``ViT-B-16.pt``), too, of which no code is run.
        settings: all but the encoder's sizes.
        heads: attention heads, for an archive of CLIP whose heads are not 64 channels wide.

    Raises:
        VidaffError: no such model, a refused file, or weights of another kind or width.
    """
    settings = settings or GrounderSettings()
    if settings.encoder == "clip":
        from vidaff.models.image.clip_weights import clip_vision

        clip, weights = clip_vision(source, heads=heads)
        settings = settings.model_copy(update={"clip": clip})
    else:
        from vidaff.models.image.backbones import BACKBONES, backbone_config

        encoder = BACKBONES[settings.encoder].load(source, settings.dim)
        weights = encoder.state_dict()
        settings = settings.model_copy(update={"backbone": backbone_config(encoder)})
    model = build_grounder(settings)
    try:
        load_strict(model.encoder, weights)
    except ValueError as error:
        raise VidaffError(f"{source}: {error}") from error
    return model, settings
